//! Loads and stores of vectors (x86-64): the only code in `crypto` that uses pointers.
//!
//! The standard library has no safe functions for these two operations. Here each takes an array of
//! exactly the vector's size, which makes it safe, and uses the instruction for any alignment.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

macro_rules! moves {
    ($($feature:literal: $load:ident, $store:ident, $vector:ty, $len:literal,
       $loads:ident, $stores:ident;)*) => {$(
        #[inline]
        #[target_feature(enable = $feature)]
        pub(super) fn $load(from: &[u8; $len]) -> $vector {
            // SAFETY: the array has as many bytes as the vector.
            unsafe { $loads(from.as_ptr().cast()) }
        }

        #[inline]
        #[target_feature(enable = $feature)]
        pub(super) fn $store(to: &mut [u8; $len], vector: $vector) {
            // SAFETY: the array has as many bytes as the vector, and is borrowed mutably.
            unsafe { $stores(to.as_mut_ptr().cast(), vector) }
        }
    )*};
}

moves! {
    "sse2": load_128, store_128, __m128i, 16, _mm_loadu_si128, _mm_storeu_si128;
    "avx": load_256, store_256, __m256i, 32, _mm256_loadu_si256, _mm256_storeu_si256;
    "avx512f": load_512, store_512, __m512i, 64, _mm512_loadu_si512, _mm512_storeu_si512;
}
