//! FAT16 and FAT32: a table with an entry for every cluster; 0 means free, a special value means
//! bad.
//!
//! | offset in the boot sector | field |
//! |---|---|
//! | 0x0B, 0x0D | bytes in a sector, sectors in a cluster |
//! | 0x0E, 0x10, 0x11 | reserved sectors, number of tables, entries of the root directory (FAT32: 0) |
//! | 0x13, 0x20 | number of sectors, 16 and 32 bits |
//! | 0x16, 0x24 | sectors of a table, 16 and 32 bits |
//! | 0x1C | sectors before the partition |
//! | 0x25, 0x41 | FAT16, FAT32: bit 0 set while mounted (Linux) |
//! | 0x28, 0x30 | FAT32: which table is current; the sector with the count of free clusters |
//!
//! Source: Microsoft's FAT specification of 2000.

use std::ops::Range;

use super::{Facts, FileSystem, Image, Runs, broken, broken_field, change, dirty, read, unusable};
use crate::create::free_space::Clusters;
use crate::error::Result;
use crate::format::wire::Fields;
use crate::source::ReadAt;

/// Number of bytes of a table to read at a time.
const PIECE: u64 = 1 << 16;
/// With fewer clusters than the first, the entries of a table have 12 bits; with at least the
/// second, 32.
const FAT12_BELOW: u64 = 4085;
const FAT16_BELOW: u64 = 65525;

/// The width of the entries of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Fat16,
    Fat32,
}

impl Width {
    fn bytes(self) -> u64 {
        match self {
            Self::Fat16 => 2,
            Self::Fat32 => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Fat16 => "FAT16",
            Self::Fat32 => "FAT32",
        }
    }

    /// The number in an entry; FAT32 does not use the upper four bits.
    fn value(self, entry: &[u8]) -> u32 {
        match (self, entry) {
            (Self::Fat16, [a, b]) => u16::from_le_bytes([*a, *b]).into(),
            (Self::Fat32, [a, b, c, d]) => u32::from_le_bytes([*a, *b, *c, *d]) & 0x0FFF_FFFF,
            _ => u32::MAX,
        }
    }

    /// The entry for a bad cluster that replaces `entry`.
    fn bad(self, entry: &[u8]) -> Vec<u8> {
        match self {
            Self::Fat16 => vec![0xF7, 0xFF],
            Self::Fat32 => {
                let kept = entry.last().copied().unwrap_or(0) & 0xF0;
                vec![0xF7, 0xFF, 0xFF, 0x0F | kept]
            }
        }
    }

    /// The bits of entry 1 that are set if the file system is clean and the disk had no errors.
    fn marks(self) -> (u32, u32) {
        match self {
            Self::Fat16 => (1 << 15, 1 << 14),
            Self::Fat32 => (1 << 27, 1 << 26),
        }
    }
}

struct Fat {
    facts: Facts,
    width: Width,
    /// Offsets of the current tables: all, or only one.
    tables: Vec<u64>,
    /// Offset of the sector with the count of free clusters (FAT32).
    summary: Option<u64>,
}

pub(super) fn open(image: &dyn ReadAt) -> Result<Option<Box<dyn FileSystem>>> {
    if image.size() < 512 {
        return Ok(None);
    }
    let boot = read(image, 0, 512)?;
    let boot = Fields::new("boot sector", &boot, 0);
    if !looks_like_fat(boot.bytes()) {
        return Ok(None);
    }
    let fat = Fat::parse(&boot)?;
    fat.check_clean(image, boot.bytes())?;
    Ok(Some(Box::new(fat)))
}

/// Whether the fields have values that are possible in FAT. A boot sector with a partition table
/// has zeros or code there.
fn looks_like_fat(boot: &[u8]) -> bool {
    let field = |at: usize| match boot.get(at..at + 2) {
        Some(&[low, high]) => u16::from_le_bytes([low, high]),
        _ => 0,
    };
    let sectors_per_cluster = field(0x0D) & 0xFF;
    field(0x1FE) == 0xAA55
        && [512, 1024, 2048, 4096].contains(&field(0x0B))
        && sectors_per_cluster.is_power_of_two()
        && field(0x0E) != 0
        && matches!(field(0x10) & 0xFF, 1 | 2)
        && (boot.get(0x36..0x39) == Some(b"FAT") || boot.get(0x52..0x57) == Some(b"FAT32"))
}

