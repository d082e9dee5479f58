//! The conversion map of an encrypt-on-write volume (docs/format.md §5.6).

use std::ops::Range;

use super::{StructureWriter, fault};
use crate::format::FormatError;

/// Fixed parts of the three structures, in bytes.
const HEADER_LEN: u16 = 0x38;
const BITMAP_HEADER_LEN: u16 = 0x3C;
const RECORD_HEADER_LEN: u16 = 0x24;

/// Offsets of the two records in a bitmap structure, as in every sample. All samples have sectors of
/// 512 bytes, and header and records fill one each.
const RECORDS: [u32; 2] = [0x200, 0x400];
/// Length of a record, in bytes.
const RECORD_LEN: u32 = 0x200;
/// Length of a bitmap structure with its two records, in bytes.
pub(crate) const BITMAP_LEN: u32 = 0x600;

/// The fields of a conversion map's header.
pub(crate) struct InformationFields<'a> {
    /// Bytes per sector.
    pub(crate) sector_size: u32,
    /// Bytes per chunk.
    pub(crate) chunk_size: u32,
    /// Size of each region's conversion log, in bytes.
    pub(crate) log_size: u32,
    /// Offsets of the two copies of this structure, in bytes from the start of the volume.
    pub(crate) copies: [u64; 2],
    /// Offset of each region's bitmap, in bytes from the start of the volume.
    pub(crate) bitmaps: &'a [u64],
}

/// The header of a conversion map, to be written twice.
pub(crate) fn information(fields: &InformationFields<'_>) -> Result<Vec<u8>, FormatError> {
    const NAME: &str = "encrypt-on-write information";
    let regions = fields.bitmaps.len();
    let len = usize::from(HEADER_LEN).saturating_add(regions.saturating_mul(8));
    let size = u16::try_from(len).map_err(|_| fault(NAME, format!("{regions} regions")))?;
    let regions = u32::try_from(regions).unwrap_or(u32::MAX);
    let mut writer = StructureWriter::new(NAME, len);
    writer.put(0x00, b"FVE-EOW\0")?;
    writer.put(0x08, &HEADER_LEN.to_le_bytes())?;
    writer.put(0x0A, &size.to_le_bytes())?;
    writer.put(0x0C, &fields.sector_size.to_le_bytes())?;
    writer.put(0x10, &fields.sector_size.to_le_bytes())?;
    writer.put(0x14, &fields.chunk_size.to_le_bytes())?;
    writer.put(0x18, &fields.log_size.to_le_bytes())?;
    writer.put(0x1C, &(fields.log_size / 2).to_le_bytes())?;
    writer.put(0x20, &regions.to_le_bytes())?;
    writer.put(0x28, fields.copies.map(u64::to_le_bytes).as_flattened())?;
    let mut at = usize::from(HEADER_LEN);
    for bitmap in fields.bitmaps {
        writer.put(at, &bitmap.to_le_bytes())?;
        at = at.saturating_add(8);
    }
    writer.put_crc(0x24, len)?;
    Ok(writer.finish())
}

/// The fields of one region's bitmap.
pub(crate) struct BitmapFields {
    /// Number of the region, from 0.
    pub(crate) index: u32,
    /// The byte range of the volume that it covers.
    pub(crate) region: Range<u64>,
    /// Offset of the region's conversion log, in bytes from the start of the volume.
    pub(crate) log_offset: u64,
    /// The two records; the one with the higher sequence number is current.
    pub(crate) records: [Record; 2],
}

/// A record: which chunks of a region are encrypted.
pub(crate) struct Record {
    /// Sequence number, one higher with each record written.
    pub(crate) sequence: u64,
    /// For each chunk, whether it is encrypted.
    pub(crate) encrypted: Vec<bool>,
}

