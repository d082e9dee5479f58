//! The vector operations that the kernels need, with the same names for three widths.
//!
//! A vector holds [`BLOCKS`](v512::BLOCKS) cipher blocks. Every operation but `before` treats each
//! block on its own.

use std::arch::x86_64::*;

use crate::crypto::memory;

macro_rules! vector {
    ($name:ident, $features:literal, $vector:ty, $blocks:literal,
     $zero:ident, $load:ident, $store:ident {
        $($(#[$doc:meta])* fn $op:ident($($arg:ident: $of:ty),*) $(-> $result:ty)? $body:block)*
    }) => {
        pub(super) mod $name {
            use super::*;

            pub(in super::super) type Vector = $vector;
            /// Cipher blocks in a vector.
            pub(in super::super) const BLOCKS: usize = $blocks;
            /// Bytes in a vector.
            pub(in super::super) const BYTES: usize = 16 * BLOCKS;

            #[inline]
            #[target_feature(enable = $features)]
            pub(in super::super) fn zero() -> Vector {
                $zero()
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(in super::super) fn load(from: &[u8; BYTES]) -> Vector {
                memory::$load(from)
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(in super::super) fn store(to: &mut [u8; BYTES], vector: Vector) {
                memory::$store(to, vector);
            }

            $(
                $(#[$doc])*
                #[inline]
                #[target_feature(enable = $features)]
                pub(in super::super) fn $op($($arg: $of),*) $(-> $result)? $body
            )*
        }
    };
}

vector! { v128, "aes,avx2,pclmulqdq", __m128i, 1, _mm_setzero_si128, load_128, store_128 {
    /// A vector with this block in every place.
    fn all(block: &[u8; 16]) -> Vector { memory::load_128(block) }
    /// A vector of blocks from different addresses.
    fn gather(blocks: [&[u8; 16]; BLOCKS]) -> Vector { memory::load_128(blocks[0]) }
    /// Stores the blocks of a vector to different addresses.
    fn scatter(blocks: [&mut [u8; 16]; BLOCKS], vector: Vector) {
        let [first] = blocks;
        memory::store_128(first, vector);
    }
    fn xor(a: Vector, b: Vector) -> Vector { _mm_xor_si128(a, b) }
    fn xor3(a: Vector, b: Vector, c: Vector) -> Vector { xor(xor(a, b), c) }
    fn encrypt(block: Vector, key: Vector) -> Vector { _mm_aesenc_si128(block, key) }
    fn encrypt_last(block: Vector, key: Vector) -> Vector { _mm_aesenclast_si128(block, key) }
    fn decrypt(block: Vector, key: Vector) -> Vector { _mm_aesdec_si128(block, key) }
    fn decrypt_last(block: Vector, key: Vector) -> Vector { _mm_aesdeclast_si128(block, key) }
    /// `first`, `first + step`, ... for the blocks of a vector, in both 64-bit halves of each block.
    fn counts(first: i64, step: i64) -> Vector { let _ = step; _mm_set1_epi64x(first) }
    fn left(a: Vector, by: Vector) -> Vector { _mm_sllv_epi64(a, by) }
    fn right(a: Vector, by: Vector) -> Vector { _mm_srlv_epi64(a, by) }
    /// The low half of each block moved to the high half.
    fn raise(a: Vector) -> Vector { _mm_bslli_si128::<8>(a) }
    /// The high half of each block, as a polynomial, times x^7 + x^2 + x + 1: the reduction of XTS.
    fn fold(a: Vector) -> Vector { _mm_clmulepi64_si128::<0x01>(a, _mm_set_epi64x(0, 0x87)) }
    /// Each block times x in GF(2^128): the highest bit of each half is carried into the other, the higher one
    /// as x^7 + x^2 + x + 1, the reduction of XTS.
    fn double(a: Vector) -> Vector {
        let highest = _mm_srai_epi32::<31>(_mm_shuffle_epi32::<0x13>(a));
        let carried = _mm_and_si128(highest, _mm_set_epi64x(1, 0x87));
        xor(_mm_add_epi64(a, a), carried)
    }
    /// The vector that begins one block before `now` in memory, where `last` is the vector before it:
    /// the ciphertext blocks that CBC XORs.
    fn before(last: Vector, now: Vector) -> Vector { let _ = now; last }
}}

// `fold` uses shifts instead of a carry-less multiplication: the polynomial has only four bits, and the
// emulator that tests this width has VAES but not VPCLMULQDQ.
vector! { v256, "avx2,vaes", __m256i, 2, _mm256_setzero_si256, load_256, store_256 {
    fn all(block: &[u8; 16]) -> Vector { _mm256_broadcastsi128_si256(memory::load_128(block)) }
    fn gather(blocks: [&[u8; 16]; BLOCKS]) -> Vector {
        _mm256_set_m128i(memory::load_128(blocks[1]), memory::load_128(blocks[0]))
    }
    fn scatter(blocks: [&mut [u8; 16]; BLOCKS], vector: Vector) {
        let [first, second] = blocks;
        memory::store_128(first, _mm256_castsi256_si128(vector));
        memory::store_128(second, _mm256_extracti128_si256::<1>(vector));
    }
    fn xor(a: Vector, b: Vector) -> Vector { _mm256_xor_si256(a, b) }
    fn xor3(a: Vector, b: Vector, c: Vector) -> Vector { xor(xor(a, b), c) }
    fn encrypt(block: Vector, key: Vector) -> Vector { _mm256_aesenc_epi128(block, key) }
    fn encrypt_last(block: Vector, key: Vector) -> Vector { _mm256_aesenclast_epi128(block, key) }
    fn decrypt(block: Vector, key: Vector) -> Vector { _mm256_aesdec_epi128(block, key) }
    fn decrypt_last(block: Vector, key: Vector) -> Vector { _mm256_aesdeclast_epi128(block, key) }
    fn counts(first: i64, step: i64) -> Vector {
        _mm256_set_epi64x(first + step, first + step, first, first)
    }
    fn left(a: Vector, by: Vector) -> Vector { _mm256_sllv_epi64(a, by) }
    fn right(a: Vector, by: Vector) -> Vector { _mm256_srlv_epi64(a, by) }
    fn raise(a: Vector) -> Vector { _mm256_bslli_epi128::<8>(a) }
    fn fold(a: Vector) -> Vector {
        let high = _mm256_bsrli_epi128::<8>(a);
        let doubled = xor(high, _mm256_slli_epi64::<1>(high));
        xor3(doubled, _mm256_slli_epi64::<2>(high), _mm256_slli_epi64::<7>(high))
    }
    /// Each block times x in GF(2^128): the highest bit of each half is carried into the other, the higher one
    /// as x^7 + x^2 + x + 1, the reduction of XTS.
    fn double(a: Vector) -> Vector {
        let highest = _mm256_srai_epi32::<31>(_mm256_shuffle_epi32::<0x13>(a));
        let carried = _mm256_and_si256(highest, _mm256_set_epi64x(1, 0x87, 1, 0x87));
        xor(_mm256_add_epi64(a, a), carried)
    }
    fn before(last: Vector, now: Vector) -> Vector { _mm256_permute2x128_si256::<0x21>(last, now) }
}}

vector! { v512, "avx512bw,vaes,vpclmulqdq", __m512i, 4, _mm512_setzero_si512, load_512, store_512 {
    fn all(block: &[u8; 16]) -> Vector { _mm512_broadcast_i32x4(memory::load_128(block)) }
    fn gather(blocks: [&[u8; 16]; BLOCKS]) -> Vector {
        let vector = _mm512_castsi128_si512(memory::load_128(blocks[0]));
        let vector = _mm512_inserti32x4::<1>(vector, memory::load_128(blocks[1]));
        let vector = _mm512_inserti32x4::<2>(vector, memory::load_128(blocks[2]));
        _mm512_inserti32x4::<3>(vector, memory::load_128(blocks[3]))
    }
    fn scatter(blocks: [&mut [u8; 16]; BLOCKS], vector: Vector) {
        let [first, second, third, fourth] = blocks;
        memory::store_128(first, _mm512_castsi512_si128(vector));
        memory::store_128(second, _mm512_extracti32x4_epi32::<1>(vector));
        memory::store_128(third, _mm512_extracti32x4_epi32::<2>(vector));
        memory::store_128(fourth, _mm512_extracti32x4_epi32::<3>(vector));
    }
    fn xor(a: Vector, b: Vector) -> Vector { _mm512_xor_si512(a, b) }
    fn xor3(a: Vector, b: Vector, c: Vector) -> Vector {
        _mm512_ternarylogic_epi64::<0x96>(a, b, c)
    }
    fn encrypt(block: Vector, key: Vector) -> Vector { _mm512_aesenc_epi128(block, key) }
    fn encrypt_last(block: Vector, key: Vector) -> Vector { _mm512_aesenclast_epi128(block, key) }
    fn decrypt(block: Vector, key: Vector) -> Vector { _mm512_aesdec_epi128(block, key) }
    fn decrypt_last(block: Vector, key: Vector) -> Vector { _mm512_aesdeclast_epi128(block, key) }
    fn counts(first: i64, step: i64) -> Vector {
        let [a, b, c, d] = [first, first + step, first + 2 * step, first + 3 * step];
        _mm512_set_epi64(d, d, c, c, b, b, a, a)
    }
    fn left(a: Vector, by: Vector) -> Vector { _mm512_sllv_epi64(a, by) }
    fn right(a: Vector, by: Vector) -> Vector { _mm512_srlv_epi64(a, by) }
    fn raise(a: Vector) -> Vector { _mm512_bslli_epi128::<8>(a) }
    fn fold(a: Vector) -> Vector {
        _mm512_clmulepi64_epi128::<0x01>(a, _mm512_set4_epi64(0, 0x87, 0, 0x87))
    }
    fn before(last: Vector, now: Vector) -> Vector { _mm512_alignr_epi64::<6>(now, last) }
}}
