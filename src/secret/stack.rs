//! Wipes the stack and the vector registers after a computation with a key.
//!
//! A type that wipes itself wipes only its own bytes, not the copies that the compiler makes: moved
//! values, and round keys that are spilled to the stack. Those copies are in the stack frames of
//! calls that have returned, below the current frame. So the computation is called from here, and
//! after it has returned, the stack below is overwritten.
#![allow(unsafe_code)]

use std::hint::black_box;

/// Words in a KiB.
pub const KIB: usize = 1024 / size_of::<u64>();

/// Calls `work`. When it returns or panics, wipes the `WORDS` words of the stack below, which its calls
/// may have used, and the vector registers.
#[inline(never)]
pub fn leave_nothing<const WORDS: usize, T>(work: impl FnOnce() -> T) -> T {
    let _wipe = OnDrop::<WORDS>;
    apart(work)
}

struct OnDrop<const WORDS: usize>;

impl<const WORDS: usize> Drop for OnDrop<WORDS> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(test)]
        if depth::MEASURED.get() {
            return;
        }
        wipe::<WORDS>();
        wipe_registers();
    }
}

/// Gives `work` a stack frame that begins where that of [`wipe`] begins.
#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Its frame covers the frames of the earlier calls. `black_box` makes the compiler fill it with zeros,
/// in its fastest way: many times faster than volatile writes.
#[inline(never)]
fn wipe<const WORDS: usize>() {
    black_box(&mut [0u64; WORDS]);
}

/// Wipes the vector registers, which a signal handler would save on the stack.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn wipe_registers() {
    use std::arch::asm;
    use std::arch::is_x86_feature_detected as detected;

    if detected!("avx512f") {
        // SAFETY: the CPU has these instructions, and the clobbers cover the registers they change.
        unsafe {
            asm!(
                "vzeroall",
                "vpxord zmm16, zmm16, zmm16",
                "vpxord zmm17, zmm17, zmm17",
                "vpxord zmm18, zmm18, zmm18",
                "vpxord zmm19, zmm19, zmm19",
                "vpxord zmm20, zmm20, zmm20",
                "vpxord zmm21, zmm21, zmm21",
                "vpxord zmm22, zmm22, zmm22",
                "vpxord zmm23, zmm23, zmm23",
                "vpxord zmm24, zmm24, zmm24",
                "vpxord zmm25, zmm25, zmm25",
                "vpxord zmm26, zmm26, zmm26",
                "vpxord zmm27, zmm27, zmm27",
                "vpxord zmm28, zmm28, zmm28",
                "vpxord zmm29, zmm29, zmm29",
                "vpxord zmm30, zmm30, zmm30",
                "vpxord zmm31, zmm31, zmm31",
                clobber_abi("C"),
                options(nomem, nostack, preserves_flags),
            );
        }
    } else if detected!("avx") {
        // SAFETY: as above.
        unsafe {
            asm!(
                "vzeroall",
                clobber_abi("C"),
                options(nomem, nostack, preserves_flags)
            );
        }
    } else {
        // SAFETY: every x86-64 has SSE2; as above.
        unsafe {
            asm!(
                "pxor xmm0, xmm0",
                "pxor xmm1, xmm1",
                "pxor xmm2, xmm2",
                "pxor xmm3, xmm3",
                "pxor xmm4, xmm4",
                "pxor xmm5, xmm5",
                "pxor xmm6, xmm6",
                "pxor xmm7, xmm7",
                "pxor xmm8, xmm8",
                "pxor xmm9, xmm9",
                "pxor xmm10, xmm10",
                "pxor xmm11, xmm11",
                "pxor xmm12, xmm12",
                "pxor xmm13, xmm13",
                "pxor xmm14, xmm14",
                "pxor xmm15, xmm15",
                clobber_abi("C"),
                options(nomem, nostack, preserves_flags),
            );
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn wipe_registers() {}

/// Measures how much of the stack a call uses, for tests: fills the stack below with a pattern, makes
/// the call without wiping, and finds the deepest changed word. Returns bytes, at most 256 KiB.
#[cfg(test)]
pub(crate) mod depth {
    use super::*;

    const WORDS: usize = 256 * KIB;
    /// Some more, because the frames of the functions differ by some words.
    const PAINTED: usize = WORDS + KIB;
    const PAINT: u64 = 0x5EC2_E7D0_57AC_CA11;

    thread_local! {
        pub(super) static MEASURED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }

    pub(crate) fn of(work: impl FnOnce()) -> usize {
        MEASURED.set(true);
        paint();
        apart(work);
        let depth = painted_over();
        MEASURED.set(false);
        depth
    }

    #[inline(never)]
    fn paint() {
        black_box(&mut [PAINT; PAINTED]);
    }

    #[inline(never)]
    fn painted_over() -> usize {
        let mark = 0u64;
        let top = black_box(&raw const mark).expose_provenance();
        let deepest = top - WORDS * size_of::<u64>();
        let whole = (0..WORDS).take_while(|word| {
            let place = std::ptr::with_exposed_provenance::<u64>(deepest + word * 8);
            // SAFETY: `paint` wrote to this address of the stack, which stays mapped. A local array
            // would not work: creating it touches its pages.
            unsafe { place.read_volatile() == PAINT }
        });
        (WORDS - whole.count()) * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::MaybeUninit;

    #[inline(never)]
    fn scribble() {
        black_box(&mut [0xABCDu64; 2 * KIB]);
    }

    #[test]
    fn measures_the_stack_of_a_call() {
        let depth = depth::of(scribble);
        assert!((2048..8192).contains(&depth), "{depth}");
        assert!(depth::of(|| ()) < 2048);
    }

    #[test]
    fn wipes_the_stack_after_a_call() {
        #[inline(never)]
        fn left() -> usize {
            let words = [const { MaybeUninit::<u64>::uninit() }; 4 * KIB];
            let words = black_box(&words);
            // SAFETY: the earlier calls wrote to this part of the stack.
            let seen = words
                .iter()
                .filter(|word| unsafe { word.as_ptr().read_volatile() } == 0xABCD);
            seen.count()
        }
        leave_nothing::<{ 8 * KIB }, _>(scribble);
        assert_eq!(left(), 0);
        apart(scribble);
        assert!(left() > 0, "the test does not see what a call leaves");
    }
}
