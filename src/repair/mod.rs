//! Volumes whose boot record is lost, or whose place is (docs/format-recovery.md §3.3): metadata
//! found by searching the whole source, and what it tells of the volume around it.
//!
//! [`scan`] reads the source and gives a [`Scan`]: every volume that some block of metadata speaks
//! of, the likeliest first. [`starts_of`] does the same for a single block.
//! [`Volume::open_by_metadata`](crate::volume::Volume::open_by_metadata) opens one of them, and
//! [`header`] makes the boot record that it lacks. Nothing here writes to the source.
//!
//! A block does not say where it lies, only where in the volume the three copies do: so there are
//! three places where the volume may begin, and other copies, boot records, partitions and the size
//! of the source tell which ([`Evidence`]).

mod block;
mod header;
mod scan;
mod starts;
mod volumes;

pub use block::{FoundBlock, block_at};
pub use header::header;
pub use starts::written;
pub use starts::{Evidence, Start, starts_of};
pub use volumes::FoundVolume;

use std::ops::Range;
use std::sync::Arc;

use self::scan::{Hits, likely_places};
use self::volumes::volumes;
use crate::source::ReadAt;

/// How much of the source is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// All of it: old metadata of earlier volumes is found, too.
    Everything,
    /// First where Windows was seen to put its metadata, on the source itself and in each of its
    /// partitions; all of it only if nothing sound is there.
    LikelyPlacesFirst,
}

/// What was found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Scan {
    /// The volumes, the likeliest first.
    pub volumes: Vec<FoundVolume>,
    /// How many bytes were searched.
    pub searched: u64,
    /// Where boot records of volumes lie, with or without metadata.
    pub boot_records: Vec<u64>,
    /// Stretches that could not be read.
    pub unreadable: Vec<Range<u64>>,
}

/// Searches a source for volumes. `progress` is told of bytes done. What cannot be read is
/// skipped and listed.
pub fn scan(source: &Arc<dyn ReadAt>, scope: Scope, progress: &dyn Fn(u64)) -> Scan {
    let mut hits = Hits::default();
    if scope == Scope::LikelyPlacesFirst {
        for range in likely_places(source) {
            hits.search(source, range, &|_| {});
        }
        let sound = hits.blocks.iter().any(FoundBlock::is_sound);
        if sound {
            hits.follow_copies(source);
            hits.look_for_maps(source);
            return finish(source, hits);
        }
        hits = Hits::default();
    }
    hits.search(source, 0..source.size(), progress);
    finish(source, hits)
}

fn finish(source: &Arc<dyn ReadAt>, hits: Hits) -> Scan {
    Scan {
        searched: hits.searched,
        boot_records: hits.boot_records.clone(),
        unreadable: hits.unreadable.clone(),
        volumes: volumes(source, hits),
    }
}
