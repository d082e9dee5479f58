//! Finding the first byte of the volume that a metadata block belongs to (docs/format-recovery.md
//! §3.3, step 3).

use std::sync::Arc;

use super::block::block_at;
use crate::format::block::{MetadataBlock, State};
use crate::format::boot::{BOOT_RECORD_LEN, BootRecord};
use crate::source::{ReadAt, partition};

/// A place where a volume may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Start {
    /// First byte of the volume, from the start of the source. Negative if the source lacks the first
    /// bytes of the volume.
    pub offset: i64,
    /// The evidence for this place.
    pub evidence: Evidence,
    /// Size of the volume in bytes according to a partition or the metadata, if one of them says. The
    /// source may end before.
    pub size: Option<u64>,
}

/// The evidence that a volume begins at a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// A boot record is there that has the offsets of the same metadata copies.
    pub boot_record: bool,
    /// Number of other copies that are where they should be if the volume begins there.
    pub other_copies: u8,
    /// The copies that were found fit no other place.
    pub only_here: bool,
    /// Number of the partition that begins there.
    pub partition: Option<u32>,
    /// The volume would end where the source does.
    pub fills_source: bool,
    /// The source ends before the volume would.
    pub cut_off: bool,
    /// The volume begins before the source does.
    pub headless: bool,
    /// A credential unlocks the volume, and its plaintext begins with a boot sector.
    pub plaintext: bool,
}

impl Evidence {
    /// How strong the evidence is: a number to compare places by.
    pub fn weight(&self) -> u32 {
        let other_copies = 8 * u32::from(self.other_copies);
        let boot_record = if self.boot_record { 16 } else { 0 };
        let partition = if self.partition.is_some() { 4 } else { 0 };
        let plaintext = if self.plaintext { 32 } else { 0 };
        let whole = match (self.fills_source, self.headless, self.cut_off) {
            (true, ..) => 3,
            (false, false, false) => 2,
            (false, false, true) => 1,
            (false, true, _) => 0,
        };
        plaintext + other_copies + boot_record + partition + whole
    }

    /// Whether the evidence proves the place: the boot record, a second copy or the plaintext fit no
    /// other place.
    pub fn is_proof(&self) -> bool {
        self.boot_record || self.only_here || self.plaintext
    }
}

/// The places where the volume of the metadata block at `offset` of the source may begin, the
/// likeliest first. Each is a whole number of sectors before the block, and may be before the
/// beginning of the source.
pub fn starts_of(source: &Arc<dyn ReadAt>, block: &MetadataBlock, offset: u64) -> Vec<Start> {
    let mut starts: Vec<Start> = Vec::new();
    for copy in block.copies {
        let start = i128::from(offset) - i128::from(copy);
        let Ok(start) = i64::try_from(start) else {
            continue;
        };
        let known = starts.iter().any(|other| other.offset == start);
        if !known && copy.is_multiple_of(512) {
            starts.push(examine(source, block, offset, start));
        }
    }
    starts.sort_by_key(|start| std::cmp::Reverse(start.evidence.weight()));
    starts
}

/// A place as messages write it: in hexadecimal, negative before the source.
pub fn written(start: i64) -> String {
    let sign = if start < 0 { "-" } else { "" };
    format!("{sign}{:#x}", start.unsigned_abs())
}

/// Offset on the source of the byte at offset `inside` of a volume that begins at `start`. `None` if
/// it is before the beginning of the source.
pub(super) fn on_source(start: i64, inside: u64) -> Option<u64> {
    u64::try_from(i128::from(start) + i128::from(inside)).ok()
}

fn examine(source: &Arc<dyn ReadAt>, block: &MetadataBlock, offset: u64, start: i64) -> Start {
    let is_found = |copy: &u64| {
        let place = on_source(start, *copy);
        let other = place.and_then(|place| block_at(source, place).ok());
        other.is_some_and(|other| {
            other.dataset.id == block.dataset.id && other.copies == block.copies
        })
    };
    let own = |copy: &u64| on_source(start, *copy) == Some(offset);
    let mut copies: Vec<_> = block.copies.into_iter().filter(own).collect();
    let others = block.copies.into_iter();
    copies.extend(others.filter(|copy| !own(copy) && is_found(copy)));
    let other_copies = u8::try_from(copies.len().saturating_sub(1)).unwrap_or(0);
    // During a conversion, the field is a watermark.
    let recorded_size = (block.state == State::ENCRYPTED && block.encrypted_extent != 0)
        .then_some(block.encrypted_extent);
    let table = partition::read(source).ok().flatten();
    let partition = table.and_then(|table| {
        let mut partitions = table.partitions.into_iter();
        partitions.find(|partition| on_source(start, 0) == Some(partition.start))
    });
    let last_copy = block.copies.iter().max().copied().unwrap_or(0);
    let end = on_source(start, recorded_size.unwrap_or(last_copy)).unwrap_or(0);
    Start {
        offset: start,
        size: partition
            .as_ref()
            .map(|partition| partition.size)
            .or(recorded_size),
        evidence: Evidence {
            boot_record: names_the_same(source, block, start),
            other_copies,
            only_here: block.proves_start(&copies),
            partition: partition.map(|partition| partition.number),
            fills_source: recorded_size.is_some() && end == source.size(),
            cut_off: end > source.size(),
            headless: start < 0,
            plaintext: false,
        },
    }
}

fn names_the_same(source: &Arc<dyn ReadAt>, block: &MetadataBlock, start: i64) -> bool {
    let Some(start) = on_source(start, 0) else {
        return false;
    };
    let mut sector = [0; BOOT_RECORD_LEN];
    let read = source.read_exact_at(start, &mut sector);
    let record = read.ok().and_then(|()| BootRecord::parse(&sector).ok()?);
    // A boot record of Windows Vista has only the offset of the first copy.
    record.is_some_and(|record| block.copies.starts_with(&record.metadata_offsets))
}
