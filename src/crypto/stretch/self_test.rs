//! The self-test that each way of key stretching must pass before its first use, once per process.
//!
//! As many hashes as a way stretches at the same time go through [`ROUNDS`] rounds. The CRC-32 of the
//! keys must be that computed with Python's `hashlib`.

use std::sync::OnceLock;

use super::{InitialHash, Lanes, single};
use crate::crypto::faults;
use crate::secret::{Locked, StretchedKey};

/// More rounds than any way computes ahead (eight), and not a multiple of that.
const ROUNDS: u64 = 11;

/// The name of the work, for messages.
const WORK: &str = "key stretching (SHA-256)";

/// A way to stretch one candidate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Single {
    /// The `sha2` crate, with SHA instructions if the CPU has them.
    Crate,
    /// The code of `single`, with vector instructions for the schedules.
    #[cfg(target_arch = "x86_64")]
    Scalar,
    /// The code of `single` without special instructions.
    Portable,
}

impl Single {
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
            Self::Scalar => single::scalar(hash, salt, ROUNDS),
            Self::Portable => Some(single::portable(hash, salt, ROUNDS)),
        }
    }
}

/// The fastest way to stretch one candidate that passes the test. If none does, portable code is used:
/// it needs no special instructions, so there is nothing better.
pub(super) fn single() -> Single {
    static CHOSEN: OnceLock<Single> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let mut ways = vec![Single::Crate, Single::Portable];
        #[cfg(target_arch = "x86_64")]
        if single::scalar_is_fastest() {
            ways.insert(0, Single::Scalar);
        }
        let right = |way: &Single| {
            let [hash] = hashes::<1>();
            way.keys(&hash, &salt())
                .is_some_and(|key| is_answer(&[key]))
        };
        first_correct(&ways, right, |way| way.name()).unwrap_or(Single::Portable)
    })
}

/// The fastest way to stretch many candidates that passes the test.
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
        first_correct(&ways, right, |lanes| lanes.name()).unwrap_or(Lanes::One)
    })
}

/// The first of `ways` for which `right` holds. Those before it are recorded as faults.
fn first_correct<T: Copy>(
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

/// A salt with sixteen different bytes.
fn salt() -> [u8; 16] {
    std::array::from_fn(|nth| (nth * 29 + 11) as u8)
}

/// `N` different hashes of bytes that look random (see the sector ciphers' self-test).
fn hashes<const N: usize>() -> [InitialHash; N] {
    std::array::from_fn(|hash| {
        let byte = |nth| {
            let place = (32 * hash + nth) as u32;
            (place.wrapping_mul(0x9E37_79B1) >> 24) as u8
        };
        InitialHash(Locked::new(std::array::from_fn(byte)))
    })
}

/// Whether these are the keys of the first hashes.
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
    fn every_way_gives_the_keys_of_other_programs() {
        let [hash] = hashes::<1>();
        for way in [Single::Crate, Single::Portable] {
            assert!(is_answer(&[way.keys(&hash, &salt()).unwrap()]), "{way:?}");
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(key) = Single::Scalar.keys(&hash, &salt()) {
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
    fn a_way_that_fails_the_test_is_not_used() {
        let ways = ["broken", "also broken", "sound", "slow"];
        let chosen = first_correct(&ways, |way| !way.contains("broken"), |way| way);
        assert_eq!(chosen, Some("sound"));
        let faults = faults::faults();
        let recorded = faults
            .iter()
            .filter(|fault| fault.ends_with("sound is used instead"));
        assert_eq!(recorded.count(), 2);
        assert_eq!(first_correct(&ways[..2], |_| false, |way| way), None);
    }
}
