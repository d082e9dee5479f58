//! Ways to stretch answer a known question before their first use, once in a process.
//!
//! The question: [`ROUNDS`] rounds of as many hashes as a way takes side by side, each another piece
//! of one sequence. The answer is the CRC-32 of the keys, as computed with Python's hashlib.

use std::sync::OnceLock;

use super::{InitialHash, Lanes, alone};
use crate::crypto::faults;
use crate::secret::{Locked, StretchedKey};

/// More than what any way works out ahead, and not a multiple of it.
const ROUNDS: u64 = 11;

/// What it is called in reports.
const WORK: &str = "the stretching of passwords (SHA-256)";

/// How one candidate is stretched.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Alone {
    /// By the crate, with whatever instructions it finds.
    Crate,
    /// By our own rounds, with vector instructions for the schedules.
    #[cfg(target_arch = "x86_64")]
    Scalar,
    /// By our own rounds on any CPU.
    Portable,
}

impl Alone {
    fn name(self) -> &'static str {
        match self {
            Self::Crate => "the sha2 crate",
            #[cfg(target_arch = "x86_64")]
            Self::Scalar => "AVX2 and BMI",
            Self::Portable => "portable code",
        }
    }

    fn keys(self, hash: &InitialHash, salt: &[u8; 16]) -> Option<StretchedKey> {
        match self {
            Self::Crate => Some(hash.stretch_by_crate(salt, ROUNDS)),
            #[cfg(target_arch = "x86_64")]
            Self::Scalar => alone::scalar(hash, salt, ROUNDS),
            Self::Portable => Some(alone::portable(hash, salt, ROUNDS)),
        }
    }
}

/// The fastest way for one candidate that answers rightly.
pub(super) fn alone() -> Alone {
    static CHOSEN: OnceLock<Alone> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let mut ways = vec![Alone::Crate, Alone::Portable];
        #[cfg(target_arch = "x86_64")]
        if alone::scalar_is_fastest() {
            ways.insert(0, Alone::Scalar);
        }
        let right = |way: &Alone| {
            let [hash] = hashes::<1>();
            way.keys(&hash, &salt())
                .is_some_and(|key| is_answer(&[key]))
        };
        first_right(&ways, right, |way| way.name()).unwrap_or(Alone::Portable)
    })
}

/// The fastest way for many candidates that answers rightly.
pub(super) fn lanes() -> Lanes {
    static CHOSEN: OnceLock<Lanes> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let ways: Vec<_> = Lanes::ALL
            .into_iter()
            .rev()
            .filter(|lanes| lanes.is_available())
            .collect();
        let right = |lanes: &Lanes| {
            let hashes = hashes::<16>();
            let keys = lanes.stretch_rounds(&hashes[..lanes.width()], &salt(), ROUNDS);
            is_answer(&keys)
        };
        first_right(&ways, right, |lanes| lanes.name()).unwrap_or(Lanes::One)
    })
}

/// The first of the ways that is right; the others before it are told of.
fn first_right<T: Copy>(
    ways: &[T],
    right: impl Fn(&T) -> bool,
    name: impl Fn(T) -> &'static str,
) -> Option<T> {
    let found = ways.iter().position(right);
    let chosen = found.and_then(|nth| ways.get(nth)).copied();
    for wrong in &ways[..found.unwrap_or(ways.len())] {
        faults::record(name(*wrong), WORK, chosen.map(&name));
    }
    chosen
}

fn salt() -> [u8; 16] {
    std::array::from_fn(|nth| (nth * 29 + 11) as u8)
}

fn hashes<const N: usize>() -> [InitialHash; N] {
    std::array::from_fn(|hash| {
        let byte = |nth| {
            let place = (32 * hash + nth) as u32;
            (place.wrapping_mul(0x9E37_79B1) >> 24) as u8
        };
        InitialHash(Locked::new(std::array::from_fn(byte)))
    })
}

/// Whether these are the first keys.
fn is_answer(keys: &[StretchedKey]) -> bool {
    let mut crc = crc32fast::Hasher::new();
    for key in keys {
        crc.update(key.expose());
    }
    let answer = match keys.len() {
        1 => 0x1D81_9EA3,
        4 => 0xA0B2_909E,
        8 => 0x6CA1_4F96,
        16 => 0xB226_7842,
        _ => return false,
    };
    crc.finalize() == answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_answers_as_other_code_does() {
        let [hash] = hashes::<1>();
        for way in [Alone::Crate, Alone::Portable] {
            assert!(is_answer(&[way.keys(&hash, &salt()).unwrap()]), "{way:?}");
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(key) = Alone::Scalar.keys(&hash, &salt()) {
            assert!(is_answer(&[key]));
        }
        for lanes in Lanes::ALL.into_iter().filter(|lanes| lanes.is_available()) {
            let hashes = hashes::<16>();
            let keys = lanes.stretch_rounds(&hashes[..lanes.width()], &salt(), ROUNDS);
            assert!(is_answer(&keys), "{lanes:?}");
            assert!(!is_answer(&keys[1..]));
        }
    }

    #[test]
    fn a_way_that_answers_wrongly_is_not_used() {
        let ways = ["broken", "also broken", "sound", "slow"];
        let chosen = first_right(&ways, |way| !way.contains("broken"), |way| way);
        assert_eq!(chosen, Some("sound"));
        let told = faults::faults();
        let told = told
            .iter()
            .filter(|fault| fault.ends_with("sound is used instead"));
        assert_eq!(told.count(), 2);
        assert_eq!(first_right(&ways[..2], |_| false, |way| way), None);
    }
}
