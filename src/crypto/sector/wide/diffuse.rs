//! The Elephant diffusers over 8 or 16 sectors at the same time: a vector holds the nth word of each
//! sector.
//!
//! A diffuser changes each word by the words two and five places before it (A) or after it (B). Four
//! words, a "quad", are changed at a time, because the rotations repeat after four words. The words
//! next to them stay in registers, so that no load has to wait for a store.

use std::arch::is_x86_feature_detected as detected;
use std::arch::x86_64::*;

use crate::crypto::memory;
use crate::crypto::sector::Diffuser;
use crate::crypto::sector::cycles::{CYCLES_A, CYCLES_B};

/// Largest sector, in quads (16 bytes), of which sixteen fit into the first-level cache: 2048 bytes.
const CACHED_QUADS: usize = 128;

/// A function that writes the key streams of the next sectors.
pub(in super::super) type Streams<'a> = &'a mut dyn FnMut(&mut [[[u8; 16]; 2]]);

/// Processes as many sectors of a run as fill its vectors; returns how many bytes that was.
type Kernel = unsafe fn(&mut [u8], Streams<'_>) -> usize;

/// The key stream and both diffusers, over groups of as many sectors as there are lanes. The sectors
/// after the last full group are not changed.
pub(in super::super) struct Diffuse {
    decrypt: Kernel,
    encrypt: Kernel,
}

impl Diffuse {
    /// The steps of decryption after CBC. Returns how many bytes were processed.
    pub(in super::super) fn decrypt(&self, run: &mut [u8], streams: Streams<'_>) -> usize {
        // SAFETY: `diffusers` gives these functions out only where the CPU has their instructions.
        unsafe { (self.decrypt)(run, streams) }
    }

    /// The steps of encryption before CBC. Returns how many bytes were processed.
    pub(in super::super) fn encrypt(&self, run: &mut [u8], streams: Streams<'_>) -> usize {
        // SAFETY: as above.
        unsafe { (self.encrypt)(run, streams) }
    }
}

/// Whether the CPU has the instructions that a diffuser needs.
pub(in super::super) fn available(diffuser: Diffuser) -> bool {
    match diffuser {
        Diffuser::Batch => true,
        Diffuser::Avx2 => detected!("avx2"),
        Diffuser::Avx512 => detected!("avx512f") && detected!("avx2"),
    }
}

/// The kernels for sectors of `QUADS` cipher blocks, the widest first. Each continues where the one
/// before it had too few sectors left.
pub(in super::super) fn diffusers<const QUADS: usize>(diffuser: Diffuser) -> Vec<Diffuse> {
    let avx512 = Diffuse {
        decrypt: avx512::decrypt::<QUADS>,
        encrypt: avx512::encrypt::<QUADS>,
    };
    let avx2 = Diffuse {
        decrypt: avx2::decrypt::<QUADS>,
        encrypt: avx2::encrypt::<QUADS>,
    };
    match diffuser {
        _ if !available(diffuser) => Vec::new(),
        Diffuser::Batch => Vec::new(),
        Diffuser::Avx2 => vec![avx2],
        // Sixteen sectors of 4096 bytes do not fit into the first-level cache; eight do.
        Diffuser::Avx512 if QUADS > CACHED_QUADS => vec![avx2],
        Diffuser::Avx512 => vec![avx512, avx2],
    }
}

macro_rules! diffuser {
    ($name:ident, $features:literal, $vector:ty, $lanes:literal,
     $zero:ident, $add:ident, $sub:ident, $xor:ident,
     $low_words:ident, $high_words:ident, $low_halves:ident, $high_halves:ident {
        $(fn $op:ident $(<const $constant:ident: i32>)? ($($arg:ident: $of:ty),*)
            -> $result:ty $body:block)*
    }) => {
        mod $name {
            use super::*;

            /// Sectors processed at the same time.
            const LANES: usize = $lanes;
            /// Cipher blocks in a vector.
            const BLOCKS: usize = LANES / 4;

            type Vector = $vector;
            /// Four consecutive words of all sectors.
            type Quad = [Vector; 4];
            /// All words of all sectors.
            type Words<const QUADS: usize> = [Quad; QUADS];
            /// The sectors that are processed at the same time, as bytes.
            type Group<const QUADS: usize> = [[[u8; 16]; QUADS]; LANES];

            $(
                #[inline]
                #[target_feature(enable = $features)]
                fn $op $(<const $constant: i32>)? ($($arg: $of),*) -> $result $body
            )*

            #[target_feature(enable = $features)]
            pub(super) fn decrypt<const QUADS: usize>(
                run: &mut [u8],
                streams: Streams<'_>,
            ) -> usize {
                let mut words = [[$zero(); 4]; QUADS];
                let groups = groups_of::<QUADS>(run);
                for group in groups.iter_mut() {
                    let masks = masks(streams);
                    load(&mut words, group, &[[$zero(); 4]; 2]);
                    decrypt_b(&mut words);
                    decrypt_a(&mut words);
                    store(&words, group, &masks);
                }
                size_of_val(groups)
            }

            #[target_feature(enable = $features)]
            pub(super) fn encrypt<const QUADS: usize>(
                run: &mut [u8],
                streams: Streams<'_>,
            ) -> usize {
                let mut words = [[$zero(); 4]; QUADS];
                let groups = groups_of::<QUADS>(run);
                for group in groups.iter_mut() {
                    let masks = masks(streams);
                    load(&mut words, group, &masks);
                    encrypt_a(&mut words);
                    encrypt_b(&mut words);
                    store(&words, group, &[[$zero(); 4]; 2]);
                }
                size_of_val(groups)
            }

            fn groups_of<const QUADS: usize>(run: &mut [u8]) -> &mut [Group<QUADS>] {
                let sectors = run.as_chunks_mut::<16>().0.as_chunks_mut::<QUADS>().0;
                sectors.as_chunks_mut::<LANES>().0
            }

            /// The key streams of the next sectors. They repeat after two quads (32 bytes).
            #[inline]
            #[target_feature(enable = $features)]
            fn masks(streams: &mut dyn FnMut(&mut [[[u8; 16]; 2]])) -> [Quad; 2] {
                let mut bytes = [[[0; 16]; 2]; LANES];
                streams(&mut bytes);
                [quad_of(&bytes, 0), quad_of(&bytes, 1)]
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn quad_of<const QUADS: usize>(group: &Group<QUADS>, nth: usize) -> Quad {
                let mut rows = [$zero(); 4];
                for (row, first) in rows.iter_mut().zip(0..) {
                    let mut blocks = [&[0; 16]; BLOCKS];
                    let sectors = group.iter().skip(first).step_by(4);
                    for (block, sector) in blocks.iter_mut().zip(sectors) {
                        *block = &sector[nth];
                    }
                    *row = join(blocks);
                }
                transpose(rows)
            }

            /// Transposes between four vectors of sectors' blocks and four vectors of words. It is its own
            /// inverse.
            #[inline]
            #[target_feature(enable = $features)]
            fn transpose([a, b, c, d]: Quad) -> Quad {
                let (low_ab, low_cd) = ($low_words(a, b), $low_words(c, d));
                let (high_ab, high_cd) = ($high_words(a, b), $high_words(c, d));
                [
                    $low_halves(low_ab, low_cd),
                    $high_halves(low_ab, low_cd),
                    $low_halves(high_ab, high_cd),
                    $high_halves(high_ab, high_cd),
                ]
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn masked(quad: Quad, masks: &[Quad; 2], nth: usize) -> Quad {
                let ([a, b, c, d], [e, f, g, h]) = (quad, masks[nth % 2]);
                [$xor(a, e), $xor(b, f), $xor(c, g), $xor(d, h)]
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn load<const QUADS: usize>(
                words: &mut Words<QUADS>,
                group: &Group<QUADS>,
                masks: &[Quad; 2],
            ) {
                for (nth, quad) in words.iter_mut().enumerate() {
                    *quad = masked(quad_of(group, nth), masks, nth);
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn store<const QUADS: usize>(
                words: &Words<QUADS>,
                group: &mut Group<QUADS>,
                masks: &[Quad; 2],
            ) {
                for (nth, quad) in words.iter().enumerate() {
                    let rows = transpose(masked(*quad, masks, nth));
                    for (row, first) in rows.into_iter().zip(0..) {
                        let sectors = group.iter_mut().skip(first).step_by(4);
                        for (block, sector) in split(row).into_iter().zip(sectors) {
                            memory::store_128(&mut sector[nth], block);
                        }
                    }
                }
            }

            /// One step of decryption: a word plus the XOR of two others.
            #[inline]
            #[target_feature(enable = $features)]
            fn plus(word: Vector, near: Vector, far: Vector) -> Vector {
                $add(word, $xor(near, far))
            }

            /// One step of encryption: a word minus the XOR of two others.
            #[inline]
            #[target_feature(enable = $features)]
            fn minus(word: Vector, near: Vector, far: Vector) -> Vector {
                $sub(word, $xor(near, far))
            }

            /// Diffuser A in decryption: upwards, using words that were just changed.
            #[inline]
            #[target_feature(enable = $features)]
            fn decrypt_a<const QUADS: usize>(words: &mut Words<QUADS>) {
                let mut before = words[QUADS - 1];
                let mut fifth = words[QUADS - 2][3];
                for _ in 0..CYCLES_A {
                    for quad in words.iter_mut() {
                        let ([a, b, c, d], [w, x, y, z]) = (*quad, before);
                        let a = plus(a, y, rotate::<9>(fifth));
                        let b = plus(b, z, w);
                        let c = plus(c, a, rotate::<13>(x));
                        let d = plus(d, b, y);
                        *quad = [a, b, c, d];
                        fifth = z;
                        before = *quad;
                    }
                }
            }

            /// Diffuser A in encryption: downwards, using words that are not changed yet.
            #[inline]
            #[target_feature(enable = $features)]
            fn encrypt_a<const QUADS: usize>(words: &mut Words<QUADS>) {
                let (mut quad, mut before) = (words[QUADS - 1], words[QUADS - 2]);
                for _ in 0..CYCLES_A {
                    for nth in (0..QUADS).rev() {
                        let next = words[nth.wrapping_sub(2) & (QUADS - 1)];
                        let ([a, b, c, d], [w, x, y, z]) = (quad, before);
                        words[nth] = [
                            minus(a, y, rotate::<9>(next[3])),
                            minus(b, z, w),
                            minus(c, a, rotate::<13>(x)),
                            minus(d, b, y),
                        ];
                        (quad, before) = (before, next);
                    }
                }
            }

            /// Diffuser B in decryption: upwards, using words that are not changed yet.
            #[inline]
            #[target_feature(enable = $features)]
            fn decrypt_b<const QUADS: usize>(words: &mut Words<QUADS>) {
                let (mut quad, mut after) = (words[0], words[1]);
                for _ in 0..CYCLES_B {
                    for nth in 0..QUADS {
                        let next = words[(nth + 2) & (QUADS - 1)];
                        let ([a, b, c, d], [w, x, y, z]) = (quad, after);
                        words[nth] = [
                            plus(a, c, x),
                            plus(b, d, rotate::<10>(y)),
                            plus(c, w, z),
                            plus(d, x, rotate::<25>(next[0])),
                        ];
                        (quad, after) = (after, next);
                    }
                }
            }

            /// Diffuser B in encryption: downwards, using words that were just changed.
            #[inline]
            #[target_feature(enable = $features)]
            fn encrypt_b<const QUADS: usize>(words: &mut Words<QUADS>) {
                let mut after = words[0];
                let mut fifth = words[1][0];
                for _ in 0..CYCLES_B {
                    for quad in words.iter_mut().rev() {
                        let ([a, b, c, d], [w, x, y, z]) = (*quad, after);
                        let d = minus(d, x, rotate::<25>(fifth));
                        let c = minus(c, w, z);
                        let b = minus(b, d, rotate::<10>(y));
                        let a = minus(a, c, x);
                        *quad = [a, b, c, d];
                        fifth = w;
                        after = *quad;
                    }
                }
            }
        }
    };
}

diffuser! { avx2, "avx2", __m256i, 8,
_mm256_setzero_si256, _mm256_add_epi32, _mm256_sub_epi32, _mm256_xor_si256,
_mm256_unpacklo_epi32, _mm256_unpackhi_epi32, _mm256_unpacklo_epi64, _mm256_unpackhi_epi64 {
    fn join(blocks: [&[u8; 16]; BLOCKS]) -> Vector {
        _mm256_set_m128i(memory::load_128(blocks[1]), memory::load_128(blocks[0]))
    }
    fn split(vector: Vector) -> [__m128i; BLOCKS] {
        [_mm256_castsi256_si128(vector), _mm256_extracti128_si256::<1>(vector)]
    }
    fn rotate<const BY: i32>(words: Vector) -> Vector {
        let by = _mm_cvtsi32_si128(BY);
        let rest = _mm_cvtsi32_si128(32 - BY);
        _mm256_or_si256(_mm256_sll_epi32(words, by), _mm256_srl_epi32(words, rest))
    }
}}

diffuser! { avx512, "avx512f", __m512i, 16,
_mm512_setzero_si512, _mm512_add_epi32, _mm512_sub_epi32, _mm512_xor_si512,
_mm512_unpacklo_epi32, _mm512_unpackhi_epi32, _mm512_unpacklo_epi64, _mm512_unpackhi_epi64 {
    fn join(blocks: [&[u8; 16]; BLOCKS]) -> Vector {
        let vector = _mm512_castsi128_si512(memory::load_128(blocks[0]));
        let vector = _mm512_inserti32x4::<1>(vector, memory::load_128(blocks[1]));
        let vector = _mm512_inserti32x4::<2>(vector, memory::load_128(blocks[2]));
        _mm512_inserti32x4::<3>(vector, memory::load_128(blocks[3]))
    }
    fn split(vector: Vector) -> [__m128i; BLOCKS] {
        [
            _mm512_castsi512_si128(vector),
            _mm512_extracti32x4_epi32::<1>(vector),
            _mm512_extracti32x4_epi32::<2>(vector),
            _mm512_extracti32x4_epi32::<3>(vector),
        ]
    }
    fn rotate<const BY: i32>(words: Vector) -> Vector {
        _mm512_rol_epi32::<BY>(words)
    }
}}
