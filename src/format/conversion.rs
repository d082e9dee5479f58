//! The conversion map of an encrypt-on-write volume (docs/format.md §5.6).
//!
//! ```text
//! information (two copies)   chunk size, offset of each region's bitmap
//!   bitmap (one per region)  the byte range of the volume that it covers
//!     record (two)           one bit per chunk: 1 encrypted, 0 not; written alternately
//! ```
//! Chunks are counted from the start of their region, which need not be a multiple of the chunk
//! size.

use std::ops::Range;

use super::FormatError;
use super::wire::Fields;

/// Bytes that [`EowInformation::parse`] may need. The structure stores its own size in 16 bits, so
/// none is larger.
pub const INFORMATION_LEN: usize = 0x1_0000;

/// Largest bitmap structure accepted, in bytes. A region of 256 MiB needs 0x600; this limit covers
/// regions of 100 TiB in chunks of 8 MiB, and bounds the memory that a forged size can claim.
pub const MAX_BITMAP_LEN: usize = 0x40_0000;

/// Smallest chunk accepted, in bytes. Windows uses 8 MiB, and a chunk consists of clusters, usually
/// of 4 KiB. With smaller chunks, a forged map would need more memory than the volume has bytes.
pub const MIN_CHUNK_LEN: u32 = 0x1000;

/// Largest conversion log accepted, in bytes. Windows uses 0x80C00. The range of a log reads as zeros
/// in the plaintext, so a forged size would hide data.
pub const MAX_LOG_LEN: u32 = 0x40_0000;

/// Fixed parts of the three structures, in bytes (docs/format.md §5.6).
const HEADER_LEN: usize = 0x38;
const BITMAP_HEADER_LEN: usize = 0x3C;
const RECORD_HEADER_LEN: usize = 0x24;

/// The header of a conversion map, of which a volume has two copies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EowInformation {
    /// Size of the structure on disk, in bytes.
    pub size: u16,
    /// Size of a chunk, the unit of conversion, in bytes; a power of two.
    pub chunk_size: u32,
    /// Size of each region's conversion log, in bytes.
    pub log_size: u32,
    /// Offsets of the two copies of this structure, in bytes from the start of the volume.
    pub copies: [u64; 2],
    /// Offset of each region's bitmap, in bytes from the start of the volume.
    pub bitmaps: Vec<u64>,
}

impl EowInformation {
    /// Parses the structure at the start of `bytes`, which were read `position` bytes into the
    /// volume.
    ///
    /// # Errors
    /// The signature is missing, the CRC-32 is wrong, or a size is impossible.
    pub fn parse(bytes: &[u8], position: u64) -> Result<Self, FormatError> {
        let fields = Fields::new("encrypt-on-write information", bytes, position);
        if fields.slice(0, 8)? != b"FVE-EOW\0" {
            return Err(fields.fault("no FVE-EOW signature"));
        }
        let size = fields.u16(0x0A)?;
        let whole = fields.part("encrypt-on-write information", 0, size.into())?;
        check_crc(whole, 0x24)?;
        let header = usize::from(whole.u16(0x08)?);
        let regions = whole.u32(0x20)? as usize;
        let list = whole.slice(header.max(HEADER_LEN), regions.saturating_mul(8))?;
        let chunk_size = whole.u32(0x14)?;
        if !chunk_size.is_power_of_two() || chunk_size < MIN_CHUNK_LEN {
            return Err(fields.fault(format!("chunks of {chunk_size} bytes are impossible")));
        }
        let log_size = whole.u32(0x18)?;
        if log_size > MAX_LOG_LEN {
            return Err(fields.fault(format!("conversion logs of {log_size} bytes are too large")));
        }
        let list = Fields::new("encrypt-on-write information", list, position);
        let bitmaps = (0..regions)
            .map(|region| list.u64(region.saturating_mul(8)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            size,
            chunk_size,
            log_size,
            copies: [whole.u64(0x28)?, whole.u64(0x30)?],
            bitmaps,
        })
    }
}

/// The bitmap of one region.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EowBitmap {
    /// The byte range of the volume that it covers.
    pub region: Range<u64>,
    /// Offset of the region's conversion log, in bytes from the start of the volume.
    pub log_offset: u64,
    /// Size of the structure with its two records on disk, in bytes.
    pub size: u32,
    /// Sequence number of the current record: the higher of the two.
    pub sequence: u64,
    /// One bit per chunk, from the region's start; the lowest bit of a word comes first.
    bits: Vec<u32>,
}

