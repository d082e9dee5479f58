//! Searching a source for metadata, boot records and conversion maps (docs/format-recovery.md §3.3,
//! steps 1, 2 and 6).

use std::ops::Range;
use std::sync::Arc;

use super::block::{FoundBlock, block_at};
use super::starts::on_source;
use crate::format::block::MetadataBlock;
use crate::format::boot::{BootRecord, SIGNATURE};
use crate::format::conversion::{EowInformation, INFORMATION_LEN};
use crate::format::datum::Datum;
use crate::source::{ReadAt, partition};

/// The smallest sector in bytes: every structure begins at a sector.
const STEP: usize = 512;
/// The most bytes that are read at a time.
const READ_LEN: usize = 4 << 20;
/// The fewest bytes that are tried alone after a read failed: no medium has larger sectors.
const SMALLEST_READ: usize = 4096;

/// Offsets of the first metadata copy in the volume, as seen on 35 volumes of Windows Vista to 11
/// (docs/format-recovery.md §3.3), with some bytes around them for other volumes.
const LIKELY: [Range<u64>; 3] = [
    0x0157_0000..0x0158_0000,
    0x0200_0000..0x0280_0000,
    0x02E0_0000..0x02F0_0000,
];

/// Limit on the metadata blocks: three for each of more than a thousand generations of metadata. Only
/// a hostile disk has more.
const MOST_BLOCKS: usize = 4096;
/// Limit on the memory for the metadata blocks, in bytes. A block of Windows needs some KiB.
const MOST_MEMORY: usize = 64 << 20;
/// Estimate of the memory for an entry of a block in addition to its bytes.
const ENTRY_MEMORY: usize = 512;
/// Limit on the places with the signature of a block or map that are examined. For each, 64 KiB are
/// read.
const MOST_TRIES: usize = 0x1_0000;
/// Limit on each of the lists of boot records, maps and unreadable ranges.
const MOST_PLACES: usize = 0x1_0000;

/// How much a search examines at most.
struct Limits {
    blocks: usize,
    tries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blocks: MOST_BLOCKS,
            tries: MOST_TRIES,
        }
    }
}

/// What a search found. All offsets are in bytes from the start of the source.
#[derive(Default)]
pub(super) struct Hits {
    pub(super) blocks: Vec<FoundBlock>,
    /// Headers of conversion maps: the offset of each, and the offsets in the volume that it has for
    /// its two copies.
    pub(super) maps: Vec<(u64, [u64; 2])>,
    pub(super) boot_records: Vec<u64>,
    pub(super) searched: u64,
    pub(super) unreadable: Vec<Range<u64>>,
    limits: Limits,
    /// Places that were examined because of a signature.
    tries: usize,
    /// Estimate of the memory that the blocks use, in bytes.
    memory: usize,
}

/// The offsets of the two copies of a conversion map's header, in bytes from `start`, where the volume
/// begins. The source is searched from there on.
pub(super) fn conversion_map(source: &Arc<dyn ReadAt>, start: i64) -> Option<[u64; 2]> {
    let mut at = on_source(start, 0).unwrap_or(0);
    while at < source.size() {
        let end = at.saturating_add(READ_LEN as u64).min(source.size());
        let mut hits = Hits::default();
        hits.search(source, at..end, &|_| {});
        if let Some(map) = hits.map_of(start) {
            return Some(map);
        }
        at = end;
    }
    None
}

/// Whether a volume begins with this sector. Its name or its last two bytes rule out most sectors
/// before they are parsed.
fn is_boot_record(sector: &[u8]) -> bool {
    let looks_like_one =
        sector.get(3..11) == Some(SIGNATURE) || sector.get(510..512) == Some(&[0x55, 0xAA]);
    looks_like_one && matches!(BootRecord::parse(sector), Ok(Some(_)))
}

/// About how much memory a block uses, in bytes.
fn memory_of(block: &MetadataBlock) -> usize {
    fn entries(datums: &[Datum]) -> usize {
        let nested = datums.iter().map(|datum| entries(datum.nested()));
        datums.len() + nested.sum::<usize>()
    }
    2 * block.bytes().len() + ENTRY_MEMORY * entries(&block.datums)
}

/// The longest source whose metadata is also searched for at offsets that are no multiple of a sector, in
/// bytes. Files with a piece of a volume, which people cut out and send, are shorter.
pub(super) const LONGEST_PIECE: u64 = 4 << 20;

/// The usual places of metadata after the start of the source and of each partition.
pub(super) fn likely_places(source: &Arc<dyn ReadAt>) -> Vec<Range<u64>> {
    let table = partition::read(source).ok().flatten();
    let partitions = table.map(|table| table.partitions).unwrap_or_default();
    let starts = partitions.iter().map(|partition| partition.start);
    let mut places: Vec<_> = std::iter::once(0)
        .chain(starts)
        .flat_map(|start| {
            LIKELY.map(|range| start.saturating_add(range.start)..start.saturating_add(range.end))
        })
        .collect();
    places.sort_by_key(|place| place.start);
    places.dedup();
    places
}

impl Hits {
    /// For a search that every command makes: it examines a few places only.
    pub(super) fn for_piece() -> Self {
        let limits = Limits {
            blocks: 8,
            tries: 64,
        };
        Self {
            limits,
            ..Self::default()
        }
    }

    /// The offsets in the volume of the copies of its conversion map, if the volume begins at `start`.
    pub(super) fn map_of(&self, start: i64) -> Option<[u64; 2]> {
        let mut maps = self.maps.iter();
        let of_volume = |(at, copies): &&(u64, [u64; 2])| {
            copies
                .iter()
                .any(|copy| on_source(start, *copy) == Some(*at))
        };
        maps.find(of_volume).map(|(_, copies)| *copies)
    }

