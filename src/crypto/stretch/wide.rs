//! Kernels that stretch several candidates at the same time (x86-64;
//! docs/format-recovery-password.md §1.9).
//!
//! The second block of a round holds only the salt and the count, so its message schedule is the same
//! for all candidates. It is computed once, in scalar registers, which are idle otherwise.
#![allow(unsafe_code)]

use std::arch::is_x86_feature_detected as detected;
use std::arch::x86_64::*;

use zeroize::{Zeroize, Zeroizing};

use super::schedule::{self, INITIAL, K};
use super::{InitialHash, Lanes, key_of};
use crate::crypto::memory;
use crate::secret::StretchedKey;

/// The hashes of as many candidates as a kernel has lanes: eight words of each, one after another.
type Words = [u32];

/// Replaces initial hashes by their keys: hashes, salt, number of rounds.
type Stretch = unsafe fn(&mut Words, &[u8; 16], u64);

/// Whether the CPU has the instructions that a way needs.
pub(super) fn available(lanes: Lanes) -> bool {
    match lanes {
        Lanes::One => true,
        Lanes::Avx2 => detected!("avx2"),
        Lanes::Sha => detected!("sha") && detected!("sse4.1") && detected!("ssse3"),
        Lanes::Avx512 => detected!("avx512f"),
    }
}

/// A kernel. A value exists only if the CPU has its instructions.
pub(super) struct Kernel {
    stretch: Stretch,
    width: usize,
}

impl Kernel {
    pub(super) fn of(lanes: Lanes) -> Option<Self> {
        let stretch: Stretch = match lanes {
            _ if !available(lanes) => return None,
            Lanes::One => return None,
            Lanes::Avx2 => avx2::stretch,
            Lanes::Sha => sha::stretch,
            Lanes::Avx512 => avx512::stretch,
        };
        Some(Self {
            stretch,
            width: lanes.width(),
        })
    }

    /// Stretches at most as many candidates as there are lanes. Unused lanes compute keys that are thrown
    /// away.
    pub(super) fn stretch(
        &self,
        hashes: &[InitialHash],
        salt: &[u8; 16],
        rounds: u64,
    ) -> Vec<StretchedKey> {
        let mut words = Zeroizing::new(vec![0; 8 * self.width]);
        for (words, hash) in words.chunks_exact_mut(8).zip(hashes) {
            words.copy_from_slice(&*hash.words());
        }
        // SAFETY: `of` makes kernels only where the CPU has their instructions.
        unsafe { (self.stretch)(&mut words, salt, rounds) };
        let keys = words.chunks_exact(8).zip(hashes);
        keys.map(|(words, _)| key_of(words)).collect()
    }
}

/// The message schedule of a round's second block, with the constants added.
#[inline]
fn second_block(salt: &[u8; 16], count: u64) -> [u32; 64] {
    schedule::second_blocks::<1>(salt, count).map(|[word]| word)
}

