//! Reading the conversion map of an encrypt-on-write volume from the disk.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::format::conversion::{EowBitmap, EowInformation, INFORMATION_LEN};
use crate::source::{ReadAt, read_uninterrupted};

/// Limit on the bytes of bitmaps that are read of a map. The header has space for 8184 regions, and
/// the bitmap of a region has 0x600 bytes on all volumes seen: 12 MiB. The map is read before a key
/// proves anything, so a hostile disk must not be able to raise the cost.
const MAX_MAP_LEN: u64 = 0x100_0000;

/// Limit on the chunks of a map: 128 TiB in chunks of 8 MiB.
const MAX_CHUNKS: u64 = 0x100_0000;

/// Limit on the runs of equal chunks: those of 2 TiB in chunks of 8 MiB of which every other is
/// encrypted. A run needs 24 bytes here and 40 in each of at most three maps of the decrypted volume,
/// so that all of them need at most 40 MiB.
const MAX_RUNS: usize = 0x4_0000;

/// Consecutive chunks that are all encrypted or all not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run {
    /// Their bytes on the volume.
    pub range: Range<u64>,
    /// Whether they are encrypted.
    pub encrypted: bool,
}

/// Which chunks of an encrypt-on-write volume are encrypted, and which ranges the map itself fills.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConversionMap {
    /// Bytes in a chunk.
    pub chunk_size: u32,
    /// Ranges of the volume that the regions of the map cover, in order.
    pub regions: Vec<Range<u64>>,
    /// Runs of chunks in order; bytes between two of them are in no region.
    pub runs: Vec<Run>,
    /// Ranges of the volume with the map itself, which read as zeros.
    pub reserved: Vec<Range<u64>>,
}

impl ConversionMap {
    /// Reads the map by the first copy of its header that is sound. `information` has the offsets of
    /// both copies.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the map does not say which areas are encrypted; [`Error::Io`] when the
    /// source ends before the map.
    pub(super) fn read(
        source: &dyn ReadAt,
        information: [u64; 2],
        sector_size: u32,
    ) -> Result<Self> {
        let mut faults = Vec::new();
        let mut beyond_end = true;
        for offset in information {
            match read_information(source, offset, information) {
                Ok(found) => return Self::read_regions(source, &found, sector_size),
                Err(fault) => {
                    beyond_end &= offset >= source.size();
                    faults.push(format!("at {offset:#x}: {fault}"));
                }
            }
        }
        let what = format!(
            "the map of which areas of this encrypt-on-write volume are encrypted cannot be read ({})",
            faults.join("; ")
        );
        Err(unreadable(what, beyond_end))
    }

    fn read_regions(
        source: &dyn ReadAt,
        information: &EowInformation,
        sector_size: u32,
    ) -> Result<Self> {
        let sector = u64::from(sector_size);
        let impossible = |what: String| {
            let what =
                format!("the conversion map of this encrypt-on-write volume is impossible: {what}");
            unreadable(what, false)
        };
        let whole_sectors = |len: u32| u64::from(len).next_multiple_of(sector);
        let mut taken = DisjointRanges::new(sector);
        for copy in information.copies {
            let len = whole_sectors(information.size.into());
            taken.add("its head", copy, len).map_err(impossible)?;
        }
        let mut regions = DisjointRanges::new(sector);
        let mut bitmaps = Vec::new();
        let mut left = MAX_MAP_LEN;
        for (number, offset) in (0..).zip(&information.bitmaps) {
            let cannot_read = |fault: String| {
                let what = format!(
                    "the conversion bitmap of region {number} at {offset:#x} cannot be read ({fault}), so which of its areas are encrypted is not known"
                );
                unreadable(what, *offset >= source.size())
            };
            let size = bitmap_size(source, *offset).map_err(cannot_read)?;
            // This comes before the bitmap is read: thousands of entries may have the same offset.
            taken
                .add("a bitmap", *offset, whole_sectors(size))
                .map_err(impossible)?;
            left = left.checked_sub(size.into()).ok_or_else(|| {
                impossible(format!("its bitmaps take more than {MAX_MAP_LEN} bytes"))
            })?;
            let bitmap =
                read_bitmap(source, *offset, size, information.chunk_size).map_err(cannot_read)?;
            if information.log_size > 0 {
                taken
                    .add(
                        "a log",
                        bitmap.log_offset,
                        whole_sectors(information.log_size),
                    )
                    .map_err(impossible)?;
            }
            let len = bitmap.region.end.saturating_sub(bitmap.region.start);
            regions
                .add("a region", bitmap.region.start, len)
                .map_err(impossible)?;
            bitmaps.push(bitmap);
        }
        bitmaps.sort_by_key(|bitmap| bitmap.region.start);
        Ok(Self {
            chunk_size: information.chunk_size,
            runs: runs(&bitmaps, information.chunk_size).map_err(impossible)?,
            regions: regions.into_ranges(),
            reserved: taken.into_ranges(),
        })
    }

    /// Bytes in encrypted chunks, and bytes in all chunks.
    pub fn progress(&self) -> (u64, u64) {
        self.runs.iter().fold((0, 0), |(done, all), run| {
            let len = run.range.end - run.range.start;
            (done + if run.encrypted { len } else { 0 }, all + len)
        })
    }
}

/// Ranges of whole sectors that do not overlap.
struct DisjointRanges {
    sector: u64,
    /// The end of each range, by its start.
    ends: BTreeMap<u64, u64>,
}

