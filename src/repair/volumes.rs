//! Grouping metadata blocks into volumes and ranking those (docs/format-recovery.md §3.3, steps 3 to
//! 5).

use std::cmp::Reverse;
use std::sync::Arc;

use super::block::{FoundBlock, block_at};
use super::scan::{Hits, conversion_map};
use super::starts::{Evidence, Start, on_source, starts_of, written};
use crate::error::{Candidate, Error, Remedy, Result};
use crate::format::time::FileTime;
use crate::guid::Guid;
use crate::source::{Headless, ReadAt, Window};
use crate::volume::Volume;

/// A volume that was found by its metadata.
#[derive(Debug)]
#[non_exhaustive]
pub struct FoundVolume {
    /// The identifier in its metadata.
    pub id: Guid,
    /// First byte of the volume, from the start of the source. Negative if the source lacks the first
    /// bytes. It is a guess unless [`Evidence::is_proof`].
    pub start: i64,
    /// The evidence for that place.
    pub evidence: Evidence,
    /// Size in bytes, if known.
    pub size: Option<u64>,
    /// The metadata copies that were found, the best first: sound ones before damaged ones, later
    /// ones before those that an interrupted update left.
    pub blocks: Vec<FoundBlock>,
    /// Offsets in the volume of the two copies of its conversion map's header, for an
    /// encrypt-on-write volume.
    pub conversion_map: Option<[u64; 2]>,
    /// Other places where it may begin, if `start` is a guess.
    pub other_starts: Vec<i64>,
}

impl FoundVolume {
    /// The volume of the metadata block at `offset`. It begins at `start`, or if that is `None`, at
    /// the place with the strongest evidence. If all places are before the beginning of the source,
    /// any of them is used: the metadata can be shown without knowing it.
    ///
    /// # Errors
    /// [`Error::NotBitLocker`] when there is no block, or it belongs to no volume that begins at
    /// `start`; [`Error::Ambiguous`] when the evidence for several places is equal.
    pub fn at(source: &Arc<dyn ReadAt>, offset: u64, start: Option<i64>) -> Result<Self> {
        let block = block_at(source, offset)?;
        let starts = starts_of(source, &block, offset);
        let chosen = match (start, starts.as_slice()) {
            (_, []) => {
                return Err(Error::not_bitlocker(format!(
                        "the metadata at {offset:#x} has impossible offsets for its copies"
                    )));
            }
            (Some(wanted), _) => starts
                .iter()
                .find(|start| start.offset == wanted)
                .ok_or_else(|| Error::not_bitlocker(format!(
                        "the metadata at {offset:#x} belongs to no volume that begins at {}, but to one at {}",
                        written(wanted),
                        listed(&starts).join(" or ")
                    )))?,
            (None, [first, second, ..])
                if first.evidence.weight() == second.evidence.weight()
                    && starts.iter().any(|start| start.offset >= 0) =>
            {
                return Err(Error::Ambiguous {
                    what: format!(
                        "the volume of the metadata at {offset:#x} may begin at several places"
                    ),
                    candidates: starts
                        .iter()
                        .map(|start| Candidate::start(start.offset, block.dataset.id))
                        .collect(),
                    notes: Box::default(),
                    remedy: Remedy::NameVolumeStart,
                });
            }
            (None, [first, ..]) => first,
        };
        let map = block
            .is_encrypt_on_write()
            .then(|| conversion_map(source, chosen.offset))
            .flatten();
        let mut found = Self::new(chosen, vec![FoundBlock { offset, block }], map);
        if !found.evidence.is_proof() {
            let others = starts.iter().map(|start| start.offset);
            found.other_starts = others.filter(|other| *other != found.start).collect();
        }
        Ok(found)
    }

    fn new(start: &Start, blocks: Vec<FoundBlock>, map: Option<[u64; 2]>) -> Self {
        Self {
            id: blocks
                .first()
                .map_or(Guid::from_disk([0; 16]), |found| found.block.dataset.id),
            start: start.offset,
            evidence: start.evidence.clone(),
            size: start.size,
            blocks,
            conversion_map: map,
            other_starts: Vec::new(),
        }
    }

    /// The best metadata block.
    pub fn best(&self) -> Option<&FoundBlock> {
        self.blocks.first()
    }