impl Fat {
    fn parse(boot: &Fields<'_>) -> Result<Self> {
        let fault = broken_field("FAT");
        let u8_at = |at| boot.u8(at).map(u64::from).map_err(&fault);
        let u16_at = |at| boot.u16(at).map(u64::from).map_err(&fault);
        let u32_at = |at| boot.u32(at).map(u64::from).map_err(&fault);
        let sector = u16_at(0x0B)?;
        let per_cluster = u8_at(0x0D)?;
        let (reserved, tables, root_entries) = (u16_at(0x0E)?, u8_at(0x10)?, u16_at(0x11)?);
        let either = |small: u64, large: u64| if small == 0 { large } else { small };
        let total = either(u16_at(0x13)?, u32_at(0x20)?);
        let is_fat32 = u16_at(0x16)? == 0;
        let table_sectors = either(u16_at(0x16)?, u32_at(0x24)?);
        let data = reserved + tables * table_sectors + (root_entries * 32).div_ceil(sector);
        let count = total.saturating_sub(data) / per_cluster;
        let width = match count {
            _ if is_fat32 => Width::Fat32,
            ..FAT12_BELOW => {
                return Err(unusable(
                    "a FAT12 file system is not supported",
                    "create it again with more clusters, as FAT16 or FAT32",
                ));
            }
            FAT12_BELOW..FAT16_BELOW => Width::Fat16,
            _ => return Err(broken("FAT", "it has too many clusters for FAT16")),
        };
        let entries = table_sectors * sector / width.bytes();
        if count == 0 || entries < count + 2 {
            let what = format!("{entries} entries for {count} clusters");
            return Err(broken(width.name(), what));
        }
        // Bit 7: only one table is kept up to date; the lower bits say which.
        let flags = if is_fat32 { u16_at(0x28)? } else { 0 };
        let active = (flags & 0x80 != 0).then_some(flags & 0x0F);
        if active.is_some_and(|active| active >= tables) {
            return Err(broken(width.name(), "the table in use does not exist"));
        }
        let chosen = active.map_or(0..tables, |active| active..active + 1);
        let summary = if is_fat32 { u16_at(0x30)? } else { 0 };
        let label_at = if is_fat32 { 0x47 } else { 0x2B };
        Ok(Self {
            facts: Facts {
                name: width.name(),
                sector_size: u32::try_from(sector).unwrap_or(0),
                hidden_sectors: boot.u32(0x1C).map_err(&fault)?,
                label: label(boot.slice(label_at, 11).map_err(&fault)?),
                size: total * sector,
                clusters: Clusters {
                    start: data * sector,
                    size: per_cluster * sector,
                    count,
                },
            },
            width,
            tables: chosen
                .map(|number| (reserved + number * table_sectors) * sector)
                .collect(),
            summary: (1..reserved).contains(&summary).then_some(summary * sector),
        })
    }

    fn check_clean(&self, image: &dyn ReadAt, boot: &[u8]) -> Result<()> {
        let name = self.facts.name;
        let first = self.tables.first().copied().unwrap_or(0);
        let entry = read(image, first + self.width.bytes(), self.width.bytes())?;
        let (clean, sound) = self.width.marks();
        let value = self.width.value(&entry);
        if value & sound == 0 {
            return Err(dirty(name, "it recorded a disk error"));
        }
        let mounted = match self.width {
            Width::Fat16 => boot.get(0x25),
            Width::Fat32 => boot.get(0x41),
        };
        if value & clean == 0 || mounted.is_some_and(|flags| flags & 1 != 0) {
            return Err(dirty(name, "its dirty bit is set"));
        }
        Ok(())
    }

    /// Offset of the entry of a cluster in a table.
    fn entry(&self, table: u64, cluster: u64) -> u64 {
        /// Number of entries before that of the first cluster.
        const FIRST: u64 = 2;
        table + (cluster + FIRST) * self.width.bytes()
    }

    fn lower_count(&self, image: &mut Image<'_>, taken: u64) -> Result<()> {
        /// Offsets in the sector of the signature and of the count of free clusters.
        const SIGNATURE: Range<usize> = 484..488;
        const FREE: usize = 488;
        let Some(at) = self.summary else {
            return Ok(());
        };
        let sector = read(image, at, 512)?;
        let fields = Fields::new("free cluster count", &sector, at);
        let free = fields.u32(FREE).map_err(broken_field(self.facts.name))?;
        // All ones: unknown.
        if sector.get(SIGNATURE) != Some(b"rrAa") || free == u32::MAX {
            return Ok(());
        }
        let free = u64::from(free).saturating_sub(taken);
        let free = u32::try_from(free).unwrap_or(u32::MAX);
        change(image, at + FREE as u64, &free.to_le_bytes())
    }
}

fn label(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end();
    let named = !text.is_empty() && text != "NO NAME" && bytes.is_ascii();
    named.then(|| text.to_owned())
}

impl FileSystem for Fat {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn free(&self, image: &dyn ReadAt, tell: &mut dyn FnMut(Range<u64>)) -> Result<()> {
        let mut runs = Runs::default();
        let count = self.facts.clusters.count;
        let width = self.width.bytes();
        let mut cluster = 0;
        while cluster < count {
            let entries = (PIECE / width).min(count - cluster);
            let mut tables = self.tables.iter();
            let mut piece = |table: &u64| read(image, self.entry(*table, cluster), entries * width);
            let Some(first) = tables.next().map(&mut piece).transpose()? else {
                break;
            };
            for other in tables {
                if piece(other)? != first {
                    return Err(broken(self.facts.name, "its two tables differ"));
                }
            }
            let step = usize::try_from(width).unwrap_or(4);
            for (number, entry) in (cluster..).zip(first.chunks_exact(step)) {
                if self.width.value(entry) == 0 {
                    runs.add(number, tell);
                }
            }
            cluster += entries;
        }
        runs.finish(tell);
        Ok(())
    }

    fn reserve(&self, image: &mut Image<'_>, clusters: &[Range<u64>]) -> Result<()> {
        let mut taken = 0;
        for cluster in clusters.iter().cloned().flatten() {
            for table in &self.tables {
                let at = self.entry(*table, cluster);
                let entry = read(image, at, self.width.bytes())?;
                change(image, at, &self.width.bad(&entry))?;
            }
            taken += 1;
        }
        self.lower_count(image, taken)
    }
}
