//! Compares every implementation that stretches several candidates at once with the one for a
//! single candidate. Implementations that the CPU does not support are reported as ignored; the
//! test program `crypto` can also be run in an emulator.

use crate::common::harness::{Trial, trials};
use fve::crypto::stretch::{InitialHash, Lanes, ROUNDS};
use fve::secret::RecoveryKey;
use hex_literal::hex;

#[trials]
fn every_way() -> Vec<Trial> {
    let mut trials = Vec::new();
    for lanes in Lanes::ALL {
        let mut add = |title: &str, test: fn(Lanes)| {
            let trial = Trial::test(format!("{}: {title}", lanes.name()), move || {
                test(lanes);
                Ok(())
            });
            trials.push(trial.with_ignored_flag(!lanes.is_available()));
        };
        add("known keys", gives_known_keys);
        add("any number of candidates", accepts_any_number_of_candidates);
    }
    trials
}

/// The worked example of docs/format.md §9.3 and §9.4, among other candidates.
fn gives_known_keys(lanes: Lanes) {
    let salt = hex!("8d7637cc5d885d5ff4f748dbc8440d2e");
    let key = hex!("37554410c6e0df5b4fe096259f4a21b847338d3e8d8d8d8c30012d1447cca957");
    let mut hashes = candidates(lanes.width());
    hashes.push(InitialHash::of_password("anaconda"));
    hashes.rotate_right(1 + lanes.width() / 2);
    let keys = lanes.stretch_rounds(&hashes, &salt, ROUNDS);
    assert_eq!(keys[lanes.width() / 2].expose(), &key);
}

fn accepts_any_number_of_candidates(lanes: Lanes) {
    let salt = [0xA5; 16];
    for (count, rounds) in [(0, 3), (1, 3), (2, 300), (lanes.width() + 1, 257), (37, 1)] {
        let hashes = candidates(count);
        let keys = lanes.stretch_rounds(&hashes, &salt, rounds);
        let alone = Lanes::One.stretch_rounds(&hashes, &salt, rounds);
        assert_eq!(keys.len(), count);
        for (key, alone) in keys.iter().zip(&alone) {
            assert_eq!(key.expose(), alone.expose(), "of {count}");
        }
    }
}

fn candidates(count: usize) -> Vec<InitialHash> {
    let key = |nth: usize| RecoveryKey::from_bytes(&[nth as u8; 16]);
    (0..count)
        .map(|nth| InitialHash::of_recovery_key(&key(nth)))
        .collect()
}
