//! The AES key schedule (FIPS 197, section 5.2), in the form that the vector units take.

use std::arch::x86_64::*;

use zeroize::Zeroizing;

use crate::crypto::memory;
use crate::secret::Locked;

/// Round keys of a cipher block each: `R` is one more than the number of rounds.
pub(super) type Schedule<const R: usize> = [[u8; 16]; R];

/// Both directions of one key. AES-128 has 11 round keys, AES-256 has 15.
pub(super) struct RoundKeys<const R: usize>(Locked<[Schedule<R>; 2]>);

impl<const R: usize> RoundKeys<R> {
    /// The schedule of `key`, if it has as many bytes as `R` rounds go with.
    #[target_feature(enable = "aes,sse4.1")]
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        if R < 8 || key.len() != 4 * (R - 7) {
            return None;
        }
        let mut schedules = Locked::new([[[0; 16]; R]; 2]);
        let [encrypting, decrypting] = &mut *schedules;
        expand(key, encrypting.as_flattened_mut());
        // The equivalent inverse cipher: the keys backwards, all but the outermost mixed.
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

/// Fills `schedule` word by word from the key that stands at its beginning.
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

/// The S-box over four bytes, by the instruction: no table that a cache would betray.
#[target_feature(enable = "aes,sse4.1")]
fn substitute(word: [u8; 4]) -> [u8; 4] {
    let word = _mm_set1_epi32(i32::from_le_bytes(word));
    _mm_extract_epi32::<0>(_mm_aeskeygenassist_si128::<0>(word)).to_le_bytes()
}
