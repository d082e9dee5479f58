//! VHDX ([MS-VHDX], version 8). All numbers are little-endian.
//!
//! The crate `vhdx` 0.1 was tried; it panics on files that are not VHDX.
//!
//! | at | structure |
//! |---|---|
//! | 0 | `vhdxfile` |
//! | 64 KiB, 128 KiB | headers `head`: CRC-32C at 4, sequence number at 8, log identifier at 48, version at 66, length and offset of the log at 68 and 72 |
//! | 192 KiB, 256 KiB | region tables `regi`: CRC-32C at 4, number of entries at 8, from 16 on entries of 32 bytes (identifier, offset, length) |
//! | metadata region | `metadata`, number of entries at 10, from 32 on entries of 32 bytes (identifier, offset in the region, length) |
//! | block allocation table | an entry of 8 bytes per block: state in bits 0–2, offset in MiB from bit 20; one for a sector bitmap after each chunk |

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::blocks::{Stored, bytes_at, fill, has_at, le16, le32, le64, read_in_blocks};
use super::{MERGE, damaged, unsupported, unsupported_with};
use crate::guid::Guid;
use crate::source::ReadAt;

const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const HEADER_LEN: usize = 4 << 10;
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
const REGION_TABLE_LEN: usize = 64 << 10;
const ENTRY_LEN: usize = 32;
/// Entries of a region table (MS-VHDX 2.2.3.1) and of the metadata table (2.6.1.1).
const MAX_ENTRIES: u32 = 2047;
/// Sizes of a block and of a disk (MS-VHDX 2.6.2.1, 2.6.2.2).
const BLOCK_LENS: std::ops::RangeInclusive<u64> = 1 << 20..=256 << 20;
const MAX_SIZE: u64 = 64 << 40;

const BAT: &str = "2dc27766-f623-4200-9d64-115e9bfd4a08";
const METADATA: &str = "8b7ca206-4790-4b9a-b8fe-575f050f886e";
const FILE_PARAMETERS: &str = "caa16737-fa36-4d43-b3b6-33f0aa44e76b";
const DISK_SIZE: &str = "2fa54224-cd1b-4876-b211-5dbed83bf4b8";
const SECTOR_SIZE: &str = "8141bf1d-a96f-4709-ba47-f233a8faab5f";
/// Flag of the file parameters: the disk holds only the changes to a parent disk.
const HAS_PARENT: u32 = 2;

/// States of a block (MS-VHDX 2.5.1.1).
const FULLY_PRESENT: u64 = 6;
const PARTIALLY_PRESENT: u64 = 7;

pub(super) fn fits(file: &dyn ReadAt) -> io::Result<bool> {
    has_at(file, 0, b"vhdxfile")
}

pub(super) fn open(file: Arc<dyn ReadAt>) -> io::Result<Arc<dyn ReadAt>> {
    check_header(&file)?;
    let regions = regions(&file)?;
    let region = |id: &str| {
        let entry = entry(regions.get(16..).unwrap_or_default(), le32(&regions, 8), id);
        entry.ok_or_else(|| damaged("its region table lacks a region"))
    };
    let table = region(BAT)?;
    let metadata = le64(region(METADATA)?, 16);
    let items: [u8; REGION_TABLE_LEN] = bytes_at(&file, metadata)?;
    if !items.starts_with(b"metadata") {
        return Err(damaged("its metadata region has no table"));
    }
    let item = |id: &str| -> io::Result<[u8; 8]> {
        let entry = entry(
            items.get(32..).unwrap_or_default(),
            le16(&items, 10).into(),
            id,
        )
        .ok_or_else(|| damaged("its metadata lacks an item"))?;
        let offset = u64::from(le32(entry, 16));
        bytes_at(&file, metadata.saturating_add(offset))
    };
    let parameters = item(FILE_PARAMETERS)?;
    if le32(&parameters, 4) & HAS_PARENT != 0 {
        return Err(unsupported_with(
            "a differencing VHDX, which holds only the changes to another disk",
            MERGE,
        ));
    }
    let size = le64(&item(DISK_SIZE)?, 0);
    let sector = le32(&item(SECTOR_SIZE)?, 0);
    let block_len = u64::from(le32(&parameters, 0));
    if !BLOCK_LENS.contains(&block_len)
        || !block_len.is_power_of_two()
        || !matches!(sector, 512 | 4096)
        || size > MAX_SIZE
    {
        return Err(damaged(format!(
            "a disk of {size} bytes in blocks of {block_len} and sectors of {sector}"
        )));
    }
    let disk = Vhdx {
        size,
        sector,
        block_len,
        // MS-VHDX 2.5: as many blocks as one bitmap block of 1 MiB has bits for sectors.
        chunk: (1u64 << 23)
            .saturating_mul(sector.into())
            .checked_div(block_len)
            .unwrap_or(1),
        table: le64(table, 16),
        file,
    };
    let entries = disk.index(size.saturating_sub(1)).saturating_add(1);
    if entries.saturating_mul(8) > le32(table, 24).into() {
        return Err(damaged(
            "its block allocation table is too short for the disk",
        ));
    }
    Ok(Arc::new(disk))
}

