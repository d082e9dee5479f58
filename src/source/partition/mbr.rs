//! Master boot records, with the chain of logical partitions.
//!
//! Four entries of 16 bytes at 0x1BE: type at 4, first sector at 8, number of sectors at 12; `55 AA`
//! at 0x1FE. Inside an extended partition each link of the chain is such a sector again: its first
//! entry is a logical partition (counted from the link), its second the next link (counted from the
//! start of the extended partition).

use std::io;

use byteorder::{ByteOrder, LittleEndian};

use super::{Partition, PartitionTable, Scheme, bytes_at};
use crate::source::ReadAt;

const TABLE: usize = 0x1BE;
const ENTRY_LEN: usize = 16;
const SECTOR_LEN: usize = 512;

/// Types of extended partitions: CHS, LBA, Linux.
const EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];
/// Stands for a GPT that could not be read.
const PROTECTIVE: u8 = 0xEE;

/// Longest chain followed: Linux stops at 256 partitions of a disk.
const MAX_LOGICAL: u32 = 200;
const FIRST_LOGICAL: u32 = 5;

struct Entry {
    kind: u8,
    first: u64,
    sectors: u64,
}

pub(super) fn read(disk: &dyn ReadAt, sector: u64) -> io::Result<Option<PartitionTable>> {
    let Some(entries) = entries_at(disk, 0)? else {
        return Ok(None);
    };
    let mut partitions = Vec::new();
    let mut notes = Vec::new();
    let mut extended = None;
    for (number, entry) in (1..).zip(&entries) {
        if EXTENDED.contains(&entry.kind) && entry.sectors > 0 {
            extended = extended.or(Some(entry.first));
        } else if entry.kind == PROTECTIVE {
            notes.push("the disk should have a GPT, but none can be read".to_owned());
        } else {
            partitions.extend(partition(number, 0, entry, sector));
        }
    }
    if let Some(base) = extended {
        follow_chain(disk, sector, base, &mut partitions)?;
    }
    Ok((!partitions.is_empty()).then_some(PartitionTable {
        scheme: Scheme::Mbr,
        partitions,
        notes,
    }))
}

fn follow_chain(
    disk: &dyn ReadAt,
    sector: u64,
    base: u64,
    partitions: &mut Vec<Partition>,
) -> io::Result<()> {
    let mut link = base;
    let mut number = FIRST_LOGICAL;
    for _ in 0..MAX_LOGICAL {
        let Some(entries) = entries_at(disk, link.saturating_mul(sector))? else {
            return Ok(());
        };
        if let Some(found) = entries
            .first()
            .and_then(|entry| partition(number, link, entry, sector))
        {
            partitions.push(found);
            number = number.saturating_add(1);
        }
        let next = entries
            .get(1)
            .filter(|entry| EXTENDED.contains(&entry.kind))
            .map(|entry| base.saturating_add(entry.first));
        // Links only lead onwards: a loop ends here.
        match next {
            Some(next) if next > link => link = next,
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// The four entries in the sector at this byte; `None` where it is no table.
fn entries_at(disk: &dyn ReadAt, offset: u64) -> io::Result<Option<Vec<Entry>>> {
    let Some(bytes) = bytes_at(disk, offset, SECTOR_LEN)? else {
        return Ok(None);
    };
    if bytes[510..] != [0x55, 0xAA] || (offset == 0 && is_boot_sector(&bytes)) {
        return Ok(None);
    }
    let flags_sound = bytes[TABLE..510]
        .chunks_exact(ENTRY_LEN)
        .all(|entry| matches!(entry.first(), Some(0x00 | 0x80)));
    Ok(flags_sound.then(|| {
        bytes[TABLE..510]
            .chunks_exact(ENTRY_LEN)
            .map(|entry| Entry {
                kind: entry[4],
                first: LittleEndian::read_u32(&entry[8..12]).into(),
                sectors: LittleEndian::read_u32(&entry[12..16]).into(),
            })
            .collect()
    }))
}

/// A file system that fills the disk begins with a sector that ends in `55 AA`, too: it has a jump
/// in front and a plausible sector size behind its name.
fn is_boot_sector(bytes: &[u8]) -> bool {
    let jump = matches!(bytes[..3], [0xEB, _, 0x90] | [0xE9, _, _]);
    let sector_size = LittleEndian::read_u16(&bytes[11..13]);
    let named =
        matches!(&bytes[3..11], b"NTFS    " | b"EXFAT   " | b"-FVE-FS-") || bytes[3..7] == *b"ReFS";
    named || (jump && sector_size.is_power_of_two() && (512..=4096).contains(&sector_size))
}

fn partition(number: u32, base: u64, entry: &Entry, sector: u64) -> Option<Partition> {
    if entry.kind == 0 || entry.sectors == 0 {
        return None;
    }
    Some(Partition {
        number,
        start: base.checked_add(entry.first)?.checked_mul(sector)?,
        size: entry.sectors.checked_mul(sector)?,
        name: String::new(),
    })
}
