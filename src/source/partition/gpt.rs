//! GUID partition tables (UEFI specification 2.10, section 5.3). All numbers are little-endian.
//! [`super`] says why no crate is used.
//!
//! | header offset | field |
//! |---|---|
//! | 0 | `EFI PART` |
//! | 12, 16 | size of the header, its CRC-32 with this field zeroed |
//! | 24 | sector of this header |
//! | 72, 80, 84, 88 | first sector of the entries, their number, size and CRC-32 |

use std::io;

use byteorder::{ByteOrder, LittleEndian};

use super::{Kind, Partition, PartitionTable, Scheme, bytes_at};
use crate::guid::Guid;
use crate::source::ReadAt;

/// Longest table: usually there are 128 entries of 128 bytes, and Linux reads at most 256 partitions
/// of a disk.
const MAX_TABLE_LEN: u64 = 256 * 128;
const HEADER_LEN: usize = 92;
/// The header may be longer than its fields, but not than the smallest sector.
const MAX_HEADER_LEN: usize = 512;
const ENTRY_LEN: usize = 128;

/// The primary table, in the second sector of the disk.
pub(super) fn read_primary(disk: &dyn ReadAt, sector: u64) -> io::Result<Option<PartitionTable>> {
    Ok(read_at(disk, sector, 1)?.map(|partitions| table(partitions, Vec::new())))
}

/// The backup table, in the last sector of the disk.
pub(super) fn read_backup(disk: &dyn ReadAt, sector: u64) -> io::Result<Option<PartitionTable>> {
    let sectors = disk.size().checked_div(sector).unwrap_or(0);
    let backup = read_at(disk, sector, sectors.saturating_sub(1))?;
    Ok(backup.map(|partitions| {
        let note =
            "the first partition table is damaged or cannot be read: its backup at the end of the disk was used";
        table(partitions, vec![note.to_owned()])
    }))
}

fn table(partitions: Vec<Partition>, notes: Vec<String>) -> PartitionTable {
    PartitionTable {
        scheme: Scheme::Gpt,
        partitions,
        notes,
        is_complete: true,
    }
}

/// The partitions of the table whose header is in sector `at`; `None` if there is no header or a
/// checksum is wrong.
fn read_at(disk: &dyn ReadAt, sector: u64, at: u64) -> io::Result<Option<Vec<Partition>>> {
    let offset = at.saturating_mul(sector);
    let Some(header) = bytes_at(disk, offset, MAX_HEADER_LEN)? else {
        return Ok(None);
    };
    let Some(entries) = Entries::of(&header, at) else {
        return Ok(None);
    };
    let start = entries.first_sector.saturating_mul(sector);
    let Some(bytes) = bytes_at(disk, start, entries.len)? else {
        return Ok(None);
    };
    if crc32fast::hash(&bytes) != entries.crc {
        return Ok(None);
    }
    Ok(Some(
        (1..)
            .zip(bytes.chunks_exact(entries.entry_len))
            .filter_map(|(number, entry)| partition(number, entry, sector))
            .collect(),
    ))
}

/// The place of the entries, from a header whose checksum is right.
struct Entries {
    first_sector: u64,
    entry_len: usize,
    len: usize,
    crc: u32,
}

impl Entries {
    fn of(header: &[u8], at: u64) -> Option<Self> {
        let u32_at = |offset: usize| {
            let bytes = header.get(offset..)?.get(..4)?;
            Some(LittleEndian::read_u32(bytes))
        };
        let u64_at = |offset: usize| {
            let bytes = header.get(offset..)?.get(..8)?;
            Some(LittleEndian::read_u64(bytes))
        };
        let header_len = u32_at(12)? as usize;
        let mut covered = header.get(..header_len)?.to_vec();
        if !header.starts_with(b"EFI PART") || header_len < HEADER_LEN || u64_at(24)? != at {
            return None;
        }
        covered.get_mut(16..20)?.fill(0);
        if u32_at(16)? != crc32fast::hash(&covered) {
            return None;
        }
        let entry_len = u32_at(84)?;
        let len = u64::from(u32_at(80)?).saturating_mul(entry_len.into());
        if (entry_len as usize) < ENTRY_LEN || len > MAX_TABLE_LEN {
            return None;
        }
        Some(Self {
            first_sector: u64_at(72)?,
            entry_len: entry_len as usize,
            len: usize::try_from(len).ok()?,
            crc: u32_at(88)?,
        })
    }
}

/// Parses an entry: type at 0 (all zeros if unused), first and last sector at 32 and 40, name in
/// UTF-16 at 56.
fn partition(number: u32, entry: &[u8], sector: u64) -> Option<Partition> {
    let kind: [u8; 16] = entry.get(..16)?.try_into().ok()?;
    let first = LittleEndian::read_u64(entry.get(32..40)?);
    let last = LittleEndian::read_u64(entry.get(40..48)?);
    let sectors = last.checked_sub(first)?.checked_add(1)?;
    if kind == [0; 16] || first == 0 {
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
        kind: Kind::Gpt(Guid::from_disk(kind)),
        name: String::from_utf16_lossy(&units),
    })
}