impl DisjointRanges {
    fn new(sector: u64) -> Self {
        Self {
            sector,
            ends: BTreeMap::new(),
        }
    }

    /// Adds `len` bytes from `start` on. `what` names them in the error.
    fn add(&mut self, what: &str, start: u64, len: u64) -> Result<(), String> {
        let end = start
            .checked_add(len)
            .filter(|end| *end > start)
            .ok_or_else(|| format!("{what} of {len} bytes at {start:#x}"))?;
        if !start.is_multiple_of(self.sector) || !len.is_multiple_of(self.sector) {
            return Err(format!(
                "{what} of {len} bytes at {start:#x} is not made of whole sectors"
            ));
        }
        let before = self.ends.range(..end).next_back();
        if let Some((other, _)) = before.filter(|(_, other_end)| **other_end > start) {
            return Err(format!(
                "{what} of {len} bytes at {start:#x} overlaps with what it has at {other:#x}"
            ));
        }
        self.ends.insert(start, end);
        Ok(())
    }

    fn into_ranges(self) -> Vec<Range<u64>> {
        let ranges = self.ends.into_iter();
        ranges.map(|(start, end)| start..end).collect()
    }
}

/// The runs of all regions; `bitmaps` is in the order of the regions.
fn runs(bitmaps: &[EowBitmap], chunk_size: u32) -> Result<Vec<Run>, String> {
    let chunks = bitmaps.iter().map(|bitmap| bitmap.chunks(chunk_size));
    let chunks = chunks.fold(0, u64::saturating_add);
    if chunks > MAX_CHUNKS {
        return Err(format!("{chunks} chunks are more than {MAX_CHUNKS}"));
    }
    let mut runs: Vec<Run> = Vec::new();
    for bitmap in bitmaps {
        let Range { start, end } = bitmap.region;
        for number in 0..bitmap.chunks(chunk_size) {
            let first = start + number * u64::from(chunk_size);
            let range = first..(first + u64::from(chunk_size)).min(end);
            let encrypted = bitmap.is_encrypted(number).unwrap_or(false);
            if let Some(last) = runs.last_mut()
                && last.encrypted == encrypted
                && last.range.end == first
            {
                last.range.end = range.end;
                continue;
            }
            if runs.len() == MAX_RUNS {
                return Err(format!(
                    "encrypted and plain areas change places more than {MAX_RUNS} times"
                ));
            }
            runs.push(Run { range, encrypted });
        }
    }
    Ok(runs)
}

/// The error for a map that cannot be used: it is missing if it is beyond the end of an image that
/// was cut off, otherwise damaged.
fn unreadable(what: String, beyond_end: bool) -> Error {
    if beyond_end {
        return Error::io(what, std::io::ErrorKind::UnexpectedEof.into());
    }
    Error::Damaged {
        what,
        copies: Vec::new(),
    }
}

/// The header of the map at `offset`. The boot record has the offsets of its two copies, `places`.
fn read_information(
    source: &dyn ReadAt,
    offset: u64,
    places: [u64; 2],
) -> Result<EowInformation, String> {
    let bytes = read_up_to(source, offset, INFORMATION_LEN).map_err(|error| error.to_string())?;
    let found = EowInformation::parse(&bytes, offset).map_err(|fault| fault.to_string())?;
    if found.copies != places {
        return Err(format!(
            "it has the offsets {:#x} and {:#x} for its copies, the boot record has {:#x} and {:#x}",
            found.copies[0], found.copies[1], places[0], places[1]
        ));
    }
    Ok(found)
}

fn bitmap_size(source: &dyn ReadAt, offset: u64) -> Result<u32, String> {
    let head = read_up_to(source, offset, 512).map_err(|error| error.to_string())?;
    let size = EowBitmap::size(&head, offset).map_err(|fault| fault.to_string())?;
    u32::try_from(size).map_err(|error| error.to_string())
}

fn read_bitmap(
    source: &dyn ReadAt,
    offset: u64,
    size: u32,
    chunk_size: u32,
) -> Result<EowBitmap, String> {
    let bytes = read_up_to(source, offset, size as usize).map_err(|error| error.to_string())?;
    EowBitmap::parse(&bytes, offset, chunk_size).map_err(|fault| fault.to_string())
}

/// `len` bytes from `offset` on, or fewer if the source ends before.
pub(super) fn read_up_to(source: &dyn ReadAt, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
    let left = source.size().saturating_sub(offset);
    let len = usize::try_from(left).unwrap_or(usize::MAX).min(len);
    if len == 0 {
        return Err(std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            format!("the image ends at {:#x}", source.size()),
        ));
    }
    let mut bytes = vec![0; len];
    read_uninterrupted(source, offset, &mut bytes)?;
    Ok(bytes)
}

/// The same, but if a sector cannot be read, only the bytes before it: metadata fills only the
/// beginning of its region.
pub(crate) fn read_available(
    source: &dyn ReadAt,
    offset: u64,
    len: usize,
) -> std::io::Result<Vec<u8>> {
    const STEP: usize = 512;
    let whole = read_up_to(source, offset, len);
    if whole.is_ok() {
        return whole;
    }
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let mut sector = [0; STEP];
        match source.read_exact_at(offset.saturating_add(bytes.len() as u64), &mut sector) {
            Ok(()) => bytes.extend_from_slice(&sector),
            Err(error) if bytes.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(bytes)
}
