//! exFAT: a bitmap of used clusters, which the root directory refers to, and a table that chains clusters.
//!
//! | offset in the boot sector | field |
//! |---|---|
//! | 0x40, 0x48 | sectors before the partition, sectors of the volume (64 bits each) |
//! | 0x50, 0x54 | first sector and sectors of the table |
//! | 0x58, 0x5C | first sector of the clusters, and their number |
//! | 0x60 | cluster that the root directory begins with |
//! | 0x6A | flags: bit 1 dirty, bit 2 the medium has failed |
//! | 0x6C, 0x6D | bytes in a sector and sectors in a cluster, as powers of two |
//! | 0x6E, 0x70 | number of tables; percent of the clusters in use, or 0xFF |
//!
//! A bad cluster has its bit set and a special value in the table. Source: Microsoft's exFAT
//! specification of 2019. The checksum of the boot sector does not cover the fields that are
//! changed here.

use std::ops::Range;

use super::bitmap::Bitmap;
use super::{Facts, FileSystem, Image, broken, broken_field, change, dirty, read, unusable};
use crate::create::free_space::Clusters;
use crate::error::Result;
use crate::format::wire::Fields;
use crate::source::ReadAt;

const NAME: &str = "exFAT";
/// Number of the first cluster.
const FIRST: u32 = 2;
/// Table entry of a bad cluster; a larger value ends a chain.
const BAD: u32 = 0xFFFF_FFF7;
/// Offset of the percentage of used clusters, and its value for "not available".
const PERCENT: u64 = 0x70;
const NOT_COUNTED: u8 = 0xFF;
/// Number of bytes of the root directory to search: the required entries are the first.
const MAX_ROOT: u64 = 1 << 20;

struct ExFat {
    facts: Facts,
    table: u64,
    bitmap: Bitmap,
}

/// The required entries of the root directory.
#[derive(Default)]
struct Root {
    /// First cluster and length in bytes.
    bitmap: Option<(u32, u64)>,
    label: Option<String>,
}

pub(super) fn open(image: &dyn ReadAt) -> Result<Option<Box<dyn FileSystem>>> {
    if image.size() < 512 {
        return Ok(None);
    }
    let boot = read(image, 0, 512)?;
    if boot.get(3..11) != Some(b"EXFAT   ") {
        return Ok(None);
    }
    let mut system = ExFat::parse(&Fields::new("boot sector", &boot, 0))?;
    let fields = Fields::new("boot sector", &boot, 0);
    let root = system.root(image, fields.u32(0x60).map_err(broken_field(NAME))?)?;
    let Some((first, len)) = root.bitmap else {
        return Err(broken(
            NAME,
            "its root directory has no entry for the bitmap",
        ));
    };
    let len = len.min(system.bitmap.clusters.div_ceil(8));
    system.bitmap.pieces = system.chain(image, first, len)?;
    if !system.bitmap.is_whole() {
        return Err(broken(NAME, "its bitmap is too short"));
    }
    system.facts.label = root.label;
    Ok(Some(Box::new(system)))
}

impl ExFat {
    fn parse(boot: &Fields<'_>) -> Result<Self> {
        let fault = broken_field(NAME);
        let shift = |at, allowed: std::ops::RangeInclusive<u8>| {
            let shift = boot.u8(at).map_err(&fault)?;
            let fits = allowed.contains(&shift).then_some(shift);
            fits.ok_or_else(|| broken(NAME, format!("a sector or cluster size of 2^{shift} bytes")))
        };
        let sector_shift = shift(0x6C, 9..=12)?;
        let cluster_shift = sector_shift + shift(0x6D, 0..=25 - sector_shift)?;
        let sectors = |at| {
            boot.u32(at)
                .map(|n| u64::from(n) << sector_shift)
                .map_err(&fault)
        };
        let (table, table_len) = (sectors(0x50)?, sectors(0x54)?);
        let count = u64::from(boot.u32(0x5C).map_err(&fault)?);
        let flags = boot.u16(0x6A).map_err(&fault)?;
        if boot.u8(0x6E).map_err(&fault)? != 1 {
            return Err(unusable(
                "an exFAT file system with two tables (TexFAT) is not supported",
                "copy its files to a file system of another kind",
            ));
        }
        if table_len / 4 < count + u64::from(FIRST) {
            return Err(broken(NAME, "its table is too short"));
        }
        let volume = boot.u64(0x48).map_err(&fault)?;
        let clusters = Clusters {
            start: sectors(0x58)?,
            size: 1 << cluster_shift,
            count,
        };
        let size = volume.saturating_mul(1 << sector_shift);
        if clusters.bytes(&(0..count)).end > size {
            return Err(broken(NAME, "its clusters extend beyond its end"));
        }
        if flags & 0b110 != 0 {
            return Err(dirty(
                NAME,
                "the flag for mounted or the flag for disk errors is set",
            ));
        }
        let hidden = boot.u64(0x40).map_err(&fault)?;
        Ok(Self {
            facts: Facts {
                name: NAME,
                sector_size: 1 << sector_shift,
                hidden_sectors: u32::try_from(hidden).unwrap_or(0),
                label: None,
                size,
                clusters,
            },
            table,
            bitmap: Bitmap {
                pieces: Vec::new(),
                clusters: count,
            },
        })
    }

