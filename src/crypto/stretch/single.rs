//! Stretches one candidate without SHA instructions: the steps of SHA-256 in scalar registers, and the
//! message schedules of eight second blocks at a time in vector registers. On an x86-64 CPU without SHA
//! instructions this is faster than the `sha2` crate. It also runs on every other CPU.
#![allow(unsafe_code)]

use zeroize::Zeroize;

use super::schedule::{INITIAL, K, far, near, second_blocks};
use super::{InitialHash, key_of};
use crate::secret::StretchedKey;

/// Rounds whose second blocks' schedules are computed together: eight words fill an AVX2 register.
const AHEAD: usize = 8;

/// Whether [`scalar`] is the fastest way on this CPU: with SHA instructions, the crate is faster.
#[cfg(target_arch = "x86_64")]
pub(super) fn scalar_is_fastest() -> bool {
    scalar_is_available() && !std::arch::is_x86_feature_detected!("sha")
}

#[cfg(target_arch = "x86_64")]
pub(super) fn scalar_is_available() -> bool {
    use std::arch::is_x86_feature_detected as detected;
    detected!("avx2") && detected!("bmi1") && detected!("bmi2")
}

/// The key, with schedules by vector instructions. `None` if the CPU lacks them.
#[cfg(target_arch = "x86_64")]
pub(super) fn scalar(hash: &InitialHash, salt: &[u8; 16], rounds: u64) -> Option<StretchedKey> {
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn with_vectors(hash: &InitialHash, salt: &[u8; 16], rounds: u64) -> StretchedKey {
        stretch(hash, salt, rounds)
    }
    // SAFETY: the CPU has the features that `with_vectors` enables.
    scalar_is_available().then(|| unsafe { with_vectors(hash, salt, rounds) })
}

/// The key on any CPU.
pub(super) fn portable(hash: &InitialHash, salt: &[u8; 16], rounds: u64) -> StretchedKey {
    stretch(hash, salt, rounds)
}

#[inline(always)]
fn stretch(hash: &InitialHash, salt: &[u8; 16], rounds: u64) -> StretchedKey {
    let initial = hash.words();
    let mut last = [0; 8];
    let mut message = [0; 16];
    let mut count = 0;
    while count < rounds {
        let schedules = second_blocks::<AHEAD>(salt, count);
        for nth in (0..AHEAD).zip(count..rounds).map(|(nth, _)| nth) {
            message[..8].copy_from_slice(&last);
            message[8..].copy_from_slice(&*initial);
            last = block(INITIAL, |at| {
                if at >= 16 {
                    message[at % 16] = message[at % 16]
                        .wrapping_add(far(message[(at + 1) % 16]))
                        .wrapping_add(message[(at + 9) % 16])
                        .wrapping_add(near(message[(at + 14) % 16]));
                }
                message[at % 16].wrapping_add(K[at])
            });
            last = block(last, |at| schedules[at][nth]);
        }
        count += AHEAD as u64;
    }
    message.zeroize();
    let key = key_of(&last);
    last.zeroize();
    key
}

/// The compression function. `word(n)` returns word n of the schedule with its constant added.
#[inline(always)]
fn block(start: [u32; 8], mut word: impl FnMut(usize) -> u32) -> [u32; 8] {
    let mut state = start;
    // Unrolled, so that all indices are constants and state and words stay in registers.
    macro_rules! rounds {
        ($first:literal: $($nth:literal)*) => {$(
            step(&mut state, $nth % 8, word($first + $nth));
        )*};
    }
    rounds!(0: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    rounds!(16: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    rounds!(32: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    rounds!(48: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    for (word, start) in state.iter_mut().zip(start) {
        *word = word.wrapping_add(start);
    }
    state
}

/// A step of SHA-256 (FIPS 180-4, section 6.2.2). The standard moves all eight variables in each step;
/// here their places rotate instead, by `nth`, the number of steps before modulo 8.
#[inline(always)]
fn step(state: &mut [u32; 8], nth: usize, word: u32) {
    // Written out, not with `map`, which debug builds do not inline.
    let at = |register: usize| (register + 8 - nth) % 8;
    let [a, b, c, d] = [state[at(0)], state[at(1)], state[at(2)], state[at(3)]];
    let [e, f, g, h] = [state[at(4)], state[at(5)], state[at(6)], state[at(7)]];
    let choice = (e & f).wrapping_add(!e & g);
    let majority = ((a ^ b) & (b ^ c)) ^ b;
    let first = h
        .wrapping_add(word)
        .wrapping_add(choice)
        .wrapping_add(e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25));
    let second =
        (a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22)).wrapping_add(majority);
    state[at(3)] = d.wrapping_add(first);
    state[at(7)] = first.wrapping_add(second);
}
