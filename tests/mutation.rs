//! Volumes changed at random: never a panic, never much memory at once, and never plaintext that
//! differs from that of the volume as it was.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::mutants::{self, Sample, campaign};

/// Counts the largest piece of memory that was asked for at once.
struct Counting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// The volumes here have up to one and a half megabytes; the largest structure that a volume may
/// have is the bitmap of a region, for which four are allowed.
const MOST: usize = 16 << 20;

// SAFETY: everything is passed on to the system's allocator; only the size is looked at.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(mutants::samples);

/// As many as a run of all tests has time for; `tests/common/mutants/run.rs` makes more.
const MUTANTS: u64 = 12_000;
const SEED: u64 = 11;

#[test]
fn changed_volumes_show_what_they_held_or_nothing() {
    let samples = &*SAMPLES;
    LARGEST.store(0, Ordering::Relaxed);
    let tally = campaign(samples, SEED, 0..MUTANTS, &|_| {});
    let stories: Vec<_> = tally
        .wrong
        .iter()
        .take(20)
        .map(|(number, story)| format!("{number}: {story}"))
        .collect();
    assert!(
        tally.wrong.is_empty(),
        "{} mutants of {MUTANTS}, such as\n{}",
        tally.wrong.len(),
        stories.join("\n")
    );
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest <= MOST, "{largest} bytes at once");
    // The changes reach what they are meant for: some volumes still open, some do not, and what is
    // sealed again opens changed.
    for count in [tally.same, tally.refused, tally.not_judged] {
        assert!(count > MUTANTS / 50, "{tally:?}");
    }
}

#[test]
fn a_volume_that_shows_something_else_is_noticed() {
    for name in ["xts-128", "encrypt-on-write"] {
        assert!(mutants::other_plaintext_is_noticed(name), "{name}");
    }
}
