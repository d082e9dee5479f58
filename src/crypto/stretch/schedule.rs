//! The constants and the message schedule of SHA-256 (FIPS 180-4), for the code here that does not use
//! the `sha2` crate.
//!
//! The second block of a round's message holds only the salt, the count and the padding. So its
//! message schedule depends neither on a secret nor on the rounds before, and can be computed ahead.

use super::MESSAGE_LEN;

/// The initial state (FIPS 180-4, section 5.3.3).
pub(super) const INITIAL: [u32; 8] = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];

/// The constants of the 64 steps (FIPS 180-4, section 4.2.2).
pub(super) const K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// The function sigma 0, of the schedule's word 15 places before (FIPS 180-4, section 4.1.2).
#[inline(always)]
pub(super) fn far(word: u32) -> u32 {
    word.rotate_right(7) ^ word.rotate_right(18) ^ (word >> 3)
}

/// The function sigma 1, of the schedule's word 2 places before.
#[inline(always)]
pub(super) fn near(word: u32) -> u32 {
    word.rotate_right(17) ^ word.rotate_right(19) ^ (word >> 10)
}

/// The message schedules of the second blocks of `N` rounds, the first with `count`, with the constants
/// added. For each word, the array has that word of all rounds, so that the compiler uses vector
/// instructions if the caller enables them.
#[inline(always)]
pub(super) fn second_blocks<const N: usize>(salt: &[u8; 16], count: u64) -> [[u32; N]; 64] {
    let mut schedule = [[0u32; N]; 64];
    for (words, bytes) in schedule.iter_mut().zip(salt.as_chunks().0) {
        *words = [u32::from_be_bytes(*bytes); N];
    }
    for (nth, count) in (0..N).zip(count..) {
        schedule[4][nth] = (count as u32).swap_bytes();
        schedule[5][nth] = ((count >> 32) as u32).swap_bytes();
    }
    // Words 0 to 3 are the salt, 4 and 5 the count, 6 begins the padding, 15 is the length in bits.
    schedule[6] = [0x8000_0000; N];
    schedule[15] = [8 * MESSAGE_LEN as u32; N];
    for word in 16..64 {
        schedule[word] = std::array::from_fn(|nth| {
            schedule[word - 16][nth]
                .wrapping_add(far(schedule[word - 15][nth]))
                .wrapping_add(schedule[word - 7][nth])
                .wrapping_add(near(schedule[word - 2][nth]))
        });
    }
    for (words, constant) in schedule.iter_mut().zip(K) {
        for word in words {
            *word = word.wrapping_add(constant);
        }
    }
    schedule
}