    pub(super) fn search(
        &mut self,
        source: &Arc<dyn ReadAt>,
        range: Range<u64>,
        progress: &dyn Fn(u64),
    ) {
        let end = range.end.min(source.size());
        let mut buf = vec![0; READ_LEN];
        let mut at = range.start;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(READ_LEN).min(READ_LEN);
            self.search_part(source, at, &mut buf[..len]);
            at += len as u64;
            self.searched += len as u64;
            progress(len as u64);
        }
    }

    /// Reads a part of the source and searches it. If it cannot be read, each half is tried alone,
    /// down to [`SMALLEST_READ`].
    fn search_part(&mut self, source: &Arc<dyn ReadAt>, at: u64, part: &mut [u8]) {
        match source.read_exact_at(at, part) {
            Ok(()) => self.search_sectors(source, at, part),
            Err(_) if part.len() > SMALLEST_READ => {
                let half = (part.len() / 2).next_multiple_of(STEP);
                let (first, second) = part.split_at_mut(half);
                self.search_part(source, at, first);
                self.search_part(source, at + half as u64, second);
            }
            Err(_) => {
                let end = at + part.len() as u64;
                let full = self.unreadable.len() >= MOST_PLACES;
                match self.unreadable.last_mut() {
                    // When the list is full, its last range grows instead.
                    Some(last) if last.end == at || full => last.end = end,
                    _ => self.unreadable.push(at..end),
                }
            }
        }
    }

    fn search_sectors(&mut self, source: &Arc<dyn ReadAt>, at: u64, part: &[u8]) {
        for (offset, sector) in (at..).step_by(STEP).zip(part.chunks(STEP)) {
            if sector.starts_with(SIGNATURE) {
                self.take_block(source, offset);
            } else if is_boot_record(sector) {
                if self.boot_records.len() < MOST_PLACES {
                    self.boot_records.push(offset);
                }
            } else if sector.starts_with(b"FVE-EOW\0") {
                self.take_map(source, offset);
            }
        }
    }

    /// Searches the whole source; a short one without metadata at multiples of a sector, at every byte.
    pub(super) fn search_all(&mut self, source: &Arc<dyn ReadAt>, progress: &dyn Fn(u64)) {
        self.search(source, 0..source.size(), progress);
        if self.blocks.is_empty() {
            self.search_every_byte(source);
        }
    }

    /// Searches a short source for metadata at every byte: a piece that was cut out of a volume need not
    /// begin at a sector.
    fn search_every_byte(&mut self, source: &Arc<dyn ReadAt>) {
        let size = source.size();
        if size > LONGEST_PIECE {
            return;
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        if source.read_exact_at(0, &mut bytes).is_err() {
            return;
        }
        for (at, place) in (0..).zip(bytes.windows(SIGNATURE.len())) {
            if place == SIGNATURE {
                self.take_block(source, at);
            }
        }
    }

    fn take_block(&mut self, source: &Arc<dyn ReadAt>, offset: u64) {
        if self.blocks.len() >= self.limits.blocks
            || self.memory >= MOST_MEMORY
            || self.blocks.iter().any(|block| block.offset == offset)
            || !self.may_try()
        {
            return;
        }
        if let Ok(block) = block_at(source, offset) {
            self.memory += memory_of(&block);
            self.blocks.push(FoundBlock { offset, block });
        }
    }

    /// Counts a place that is examined. `false` when the limit is reached.
    fn may_try(&mut self) -> bool {
        self.tries += 1;
        self.tries <= self.limits.tries
    }

    fn take_map(&mut self, source: &Arc<dyn ReadAt>, offset: u64) {
        if self.maps.len() >= MOST_PLACES || !self.may_try() {
            return;
        }
        let len = source.size().saturating_sub(offset);
        let len = usize::try_from(len)
            .unwrap_or(usize::MAX)
            .min(INFORMATION_LEN);
        let mut bytes = vec![0; len];
        let read = source.read_exact_at(offset, &mut bytes);
        if let Some(head) = read
            .ok()
            .and_then(|()| EowInformation::parse(&bytes, offset).ok())
        {
            self.maps.push((offset, head.copies));
        }
    }

    /// Searches encrypt-on-write volumes for their conversion maps, from the first byte of each on.
    pub(super) fn look_for_maps(&mut self, source: &Arc<dyn ReadAt>) {
        let converted = self
            .blocks
            .iter()
            .filter(|found| found.block.is_encrypt_on_write());
        let mut starts: Vec<i64> = converted
            .filter_map(|found| {
                let starts = super::starts_of(source, &found.block, found.offset);
                starts.first().map(|start| start.offset)
            })
            .collect();
        starts.sort_unstable();
        starts.dedup();
        for start in starts {
            if self.map_of(start).is_none()
                && let Some(map) = conversion_map(source, start)
                && let Some(first) = map.into_iter().find_map(|copy| on_source(start, copy))
            {
                self.maps.push((first, map));
            }
        }
    }

    /// Adds the blocks at the offsets that the blocks found so far have for their copies.
    pub(super) fn follow_copies(&mut self, source: &Arc<dyn ReadAt>) {
        let places: Vec<u64> = self
            .blocks
            .iter()
            .flat_map(|found| {
                let starts = super::starts_of(source, &found.block, found.offset);
                let copies = found.block.copies;
                starts
                    .into_iter()
                    .flat_map(move |start| copies.map(|copy| on_source(start.offset, copy)))
                    .flatten()
            })
            .collect();
        for place in places {
            self.take_block(source, place);
        }
    }
}
