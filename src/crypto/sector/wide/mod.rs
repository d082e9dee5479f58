//! Sector ciphers with vector instructions (x86-64), chosen at run time by what the CPU has.
//!
//! A kernel processes a whole run and is compiled for instructions that not every CPU has. Calling it
//! on a CPU without them is undefined behavior, so a [`Kernels`] value is made only after the
//! instructions were detected. These calls, and loads and stores of vectors (`crypto::memory`), are the
//! only `unsafe` code here.
#![allow(unsafe_code)]

mod diffuse;
mod kernels;
mod keys;
mod vector;

use std::arch::is_x86_feature_detected as detected;

use self::keys::RoundKeys;
use super::{Engine, SectorCipher};

pub(super) use self::diffuse::{Diffuse, available as diffuser_available, diffusers};

/// Sector sizes that are not a multiple of this are left to [`Engine::Batch`]; no volume has them.
const SECTOR_UNIT: usize = 512;

/// Whether the CPU has the instructions that an engine needs.
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

/// Encrypts or decrypts a run in place: keys, sector size in bytes, address of the first sector in
/// bytes, run.
type Kernel<K> = unsafe fn(&K, usize, u64, &mut [u8]);

/// The kernels of an engine. A value exists only if [`available`] says that the CPU can run them. `R` is
/// the number of round keys: 11 for AES-128, 15 for AES-256 (FIPS 197).
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

    /// The round keys of `key`, computed with AES instructions.
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

/// XTS with the two halves of `key`; `None` if the engine has no kernel for it.
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

/// CBC with `key`; `None` if the engine has no kernel for it.
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

/// Kernels that compute wrong results, to test that they are not used.
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

    /// Does `work` as if the CPU computed wrongly with these engines.
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
