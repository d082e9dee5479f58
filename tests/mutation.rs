//! Randomly changed volumes: no panic, no large allocation, and no plaintext that differs from that
//! of the original volume.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::mutants::{self, Sample, campaign};

/// An allocator that records the largest allocation.
struct Recording;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// Bound for a single allocation. The volumes have up to 1.5 MB, and the largest structure that a
/// volume may have is the bitmap of a region, with 4 MiB (docs/limits.md).
const MOST: usize = 16 << 20;

// SAFETY: all calls are passed on to the system's allocator; only the size is recorded.
unsafe impl GlobalAlloc for Recording {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Recording = Recording;

static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(mutants::samples);

/// Bounded by the time of a test run; `tests/common/mutants/run.rs` tests more.
const MUTANTS: u64 = 12_000;
const SEED: u64 = 11;

#[test]
fn changed_volumes_show_the_original_plaintext_or_an_error() {
    let samples = &*SAMPLES;
    LARGEST.store(0, Ordering::Relaxed);
    let tally = campaign(samples, SEED, 0..MUTANTS, &|_| {});
    let examples: Vec<_> = tally
        .wrong
        .iter()
        .take(20)
        .map(|(number, changes)| format!("{number}: {changes}"))
        .collect();
    assert!(
        tally.wrong.is_empty(),
        "{} mutants of {MUTANTS}, such as\n{}",
        tally.wrong.len(),
        examples.join("\n")
    );
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest <= MOST, "an allocation of {largest} bytes");
    // Make sure that the changes have an effect, and not all the same one.
    for count in [tally.same, tally.refused, tally.not_checked] {
        assert!(count > MUTANTS / 50, "{tally:?}");
    }
}

#[test]
fn detects_a_volume_that_shows_wrong_plaintext() {
    for name in ["xts-128", "encrypt-on-write"] {
        assert!(mutants::detects_wrong_plaintext(name), "{name}");
    }
}
