//! Measures the sector ciphers and key stretching with every engine of this CPU, compared with copying
//! memory and with other implementations: `cargo bench --bench sectors`; with `--features
//! bench-openssl` also OpenSSL, which needs its headers. Results are bytes or candidates per second;
//! only ratios within one run can be compared. The time of the diffuser alone is that of a method with
//! it minus that of CBC without it.

use std::fmt;

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes256};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use fve::crypto::sector::{Diffuser, Engine, Engines, Method, SectorCipher};
use fve::crypto::stretch::{InitialHash, Lanes};
use fve::secret::{RecoveryKey, SecretBytes};
use sha2::{Digest, Sha256};
use xts_mode::{Xts128, get_tweak_default};

/// Length of a run in bytes: as much as a mount reads at a time.
const RUN: usize = 1 << 20;
/// The sector sizes of most volumes, in bytes.
const SECTOR_SIZES: [usize; 2] = [512, 4096];
/// Rounds of key stretching that are measured; a key needs 64 times as many.
const ROUNDS: u64 = fve::crypto::stretch::ROUNDS / 64;

fn main() {
    divan::Divan::from_args().sample_count(25).main();
}

/// A method with its engines.
#[derive(Clone, Copy)]
struct Case {
    word: &'static str,
    engines: Engines,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = match self.word.ends_with("elephant") {
            true => self.engines.diffuser.name(),
            false => self.engines.aes.name(),
        };
        write!(f, "{}, {engine}", self.word)
    }
}

impl Case {
    fn cipher(self, sector_size: usize) -> Box<dyn SectorCipher> {
        let method: &'static Method = self.word.parse().expect("method");
        let key: Vec<u8> = (0..method.key_len).map(|i| i as u8).collect();
        method
            .cipher_with(self.engines, &SecretBytes::new(key), sector_size as u32)
            .expect("cipher")
    }
}

fn with_aes(words: &[&'static str]) -> Vec<Case> {
    let available = Engine::ALL.into_iter().filter(|aes| aes.is_available());
    let best = Engines::best();
    let engines = available.map(|aes| Engines { aes, ..best });
    engines
        .flat_map(|engines| words.iter().map(move |word| Case { word, engines }))
        .collect()
}

fn cases() -> Vec<Case> {
    let mut cases = with_aes(&["aes-xts-128", "aes-xts-256", "aes-cbc-128", "aes-cbc-256"]);
    for diffuser in Diffuser::ALL
        .into_iter()
        .filter(|diffuser| diffuser.is_available())
    {
        let engines = Engines {
            diffuser,
            ..Engines::best()
        };
        for word in ["aes-cbc-128-elephant", "aes-cbc-256-elephant"] {
            cases.push(Case { word, engines });
        }
    }
    cases
}

fn over_a_run(bencher: Bencher<'_, '_>, mut work: impl FnMut(&mut [u8])) {
    let mut run = vec![0x5A; RUN];
    bencher
        .counter(BytesCount::new(RUN))
        .bench_local(|| work(divan::black_box(&mut run)));
}

#[divan::bench]
fn memcpy(bencher: Bencher<'_, '_>) {
    let from = vec![1; RUN];
    over_a_run(bencher, |run| run.copy_from_slice(divan::black_box(&from)));
}

#[divan::bench(args = cases(), consts = SECTOR_SIZES)]
fn decrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>, case: Case) {
    let cipher = case.cipher(SECTOR);
    over_a_run(bencher, |run| cipher.decrypt(1 << 30, run));
}

#[divan::bench(args = cases(), consts = SECTOR_SIZES)]
fn encrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>, case: Case) {
    let cipher = case.cipher(SECTOR);
    over_a_run(bencher, |run| cipher.encrypt(1 << 30, run));
}

/// Short runs, as small random reads cause them.
#[divan::bench(args = with_aes(&["aes-xts-128"]), consts = [1, 8, 64])]
fn decrypt_short<const SECTORS: usize>(bencher: Bencher<'_, '_>, case: Case) {
    let cipher = case.cipher(512);
    let mut run = vec![0x5A; SECTORS * 512];
    bencher
        .counter(BytesCount::new(run.len()))
        .bench_local(|| cipher.decrypt(1 << 30, divan::black_box(&mut run)));
}

