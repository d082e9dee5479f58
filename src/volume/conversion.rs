//! Reading the conversion map of an encrypt-on-write volume from the disk.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::format::conversion::{EowBitmap, EowInformation, INFORMATION_LEN};
use crate::source::{ReadAt, read_uninterrupted};

/// Which chunks of the volume are encrypted, and which stretches the map itself takes.
#[derive(Debug)]
pub struct ConversionMap {
    /// Bytes in a chunk.
    pub chunk_size: u32,
    /// Bitmaps of the regions, in the order of their regions.
    pub regions: Vec<EowBitmap>,
    /// Stretches of the volume that the map takes for itself, which read as zeros.
    pub reserved: Vec<Range<u64>>,
}

impl ConversionMap {
    /// Reads the map through whichever copy of its head is sound.
    ///
    /// # Errors
    /// [`Error::Damaged`] when which areas are encrypted cannot be known; [`Error::Io`] when the
    /// source ends before the map.
    pub(super) fn read(
        source: &dyn ReadAt,
        information: [u64; 2],
        sector_size: u32,
    ) -> Result<Self> {
        let mut faults = Vec::new();
        let mut beyond_end = true;
        for offset in information {
            match read_information(source, offset) {
                Ok(found) => return Self::read_regions(source, &found, sector_size),
                Err(fault) => {
                    beyond_end &= offset >= source.size();
                    faults.push(format!("at {offset:#x}: {fault}"));
                }
            }
        }
        let what = format!(
            "the map that tells which areas of this encrypt-on-write volume are encrypted cannot be read ({})",
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
        let mut reserved: Vec<_> = information
            .copies
            .into_iter()
            .map(|copy| {
                copy..copy.saturating_add(u64::from(information.size).next_multiple_of(sector))
            })
            .collect();
        let mut regions = Vec::new();
        for (number, offset) in information.bitmaps.iter().enumerate() {
            let bitmap = read_bitmap(source, *offset, information.chunk_size).map_err(|fault| {
                let what = format!(
                    "the conversion bitmap of region {number} at {offset:#x} cannot be read ({fault}), so which of its areas are encrypted is not known"
                );
                unreadable(what, *offset >= source.size())
            })?;
            reserved.push(*offset..offset.saturating_add(bitmap.size.into()));
            let log = bitmap.log_offset;
            reserved.push(log..log.saturating_add(information.log_size.into()));
            regions.push(bitmap);
        }
        regions.sort_by_key(|bitmap| bitmap.region.start);
        let overlap = regions
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if a.region.end > b.region.start));
        if overlap {
            let what = "regions of the conversion map overlap".to_owned();
            return Err(unreadable(what, false));
        }
        Ok(Self {
            chunk_size: information.chunk_size,
            regions,
            reserved,
        })
    }

    /// Stretches of the volume in order, each encrypted or not, with the gaps between regions as
    /// `None`.
    pub fn stretches(&self) -> impl Iterator<Item = (Range<u64>, bool)> {
        let chunk = u64::from(self.chunk_size);
        self.regions.iter().flat_map(move |bitmap| {
            let Range { start, end } = bitmap.region;
            (0..(end - start).div_ceil(chunk)).map(move |number| {
                let first = start + number * chunk;
                let encrypted = bitmap.is_encrypted(number).unwrap_or(false);
                (first..(first + chunk).min(end), encrypted)
            })
        })
    }

    /// How many bytes lie in encrypted chunks, and how many in all.
    pub fn progress(&self) -> (u64, u64) {
        self.stretches()
            .fold((0, 0), |(done, all), (range, encrypted)| {
                let len = range.end - range.start;
                (done + if encrypted { len } else { 0 }, all + len)
            })
    }
}

/// A map that lies beyond the end of a cut-off image is missing; any other is damaged.
fn unreadable(what: String, beyond_end: bool) -> Error {
    if beyond_end {
        return Error::io(what, std::io::ErrorKind::UnexpectedEof.into());
    }
    Error::Damaged {
        what,
        copies: Vec::new(),
    }
}

fn read_information(source: &dyn ReadAt, offset: u64) -> Result<EowInformation, String> {
    let bytes = read_up_to(source, offset, INFORMATION_LEN).map_err(|error| error.to_string())?;
    EowInformation::parse(&bytes, offset).map_err(|fault| fault.to_string())
}

fn read_bitmap(source: &dyn ReadAt, offset: u64, chunk_size: u32) -> Result<EowBitmap, String> {
    let head = read_up_to(source, offset, 512).map_err(|error| error.to_string())?;
    let size = EowBitmap::size(&head, offset).map_err(|fault| fault.to_string())?;
    let bytes = read_up_to(source, offset, size).map_err(|error| error.to_string())?;
    EowBitmap::parse(&bytes, offset, chunk_size).map_err(|fault| fault.to_string())
}

/// `len` bytes from `offset` on, or as many as the source has.
pub(super) fn read_up_to(source: &dyn ReadAt, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
    let there = source.size().saturating_sub(offset);
    let len = usize::try_from(there).unwrap_or(usize::MAX).min(len);
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

/// The same, or as many as can be read before the first sector that cannot: metadata takes little
/// of its region.
pub(crate) fn read_what_is_there(
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
