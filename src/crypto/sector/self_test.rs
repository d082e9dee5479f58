//! The self-test that an engine must pass before it is used, so that wrong instructions never reach a
//! volume (see [`faults`]).
//!
//! The bytes of [`pattern`] are decrypted with the key of [`key`], as sectors from [`ADDRESS`] on. The
//! CRC-32 of the result must be that in [`METHODS`](super::METHODS), which was computed with other
//! programs: AES-XTS and AES-CBC with OpenSSL, the diffusers with dissect.fve. Encrypting the result
//! must give the pattern again. There are enough sectors to fill the vectors of every kernel and to
//! leave a rest. A test takes 10 to 200 microseconds, once per process for each method and sector size
//! in use.

#[cfg(not(test))]
use std::sync::{Mutex, PoisonError};

use super::{Diffuser, Engine, Engines, Method};
use crate::crypto::faults;
use crate::secret::SecretBytes;

/// The sector sizes of volumes, in bytes.
const SECTOR_SIZES: [u32; 4] = [512, 1024, 2048, 4096];

/// The expected CRC-32 for each of [`SECTOR_SIZES`].
pub(super) type Answers = [u32; SECTOR_SIZES.len()];

/// Address of the first sector. Its sector number needs more than 32 bits, to test the high half.
const ADDRESS: u64 = 0x1234_5678_9000;

/// Sectors that are processed in a second call: fewer than any kernel has lanes, to test the code for
/// the rest of a run.
const LEFT_OVER: usize = 3;

/// A result: engines, method, sector size, and whether the test was passed.
#[cfg(not(test))]
type TestResult = (Engines, u16, u32, bool);

#[cfg(not(test))]
static RESULTS: Mutex<Vec<TestResult>> = Mutex::new(Vec::new());

/// The fastest engines of this CPU that pass the test; `None` if not even the slowest do.
pub(super) fn fastest(method: &Method, sector_size: u32) -> Option<Engines> {
    let Some(nth) = SECTOR_SIZES.iter().position(|size| *size == sector_size) else {
        // No volume has this size, and the test has no expected result for it.
        return Some(Engines::SAFE);
    };
    let answer = method.answers[nth];
    let mut wrong = Vec::new();
    let mut all = candidates(method);
    let found = all.find(|engines| {
        let right = is_correct(*engines, method, sector_size, answer);
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

/// The name of the engines that a method uses, for messages.
fn name(engines: Engines, method: &Method) -> String {
    match method.has_diffuser() {
        true => engines.to_string(),
        false => engines.aes.name().to_owned(),
    }
}

/// The engines that this CPU can run, fastest first. The diffuser varies only for methods that have
/// one.
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

/// Whether the engines pass the test, which is run once per process.
#[cfg(not(test))]
fn is_correct(engines: Engines, method: &Method, sector_size: u32, answer: u32) -> bool {
    let mut found = RESULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = found.iter().find(|(other, code, size, _)| {
        (*other, *code, *size) == (engines, method.code, sector_size)
    });
    if let Some((.., right)) = known {
        return *right;
    }
    let right = passes(engines, method, sector_size, answer);
    found.push((engines, method.code, sector_size, right));
    right
}

/// In unit tests, results are not kept, because tests break kernels for a while.
#[cfg(test)]
fn is_correct(engines: Engines, method: &Method, sector_size: u32, answer: u32) -> bool {
    passes(engines, method, sector_size, answer)
}

/// Runs the test.
fn passes(engines: Engines, method: &Method, sector_size: u32, answer: u32) -> bool {
    let Some(cipher) = method.cipher_with(engines, &key(method.key_len), sector_size) else {
        return false;
    };
    let sector = sector_size as usize;
    // 48 KiB, but at least 11 sectors: full vectors of every kernel, and some sectors left over.
    let count = (49152 / sector).max(11);
    let pattern = pattern((count + LEFT_OVER) * sector);
    let mut run = pattern.clone();
    let (first, rest) = run.split_at_mut(count * sector);
    let after_first = ADDRESS + first.len() as u64;
    cipher.decrypt(ADDRESS, first);
    cipher.decrypt(after_first, rest);
    if crc32fast::hash(&run) != answer {
        return false;
    }
    let (first, rest) = run.split_at_mut(count * sector);
    cipher.encrypt(ADDRESS, first);
    cipher.encrypt(after_first, rest);
    run == pattern
}

/// A key without any symmetry, of `len` bytes.
fn key(len: usize) -> SecretBytes {
    SecretBytes::new((0..len).map(|nth| (nth * 29 + 11) as u8).collect())
}

/// Bytes that look random: the highest byte of multiples of 0x9E3779B1 (2^32 divided by the golden
/// ratio).
fn pattern(len: usize) -> Vec<u8> {
    let bytes = (0..len as u32).map(|nth| (nth.wrapping_mul(0x9E37_79B1) >> 24) as u8);
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sector::METHODS;

    #[test]
    fn every_engine_gives_the_results_of_other_programs() {
        for method in METHODS {
            for (sector_size, answer) in SECTOR_SIZES.into_iter().zip(method.answers) {
                for engines in candidates(method) {
                    assert!(
                        passes(engines, method, sector_size, answer),
                        "{method:?} {sector_size} {engines}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_test_takes_little_time() {
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

    /// Plaintext and ciphertext are correct, whichever kernels are broken, in whichever direction.
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
                let faults = faults::faults();
                let recorded = faults
                    .iter()
                    .any(|fault| fault.contains(engine.name()) && fault.contains(method.name));
                assert!(recorded);
            }
        }
    }
}