macro_rules! lanes {
    ($name:ident, $features:literal, $vector:ty, $lanes:literal, $load:ident, $store:ident,
     $set:ident, $add:ident {
        $(fn $op:ident $(<$(const $constant:ident: $kind:ty),*>)?
            ($($arg:ident: $of:ty),*) -> $result:ty $body:block)*
    }) => {
        mod $name {
            use super::*;

            const LANES: usize = $lanes;

            /// The same word of all candidates.
            type Vector = $vector;

            $(
                #[inline]
                #[target_feature(enable = $features)]
                fn $op $(<$(const $constant: $kind),*>)? ($($arg: $of),*) -> $result $body
            )*

            #[target_feature(enable = $features)]
            pub(super) fn stretch(words: &mut Words, salt: &[u8; 16], rounds: u64) {
                let initial = load(words);
                let mut last = [$set(0); 8];
                for count in 0..rounds {
                    let mut message = [$set(0); 16];
                    message[..8].copy_from_slice(&last);
                    message[8..].copy_from_slice(&initial);
                    let mut first = [$set(0); 8];
                    for (word, initial) in first.iter_mut().zip(INITIAL) {
                        *word = $set(initial as i32);
                    }
                    last = first_block(first, message);
                    last = scheduled(last, &second_block(salt, count));
                }
                store(words, last);
            }

            /// Transposes the hashes: the nth vector has the nth word of each candidate.
            #[target_feature(enable = $features)]
            fn load(words: &Words) -> [Vector; 8] {
                let mut vectors = [$set(0); 8];
                for (nth, vector) in vectors.iter_mut().enumerate() {
                    let mut lanes = [0; 4 * LANES];
                    let column = words.iter().skip(nth).step_by(8);
                    for (bytes, word) in lanes.as_chunks_mut().0.iter_mut().zip(column) {
                        *bytes = word.to_le_bytes();
                    }
                    *vector = memory::$load(&lanes);
                    lanes.zeroize();
                }
                vectors
            }

            #[target_feature(enable = $features)]
            fn store(words: &mut Words, vectors: [Vector; 8]) {
                for (nth, vector) in vectors.into_iter().enumerate() {
                    let mut lanes = [0; 4 * LANES];
                    memory::$store(&mut lanes, vector);
                    let column = words.iter_mut().skip(nth).step_by(8);
                    for (bytes, word) in lanes.as_chunks().0.iter().zip(column) {
                        *word = u32::from_le_bytes(*bytes);
                    }
                    lanes.zeroize();
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn first_block(start: [Vector; 8], message: [Vector; 16]) -> [Vector; 8] {
                let (mut state, mut message) = (start, message);
                for constants in K.as_chunks::<16>().0 {
                    for nth in 0..16 {
                        let word = $add(message[nth], $set(constants[nth] as i32));
                        state = step(state, word);
                        // The word of the schedule that is used 16 steps later. Those of the last 16
                        // steps are never used.
                        let near = message[(nth + 14) % 16];
                        let far = message[(nth + 1) % 16];
                        let near = xor3(
                            rotate::<17, 15>(near),
                            rotate::<19, 13>(near),
                            shift::<10>(near),
                        );
                        let far = xor3(
                            rotate::<7, 25>(far),
                            rotate::<18, 14>(far),
                            shift::<3>(far),
                        );
                        message[nth] =
                            $add($add(message[nth], message[(nth + 9) % 16]), $add(near, far));
                    }
                }
                sum(start, state)
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn scheduled(start: [Vector; 8], schedule: &[u32; 64]) -> [Vector; 8] {
                let mut state = start;
                for words in schedule.as_chunks::<16>().0 {
                    for word in words {
                        state = step(state, $set(*word as i32));
                    }
                }
                sum(start, state)
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn step([a, b, c, d, e, f, g, h]: [Vector; 8], word: Vector) -> [Vector; 8] {
                let sum = xor3(rotate::<6, 26>(e), rotate::<11, 21>(e), rotate::<25, 7>(e));
                let first = $add($add(h, word), $add(sum, choose(e, f, g)));
                let sum = xor3(rotate::<2, 30>(a), rotate::<13, 19>(a), rotate::<22, 10>(a));
                let second = $add(sum, majority(a, b, c));
                [$add(first, second), a, b, c, $add(d, first), e, f, g]
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn sum(start: [Vector; 8], state: [Vector; 8]) -> [Vector; 8] {
                let mut sum = state;
                for (sum, start) in sum.iter_mut().zip(start) {
                    *sum = $add(*sum, start);
                }
                sum
            }
        }
    };
}

lanes! { avx2, "avx2", __m256i, 8, load_256, store_256, _mm256_set1_epi32, _mm256_add_epi32 {
    fn rotate<const RIGHT: i32, const LEFT: i32>(word: Vector) -> Vector {
        _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(word), _mm256_slli_epi32::<LEFT>(word))
    }
    fn shift<const RIGHT: i32>(word: Vector) -> Vector { _mm256_srli_epi32::<RIGHT>(word) }
    fn xor3(a: Vector, b: Vector, c: Vector) -> Vector {
        _mm256_xor_si256(_mm256_xor_si256(a, b), c)
    }
    fn choose(e: Vector, f: Vector, g: Vector) -> Vector {
        _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)))
    }
    fn majority(a: Vector, b: Vector, c: Vector) -> Vector {
        _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(c, _mm256_or_si256(a, b)))
    }
}}

lanes! { avx512, "avx512f", __m512i, 16, load_512, store_512, _mm512_set1_epi32, _mm512_add_epi32 {
    fn rotate<const RIGHT: i32, const LEFT: i32>(word: Vector) -> Vector {
        _mm512_ror_epi32::<RIGHT>(word)
    }
    fn shift<const RIGHT: u32>(word: Vector) -> Vector { _mm512_srli_epi32::<RIGHT>(word) }
    fn xor3(a: Vector, b: Vector, c: Vector) -> Vector {
        _mm512_ternarylogic_epi32::<0x96>(a, b, c)
    }
    fn choose(e: Vector, f: Vector, g: Vector) -> Vector {
        _mm512_ternarylogic_epi32::<0xCA>(e, f, g)
    }
    fn majority(a: Vector, b: Vector, c: Vector) -> Vector {
        _mm512_ternarylogic_epi32::<0xE8>(a, b, c)
    }
}}

