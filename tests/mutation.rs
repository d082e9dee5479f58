//! Metadata changed at random, with its checksum repaired: never a panic, never much memory, and
//! never plaintext that differs from that of the volume as it was.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use common::damage::Copy;
use common::testdata;
use fve::unlock::KeyProtector;
use fve::unlock::startup_key::StartupKey;
use fve::volume::{UnlockOptions, Unlocked, Volume};
use proptest::prelude::*;

/// Counts the largest piece of memory that was asked for at once.
struct Counting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// The volumes here have half a megabyte; the largest structure that a volume may have is the
/// bitmap of a region, for which four are allowed.
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

struct Sample {
    copy: Copy,
    bek: std::path::PathBuf,
    plaintext: Vec<u8>,
}

static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    ["xts-128", "elephant-256"]
        .into_iter()
        .map(|name| {
            let sample = testdata::volume(name);
            let copy = Copy::of(&sample);
            let volume = Volume::open(Arc::new(copy.bytes.clone())).expect("open");
            let unlocked = unlock(&volume, &sample.bek(), false).expect("unlock");
            let plaintext = read(&unlocked).expect("read");
            Sample {
                copy,
                bek: sample.bek(),
                plaintext,
            }
        })
        .collect()
});

fn unlock(volume: &Volume, bek: &std::path::Path, accept: bool) -> fve::Result<Unlocked> {
    let key: Box<dyn KeyProtector> = Box::new(StartupKey::read(bek).expect("BEK"));
    let mut options = UnlockOptions::default();
    options.accept_damaged_metadata = accept;
    volume.unlock(&[key], &options)
}

/// The whole plaintext; refused where the volume claims to be larger than it can be.
fn read(volume: &Unlocked) -> Option<Vec<u8>> {
    let mut plaintext = vec![0; usize::try_from(volume.available()).ok()?];
    volume.read_at(0, &mut plaintext).ok()?;
    Some(plaintext)
}

#[derive(Debug, Clone)]
enum Change {
    Flip(usize, u8),
    Short(usize, u16),
    Swap(usize, usize),
    Copied(usize, usize, usize),
}

fn change(len: usize) -> impl Strategy<Value = Change> {
    let at = 0..len - 64;
    prop_oneof![
        (at.clone(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (
            at.clone(),
            prop_oneof![
                Just(0),
                Just(1),
                Just(7),
                Just(8),
                Just(0xFFFF),
                any::<u16>()
            ]
        )
            .prop_map(|(at, value)| Change::Short(at, value)),
        (at.clone(), at.clone()).prop_map(|(a, b)| Change::Swap(a, b)),
        (at.clone(), at, 1usize..64).prop_map(|(from, to, len)| Change::Copied(from, to, len)),
    ]
}

fn apply(block: &mut [u8], change: &Change) {
    match *change {
        Change::Flip(at, bit) => block[at] ^= 1 << bit,
        Change::Short(at, value) => block[at..at + 2].copy_from_slice(&value.to_le_bytes()),
        Change::Swap(a, b) => block.swap(a, b),
        Change::Copied(from, to, len) => block.copy_within(from..from + len, to),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn changed_metadata_never_lies(
        sample in 0usize..2,
        changes in prop::collection::vec(change(0x600), 1..5),
        boot in prop::option::weighted(0.1, (0usize..512, any::<u8>())),
        every_copy: bool,
        accept: bool,
    ) {
        let sample = &SAMPLES[sample];
        let mut copy = Copy { bytes: sample.copy.bytes.clone() };
        let offsets = copy.offsets();
        let changed = if every_copy { &offsets[..] } else { &offsets[..1] };
        for offset in changed {
            for change in &changes {
                apply(&mut copy.bytes[*offset..], change);
            }
            copy.repair(*offset);
        }
        if let Some((at, value)) = boot {
            copy.bytes[at] = value;
        }
        LARGEST.store(0, Ordering::Relaxed);
        if let Ok(volume) = Volume::open(Arc::new(copy.bytes)) {
            let _ = (volume.status(), volume.protectors().len(), format!("{volume:?}"));
            let unlocked = unlock(&volume, &sample.bek, accept);
            prop_assert!(LARGEST.load(Ordering::Relaxed) <= MOST);
            // A boot sector that was changed may show another sector size: it is not proved.
            if let (Ok(unlocked), false, None) = (unlocked, accept, boot)
                && let Some(plaintext) = read(&unlocked)
            {
                prop_assert!(plaintext == sample.plaintext);
            }
        }
    }
}
