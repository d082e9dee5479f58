//! The AES key schedule (FIPS 197, section 5.2), in the form that the AES instructions use. The `aes`
//! crate does not give out its round keys.

use std::arch::x86_64::*;

use zeroize::Zeroizing;

use crate::crypto::memory;
use crate::secret::Locked;

/// The round keys of one direction, of a cipher block each. `R` is one more than the number of rounds.
pub(super) type Schedule<const R: usize> = [[u8; 16]; R];

/// The round keys of a key, for encryption and for decryption: 11 for AES-128, 15 for AES-256.
pub(super) struct RoundKeys<const R: usize>(Locked<[Schedule<R>; 2]>);

impl<const R: usize> RoundKeys<R> {
    /// The round keys of `key`; `None` if its length does not fit `R`: 16 bytes for 11, 32 for 15.
    #[target_feature(enable = "aes,sse4.1")]
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        if R < 8 || key.len() != 4 * (R - 7) {
            return None;
        }
        let mut schedules = Locked::new([[[0; 16]; R]; 2]);
        let [encrypting, decrypting] = &mut *schedules;
        expand(key, encrypting.as_flattened_mut());
        // Decryption uses the equivalent inverse cipher (FIPS 197, section 5.3.5): the round keys in
        // reverse order, all but the first and the last through InvMixColumns.
        for (nth, (to, from)) in (0..).zip(decrypting.iter_mut().zip(encrypting.iter().rev())) {
            let key = memory::load_128(from);
            let outermost = nth == 0 || nth == R - 1;
            memory::store_128(
                to,
                if outermost {
                    key
                } else {
                    _mm_aesimc_si128(key)
                },
            );
        }
        Some(Self(schedules))
    }

    pub(super) fn encrypting(&self) -> &Schedule<R> {
        &self.0[0]
    }

    pub(super) fn decrypting(&self) -> &Schedule<R> {
        &self.0[1]
    }
}

/// Expands `key` into `schedule`, word by word; the key is its first words.
#[target_feature(enable = "aes,sse4.1")]
fn expand(key: &[u8], schedule: &mut [u8]) {
    let (head, _) = schedule.split_at_mut(key.len());
    head.copy_from_slice(key);
    let key_words = key.len() / 4;
    let mut round_constant = 1u8;
    for word in key_words..schedule.len() / 4 {
        let at = 4 * word;
        let mut mixed = Zeroizing::new([0; 4]);
        mixed.copy_from_slice(&schedule[at - 4..at]);
        if word % key_words == 0 {
            *mixed = substitute(*mixed);
            mixed.rotate_left(1);
            mixed[0] ^= round_constant;
            round_constant = (round_constant << 1) ^ ((round_constant >> 7) * 0x1B);
        } else if key_words > 6 && word % key_words == 4 {
            *mixed = substitute(*mixed);
        }
        for nth in 0..4 {
            schedule[at + nth] = schedule[at - key.len() + nth] ^ mixed[nth];
        }
    }
}

/// The S-box of four bytes, by an AES instruction. A lookup table would leak key bytes through the time
/// of cache accesses.
#[target_feature(enable = "aes,sse4.1")]
fn substitute(word: [u8; 4]) -> [u8; 4] {
    let word = _mm_set1_epi32(i32::from_le_bytes(word));
    _mm_extract_epi32::<0>(_mm_aeskeygenassist_si128::<0>(word)).to_le_bytes()
}
