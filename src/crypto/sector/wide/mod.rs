//! Sector ciphers in the widest vectors of the CPU at hand, chosen at run time (x86-64 only).
//!
//! The kernels are functions of whole runs, compiled for instructions that not every CPU has.
//! Calling one is sound only where they were found, and a [`Kernels`] exists nowhere else. That,
//! and moving vectors to and from memory (`crypto::memory`), is all the `unsafe` there is.
#![allow(unsafe_code)]

mod diffuse;
mod kernels;
mod keys;
mod vector;

use std::arch::is_x86_feature_detected as detected;

use self::keys::RoundKeys;
use super::{Engine, SectorCipher};

pub(super) use self::diffuse::{Diffuse, available as diffuser_available, diffusers};

/// Sectors of other sizes than multiples of this are left to the batch engine; no volume has them.
const SECTOR_UNIT: usize = 512;

/// Whether the CPU has what an engine needs.
pub(super) fn available(engine: Engine) -> bool {
    match engine {
        Engine::Batch => true,
        Engine::AesNi => detected!("aes") && detected!("avx2") && detected!("pclmulqdq"),
        Engine::Vaes256 => detected!("vaes") && detected!("avx2") && detected!("aes"),
        Engine::Vaes512 => {
            detected!("vaes")
                && detected!("vpclmulqdq")
                && detected!("avx512bw")
                && detected!("aes")
        }
    }
}

/// A run of whole sectors of a size from an address on, under `K`.
type Kernel<K> = unsafe fn(&K, usize, u64, &mut [u8]);

/// The kernels of an engine that [`available`] has found.
struct Kernels<const R: usize> {
    xts_decrypt: Kernel<[RoundKeys<R>; 2]>,
    xts_encrypt: Kernel<[RoundKeys<R>; 2]>,
    cbc_decrypt: Kernel<RoundKeys<R>>,
    cbc_encrypt: Kernel<RoundKeys<R>>,
}

impl<const R: usize> Kernels<R> {
    fn of(engine: Engine) -> Option<Self> {
        macro_rules! kernels {
            ($width:ident) => {
                Self {
                    xts_decrypt: kernels::$width::xts::<R, true>,
                    xts_encrypt: kernels::$width::xts::<R, false>,
                    cbc_decrypt: kernels::$width::cbc_decrypt::<R>,
                    cbc_encrypt: kernels::$width::cbc_encrypt::<R>,
                }
            };
        }
        if !available(engine) {
            return None;
        }
        let kernels = match engine {
            Engine::Batch => return None,
            Engine::AesNi => kernels!(v128),
            Engine::Vaes256 => kernels!(v256),
            Engine::Vaes512 => kernels!(v512),
        };
        #[cfg(test)]
        let kernels = broken::as_set(engine, kernels);
        Some(kernels)
    }

    /// Round keys, which take AES instructions too.
    fn round_keys(&self, key: &[u8]) -> Option<RoundKeys<R>> {
        // SAFETY: every engine that has kernels has the AES instructions, and SSE 4.1 with AVX2.
        unsafe { RoundKeys::new(key) }
    }
}

struct Xts<const R: usize> {
    kernels: Kernels<R>,
    keys: [RoundKeys<R>; 2],
    sector_size: usize,
}

/// XTS under the two halves of `key`, if the engine can.
pub(super) fn xts(engine: Engine, key: &[u8], sector_size: usize) -> Option<Box<dyn SectorCipher>> {
    fn build<const R: usize>(
        engine: Engine,
        key: &[u8],
        sector_size: usize,
    ) -> Option<Box<dyn SectorCipher>> {
        let kernels = Kernels::<R>::of(engine)?;
        let (data, tweak) = key.split_at(key.len() / 2);
        let keys = [kernels.round_keys(data)?, kernels.round_keys(tweak)?];
        Some(Box::new(Xts {
            kernels,
            keys,
            sector_size,
        }))
    }
    match key.len() {
        _ if !sector_size.is_multiple_of(SECTOR_UNIT) => None,
        32 => build::<11>(engine, key, sector_size),
        64 => build::<15>(engine, key, sector_size),
        _ => None,
    }
}

impl<const R: usize> SectorCipher for Xts<R> {
    fn decrypt(&self, address: u64, run: &mut [u8]) {
        // SAFETY: `Kernels` exist only where the CPU has their instructions.
        unsafe { (self.kernels.xts_decrypt)(&self.keys, self.sector_size, address, run) }
    }

    fn encrypt(&self, address: u64, run: &mut [u8]) {
        // SAFETY: as above.
        unsafe { (self.kernels.xts_encrypt)(&self.keys, self.sector_size, address, run) }
    }
}

struct Cbc<const R: usize> {
    kernels: Kernels<R>,
    key: RoundKeys<R>,
    sector_size: usize,
}

/// CBC under `key`, if the engine can.
pub(super) fn cbc(engine: Engine, key: &[u8], sector_size: usize) -> Option<Box<dyn SectorCipher>> {
    fn build<const R: usize>(
        engine: Engine,
        key: &[u8],
        sector_size: usize,
    ) -> Option<Box<dyn SectorCipher>> {
        let kernels = Kernels::<R>::of(engine)?;
        let key = kernels.round_keys(key)?;
        Some(Box::new(Cbc {
            kernels,
            key,
            sector_size,
        }))
    }
    match key.len() {
        _ if !sector_size.is_multiple_of(SECTOR_UNIT) => None,
        16 => build::<11>(engine, key, sector_size),
        32 => build::<15>(engine, key, sector_size),
        _ => None,
    }
}

impl<const R: usize> SectorCipher for Cbc<R> {
    fn decrypt(&self, address: u64, run: &mut [u8]) {
        // SAFETY: `Kernels` exist only where the CPU has their instructions.
        unsafe { (self.kernels.cbc_decrypt)(&self.key, self.sector_size, address, run) }
    }

    fn encrypt(&self, address: u64, run: &mut [u8]) {
        // SAFETY: as above.
        unsafe { (self.kernels.cbc_encrypt)(&self.key, self.sector_size, address, run) }
    }
}

/// Kernels that compute something else, for the tests of what becomes of them.
#[cfg(test)]
pub(super) mod broken {
    use super::*;
    use std::cell::RefCell;

    #[derive(Clone, Copy, PartialEq)]
    pub(in super::super) enum Broken {
        Decrypt,
        Encrypt,
    }

    thread_local! {
        static SET: RefCell<Option<(Broken, Vec<Engine>)>> = const { RefCell::new(None) };
    }

    /// Does `work` on a CPU of which these engines are broken.
    pub(in super::super) fn with(broken: Broken, engines: &[Engine], work: impl FnOnce()) {
        SET.set(Some((broken, engines.to_vec())));
        work();
        SET.set(None);
    }

    fn wrong<K>(_: &K, _: usize, _: u64, run: &mut [u8]) {
        run.reverse();
    }

    pub(super) fn as_set<const R: usize>(engine: Engine, kernels: Kernels<R>) -> Kernels<R> {
        let broken = SET.with_borrow(|set| match set {
            Some((broken, engines)) if engines.contains(&engine) => Some(*broken),
            _ => None,
        });
        match broken {
            None => kernels,
            Some(Broken::Decrypt) => Kernels {
                xts_decrypt: wrong,
                cbc_decrypt: wrong,
                ..kernels
            },
            Some(Broken::Encrypt) => Kernels {
                xts_encrypt: wrong,
                cbc_encrypt: wrong,
                ..kernels
            },
        }
    }
}