    /// Opens the volume by its best metadata block. It cannot be made writable.
    ///
    /// # Errors
    /// Those of [`Volume::open_by_metadata`].
    pub fn open(&self, source: &Arc<dyn ReadAt>) -> Result<Volume> {
        let (window, offset) = self.window(source)?;
        let volume = Volume::open_by_metadata(window, offset, self.conversion_map)?;
        Ok(volume.without_first(self.missing()))
    }

    /// Length in bytes of the beginning of the volume that the source lacks.
    pub fn missing(&self) -> u64 {
        if self.start < 0 {
            self.start.unsigned_abs()
        } else {
            0
        }
    }

    /// Whether the source cannot show where the volume begins: no other metadata copy proves a place,
    /// and for none of the places are the first sectors of the volume inside the source.
    pub fn is_piece(&self, source: &dyn ReadAt) -> bool {
        let Some(best) = self.best().filter(|_| !self.evidence.is_proof()) else {
            return false;
        };
        let begins = match best.block.version {
            1 => 0,
            _ => best.block.header_source,
        };
        let mut starts = std::iter::once(self.start).chain(self.other_starts.iter().copied());
        starts.all(|start| on_source(start, begins).is_none_or(|place| place >= source.size()))
    }

    /// Whether the volume begins before the source at every place where it may begin.
    pub fn begins_before_source(&self) -> bool {
        self.start < 0 && self.other_starts.iter().all(|start| *start < 0)
    }

    /// Sets the place where the volume begins, which its plaintext proved.
    pub fn begins_at(&mut self, start: i64) {
        if start != self.start {
            self.size = None;
        }
        self.start = start;
        self.other_starts.clear();
        self.evidence.headless = start < 0;
        self.evidence.plaintext = true;
    }

    /// The bytes of the volume, and the offset of its best metadata block in them.
    ///
    /// # Errors
    /// [`Error::NotBitLocker`] when there is no block.
    pub fn window(&self, source: &Arc<dyn ReadAt>) -> Result<(Arc<dyn ReadAt>, u64)> {
        let inside = self
            .best()
            .and_then(|best| {
                let inside = i128::from(best.offset) - i128::from(self.start);
                u64::try_from(inside).ok()
            })
            .ok_or_else(|| Error::not_bitlocker("no metadata of a volume"))?;
        // A partition limits the volume. The size in the metadata is not used, as it may be out of
        // date.
        let window: Arc<dyn ReadAt> = match (on_source(self.start, 0), self.evidence.partition) {
            (None, _) => Arc::new(Headless::new(source.clone(), self.missing())),
            (Some(start), Some(_)) => {
                let size = self.size.unwrap_or(u64::MAX);
                Arc::new(Window::new(source.clone(), start, size))
            }
            (Some(start), None) => Arc::new(Window::from(source.clone(), start)),
        };
        Ok((window, inside))
    }

    fn rank(&self) -> Reverse<(bool, bool, FileTime, Option<u32>, u32)> {
        let sound = self.best().is_some_and(FoundBlock::is_sound);
        let written = self.best().and_then(|best| best.block.last_written());
        let counter = self.best().map(|best| best.block.dataset.next_nonce);
        Reverse((
            sound,
            self.evidence.boot_record,
            written.unwrap_or_default(),
            counter,
            self.evidence.weight(),
        ))
    }
}

fn listed(starts: &[Start]) -> Vec<String> {
    let places = starts.iter().map(|start| start.offset);
    places.map(written).collect()
}

/// Groups the blocks by volume, and sorts the volumes, the likeliest first.
pub(super) fn volumes(source: &Arc<dyn ReadAt>, mut hits: Hits) -> Vec<FoundVolume> {
    let mut volumes: Vec<FoundVolume> = Vec::new();
    for found in std::mem::take(&mut hits.blocks) {
        let starts = starts_of(source, &found.block, found.offset);
        let Some(best) = starts.first() else {
            continue;
        };
        let id = found.block.dataset.id;
        let mut known = volumes.iter_mut();
        if let Some(volume) = known.find(|other| other.id == id && other.start == best.offset) {
            volume.blocks.push(found);
            continue;
        }
        let map = hits.map_of(best.offset);
        let mut volume = FoundVolume::new(best, vec![found], map);
        if !best.evidence.is_proof() {
            volume.other_starts = starts.iter().skip(1).map(|start| start.offset).collect();
        }
        volumes.push(volume);
    }
    for volume in &mut volumes {
        volume.blocks.sort_by_key(|found| Reverse(found.rank()));
    }
    volumes.sort_by_cached_key(FoundVolume::rank);
    volumes
}