    /// The ranges of the first `len` bytes of the chain that begins with this cluster.
    fn chain(&self, image: &dyn ReadAt, first: u32, len: u64) -> Result<Vec<Range<u64>>> {
        let mut pieces: Vec<Range<u64>> = Vec::new();
        let mut next = first;
        let mut left = len;
        for _ in 0..self.facts.clusters.count {
            let number = u64::from(next.wrapping_sub(FIRST));
            if left == 0 || number >= self.facts.clusters.count {
                break;
            }
            let mut bytes = self.facts.clusters.bytes(&(number..number + 1));
            bytes.end = bytes.end.min(bytes.start.saturating_add(left));
            left -= bytes.end - bytes.start;
            match pieces.last_mut() {
                Some(last) if last.end == bytes.start => last.end = bytes.end,
                _ => pieces.push(bytes),
            }
            let entry = read(image, self.entry(number), 4)?;
            let entry = Fields::new("table", &entry, self.entry(number));
            next = entry.u32(0).map_err(broken_field(NAME))?;
        }
        Ok(pieces)
    }

    /// Offset of the table entry of a cluster, counted from 0.
    fn entry(&self, number: u64) -> u64 {
        self.table + (number + u64::from(FIRST)) * 4
    }

    fn root(&self, image: &dyn ReadAt, first: u32) -> Result<Root> {
        const ENTRY: usize = 32;
        const BITMAP: u8 = 0x81;
        const LABEL: u8 = 0x83;
        let mut root = Root::default();
        for piece in self.chain(image, first, MAX_ROOT)? {
            let bytes = read(image, piece.start, piece.end - piece.start)?;
            for entry in bytes.chunks_exact(ENTRY) {
                let fields = Fields::new("root directory", entry, piece.start);
                match fields.u8(0).map_err(broken_field(NAME))? {
                    0 => return Ok(root),
                    BITMAP => {
                        let first = fields.u32(20).map_err(broken_field(NAME))?;
                        let len = fields.u64(24).map_err(broken_field(NAME))?;
                        root.bitmap = Some((first, len));
                    }
                    LABEL => root.label = label(entry),
                    _ => {}
                }
            }
        }
        Ok(root)
    }

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

/// The label in its directory entry: the number of characters, and up to eleven characters in
/// UTF-16.
fn label(entry: &[u8]) -> Option<String> {
    let count = usize::from(*entry.get(1)?).min(11);
    let units = entry.get(2..2 + 2 * count)?.chunks_exact(2);
    let units: Vec<u16> = units
        .filter_map(|unit| unit.try_into().ok().map(u16::from_le_bytes))
        .collect();
    let text = String::from_utf16_lossy(&units);
    (!text.is_empty()).then_some(text)
}

impl FileSystem for ExFat {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn free(&self, image: &dyn ReadAt, tell: &mut dyn FnMut(Range<u64>)) -> Result<()> {
        self.bitmap.clear(image, tell)
    }

    fn reserve(&self, image: &mut Image<'_>, clusters: &[Range<u64>]) -> Result<()> {
        for run in clusters {
            self.bitmap.set(image, run)?;
            for cluster in run.clone() {
                change(image, self.entry(cluster), &BAD.to_le_bytes())?;
            }
        }
        self.count_percent(image)
    }
}
