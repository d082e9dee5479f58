//! Finding volumes whose boot record or partition is lost, by searching the source for metadata
//! (docs/format-recovery.md §3.3).
//!
//! [`scan`] searches the source and returns a [`Scan`]: every volume of which a metadata block was
//! found, the likeliest first. [`starts_of`] does the same for a single block.
//! [`Volume::open_by_metadata`](crate::volume::Volume::open_by_metadata) opens one of them, and
//! [`header`] makes its lost boot record. Nothing here writes to the source.
//!
//! A block does not have its own offset, only the offsets of all three copies in the volume. So the
//! volume may begin at three places. Other copies, boot records, partitions and the size of the
//! source show which is right ([`Evidence`]).

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

/// How much of a source [`scan`] searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// All of it, so that metadata of earlier volumes is found too.
    Everything,
    /// First the places where Windows usually puts metadata, on the source itself and in each of its
    /// partitions. All of it only if no sound block is there.
    LikelyPlacesFirst,
}

/// What [`scan`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Scan {
    /// The volumes, the likeliest first.
    pub volumes: Vec<FoundVolume>,
    /// Bytes that were searched.
    pub searched: u64,
    /// Offsets of the boot records of volumes, whether their metadata was found or not.
    pub boot_records: Vec<u64>,
    /// Ranges of the source that could not be read.
    pub unreadable: Vec<Range<u64>>,
}

/// Searches a source for volumes. `progress` is called with the number of bytes searched since the
/// last call. Ranges that cannot be read are skipped and listed.
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
    hits.search_all(source, progress);
    finish(source, hits)
}

/// The volume of which a source holds only a piece: metadata, but not the beginning of the volume, and
/// nothing else that tells where it begins. `None` for any other source, for one with metadata of
/// several volumes, and for one longer than 4 MiB.
pub fn piece(source: &Arc<dyn ReadAt>) -> Option<FoundVolume> {
    if source.size() > scan::LONGEST_PIECE {
        return None;
    }
    let mut hits = Hits::for_piece();
    hits.search_all(source, &|_| {});
    let mut volumes = volumes(source, hits).into_iter();
    let first = volumes.next()?;
    let alone = volumes.all(|other| other.id == first.id);
    (alone && first.begins_before_source()).then_some(first)
}

fn finish(source: &Arc<dyn ReadAt>, hits: Hits) -> Scan {
    Scan {
        searched: hits.searched,
        boot_records: hits.boot_records.clone(),
        unreadable: hits.unreadable.clone(),
        volumes: volumes(source, hits),
    }
}
