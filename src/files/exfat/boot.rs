//! The boot region of exFAT: twelve sectors, and a copy of them right behind.
//!
//! | offset in the first sector | field |
//! |---|---|
//! | 0x03 | `EXFAT   `; the 53 bytes behind it are 0 |
//! | 0x40, 0x48 | sectors before the partition, sectors of the volume (64 bits each) |
//! | 0x50, 0x54 | first sector and sectors of the table |
//! | 0x58, 0x5C | first sector of the clusters, and their number |
//! | 0x60, 0x64 | cluster that the root directory begins with; serial number |
//! | 0x68 | revision, the upper byte being the major one: 1 |
//! | 0x6A | flags: bit 0 the second table is active, bit 1 dirty, bit 2 the medium has failed |
//! | 0x6C, 0x6D | bytes in a sector and sectors in a cluster, as powers of two |
//! | 0x6E, 0x70 | number of tables; percent of the clusters in use, or 0xFF |
//!
//! The last sector repeats a checksum of the others, which leaves out the flags and the percentage. Source:
//! Microsoft's exFAT specification of 2019, section 3.

use std::ops::Range;

use crate::files::chains::{Chain, Clusters, End, FIRST, Table, Width};
use crate::files::fault::FileError;
use crate::format::FormatError;
use crate::format::wire::Fields;
use crate::source::{ReadAt, begins_with_known, read_uninterrupted};

/// Sectors of a boot region, of which the last one has the checksum.
const REGION: u64 = 12;
const SECTOR_SHIFTS: [u8; 4] = [9, 10, 11, 12];
const NAME: &[u8] = b"EXFAT   ";
const START: usize = 512;

/// Offset of the percentage of used clusters on the volume, and its value for "not available".
pub(crate) const PERCENT: u64 = 0x70;
pub(crate) const NOT_COUNTED: u8 = 0xFF;

/// What the boot sector says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boot {
    /// Bytes in a sector.
    pub(crate) sector_size: u32,
    /// Size of the file system in bytes.
    pub(crate) size: u64,
    /// The clusters.
    pub(crate) clusters: Clusters,
    /// The table in use.
    pub(crate) table: Table,
    /// Number of tables: two are TexFAT.
    pub(crate) tables: u8,
    /// Number of sectors before the partition.
    pub(crate) hidden_sectors: u64,
    pub(super) serial: u32,
    pub(super) root: u32,
    flags: u16,
}

/// The boot region that was found.
pub(crate) struct Found {
    /// What its first sector says.
    pub(crate) boot: Boot,
    /// The region at the start of the volume is damaged, and this is the copy.
    pub(crate) is_copy: bool,
}

/// The boot region at the start of the source, or its copy if that is damaged. `None` if it is not that
/// of exFAT.
///
/// # Errors
/// Both are damaged, or the source cannot be read.
pub(crate) fn find(source: &dyn ReadAt) -> Result<Option<Found>, FileError> {
    let mut start = [0; START];
    if source.size() < REGION.saturating_mul(START as u64) {
        return Ok(None);
    }
    let read = read_uninterrupted(source, 0, &mut start);
    let is_named = start.get(3..11) == Some(NAME);
    // A sector of another kind is the truth, and the copy only a remainder. So is a file system that
    // begins with zeros.
    if read.is_ok()
        && !is_named
        && (start.iter().any(|byte| *byte != 0) || begins_with_known(source).unwrap_or(true))
    {
        return Ok(None);
    }
    let mut fault = None;
    if read.is_ok() && is_named {
        match region(source, 0) {
            Ok(boot) => {
                let is_copy = false;
                return Ok(Some(Found { boot, is_copy }));
            }
            Err(error) => fault = Some(error),
        }
    }
    for shift in SECTOR_SHIFTS {
        let copy = REGION.checked_shl(shift.into()).unwrap_or(0);
        if let Ok(boot) = region(source, copy)
            && u64::from(boot.sector_size).saturating_mul(REGION) == copy
        {
            let is_copy = true;
            return Ok(Some(Found { boot, is_copy }));
        }
    }
    match (fault, read) {
        (Some(fault), _) => Err(fault),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => Ok(None),
    }
}

/// Reads the boot region at this offset.
fn region(source: &dyn ReadAt, position: u64) -> Result<Boot, FileError> {
    let mut bytes = vec![0; START];
    read_uninterrupted(source, position, &mut bytes)?;
    let boot = Boot::parse(&Fields::new("boot sector", &bytes, position))?;
    let len = u64::from(boot.sector_size).saturating_mul(REGION);
    bytes.resize(usize::try_from(len).unwrap_or(0), 0);
    read_uninterrupted(source, position, &mut bytes)?;
    let fields = Fields::new("boot region", &bytes, position);
    let last = usize::try_from(boot.sector_size).unwrap_or(START);
    let end = bytes.len().saturating_sub(last);
    let sum = (0..).zip(fields.slice(0, end)?).fold(0, |sum, (at, byte)| {
        match matches!(at, 0x6A | 0x6B | 0x70) {
            true => sum,
            false => add(sum, *byte),
        }
    });
    if fields.u32(end)? != sum {
        return Err(fields.fault("its checksum is wrong").into());
    }
    Ok(boot)
}