/// The crates that the tests compare with, which work sector by sector.
mod others {
    use super::*;

    #[divan::bench(consts = SECTOR_SIZES)]
    fn xts_mode_128_decrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>) {
        let aes = || Aes128::new_from_slice(&[7; 16]).expect("key");
        let xts = Xts128::new(aes(), aes());
        over_a_run(bencher, |run| {
            xts.decrypt_area(run, SECTOR, (1 << 30) / SECTOR as u128, get_tweak_default);
        });
    }

    #[divan::bench(consts = SECTOR_SIZES)]
    fn xts_mode_256_decrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>) {
        let aes = || Aes256::new_from_slice(&[7; 32]).expect("key");
        let xts = Xts128::new(aes(), aes());
        over_a_run(bencher, |run| {
            xts.decrypt_area(run, SECTOR, (1 << 30) / SECTOR as u128, get_tweak_default);
        });
    }

    #[divan::bench(consts = SECTOR_SIZES)]
    fn cbc_128_decrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>) {
        let aes = Aes128::new_from_slice(&[7; 16]).expect("key");
        over_a_run(bencher, |run| {
            for (address, sector) in (0u64..).step_by(SECTOR).zip(run.chunks_exact_mut(SECTOR)) {
                cbc::Decryptor::inner_iv_init(&aes, &iv(&aes, address))
                    .decrypt_padded::<NoPadding>(sector)
                    .expect("whole blocks");
            }
        });
    }

    #[divan::bench(consts = SECTOR_SIZES)]
    fn cbc_128_encrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>) {
        let aes = Aes128::new_from_slice(&[7; 16]).expect("key");
        over_a_run(bencher, |run| {
            for (address, sector) in (0u64..).step_by(SECTOR).zip(run.chunks_exact_mut(SECTOR)) {
                cbc::Encryptor::inner_iv_init(&aes, &iv(&aes, address))
                    .encrypt_padded::<NoPadding>(sector, SECTOR)
                    .expect("whole blocks");
            }
        });
    }

    fn iv(aes: &Aes128, address: u64) -> aes::Block {
        let mut iv = [0; 16];
        iv[..8].copy_from_slice(&address.to_le_bytes());
        let mut iv = iv.into();
        aes.encrypt_block(&mut iv);
        iv
    }

    /// The diffusers alone, written as in the specification, with a modulo for each index. Other programs
    /// have this form.
    #[divan::bench(sample_count = 5, consts = SECTOR_SIZES)]
    fn diffuser_modulo<const SECTOR: usize>(bencher: Bencher<'_, '_>) {
        let mut words = vec![0; SECTOR / 4];
        over_a_run(bencher, |run| {
            for sector in run.chunks_exact_mut(SECTOR) {
                for (word, bytes) in words.iter_mut().zip(sector.as_chunks().0) {
                    *word = u32::from_le_bytes(*bytes);
                }
                diffuse_plainly(divan::black_box(&mut words));
                for (word, bytes) in words.iter().zip(sector.as_chunks_mut().0) {
                    *bytes = word.to_le_bytes();
                }
            }
        });
    }

    fn diffuse_plainly(d: &mut [u32]) {
        let n = d.len();
        for _ in 0..3 {
            for i in 0..n {
                let far = d[(i + 5) % n].rotate_left([0, 10, 0, 25][i % 4]);
                d[i] = d[i].wrapping_add(d[(i + 2) % n] ^ far);
            }
        }
        for _ in 0..5 {
            for i in 0..n {
                let far = d[(i + n - 5) % n].rotate_left([9, 0, 13, 0][i % 4]);
                d[i] = d[i].wrapping_add(d[(i + n - 2) % n] ^ far);
            }
        }
    }
}