/// Refuses a file whose log has changes that are not in the tables and blocks yet. Without them, the
/// disk may read wrongly.
fn check_header(file: &dyn ReadAt) -> io::Result<()> {
    let mut newest: Option<[u8; HEADER_LEN]> = None;
    for offset in HEADERS {
        let header: [u8; HEADER_LEN] = bytes_at(file, offset)?;
        let newer = newest.is_none_or(|newest| le64(&header, 8) > le64(&newest, 8));
        if header.starts_with(b"head") && is_sound(&header) && newer {
            newest = Some(header);
        }
    }
    let header = newest.ok_or_else(|| damaged("both of its headers are damaged"))?;
    let version = le16(&header, 66);
    if version != 1 {
        return Err(unsupported(format!("a VHDX of version {version}")));
    }
    if header
        .get(48..64)
        .is_some_and(|log| log.iter().any(|byte| *byte != 0))
    {
        return Err(unsupported_with(
            "a VHDX whose log holds changes that were not written out (it was not closed cleanly)",
            "have the log written out in a copy of the file: attach it in Windows once, or use qemu-img check -r all COPY",
        ));
    }
    Ok(())
}

fn regions(file: &dyn ReadAt) -> io::Result<Vec<u8>> {
    for offset in REGION_TABLES {
        let table: [u8; REGION_TABLE_LEN] = bytes_at(file, offset)?;
        if table.starts_with(b"regi") && is_sound(&table) {
            return Ok(table.to_vec());
        }
    }
    Err(damaged("both of its region tables are damaged"))
}

/// The entry of a table that begins with this identifier.
fn entry<'a>(entries: &'a [u8], count: u32, id: &str) -> Option<&'a [u8]> {
    entries
        .chunks_exact(ENTRY_LEN)
        .take(count.min(MAX_ENTRIES) as usize)
        .find(|entry| {
            let own = entry.get(..16).and_then(|bytes| bytes.try_into().ok());
            own.is_some_and(|own| Guid::from_disk(own).to_string() == id)
        })
}

/// Whether the CRC-32C at 4 is right; it is computed with that field as zeros.
fn is_sound(structure: &[u8]) -> bool {
    let (head, tail) = (structure.get(..4), structure.get(8..));
    let bytes = head
        .into_iter()
        .flatten()
        .chain(&[0; 4])
        .chain(tail.into_iter().flatten());
    le32(structure, 4) == crc32c(bytes)
}

/// CRC-32C (Castagnoli; RFC 3720, section 12.1), bit by bit: only a few structures are checked.
fn crc32c<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    const REVERSED_POLYNOMIAL: u32 = 0x82F6_3B78;
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { REVERSED_POLYNOMIAL } else { 0 }
        })
    })
}

struct Vhdx {
    file: Arc<dyn ReadAt>,
    size: u64,
    sector: u32,
    block_len: u64,
    /// Blocks between two sector bitmaps in the table.
    chunk: u64,
    table: u64,
}

impl Vhdx {
    /// Index in the block allocation table of the block with the byte at `offset` of the disk.
    fn index(&self, offset: u64) -> u64 {
        let block = offset.checked_div(self.block_len).unwrap_or(0);
        block.saturating_add(block.checked_div(self.chunk).unwrap_or(0))
    }
}

impl ReadAt for Vhdx {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> Option<u32> {
        Some(self.sector)
    }

    fn modified(&self) -> Option<SystemTime> {
        self.file.modified()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        read_in_blocks(self.size, offset, buf, |offset, buf| {
            let inside = offset.checked_rem(self.block_len).unwrap_or(0);
            let at = self
                .index(offset)
                .saturating_mul(8)
                .saturating_add(self.table);
            let entry = le64(&bytes_at::<8>(&self.file, at)?, 0);
            let stored = match entry & 7 {
                FULLY_PRESENT => Stored::At((entry >> 20 << 20).saturating_add(inside)),
                PARTIALLY_PRESENT => return Err(damaged("a block whose data is in a parent disk")),
                // Not present, undefined, zero, unmapped: zeros, as Windows and QEMU show them.
                _ => Stored::Zeros,
            };
            fill(
                &self.file,
                stored,
                self.block_len.saturating_sub(inside),
                buf,
            )
        })
    }
}
