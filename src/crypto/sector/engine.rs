//! Which code does the work of the sector ciphers, from what the CPU has.

use std::fmt;

use super::SectorCipher;
#[cfg(target_arch = "x86_64")]
use super::wide;
#[cfg(target_arch = "x86_64")]
pub(super) use super::wide::Diffuse;

/// How the blocks of a run go through AES.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

    /// Whether this CPU has what it takes.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return wide::available(self);
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::Batch;
    }

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

    /// Whether this CPU has what it takes.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return wide::diffuser_available(self);
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::Batch;
    }

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

    /// The fastest that this CPU can run.
    pub fn best() -> Self {
        let mut best = Self::SAFE;
        for engine in Engine::ALL {
            if engine.is_available() {
                best.aes = engine;
            }
        }
        for diffuser in Diffuser::ALL {
            if diffuser.is_available() {
                best.diffuser = diffuser;
            }
        }
        best
    }

    /// Whether this CPU can run both.
    pub fn are_available(self) -> bool {
        self.aes.is_available() && self.diffuser.is_available()
    }
}

/// For reports: `VAES-512, diffuser AVX-512`.
impl fmt::Display for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, diffuser {}", self.aes.name(), self.diffuser.name())
    }
}

#[cfg(target_arch = "x86_64")]
impl Engines {
    pub(super) fn xts(self, key: &[u8], sector_size: usize) -> Option<Box<dyn SectorCipher>> {
        wide::xts(self.aes, key, sector_size)
    }

    pub(super) fn cbc(self, key: &[u8], sector_size: usize) -> Option<Box<dyn SectorCipher>> {
        wide::cbc(self.aes, key, sector_size)
    }

    /// What diffuses sectors of `QUADS` cipher blocks, widest first.
    pub(super) fn diffusers<const QUADS: usize>(self) -> Vec<Diffuse> {
        wide::diffusers::<QUADS>(self.diffuser)
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Engines {
    pub(super) fn xts(self, _: &[u8], _: usize) -> Option<Box<dyn SectorCipher>> {
        None
    }

    pub(super) fn cbc(self, _: &[u8], _: usize) -> Option<Box<dyn SectorCipher>> {
        None
    }

    pub(super) fn diffusers<const QUADS: usize>(self) -> Vec<Diffuse> {
        Vec::new()
    }
}

/// There is none.
#[cfg(not(target_arch = "x86_64"))]
pub(super) enum Diffuse {}

#[cfg(not(target_arch = "x86_64"))]
impl Diffuse {
    pub(super) fn decrypt(&self, _: &mut [u8], _: &mut dyn FnMut(&mut [[[u8; 16]; 2]])) -> usize {
        match *self {}
    }

    pub(super) fn encrypt(&self, _: &mut [u8], _: &mut dyn FnMut(&mut [[[u8; 16]; 2]])) -> usize {
        match *self {}
    }
}
