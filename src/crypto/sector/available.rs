//! Which engines this CPU can run.

use super::SectorCipher;
use super::engine::{Diffuser, Engine, Engines};
#[cfg(target_arch = "x86_64")]
use super::wide;
#[cfg(target_arch = "x86_64")]
pub(super) use super::wide::Diffuse;

impl Engine {
    /// Whether this CPU has the instructions that it needs.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return wide::available(self);
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::Batch;
    }
}

impl Diffuser {
    /// Whether this CPU has the instructions that it needs.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return wide::diffuser_available(self);
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::Batch;
    }
}

impl Engines {
    /// The fastest engines that this CPU can run, not self-tested.
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

    /// Whether this CPU has the instructions that both need.
    pub fn are_available(self) -> bool {
        self.aes.is_available() && self.diffuser.is_available()
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

    /// The diffuser kernels for sectors of `QUADS` cipher blocks, widest vectors first.
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

/// Other CPUs have no diffuser kernel, so this type has no values.
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
