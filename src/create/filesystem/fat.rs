//! FAT16 and FAT32: a table with an entry for every cluster; 0 means free, a special value means
//! bad. `files::fat` describes and reads the structures.

use std::ops::Range;

use super::{
    Facts, FileSystem, Image, Runs, broken, broken_field, change, damaged, dirty, read, unusable,
};
use crate::create::free_space::Clusters;
use crate::error::Result;
use crate::files::chains::{FIRST, Reader, Table, Width};
use crate::files::fat::{BOOT_LEN, Boot, has_its_table};
use crate::format::wire::Fields;
use crate::source::ReadAt;

/// Number of bytes of a table to read at a time.
const PIECE: usize = 1 << 16;

struct Fat {
    facts: Facts,
    width: Width,
    /// The current tables: all, or only one.
    tables: Vec<Table>,
    /// Offset of the sector with the count of free clusters (FAT32).
    summary: Option<u64>,
}

/// Where the boot sector names the file system: FAT12 and FAT16, FAT32.
const NAMES_AT: [usize; 2] = [0x36, 0x52];

pub(super) fn open(image: &dyn ReadAt) -> Result<Option<Box<dyn FileSystem>>> {
    if image.size() < BOOT_LEN as u64 {
        return Ok(None);
    }
    let bytes = read(image, 0, BOOT_LEN as u64)?;
    let Some(boot) = Boot::parse(&bytes).map_err(broken_field("FAT"))? else {
        return Ok(None);
    };
    if !has_its_table(image, &boot) {
        let is_named = |at: usize| bytes.get(at..).is_some_and(|rest| rest.starts_with(b"FAT"));
        return match NAMES_AT.into_iter().any(is_named) {
            true => Err(broken("FAT", "its table does not begin as a table does")),
            false => Ok(None),
        };
    }
    if boot.width == Width::Fat12 {
        return Err(unusable(
            "a FAT12 file system is not supported",
            "create it again with more clusters, as FAT16 or FAT32",
        ));
    }
    let name = boot.width.name();
    let count = u64::from(boot.clusters.count);
    if boot.table_entries < count + u64::from(FIRST) {
        let what = format!("{} entries for {count} clusters", boot.table_entries);
        return Err(broken(name, what));
    }
    check_clean(image, &boot)?;
    Ok(Some(Box::new(Fat {
        facts: Facts {
            name,
            sector_size: boot.sector_size,
            hidden_sectors: boot.hidden_sectors,
            label: label(&boot.label),
            size: boot.size,
            clusters: Clusters {
                start: boot.clusters.start,
                size: boot.clusters.size,
                count,
            },
        },
        width: boot.width,
        tables: boot.tables,
        summary: boot.summary,
    })))
}

fn check_clean(image: &dyn ReadAt, boot: &Boot) -> Result<()> {
    let name = boot.width.name();
    let (clean, sound) = boot.marks();
    let mut value = u32::MAX;
    if let Some(table) = boot.tables.first() {
        let mut reader = Reader::new(image, *table, BOOT_LEN);
        value = reader.entry(1).map_err(damaged(name))?;
    }
    if value & sound == 0 {
        return Err(dirty(name, "it recorded a disk error"));
    }
    if value & clean == 0 || boot.flags & Boot::DIRTY != 0 {
        return Err(dirty(name, "its dirty bit is set"));
    }
    Ok(())
}

impl Fat {
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

    /// Marks a cluster in a table.
    fn mark(&self, image: &mut Image<'_>, table: &Table, cluster: u32) -> Result<()> {
        let at = table.entry(cluster);
        match self.width {
            Width::Fat32 => {
                // The upper four bits are not part of the entry.
                let old = read(image, at + 3, 1)?.first().copied().unwrap_or(0);
                let [a, b, c, d] = self.width.bad().to_le_bytes();
                change(image, at, &[a, b, c, d | old & 0xF0])
            }
            _ => {
                let [a, b, ..] = self.width.bad().to_le_bytes();
                change(image, at, &[a, b])
            }
        }
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
        let reader = |table: &Table| Reader::new(image, *table, PIECE);
        let mut readers: Vec<_> = self.tables.iter().map(reader).collect();
        let Some((first, others)) = readers.split_first_mut() else {
            return Ok(());
        };
        for number in 0..self.facts.clusters.count {
            let cluster = u32::try_from(number)
                .unwrap_or(u32::MAX)
                .saturating_add(FIRST);
            let entry = first.entry(cluster).map_err(damaged(self.facts.name))?;
            for other in &mut *others {
                if other.entry(cluster).map_err(damaged(self.facts.name))? != entry {
                    return Err(broken(self.facts.name, "its two tables differ"));
                }
            }
            if entry == 0 {
                runs.add(number, tell);
            }
        }
        runs.finish(tell);
        Ok(())
    }

    fn reserve(&self, image: &mut Image<'_>, clusters: &[Range<u64>]) -> Result<()> {
        let mut taken = 0;
        for cluster in clusters.iter().cloned().flatten() {
            let number = u32::try_from(cluster).unwrap_or(u32::MAX);
            for table in &self.tables {
                self.mark(image, table, number.saturating_add(FIRST))?;
            }
            taken += 1;
        }
        self.lower_count(image, taken)
    }
}
