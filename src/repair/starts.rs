//! Where the volume begins that a metadata block belongs to (docs/format-recovery.md §3.3, step 3).

use std::sync::Arc;

use super::block::block_at;
use crate::format::block::{MetadataBlock, State};
use crate::format::boot::{BOOT_RECORD_LEN, BootRecord};
use crate::source::{ReadAt, partition};

/// A place where a volume may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Start {
    /// In bytes from the start of the source; below zero where the source lacks the volume's first
    /// bytes.
    pub offset: i64,
    /// What speaks for it.
    pub evidence: Evidence,
    /// Size of the volume in bytes, where a partition or the metadata tells; it ends with the
    /// source at the latest.
    pub size: Option<u64>,
}

/// What speaks for a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// A boot record lies there that names the same copies.
    pub boot_record: bool,
    /// How many other copies lie where they should.
    pub other_copies: u8,
    /// Whether the copies lie so for no other place.
    pub only_here: bool,
    /// The partition that begins there.
    pub partition: Option<u32>,
    /// The volume would end where the source does.
    pub fills_source: bool,
    /// The source ends before the volume would.
    pub cut_off: bool,
    /// The volume begins before the source does.
    pub headless: bool,
    /// A credential opens the volume, and what it decrypts begins with a boot sector.
    pub plaintext: bool,
}

impl Evidence {
    /// How much speaks for the place.
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

    /// Whether something of the volume's own lies where it can for this place alone: more than a
    /// likeness.
    pub fn is_proof(&self) -> bool {
        self.boot_record || self.only_here || self.plaintext
    }
}

/// The places where the volume of a block at `offset` of the source may begin, the likeliest
/// first: whole sectors in front of it, and before the source where that lacks its first bytes.
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

/// A place as people write it: hexadecimal, with a minus sign before the source.
pub fn written(start: i64) -> String {
    let sign = if start < 0 { "-" } else { "" };
    format!("{sign}{:#x}", start.unsigned_abs())
}

/// Where the byte `inside` a volume lies on the source; nothing where the source lacks it.
pub(super) fn on_source(start: i64, inside: u64) -> Option<u64> {
    u64::try_from(i128::from(start) + i128::from(inside)).ok()
}

fn examine(source: &Arc<dyn ReadAt>, block: &MetadataBlock, offset: u64, start: i64) -> Start {
    let is_there = |copy: &u64| {
        let place = on_source(start, *copy);
        let other = place.and_then(|place| block_at(source, place).ok());
        other.is_some_and(|other| {
            other.dataset.id == block.dataset.id && other.copies == block.copies
        })
    };
    let own = |copy: &u64| on_source(start, *copy) == Some(offset);
    let mut copies: Vec<_> = block.copies.into_iter().filter(own).collect();
    let others = block.copies.into_iter();
    copies.extend(others.filter(|copy| !own(copy) && is_there(copy)));
    let other_copies = u8::try_from(copies.len().saturating_sub(1)).unwrap_or(0);
    // While it is converted, the field is a watermark.
    let told = (block.state == State::ENCRYPTED && block.encrypted_extent != 0)
        .then_some(block.encrypted_extent);
    let table = partition::read(source).ok().flatten();
    let partition = table.and_then(|table| {
        let mut partitions = table.partitions.into_iter();
        partitions.find(|partition| on_source(start, 0) == Some(partition.start))
    });
    let last_copy = block.copies.iter().max().copied().unwrap_or(0);
    let end = on_source(start, told.unwrap_or(last_copy)).unwrap_or(0);
    Start {
        offset: start,
        size: partition.as_ref().map(|partition| partition.size).or(told),
        evidence: Evidence {
            boot_record: names_the_same(source, block, start),
            other_copies,
            only_here: block.proves_start(&copies),
            partition: partition.map(|partition| partition.number),
            fills_source: told.is_some() && end == source.size(),
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
    // Vista's names only the first.
    record.is_some_and(|record| block.copies.starts_with(&record.metadata_offsets))
}
