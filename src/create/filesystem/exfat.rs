//! exFAT: a bitmap of used clusters, and a table that chains clusters. A bad cluster has its bit set and a
//! special value in the table. `files::exfat` describes and reads the structures.
//!
//! The checksum of the boot region does not cover the only field there that is changed: the percentage
//! of used clusters.

use std::ops::Range;

use super::bitmap::Bitmap;
use super::{Facts, FileSystem, Image, broken, change, damaged, dirty, read, unusable};
use crate::create::free_space::Clusters;
use crate::error::Result;
use crate::files::chains::{FIRST, Table};
use crate::files::exfat::{self, NOT_COUNTED, PERCENT, SpecialEntries};
use crate::source::ReadAt;

const NAME: &str = "exFAT";

struct ExFat {
    facts: Facts,
    table: Table,
    bitmap: Bitmap,
}

pub(super) fn open(image: &dyn ReadAt) -> Result<Option<Box<dyn FileSystem>>> {
    let fault = damaged(NAME);
    let Some(found) = exfat::find(image).map_err(&fault)? else {
        return Ok(None);
    };
    if found.is_copy {
        return Err(broken(NAME, "its first boot region"));
    }
    let boot = found.boot;
    if boot.tables != 1 {
        return Err(unusable(
            "an exFAT file system with two tables (TexFAT) is not supported",
            "copy its files to a file system of another kind",
        ));
    }
    if let Some(why) = boot.why_dirty() {
        return Err(dirty(NAME, why));
    }
    let special = SpecialEntries::read(image, &boot).map_err(&fault)?;
    let Some(at) = special.bitmap else {
        return Err(broken(
            NAME,
            "its root directory has no entry for the bitmap",
        ));
    };
    let clusters = Clusters {
        start: boot.clusters.start,
        size: boot.clusters.size,
        count: boot.clusters.count.into(),
    };
    let len = clusters.count.div_ceil(8);
    if at.len < len {
        return Err(broken(NAME, "its bitmap is too short"));
    }
    Ok(Some(Box::new(ExFat {
        facts: Facts {
            name: NAME,
            sector_size: boot.sector_size,
            hidden_sectors: u32::try_from(boot.hidden_sectors).unwrap_or(0),
            label: special.label,
            size: boot.size,
            clusters,
        },
        table: boot.table,
        bitmap: Bitmap {
            pieces: boot.ranges(image, at.first, len).map_err(&fault)?,
            clusters: clusters.count,
        },
    })))
}

impl ExFat {
    fn count_percent(&self, image: &mut Image<'_>) -> Result<()> {
        if read(image, PERCENT, 1)? == [NOT_COUNTED] {
            return Ok(());
        }
        let count = self.bitmap.clusters;
        let used = count - self.bitmap.count_clear(image)?;
        let percent = u8::try_from(used * 100 / count.max(1)).unwrap_or(NOT_COUNTED);
        change(image, PERCENT, &[percent])
    }
}

impl FileSystem for ExFat {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn free(&self, image: &dyn ReadAt, tell: &mut dyn FnMut(Range<u64>)) -> Result<()> {
        self.bitmap.clear(image, tell)
    }

    fn reserve(&self, image: &mut Image<'_>, clusters: &[Range<u64>]) -> Result<()> {
        let bad = self.table.width.bad().to_le_bytes();
        for run in clusters {
            self.bitmap.set(image, run)?;
            for cluster in run.clone() {
                let number = u32::try_from(cluster).unwrap_or(u32::MAX);
                let at = self.table.entry(number.saturating_add(FIRST));
                change(image, at, &bad)?;
            }
        }
        self.count_percent(image)
    }
}