/// The next value of a checksum of 32 bits, to which a byte is added.
pub(super) fn add(sum: u32, byte: u8) -> u32 {
    sum.rotate_right(1).wrapping_add(byte.into())
}

impl Boot {
    fn parse(fields: &Fields<'_>) -> Result<Self, FormatError> {
        let within = |at, most: u8| -> Result<u8, FormatError> {
            let shift = fields.u8(at)?;
            let fits = (shift <= most).then_some(shift);
            fits.ok_or_else(|| fields.fault(format!("a sector or cluster size of 2^{shift}")))
        };
        if fields.slice(3, 8)? != NAME || fields.slice(0x0B, 53)?.iter().any(|byte| *byte != 0) {
            return Err(fields.fault("it is not that of exFAT"));
        }
        if fields.u16(0x1FE)? != 0xAA55 {
            return Err(fields.fault("its signature is missing"));
        }
        let sector_shift = within(0x6C, 12)?;
        if !SECTOR_SHIFTS.contains(&sector_shift) {
            return Err(fields.fault(format!("a sector size of 2^{sector_shift} bytes")));
        }
        let cluster_shift = within(0x6D, 25_u8.saturating_sub(sector_shift))?;
        let revision = fields.u16(0x68)?;
        if revision >> 8 != 1 {
            return Err(fields.fault(format!("its major revision is {}", revision >> 8)));
        }
        let sector = 1_u64.checked_shl(sector_shift.into()).unwrap_or(512);
        let sectors = |at| -> Result<u64, FormatError> {
            Ok(u64::from(fields.u32(at)?).saturating_mul(sector))
        };
        let (start, len) = (sectors(0x50)?, sectors(0x54)?);
        let tables = fields.u8(0x6E)?;
        let flags = fields.u16(0x6A)?;
        let active = u64::from(flags & 1);
        if !matches!(tables, 1 | 2) || active >= tables.into() {
            return Err(fields.fault(format!("{tables} tables, with table {active} active")));
        }
        let count = fields.u32(0x5C)?;
        let needed = u64::from(count).saturating_add(FIRST.into());
        if count > Width::ExFat.bad().saturating_sub(FIRST) || Width::ExFat.entries_in(len) < needed
        {
            return Err(fields.fault("its table is too short"));
        }
        let clusters = Clusters {
            start: sectors(0x58)?,
            size: sector.checked_shl(cluster_shift.into()).unwrap_or(sector),
            count,
        };
        let tables_end = start.saturating_add(len.saturating_mul(tables.into()));
        if clusters.start < tables_end || start < sector.saturating_mul(REGION).saturating_mul(2) {
            return Err(fields.fault("its parts overlap"));
        }
        let size = fields.u64(0x48)?.saturating_mul(sector);
        if clusters.bytes(FIRST, count).end > size {
            return Err(fields.fault("its clusters extend beyond its end"));
        }
        let root = fields.u32(0x60)?;
        if !clusters.contains(root) {
            return Err(fields.fault("its root directory is outside of the clusters"));
        }
        Ok(Self {
            sector_size: u32::try_from(sector).unwrap_or(512),
            size,
            clusters,
            table: Table {
                offset: start.saturating_add(len.saturating_mul(active)),
                width: Width::ExFat,
            },
            tables,
            hidden_sectors: fields.u64(0x40)?,
            serial: fields.u32(0x64)?,
            root,
            flags,
        })
    }

    /// Why the file system must not be trusted to be complete.
    pub(crate) fn why_dirty(&self) -> Option<&'static str> {
        const DIRTY: u16 = 0b010;
        const FAILED: u16 = 0b100;
        match self.flags {
            flags if flags & DIRTY != 0 => Some("its dirty bit is set"),
            flags if flags & FAILED != 0 => Some("it recorded a disk error"),
            _ => None,
        }
    }

    /// Whether the second table and the second bitmap are in use (TexFAT).
    pub(super) fn uses_second(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Where the first `len` bytes of the chain are that begins with this cluster, as ranges of bytes on
    /// the volume.
    ///
    /// # Errors
    /// The chain is damaged or too short.
    pub(crate) fn ranges(
        &self,
        source: &dyn ReadAt,
        first: u32,
        len: u64,
    ) -> Result<Vec<Range<u64>>, FileError> {
        let chain = self.chain(source, first, len)?;
        let mut left = len;
        let ranges = chain.ranges(self.clusters).map(|mut range| {
            range.end = range.end.min(range.start.saturating_add(left));
            left = left.saturating_sub(range.end.saturating_sub(range.start));
            range
        });
        Ok(ranges.collect())
    }

    fn chain(&self, source: &dyn ReadAt, first: u32, len: u64) -> Result<Chain, FileError> {
        let count = self.clusters.needed(len).filter(|count| *count > 0);
        let count = count.ok_or_else(|| FileError::damaged(format!("a chain of {len} bytes")))?;
        let followed = self.table.follow(source, self.clusters, first, count);
        match followed.end {
            End::Fault(fault) => Err(fault),
            _ if followed.chain.count() < count => Err(FileError::damaged(format!(
                "the chain of clusters that begins with {first} is too short for {len} bytes"
            ))),
            _ => Ok(followed.chain),
        }
    }
}