impl EowBitmap {
    /// How many bytes [`parse`](Self::parse) needs for the structure that starts at `bytes`, records
    /// included.
    ///
    /// # Errors
    /// The signature is missing, or the size is impossible.
    pub fn size(bytes: &[u8], position: u64) -> Result<usize, FormatError> {
        let fields = Fields::new("encrypt-on-write bitmap", bytes, position);
        if fields.slice(0, 10)? != b"FVE-EOWBM\0" {
            return Err(fields.fault("no FVE-EOWBM signature"));
        }
        let size = fields.u32(0x0C)? as usize;
        if !(BITMAP_HEADER_LEN..=MAX_BITMAP_LEN).contains(&size) {
            return Err(fields.fault(format!("its size of {size} bytes is impossible")));
        }
        Ok(size)
    }

    /// Parses the structure that fills `bytes`, for chunks of `chunk_size` bytes.
    ///
    /// # Errors
    /// The CRC-32 is wrong, a size is impossible, or neither record is valid.
    pub fn parse(bytes: &[u8], position: u64, chunk_size: u32) -> Result<Self, FormatError> {
        let fields = Fields::new("encrypt-on-write bitmap", bytes, position);
        let records = [fields.u32(0x2C)? as usize, fields.u32(0x30)? as usize];
        let record_len = fields.u32(0x34)? as usize;
        check_crc(fields.part("encrypt-on-write bitmap", 0, records[0])?, 0x38)?;
        let start = fields.u64(0x14)?;
        let len = fields.u64(0x1C)?;
        let end = start
            .checked_add(len)
            .filter(|end| *end > start)
            .ok_or_else(|| {
                fields.fault(format!(
                    "a region of {len} bytes at {start:#x} is impossible"
                ))
            })?;
        let chunks = len.div_ceil(u64::from(chunk_size.max(1)));
        // The records are written alternately, so after a power cut one of them is still valid.
        let (sequence, bits) = records
            .into_iter()
            .filter_map(|at| {
                let part = fields
                    .part("bitmap record", at, at.saturating_add(record_len))
                    .ok()?;
                record(part, chunks).ok()
            })
            .max_by_key(|(sequence, _)| *sequence)
            .ok_or_else(|| fields.fault("neither of its two records is valid"))?;
        Ok(Self {
            region: start..end,
            log_offset: fields.u64(0x24)?,
            size: fields.u32(0x0C)?,
            sequence,
            bits,
        })
    }

    /// Whether a chunk is encrypted, counted from 0 at the region's start. `None` beyond the bitmap.
    pub fn is_encrypted(&self, chunk: u64) -> Option<bool> {
        let word = usize::try_from(chunk / 32).ok()?;
        Some(self.bits.get(word)? >> (chunk % 32) & 1 == 1)
    }

    /// How many chunks of `chunk_size` bytes the region has; the last one may be shorter.
    pub fn chunks(&self, chunk_size: u32) -> u64 {
        let len = self.region.end.saturating_sub(self.region.start);
        len.div_ceil(u64::from(chunk_size.max(1)))
    }
}

/// Sequence number and bits of a record for a region of `chunks` chunks.
fn record(fields: Fields<'_>, chunks: u64) -> Result<(u64, Vec<u32>), FormatError> {
    if fields.slice(0, 10)? != b"FVE-EOWBR\0" {
        return Err(fields.fault("no FVE-EOWBR signature"));
    }
    let size = fields.u32(0x0C)? as usize;
    let whole = fields.part("bitmap record", 0, size)?;
    check_crc(whole, 0x20)?;
    if u64::from(whole.u32(0x10)?) < chunks {
        return Err(whole.fault("fewer bits than the region has chunks"));
    }
    let header = usize::from(whole.u16(0x0A)?).max(RECORD_HEADER_LEN);
    let words = usize::try_from(chunks.div_ceil(32)).unwrap_or(usize::MAX);
    let bits = whole.slice(header, words.saturating_mul(4))?;
    let bits = Fields::new("bitmap record", bits, whole.position());
    let bits = (0..words)
        .map(|word| bits.u32(word.saturating_mul(4)))
        .collect::<Result<_, _>>()?;
    Ok((whole.u64(0x14)?, bits))
}

/// Checks the CRC-32 at `at`, which is computed with its own four bytes as zeros.
fn check_crc(fields: Fields<'_>, at: usize) -> Result<(), FormatError> {
    let stored = fields.u32(at)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(fields.slice(0, at)?);
    hasher.update(&[0; 4]);
    hasher.update(fields.rest(at.saturating_add(4))?);
    if hasher.finalize() == stored {
        return Ok(());
    }
    Err(fields.fault("its CRC-32 does not match its content"))
}
