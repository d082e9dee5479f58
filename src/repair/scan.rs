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

/// Structures begin at whole sectors, the smallest of which have so many bytes.
const STEP: usize = 512;
/// Bytes that are read at a time.
const PIECE: usize = 4 << 20;
/// Below this, what cannot be read is skipped whole: no medium has larger sectors.
const SMALLEST_READ: usize = 4096;

/// Where first copies were seen, in bytes from the start of their volume, on 35 volumes of Windows
/// Vista to 11 (docs/format-recovery.md §3.3); with what lies around, for those a little elsewhere.
const LIKELY: [Range<u64>; 3] = [
    0x0157_0000..0x0158_0000,
    0x0200_0000..0x0280_0000,
    0x02E0_0000..0x02F0_0000,
];

/// More blocks than three for each of a thousand generations: beyond are no volumes but a trap.
const MOST_BLOCKS: usize = 4096;
/// Most memory that the blocks may take, in bytes. A block of Windows takes some KiB.
const MOST_MEMORY: usize = 64 << 20;
/// What an entry of a block takes besides its bytes, at least.
const ENTRY_MEMORY: usize = 512;
/// Most places where a block or a map is looked for because its signature stands there. Each costs
/// the reading of 64 KiB.
const MOST_TRIES: usize = 0x1_0000;
/// Most boot records, maps and unreadable stretches that are kept.
const MOST_PLACES: usize = 0x1_0000;

/// Signatures and where they lie, in bytes from the start of the source.
#[derive(Default)]
pub(super) struct Hits {
    pub(super) blocks: Vec<FoundBlock>,
    /// Heads of conversion maps: their place, and where they say that both copies lie.
    pub(super) maps: Vec<(u64, [u64; 2])>,
    pub(super) boot_records: Vec<u64>,
    pub(super) searched: u64,
    pub(super) unreadable: Vec<Range<u64>>,
    /// Places at which something was looked for.
    tries: usize,
    /// Bytes that the blocks take.
    memory: usize,
}

/// Where the copies of the head of a conversion map lie, in bytes from `start`, where the volume
/// begins; found by searching the source from there on.
pub(super) fn conversion_map(source: &Arc<dyn ReadAt>, start: i64) -> Option<[u64; 2]> {
    let mut at = on_source(start, 0).unwrap_or(0);
    while at < source.size() {
        let end = at.saturating_add(PIECE as u64).min(source.size());
        let mut hits = Hits::default();
        hits.search(source, at..end, &|_| {});
        if let Some(map) = hits.map_of(start) {
            return Some(map);
        }
        at = end;
    }
    None
}

/// Whether a volume begins with this sector. Most sectors are told by their end or their name.
fn is_boot_record(sector: &[u8]) -> bool {
    let looks_like_one =
        sector.get(3..11) == Some(SIGNATURE) || sector.get(510..512) == Some(&[0x55, 0xAA]);
    looks_like_one && matches!(BootRecord::parse(sector), Ok(Some(_)))
}

/// What a block takes in memory, about.
fn memory_of(block: &MetadataBlock) -> usize {
    fn entries(datums: &[Datum]) -> usize {
        let nested = datums.iter().map(|datum| entries(datum.nested()));
        datums.len() + nested.sum::<usize>()
    }
    2 * block.bytes().len() + ENTRY_MEMORY * entries(&block.datums)
}

/// Behind the start of the source and of each partition.
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
    /// Where the map's copies lie on a volume that begins at `start`.
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
        let mut buf = vec![0; PIECE];
        let mut at = range.start;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            self.search_piece(source, at, &mut buf[..len]);
            at += len as u64;
            self.searched += len as u64;
            progress(len as u64);
        }
    }

    /// Reads a piece, halved again and again where it cannot be read as a whole.
    fn search_piece(&mut self, source: &Arc<dyn ReadAt>, at: u64, piece: &mut [u8]) {
        match source.read_exact_at(at, piece) {
            Ok(()) => self.look_at(source, at, piece),
            Err(_) if piece.len() > SMALLEST_READ => {
                let half = (piece.len() / 2).next_multiple_of(STEP);
                let (first, second) = piece.split_at_mut(half);
                self.search_piece(source, at, first);
                self.search_piece(source, at + half as u64, second);
            }
            Err(_) => {
                let end = at + piece.len() as u64;
                let full = self.unreadable.len() >= MOST_PLACES;
                match self.unreadable.last_mut() {
                    // More stretches than any medium has are told of as one.
                    Some(last) if last.end == at || full => last.end = end,
                    _ => self.unreadable.push(at..end),
                }
            }
        }
    }

    fn look_at(&mut self, source: &Arc<dyn ReadAt>, at: u64, piece: &[u8]) {
        for (offset, sector) in (at..).step_by(STEP).zip(piece.chunks(STEP)) {
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

    fn take_block(&mut self, source: &Arc<dyn ReadAt>, offset: u64) {
        if self.blocks.len() >= MOST_BLOCKS
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

    /// Counts a try; false where there were more than any source gives reason for.
    fn may_try(&mut self) -> bool {
        self.tries += 1;
        self.tries <= MOST_TRIES
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

    /// Looks behind the volumes' first bytes for the conversion maps that they must have.
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

    /// Looks where the blocks that were found say that others lie.
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