/// OpenSSL, with one context and a new initialization vector for each sector, as programs use it.
#[cfg(feature = "bench-openssl")]
mod openssl_per_sector {
    use super::*;
    use openssl::cipher::{Cipher, CipherRef};
    use openssl::cipher_ctx::CipherCtx;

    fn per_sector(bencher: Bencher<'_, '_>, cipher: &CipherRef, sector: usize, encrypt: bool) {
        // OpenSSL refuses an XTS key with two equal halves.
        let key: Vec<u8> = (0..cipher.key_length()).map(|i| i as u8).collect();
        let mut context = CipherCtx::new().expect("context");
        match encrypt {
            true => context.encrypt_init(Some(cipher), Some(&key), None),
            false => context.decrypt_init(Some(cipher), Some(&key), None),
        }
        .expect("key");
        context.set_padding(false);
        // OpenSSL requires an output buffer with one block more than it writes.
        let mut out = vec![0; sector + 16];
        over_a_run(bencher, |run| {
            for (number, sector) in (0u64..).zip(run.chunks_exact(sector)) {
                let mut iv = [0; 16];
                iv[..8].copy_from_slice(&number.to_le_bytes());
                match encrypt {
                    true => context.encrypt_init(None, None, Some(&iv)),
                    false => context.decrypt_init(None, None, Some(&iv)),
                }
                .expect("IV");
                context
                    .cipher_update(sector, Some(&mut out))
                    .expect("sector");
            }
            divan::black_box(&mut out);
        });
    }

    #[divan::bench(consts = SECTOR_SIZES)]
    fn xts_128_decrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>) {
        per_sector(bencher, Cipher::aes_128_xts(), SECTOR, false);
    }

    #[divan::bench(consts = SECTOR_SIZES)]
    fn xts_256_decrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>) {
        per_sector(bencher, Cipher::aes_256_xts(), SECTOR, false);
    }

    #[divan::bench(consts = SECTOR_SIZES)]
    fn cbc_128_decrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>) {
        per_sector(bencher, Cipher::aes_128_cbc(), SECTOR, false);
    }

    #[divan::bench(consts = SECTOR_SIZES)]
    fn cbc_256_decrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>) {
        per_sector(bencher, Cipher::aes_256_cbc(), SECTOR, false);
    }

    #[divan::bench(consts = SECTOR_SIZES)]
    fn cbc_128_encrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>) {
        per_sector(bencher, Cipher::aes_128_cbc(), SECTOR, true);
    }

    #[divan::bench(consts = SECTOR_SIZES)]
    fn cbc_256_encrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>) {
        per_sector(bencher, Cipher::aes_256_cbc(), SECTOR, true);
    }
}

/// Candidates per second on one core, multiplied by 64 because of [`ROUNDS`].
mod stretch {
    use super::*;

    fn ways() -> impl Iterator<Item = &'static str> {
        Lanes::ALL
            .into_iter()
            .filter(|lanes| lanes.is_available())
            .map(Lanes::name)
    }

    #[divan::bench(sample_count = 9, args = ways())]
    fn lanes(bencher: Bencher<'_, '_>, way: &str) {
        let lanes = Lanes::ALL
            .into_iter()
            .find(|lanes| lanes.name() == way)
            .expect("way");
        let hashes: Vec<_> = (0..lanes.width())
            .map(|nth| InitialHash::of_recovery_key(&RecoveryKey::from_bytes(&[nth as u8; 16])))
            .collect();
        bencher
            .counter(ItemsCount::new(lanes.width()))
            .bench_local(|| lanes.stretch_rounds(divan::black_box(&hashes), &[7; 16], ROUNDS));
    }

    /// For each round, a call of the `sha2` crate over 88 bytes.
    #[divan::bench(sample_count = 9)]
    fn sha2_digest(bencher: Bencher<'_, '_>) {
        bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
            let mut message = divan::black_box([7u8; 88]);
            for count in 0..ROUNDS {
                message[80..].copy_from_slice(&count.to_le_bytes());
                let hash = Sha256::digest(message);
                message[..32].copy_from_slice(&hash);
            }
            message
        });
    }
}
