//! Engines answer a known question before their first use, in both directions.
//!
//! The question: the bytes of [`pattern`], deciphered under the key of [`key`] as sectors from
//! [`ADDRESS`] on. The answer is the CRC-32 of what comes out, for each method and sector size, as
//! computed with other programs' code: OpenSSL's AES-XTS and AES-CBC, dissect.fve's diffusers.
//! Enciphered again it must be the pattern. There are enough sectors to fill every kernel's lanes
//! and to leave some over; it takes some ten to two hundred microseconds, once for each method and
//! sector size in use.

#[cfg(not(test))]
use std::sync::{Mutex, PoisonError};

use super::{Diffuser, Engine, Engines, Method};
use crate::crypto::faults;
use crate::secret::SecretBytes;

/// Sector sizes that volumes have, in bytes.
const SECTOR_SIZES: [u32; 4] = [512, 1024, 2048, 4096];

/// The CRC-32 of the answer for each of [`SECTOR_SIZES`].
pub(super) type Answers = [u32; SECTOR_SIZES.len()];

/// Where the first sector lies: its number takes more than 32 bits.
const ADDRESS: u64 = 0x1234_5678_9000;

/// Sectors that are handed over in a call of their own, fewer than any kernel has lanes.
const LEFT_OVER: usize = 3;

/// What was found out: engines, method, sector size, and whether the answer was right.
#[cfg(not(test))]
type Found = (Engines, u16, u32, bool);

#[cfg(not(test))]
static FOUND: Mutex<Vec<Found>> = Mutex::new(Vec::new());

/// The fastest engines of this CPU that answer rightly; none where not even the slowest do.
pub(super) fn fastest(method: &Method, sector_size: u32) -> Option<Engines> {
    let Some(nth) = SECTOR_SIZES.iter().position(|size| *size == sector_size) else {
        // No volume has it.
        return Some(Engines::SAFE);
    };
    let answer = method.answers[nth];
    let mut wrong = Vec::new();
    let mut all = candidates(method);
    let found = all.find(|engines| {
        let right = is_right(*engines, method, sector_size, answer);
        if !right {
            wrong.push(*engines);
        }
        right
    });
    for engines in wrong {
        let instead = found.map(|engines| name(engines, method));
        faults::record(&name(engines, method), method.name, instead.as_deref());
    }
    found
}

fn name(engines: Engines, method: &Method) -> String {
    match method.has_diffuser() {
        true => engines.to_string(),
        false => engines.aes.name().to_owned(),
    }
}

/// What this CPU can run, fastest first. A diffuser makes a difference to methods that have one.
fn candidates(method: &Method) -> impl Iterator<Item = Engines> {
    let diffuses = method.has_diffuser();
    let aes = Engine::ALL.into_iter().rev();
    let all = aes.flat_map(move |aes| {
        let diffusers = Diffuser::ALL.into_iter().rev();
        let diffusers = diffusers.filter(move |other| diffuses || *other == Diffuser::Batch);
        diffusers.map(move |diffuser| Engines { aes, diffuser })
    });
    all.filter(|engines| engines.are_available())
}

/// Asks once in a process.
#[cfg(not(test))]
fn is_right(engines: Engines, method: &Method, sector_size: u32, answer: u32) -> bool {
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let known = found.iter().find(|(other, code, size, _)| {
        (*other, *code, *size) == (engines, method.code, sector_size)
    });
    if let Some((.., right)) = known {
        return *right;
    }
    let right = answers(engines, method, sector_size, answer);
    found.push((engines, method.code, sector_size, right));
    right
}

/// Tests break kernels and mend them: what was found out does not last.
#[cfg(test)]
fn is_right(engines: Engines, method: &Method, sector_size: u32, answer: u32) -> bool {
    answers(engines, method, sector_size, answer)
}

