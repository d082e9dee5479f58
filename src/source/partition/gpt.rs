//! GUID partition tables (UEFI specification 2.10, section 5.3).
//!
//! | header offset | field |
//! |---|---|
//! | 0 | `EFI PART` |
//! | 12, 16 | size of the header, its CRC-32 with this field zeroed |
//! | 24 | sector that it lies in |
//! | 72, 80, 84, 88 | first sector of the entries, their number, size and CRC-32 |

use std::io;

use byteorder::{ByteOrder, LittleEndian};

use super::{Partition, PartitionTable, Scheme, bytes_at};
use crate::source::ReadAt;

/// Entries are 128 bytes and usually 128 of them; more than this has no use on any system.
const MAX_TABLE_LEN: u64 = 128 * 256;
const HEADER_LEN: usize = 92;
/// The header may be larger than its fields, but not than a sector.
const MAX_HEADER_LEN: usize = 512;
const ENTRY_LEN: usize = 128;

pub(super) fn read(disk: &dyn ReadAt, sector: u64) -> io::Result<Option<PartitionTable>> {
    let sectors = disk.size().checked_div(sector).unwrap_or(0);
    let last = sectors.saturating_sub(1);
    let found = read_at(disk, sector, 1)?;
    if let Some(partitions) = found {
        return Ok(Some(table(partitions, Vec::new())));
    }
    let backup = read_at(disk, sector, last)?;
    Ok(backup.map(|partitions| {
        let note =
            "the first partition table is damaged: its backup at the end of the disk was used";
        table(partitions, vec![note.to_owned()])
    }))
}

fn table(partitions: Vec<Partition>, notes: Vec<String>) -> PartitionTable {
    PartitionTable {
        scheme: Scheme::Gpt,
        partitions,
        notes,
    }
}

/// The partitions of the header in sector `at`; `None` where there is none or it is damaged.
fn read_at(disk: &dyn ReadAt, sector: u64, at: u64) -> io::Result<Option<Vec<Partition>>> {
    let offset = at.saturating_mul(sector);
    let Some(header) = bytes_at(disk, offset, MAX_HEADER_LEN)? else {
        return Ok(None);
    };
    if !is_sound(&header, at) {
        return Ok(None);
    }
    let count = LittleEndian::read_u32(&header[80..84]);
    let entry_len = LittleEndian::read_u32(&header[84..88]);
    let len = u64::from(count).saturating_mul(entry_len.into());
    if (entry_len as usize) < ENTRY_LEN || len > MAX_TABLE_LEN {
        return Ok(None);
    }
    let start = LittleEndian::read_u64(&header[72..80]).saturating_mul(sector);
    let Some(entries) = bytes_at(disk, start, usize::try_from(len).unwrap_or(0))? else {
        return Ok(None);
    };
    if crc32fast::hash(&entries) != LittleEndian::read_u32(&header[88..92]) {
        return Ok(None);
    }
    Ok(Some(
        (1..)
            .zip(entries.chunks_exact(entry_len as usize))
            .filter_map(|(number, entry)| partition(number, entry, sector))
            .collect(),
    ))
}

fn is_sound(header: &[u8], at: u64) -> bool {
    let len = LittleEndian::read_u32(&header[12..16]) as usize;
    let Some(covered) = header.get(..len).filter(|_| len >= HEADER_LEN) else {
        return false;
    };
    let mut zeroed = covered.to_vec();
    zeroed[16..20].fill(0);
    header[..8] == *b"EFI PART"
        && LittleEndian::read_u64(&header[24..32]) == at
        && LittleEndian::read_u32(&header[16..20]) == crc32fast::hash(&zeroed)
}

/// An entry: type at 0 (zero where unused), first and last sector at 32 and 40, name at 56.
fn partition(number: u32, entry: &[u8], sector: u64) -> Option<Partition> {
    let kind = entry.get(..16)?;
    let first = LittleEndian::read_u64(entry.get(32..40)?);
    let last = LittleEndian::read_u64(entry.get(40..48)?);
    let sectors = last.checked_sub(first)?.checked_add(1)?;
    if kind.iter().all(|byte| *byte == 0) || first == 0 {
        return None;
    }
    let units: Vec<u16> = entry
        .get(56..ENTRY_LEN)?
        .chunks_exact(2)
        .map(LittleEndian::read_u16)
        .take_while(|unit| *unit != 0)
        .collect();
    Some(Partition {
        number,
        start: first.checked_mul(sector)?,
        size: sectors.checked_mul(sector)?,
        name: String::from_utf16_lossy(&units),
    })
}
