//! The boot sector of FAT.
//!
//! | offset | field |
//! |---|---|
//! | 0x00 | jump: `EB xx 90` or `E9 xx xx` |
//! | 0x0B, 0x0D | bytes in a sector, sectors in a cluster |
//! | 0x0E, 0x10, 0x11 | reserved sectors, number of tables, entries of the root directory (FAT32: 0) |
//! | 0x13, 0x20 | number of sectors, 16 and 32 bits |
//! | 0x15 | medium, which the first entry of each table repeats |
//! | 0x16, 0x24 | sectors of a table, 16 and 32 bits |
//! | 0x1C | sectors before the partition |
//! | 0x25, 0x41 | FAT12 and FAT16, FAT32: bit 0 dirty, bit 1 to be tested for bad sectors |
//! | 0x27, 0x43 | the same: serial number; then the label (11 bytes) and a name such as `FAT16   ` |
//! | 0x28 | FAT32: which table is current, if only one is |
//! | 0x2C | FAT32: cluster that the root directory begins with |
//! | 0x30, 0x32 | FAT32: the sectors with the count of free clusters and with the copy of this sector |
//!
//! After the reserved sectors come the tables, the root directory (not FAT32), and the clusters. The
//! number of clusters tells FAT12 from FAT16. FAT32 is told by a table whose length is in the field of 32
//! bits, as the kernel does it: mkfs.fat makes FAT32 with fewer clusters than Microsoft's rule says.
//!
//! The signature `55 AA` is that of any boot sector, so all fields must be possible, too.
//!
//! Sources: Microsoft's FAT specification of 2000; for the flags at 0x25, Linux's `msdos_fs.h`.

use crate::files::chains::{Clusters, Table, Width};
use crate::format::FormatError;
use crate::format::boot::BootRecord;
use crate::format::wire::Fields;

/// Bytes of the boot sector that have a meaning.
pub(crate) const BOOT_LEN: usize = 512;

/// FAT12 has fewer clusters than the first, FAT16 fewer than the second.
const FAT12_BELOW: u32 = 4085;
const FAT16_BELOW: u32 = 65525;
/// Most clusters of FAT32.
const FAT32_MOST: u32 = 0x0FFF_FFF5;

/// Length of an entry of a directory.
pub(super) const ENTRY_LEN: u64 = 32;

/// What the boot sector says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boot {
    /// The width of the entries of the tables.
    pub(crate) width: Width,
    /// Bytes in a sector.
    pub(crate) sector_size: u32,
    /// Size of the file system in bytes.
    pub(crate) size: u64,
    /// The clusters, of which the last may have no entry in the tables.
    pub(crate) clusters: Clusters,
    /// The tables that are kept up to date: all, or only one.
    pub(crate) tables: Vec<Table>,
    /// Number of entries of each table.
    pub(crate) table_entries: u64,
    /// Number of sectors before the partition.
    pub(crate) hidden_sectors: u32,
    /// The flags: [`Boot::DIRTY`] and others.
    pub(crate) flags: u8,
    /// The label. It may be older than that of the root directory.
    pub(crate) label: [u8; 11],
    /// FAT32: offset of the sector with the count of free clusters.
    pub(crate) summary: Option<u64>,
    pub(super) serial: u32,
    pub(super) root: Root,
    /// FAT32: offset of the copy of the boot sector.
    pub(super) copy: Option<u64>,
}

/// Where the root directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// FAT12 and FAT16: bytes on the volume.
    Fixed { start: u64, end: u64 },
    /// FAT32: its first cluster.
    Chain(u32),
}

impl Boot {
    /// The file system was not unmounted cleanly.
    pub(crate) const DIRTY: u8 = 0b01;