fn answers(engines: Engines, method: &Method, sector_size: u32, answer: u32) -> bool {
    let Some(cipher) = method.cipher_with(engines, &key(method.key_len), sector_size) else {
        return false;
    };
    let sector = sector_size as usize;
    let count = (49152 / sector).max(11);
    let pattern = pattern((count + LEFT_OVER) * sector);
    let mut run = pattern.clone();
    let (first, rest) = run.split_at_mut(count * sector);
    let behind = ADDRESS + first.len() as u64;
    cipher.decrypt(ADDRESS, first);
    cipher.decrypt(behind, rest);
    if crc32fast::hash(&run) != answer {
        return false;
    }
    let (first, rest) = run.split_at_mut(count * sector);
    cipher.encrypt(ADDRESS, first);
    cipher.encrypt(behind, rest);
    run == pattern
}

fn key(len: usize) -> SecretBytes {
    SecretBytes::new((0..len).map(|nth| (nth * 29 + 11) as u8).collect())
}

/// The upper bits of a multiplicative sequence.
fn pattern(len: usize) -> Vec<u8> {
    let bytes = (0..len as u32).map(|nth| (nth.wrapping_mul(0x9E37_79B1) >> 24) as u8);
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sector::METHODS;

    #[test]
    fn every_engine_answers_as_other_code_does() {
        for method in METHODS {
            for (sector_size, answer) in SECTOR_SIZES.into_iter().zip(method.answers) {
                for engines in candidates(method) {
                    assert!(
                        answers(engines, method, sector_size, answer),
                        "{method:?} {sector_size} {engines}"
                    );
                }
            }
        }
    }

    #[test]
    fn takes_little_time() {
        for method in METHODS {
            for sector_size in SECTOR_SIZES {
                let begun = std::time::Instant::now();
                fastest(method, sector_size).unwrap();
                let took = begun.elapsed();
                // Bounds a mistake in the amount of work, on a machine of any speed and load.
                assert!(took.as_secs() < 2, "{took:?}");
            }
        }
    }

    /// Whatever is broken, in whichever direction: plaintext and ciphertext are right.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_broken_kernel_is_not_used() {
        use crate::crypto::sector::wide::broken::{self, Broken};
        let fast = Engine::ALL
            .into_iter()
            .filter(|engine| *engine != Engine::Batch && engine.is_available());
        let fast: Vec<_> = fast.collect();
        for method in METHODS {
            let key = key(method.key_len);
            let safe = method.cipher_with(Engines::SAFE, &key, 512).unwrap();
            let ciphertext = pattern(512 * 70);
            let mut plaintext = ciphertext.clone();
            safe.decrypt(0, &mut plaintext);
            for broken in [Broken::Decrypt, Broken::Encrypt] {
                for count in 1..=fast.len() {
                    let engines = &fast[fast.len() - count..];
                    broken::with(broken, engines, || {
                        let wrong = Engines {
                            aes: engines[0],
                            ..Engines::SAFE
                        };
                        let wrong = method.cipher_with(wrong, &key, 512).unwrap();
                        let mut run = plaintext.clone();
                        wrong.encrypt(0, &mut run);
                        let encrypts = run == ciphertext;
                        wrong.decrypt(0, &mut run);
                        let decrypts = run == plaintext;
                        assert!(!(encrypts && decrypts), "the test breaks nothing");

                        let chosen = fastest(method, 512).unwrap();
                        assert!(!engines.contains(&chosen.aes), "{chosen}");
                        let cipher = method.cipher(&key, 512).unwrap();
                        let mut run = ciphertext.clone();
                        cipher.decrypt(0, &mut run);
                        assert!(run == plaintext);
                        cipher.encrypt(0, &mut run);
                        assert!(run == ciphertext);
                    });
                }
            }
            if let Some(engine) = fast.last() {
                let told = faults::faults();
                let told = told
                    .iter()
                    .any(|fault| fault.contains(engine.name()) && fault.contains(method.name));
                assert!(told);
            }
        }
    }
}