/// A bitmap structure with its records.
pub(crate) fn bitmap(fields: &BitmapFields) -> Result<Vec<u8>, FormatError> {
    let mut writer = StructureWriter::new("encrypt-on-write bitmap", BITMAP_LEN as usize);
    let Range { start, end } = fields.region;
    writer.put(0x00, b"FVE-EOWBM\0")?;
    writer.put(0x0A, &BITMAP_HEADER_LEN.to_le_bytes())?;
    writer.put(0x0C, &BITMAP_LEN.to_le_bytes())?;
    writer.put(0x10, &fields.index.to_le_bytes())?;
    writer.put(0x14, &start.to_le_bytes())?;
    writer.put(0x1C, &end.saturating_sub(start).to_le_bytes())?;
    writer.put(0x24, &fields.log_offset.to_le_bytes())?;
    writer.put(0x2C, RECORDS.map(u32::to_le_bytes).as_flattened())?;
    writer.put(0x34, &RECORD_LEN.to_le_bytes())?;
    for (at, content) in RECORDS.into_iter().zip(&fields.records) {
        writer.put(at as usize, &record(content)?)?;
    }
    writer.put_crc(0x38, RECORDS[0] as usize)?;
    Ok(writer.finish())
}

fn record(fields: &Record) -> Result<Vec<u8>, FormatError> {
    let mut writer = StructureWriter::new("bitmap record", RECORD_LEN as usize);
    let bits = u32::try_from(fields.encrypted.len()).unwrap_or(u32::MAX);
    writer.put(0x00, b"FVE-EOWBR\0")?;
    writer.put(0x0A, &RECORD_HEADER_LEN.to_le_bytes())?;
    writer.put(0x0C, &RECORD_LEN.to_le_bytes())?;
    writer.put(0x10, &bits.to_le_bytes())?;
    writer.put(0x14, &fields.sequence.to_le_bytes())?;
    // The samples have 0 in a first record and 2 in later ones; the meaning is inferred.
    let changed = if fields.sequence == 0 { 0u32 } else { 2 };
    writer.put(0x1C, &changed.to_le_bytes())?;
    let mut at = usize::from(RECORD_HEADER_LEN);
    for chunks in fields.encrypted.chunks(32) {
        // The bits that no chunk owns stay set: they must not be taken for plain chunks.
        let word = chunks
            .iter()
            .zip(0u32..)
            .filter(|(encrypted, _)| !**encrypted)
            .fold(u32::MAX, |word, (_, bit)| word & !(1 << bit));
        writer.put(at, &word.to_le_bytes())?;
        at = at.saturating_add(4);
    }
    writer.put_crc(0x20, RECORD_LEN as usize)?;
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::conversion::{EowBitmap, EowInformation};

    #[test]
    fn writes_what_the_parser_reads() {
        let bytes = information(&InformationFields {
            sector_size: 512,
            chunk_size: 0x8000,
            log_size: 0x1000,
            copies: [0x1000, 0x2000],
            bitmaps: &[0x3000, 0x5000, 0x7000],
        })
        .unwrap();
        let read = EowInformation::parse(&bytes, 0x1000).unwrap();
        assert_eq!(read.size, 0x50);
        assert_eq!((read.chunk_size, read.log_size), (0x8000, 0x1000));
        assert_eq!(read.copies, [0x1000, 0x2000]);
        assert_eq!(read.bitmaps, [0x3000, 0x5000, 0x7000]);
    }

    #[test]
    fn the_record_with_the_higher_sequence_number_is_used() {
        let encrypted: Vec<bool> = (0..40).map(|chunk| chunk % 3 != 0).collect();
        let bytes = bitmap(&BitmapFields {
            index: 2,
            region: 0x2000..0x2000 + 40 * 0x8000,
            log_offset: 0x9000,
            records: [
                Record {
                    sequence: 5,
                    encrypted: encrypted.clone(),
                },
                Record {
                    sequence: 4,
                    encrypted: vec![true; 40],
                },
            ],
        })
        .unwrap();
        let read = EowBitmap::parse(&bytes, 0x3000, 0x8000).unwrap();
        assert_eq!(read.region, 0x2000..0x2000 + 40 * 0x8000);
        assert_eq!(
            (read.log_offset, read.size, read.sequence),
            (0x9000, 0x600, 5)
        );
        for (chunk, encrypted) in encrypted.into_iter().enumerate() {
            assert_eq!(read.is_encrypted(chunk as u64), Some(encrypted), "{chunk}");
        }
    }
}