    /// Parses the first [`BOOT_LEN`] bytes of the boot sector. `None` if they are not that of FAT.
    ///
    /// # Errors
    /// They are, but the fields contradict one another.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, FormatError> {
        if !is_possible(bytes) {
            return Ok(None);
        }
        let fields = Fields::new("boot sector", bytes, 0);
        let sector = u64::from(fields.u16(0x0B)?);
        let per_cluster = u32::from(fields.u8(0x0D)?);
        let (reserved, tables) = (u64::from(fields.u16(0x0E)?), u64::from(fields.u8(0x10)?));
        let root_entries = u64::from(fields.u16(0x11)?);
        let total = match fields.u16(0x13)? {
            0 => fields.u32(0x20)?,
            small => small.into(),
        };
        let is_fat32 = fields.u16(0x16)? == 0;
        let table_sectors = match fields.u16(0x16)? {
            0 => u64::from(fields.u32(0x24)?),
            small => small.into(),
        };
        let root_sectors = root_entries.saturating_mul(ENTRY_LEN).div_ceil(sector);
        let root_sector = reserved.saturating_add(tables.saturating_mul(table_sectors));
        let data = root_sector.saturating_add(root_sectors);
        let sectors = u64::from(total).saturating_sub(data);
        let count = u32::try_from(sectors)
            .ok()
            .and_then(|sectors| sectors.checked_div(per_cluster))
            .filter(|count| *count > 0)
            .ok_or_else(|| fields.fault(format!("there are no clusters in {total} sectors")))?;
        let width = match count {
            _ if is_fat32 && count <= FAT32_MOST => Width::Fat32,
            _ if is_fat32 => return Err(fields.fault(format!("{count} clusters in FAT32"))),
            ..FAT12_BELOW => Width::Fat12,
            FAT12_BELOW..FAT16_BELOW => Width::Fat16,
            _ => return Err(fields.fault("it has too many clusters for FAT16")),
        };
        // Bit 7: only one table is kept up to date; the lower bits say which.
        let mirroring = if is_fat32 { fields.u16(0x28)? } else { 0 };
        let active = (mirroring & 0x80 != 0).then_some(u64::from(mirroring & 0x0F));
        if active.is_some_and(|active| active >= tables) {
            return Err(fields.fault("the table in use does not exist"));
        }
        let in_use = active.map_or(0..tables, |active| active..active.saturating_add(1));
        let table = |number: u64| {
            let at = reserved.saturating_add(number.saturating_mul(table_sectors));
            let offset = at.saturating_mul(sector);
            Table { offset, width }
        };
        let root = match width {
            Width::Fat32 => Root::Chain(fields.u32(0x2C)?),
            _ => {
                let start = root_sector.saturating_mul(sector);
                let len = root_entries.saturating_mul(ENTRY_LEN);
                let end = start.saturating_add(len);
                Root::Fixed { start, end }
            }
        };
        // The fields from here on are 28 bytes further in FAT32.
        let after = |at: usize| if is_fat32 { at.saturating_add(28) } else { at };
        let reserved_sector = |at: usize| -> Result<Option<u64>, FormatError> {
            let number = if is_fat32 { fields.u16(at)? } else { 0 };
            let is_reserved = (1..reserved).contains(&number.into());
            Ok(is_reserved.then(|| u64::from(number).saturating_mul(sector)))
        };
        Ok(Some(Self {
            width,
            sector_size: fields.u16(0x0B)?.into(),
            size: u64::from(total).saturating_mul(sector),
            clusters: Clusters {
                start: data.saturating_mul(sector),
                size: u64::from(per_cluster).saturating_mul(sector),
                count,
            },
            tables: in_use.map(table).collect(),
            table_entries: width.entries_in(table_sectors.saturating_mul(sector)),
            hidden_sectors: fields.u32(0x1C)?,
            flags: fields.u8(after(0x25))?,
            label: fields.array(after(0x2B))?,
            summary: reserved_sector(0x30)?,
            serial: fields.u32(after(0x27))?,
            root,
            copy: reserved_sector(0x32)?,
        }))
    }

    /// The bits of entry 1 of a table that are set if the file system is clean, and if the disk had no
    /// errors. FAT12 has none.
    pub(crate) fn marks(&self) -> (u32, u32) {
        match self.width {
            Width::Fat12 => (0, 0),
            Width::Fat16 => (1 << 15, 1 << 14),
            Width::Fat32 | Width::ExFat => (1 << 27, 1 << 26),
        }
    }
}

/// Whether the fields have values that are possible in FAT. A boot sector with a partition table has
/// zeros or code there, one of another file system its own name.
fn is_possible(boot: &[u8]) -> bool {
    const OTHERS: [&[u8]; 4] = [b"NTFS    ", b"EXFAT   ", b"-FVE-FS-", b"ReFS\0\0\0\0"];
    let byte = |at: usize| boot.get(at).copied().unwrap_or(0);
    let pair = |at: usize| u16::from_le_bytes([byte(at), byte(at.saturating_add(1))]);
    let is_other = OTHERS.iter().any(|name| boot.get(3..11) == Some(*name));
    // The first sector of a BitLocker To Go volume is that of a FAT file system with a program to
    // unlock the volume. It is not the file system that its user knows.
    let is_to_go = !matches!(BootRecord::parse(boot), Ok(None));
    let jumps = byte(0) == 0xE9 || byte(0) == 0xEB && byte(2) == 0x90;
    let has_sectors = pair(0x13) != 0 || boot.get(0x20..0x24).is_some_and(|n| n != [0; 4]);
    let has_tables = pair(0x16) != 0 || boot.get(0x24..0x28).is_some_and(|n| n != [0; 4]);
    // FAT32 has the fields of 32 bits and no fixed root directory; the others have one.
    let is_whole = match pair(0x16) {
        0 => pair(0x11) == 0 && pair(0x13) == 0 && pair(0x2A) == 0,
        _ => pair(0x11) != 0,
    };
    pair(0x1FE) == 0xAA55
        && !is_other
        && !is_to_go
        && jumps
        && [512, 1024, 2048, 4096].contains(&pair(0x0B))
        && byte(0x0D).is_power_of_two()
        && pair(0x0E) != 0
        && matches!(byte(0x10), 1..=4)
        && matches!(byte(0x15), 0xF0 | 0xF8..)
        && has_sectors
        && has_tables
        && is_whole
}
