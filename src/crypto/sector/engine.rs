//! The kinds of code that can do the work of the sector ciphers.

use std::fmt;

/// How the blocks of a run go through AES.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Engine {
    /// The `aes` crate in batches: everywhere, with whatever instructions that crate finds.
    Batch,
    /// AES-NI, eight blocks in flight; with AVX2.
    AesNi,
    /// VAES in vectors of two blocks.
    Vaes256,
    /// VAES in vectors of four blocks.
    Vaes512,
}

/// How the Elephant diffuser goes over sectors side by side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Diffuser {
    /// Arrays of eight words that the compiler makes vectors of.
    Batch,
    /// Eight sectors in AVX2 registers.
    Avx2,
    /// Sixteen sectors in AVX-512 registers.
    Avx512,
}

impl Engine {
    /// All engines, slowest first.
    pub const ALL: [Self; 4] = [Self::Batch, Self::AesNi, Self::Vaes256, Self::Vaes512];

    /// A name for reports.
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

    /// A name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "eight lanes",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
        }
    }
}

/// The engines that a cipher is built from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Engines {
    /// For AES.
    pub aes: Engine,
    /// For the Elephant diffuser.
    pub diffuser: Diffuser,
}

impl Engines {
    /// Those that run everywhere.
    pub const SAFE: Self = Self {
        aes: Engine::Batch,
        diffuser: Diffuser::Batch,
    };
}

/// For reports: `VAES-512, diffuser AVX-512`.
impl fmt::Display for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, diffuser {}", self.aes.name(), self.diffuser.name())
    }
}