/// The SHA instructions do two steps each, and each waits for the one before.
mod sha {
    use super::*;

    /// Candidates at the same time, to use the time in which one waits.
    const LANES: usize = 4;

    /// A hash state in the order of the instructions: words f, e, b, a and h, g, d, c, lowest first.
    type State = [__m128i; 2];

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    pub(super) fn stretch(words: &mut Words, salt: &[u8; 16], rounds: u64) {
        let zero = _mm_setzero_si128();
        let mut initial = [[zero; 2]; LANES];
        for (initial, words) in initial.iter_mut().zip(words.chunks_exact(8)) {
            *initial = [load(words, 0), load(words, 4)];
        }
        let start = in_order([load(&INITIAL, 0), load(&INITIAL, 4)]);
        let mut last = [[zero; 2]; LANES];
        for count in 0..rounds {
            let mut messages = [[zero; 4]; LANES];
            for (message, (last, initial)) in messages.iter_mut().zip(last.iter().zip(&initial)) {
                *message = [last[0], last[1], initial[0], initial[1]];
            }
            let states = scheduled(first_block(start, messages), &second_block(salt, count));
            for (last, state) in last.iter_mut().zip(states) {
                *last = in_words(state);
            }
        }
        for (last, words) in last.iter().zip(words.chunks_exact_mut(8)) {
            store(words, 0, last[0]);
            store(words, 4, last[1]);
        }
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    fn load(words: &[u32], first: usize) -> __m128i {
        let word = |nth: usize| words[first + nth] as i32;
        _mm_set_epi32(word(3), word(2), word(1), word(0))
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    fn store(words: &mut [u32], first: usize, vector: __m128i) {
        words[first] = _mm_extract_epi32::<0>(vector) as u32;
        words[first + 1] = _mm_extract_epi32::<1>(vector) as u32;
        words[first + 2] = _mm_extract_epi32::<2>(vector) as u32;
        words[first + 3] = _mm_extract_epi32::<3>(vector) as u32;
    }

    /// Converts from words a, b, c, d and e, f, g, h to the order of the instructions.
    #[inline]
    #[target_feature(enable = "sse4.1")]
    fn in_order([first, second]: State) -> State {
        let first = _mm_shuffle_epi32::<0xB1>(first);
        let second = _mm_shuffle_epi32::<0xB1>(second);
        [
            _mm_unpacklo_epi64(second, first),
            _mm_unpackhi_epi64(second, first),
        ]
    }

    /// Converts back.
    #[inline]
    #[target_feature(enable = "sse4.1")]
    fn in_words([abef, cdgh]: State) -> State {
        [
            _mm_shuffle_epi32::<0xB1>(_mm_unpackhi_epi64(abef, cdgh)),
            _mm_shuffle_epi32::<0xB1>(_mm_unpacklo_epi64(abef, cdgh)),
        ]
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn first_block(start: State, messages: [[__m128i; 4]; LANES]) -> [State; LANES] {
        let (mut states, mut messages) = ([start; LANES], messages);
        for constants in K.as_chunks::<16>().0 {
            for quad in 0..4 {
                let constants = load(constants, 4 * quad);
                for (state, message) in states.iter_mut().zip(&mut messages) {
                    *state = four_rounds(*state, _mm_add_epi32(message[quad], constants));
                    // The words of the schedule that are used 16 steps later.
                    let [now, next, third, last] =
                        std::array::from_fn(|nth| message[(quad + nth) % 4]);
                    let middle = _mm_alignr_epi8::<4>(last, third);
                    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(now, next), middle);
                    message[quad] = _mm_sha256msg2_epu32(sum, last);
                }
            }
        }
        for state in &mut states {
            *state = sum(start, *state);
        }
        states
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn scheduled(starts: [State; LANES], schedule: &[u32; 64]) -> [State; LANES] {
        let mut states = starts;
        for first in (0..64).step_by(4) {
            let words = load(schedule, first);
            for state in &mut states {
                *state = four_rounds(*state, words);
            }
        }
        for (state, start) in states.iter_mut().zip(starts) {
            *state = sum(start, *state);
        }
        states
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn four_rounds([abef, cdgh]: State, words: __m128i) -> State {
        let cdgh = _mm_sha256rnds2_epu32(cdgh, abef, words);
        let words = _mm_shuffle_epi32::<0x0E>(words);
        [_mm_sha256rnds2_epu32(abef, cdgh, words), cdgh]
    }

    #[inline]
    #[target_feature(enable = "sse4.1")]
    fn sum(start: State, state: State) -> State {
        [
            _mm_add_epi32(start[0], state[0]),
            _mm_add_epi32(start[1], state[1]),
        ]
    }
}
