//! The implementations of AES and of the Elephant diffuser that a sector cipher can use.

use std::fmt;

/// An implementation of AES for runs of sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Engine {
    /// Batches of blocks through the `aes` crate, on every CPU. The crate uses AES instructions if there
    /// are any, and otherwise constant-time software.
    Batch,
    /// AES-NI with AVX2, one block per vector.
    AesNi,
    /// VAES with vectors of two blocks.
    Vaes256,
    /// VAES with AVX-512, vectors of four blocks.
    Vaes512,
}

/// An implementation of the Elephant diffuser.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Diffuser {
    /// Eight sectors at a time in plain code, on every CPU.
    Batch,
    /// Eight sectors at a time in AVX2 registers.
    Avx2,
    /// Sixteen sectors at a time in AVX-512 registers.
    Avx512,
}

impl Engine {
    /// All engines, slowest first.
    pub const ALL: [Self; 4] = [Self::Batch, Self::AesNi, Self::Vaes256, Self::Vaes512];

    /// A name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "batches of the aes crate",
            Self::AesNi => "AES-NI",
            Self::Vaes256 => "VAES-256",
            Self::Vaes512 => "VAES-512",
        }
    }
}

impl Diffuser {
    /// All diffusers, slowest first.
    pub const ALL: [Self; 3] = [Self::Batch, Self::Avx2, Self::Avx512];

    /// A name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "eight lanes",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
        }
    }
}

/// The implementations that a cipher uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Engines {
    /// The implementation of AES.
    pub aes: Engine,
    /// The implementation of the Elephant diffuser, for methods that have it.
    pub diffuser: Diffuser,
}

impl Engines {
    /// Those that run on every CPU.
    pub const SAFE: Self = Self {
        aes: Engine::Batch,
        diffuser: Diffuser::Batch,
    };
}

/// For messages: `VAES-512, diffuser AVX-512`.
impl fmt::Display for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, diffuser {}", self.aes.name(), self.diffuser.name())
    }
}
