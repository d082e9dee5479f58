//! The metadata block: one region of 64 KiB, written three times (docs/format.md §2).

use sha2::{Digest as _, Sha256};

use super::{DatumBytes, StructureWriter, fault};
use crate::format::FormatError;
use crate::format::block::{
    DATASET_HEADER_LEN, HEADER_LEN, REGION_LEN, State, VALIDATION_HEADER_LEN,
};
use crate::format::boot::SIGNATURE;
use crate::format::time::FileTime;
use crate::guid::Guid;

/// Metadata version of Windows 7 and later.
const VERSION: u16 = 2;
/// Version of a dataset, in all samples (docs/format.md §2.3).
const DATASET_VERSION: u32 = 1;
/// The header counts the block's size in units of so many bytes (docs/format.md §2.1).
const SIZE_UNIT: usize = 16;

/// The header of a list of datums (docs/format.md §2.3).
pub(crate) struct DatasetHeader {
    /// Identifier of the volume, or of the key in a `.BEK` file.
    pub(crate) id: Guid,
    /// The counter for the next nonce.
    pub(crate) next_nonce: u32,
    /// Encryption method of the sectors; 0 for none.
    pub(crate) method: u16,
    /// When BitLocker was turned on, or the key was made.
    pub(crate) created: FileTime,
}

/// The header of a metadata block (docs/format.md §2.1).
pub(crate) struct BlockHeader {
    /// The state that the volume is in.
    pub(crate) state: State,
    /// The state that it is being converted to.
    pub(crate) next_state: State,
    /// Size of the volume in bytes; during a conversion, the watermark.
    pub(crate) encrypted_extent: u64,
    /// How many sectors, of the volume's sector size, were moved from its start.
    pub(crate) moved_sectors: u32,
    /// Offsets of the three copies, in bytes from the start of the volume.
    pub(crate) copies: [u64; 3],
    /// Where the moved sectors are, in bytes from the start of the volume.
    pub(crate) moved_to: u64,
    /// Header of the datums.
    pub(crate) dataset: DatasetHeader,
}

/// The part of a block that the checks cover: header, dataset and datums, padded. The checks are
/// added by [`BlockContent::region`].
pub(crate) struct BlockContent(Vec<u8>);

impl BlockContent {
    /// Lays out the headers and the datums, padded with zeros to a multiple of 16 bytes.
    ///
    /// # Errors
    /// The datums do not fit into a region.
    pub(crate) fn new(head: &BlockHeader, datums: &[DatumBytes]) -> Result<Self, FormatError> {
        let dataset = dataset(&head.dataset, datums)?;
        let len = HEADER_LEN
            .saturating_add(dataset.len())
            .next_multiple_of(SIZE_UNIT);
        let size = u16::try_from(len / SIZE_UNIT)
            .map_err(|_| fault("metadata block", format!("{len} bytes")))?;
        let mut writer = StructureWriter::new("metadata block", len);
        writer.put(0x00, SIGNATURE)?;
        writer.put(0x08, &size.to_le_bytes())?;
        writer.put(0x0A, &VERSION.to_le_bytes())?;
        writer.put(0x0C, &head.state.0.to_le_bytes())?;
        writer.put(0x0E, &head.next_state.0.to_le_bytes())?;
        writer.put(0x10, &head.encrypted_extent.to_le_bytes())?;
        writer.put(0x1C, &head.moved_sectors.to_le_bytes())?;
        writer.put(0x20, head.copies.map(u64::to_le_bytes).as_flattened())?;
        writer.put(0x38, &head.moved_to.to_le_bytes())?;
        writer.put(HEADER_LEN, &dataset)?;
        Ok(Self(writer.finish()))
    }

    /// Lays out a block with other datums. The headers are copied from `old` (the checked bytes of the
    /// block before), except for the sizes and the next nonce: so fields whose meaning is not known
    /// are kept.
    ///
    /// # Errors
    /// The datums do not fit into a region, or `old` is shorter than its headers.
    pub(crate) fn edited(
        old: &[u8],
        datums: &[DatumBytes],
        next_nonce: u32,
    ) -> Result<Self, FormatError> {
        let heads = HEADER_LEN.saturating_add(DATASET_HEADER_LEN);
        let heads = old
            .get(..heads)
            .ok_or_else(|| fault("metadata block", format!("only {} bytes", old.len())))?;
        let end = datums
            .iter()
            .map(DatumBytes::len)
            .fold(heads.len(), usize::saturating_add);
        let len = end.next_multiple_of(SIZE_UNIT);
        let size = u16::try_from(len / SIZE_UNIT)
            .map_err(|_| fault("metadata block", format!("{len} bytes")))?;
        let dataset_len = u32::try_from(end.saturating_sub(HEADER_LEN))
            .map_err(|_| fault("dataset", format!("{end} bytes")))?
            .to_le_bytes();
        let mut writer = StructureWriter::new("metadata block", len);
        writer.put(0, heads)?;
        writer.put(0x08, &size.to_le_bytes())?;
        writer.put(HEADER_LEN, &dataset_len)?;
        writer.put(HEADER_LEN.saturating_add(0x0C), &dataset_len)?;
        writer.put(HEADER_LEN.saturating_add(0x20), &next_nonce.to_le_bytes())?;
        let mut at = heads.len();
        for datum in datums {
            writer.put(at, datum.expose())?;
            at = at.saturating_add(datum.len());
        }
        Ok(Self(writer.finish()))
    }

    /// The SHA-256 that the validation datum must hold.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// The whole region, checks included. `validation` is [`hash`](Self::hash) as a KEY datum, sealed
    /// with the VMK; on a decrypted volume, which has no VMK, not sealed.
    ///
    /// # Errors
    /// Content and checks do not fit into a region.
    pub(crate) fn region(&self, validation: &DatumBytes) -> Result<Vec<u8>, FormatError> {
        let region_len = usize::try_from(REGION_LEN).unwrap_or(usize::MAX);
        let info_len = self.0.len();
        let mut writer = StructureWriter::new("metadata block", region_len);
        writer.put(0, &self.0)?;
        // The validation part fills what is left of the region (docs/format.md §2.4).
        let rest = u16::try_from(region_len.saturating_sub(info_len))
            .map_err(|_| fault("metadata block", format!("only {info_len} bytes")))?;
        let mut head = StructureWriter::new("validation", VALIDATION_HEADER_LEN);
        head.put(0, &rest.to_le_bytes())?;
        head.put(2, &VERSION.to_le_bytes())?;
        head.put(4, &crc32fast::hash(&self.0).to_le_bytes())?;
        writer.put(info_len, &head.finish())?;
        let datum = info_len.saturating_add(VALIDATION_HEADER_LEN);
        writer.put(datum, validation.expose())?;
        Ok(writer.finish())
    }
}

/// A dataset: header and datums. A `.BEK` file is one too.
pub(crate) fn dataset(head: &DatasetHeader, datums: &[DatumBytes]) -> Result<Vec<u8>, FormatError> {
    let len = datums
        .iter()
        .map(DatumBytes::len)
        .fold(DATASET_HEADER_LEN, usize::saturating_add);
    let size = u32::try_from(len).map_err(|_| fault("dataset", format!("{len} bytes")))?;
    let start = u32::try_from(DATASET_HEADER_LEN).unwrap_or(u32::MAX);
    let mut writer = StructureWriter::new("dataset", len);
    let sizes = [size, DATASET_VERSION, start, size];
    writer.put(0x00, sizes.map(u32::to_le_bytes).as_flattened())?;
    writer.put(0x10, &head.id.to_disk())?;
    writer.put(0x20, &head.next_nonce.to_le_bytes())?;
    // The method and the preferred method, which are equal on a volume that is not being changed.
    writer.put(0x24, &head.method.to_le_bytes())?;
    writer.put(0x26, &head.method.to_le_bytes())?;
    writer.put(0x28, &head.created.0.to_le_bytes())?;
    let mut at = DATASET_HEADER_LEN;
    for datum in datums {
        writer.put(at, datum.expose())?;
        at = at.saturating_add(datum.len());
    }
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::super::{STORED, key, text};
    use super::*;
    use crate::format::block::{MetadataBlock, ValidationHash};
    use crate::format::datum::{key_types, roles};

    #[test]
    fn writes_what_the_parser_reads() {
        let head = BlockHeader {
            state: State::ENCRYPTED,
            next_state: State::DECRYPTED,
            encrypted_extent: 0x640_0000,
            moved_sectors: 16,
            copies: [0x219_5000, 0x2C1_D000, 0x373_A000],
            moved_to: 0x21A_5000,
            dataset: DatasetHeader {
                id: Guid::from_disk([3; 16]),
                next_nonce: 10,
                method: 0x8004,
                created: FileTime(99),
            },
        };
        let datums = [text(roles::DESCRIPTION, "DESKTOP H: 7/4/2019").unwrap()];
        let content = BlockContent::new(&head, &datums).unwrap();
        let validation = key(STORED, key_types::VALIDATION_HASH, &content.hash()).unwrap();
        let region = content.region(&validation).unwrap();
        assert_eq!(region.len() as u64, REGION_LEN);
        let block = MetadataBlock::parse(&region, 0x219_5000).unwrap();
        assert!(block.validation.crc_matches);
        assert!(
            matches!(block.validation.hash, ValidationHash::Plain(hash) if hash == block.hash())
        );
        assert_eq!(block.version, 2);
        assert_eq!((block.state, block.next_state), (State(4), State(1)));
        assert_eq!(block.encrypted_extent, 0x640_0000);
        assert_eq!(block.moved_sectors, 16);
        assert_eq!(block.copies, head.copies);
        assert_eq!(block.header_source, head.moved_to);
        assert_eq!(block.dataset.id, head.dataset.id);
        assert_eq!(block.dataset.next_nonce, 10);
        assert_eq!(block.dataset.method, 0x8004);
        assert_eq!(block.dataset.created, FileTime(99));
        assert_eq!(block.description(), Some("DESKTOP H: 7/4/2019"));
    }

    #[test]
    fn refuses_more_datums_than_a_region_holds() {
        let head = DatasetHeader {
            id: Guid::from_disk([0; 16]),
            next_nonce: 1,
            method: 0,
            created: FileTime(0),
        };
        let block = BlockHeader {
            state: State::ENCRYPTED,
            next_state: State::ENCRYPTED,
            encrypted_extent: 0,
            moved_sectors: 16,
            copies: [0; 3],
            moved_to: 0,
            dataset: head,
        };
        let large = [key(STORED, 0, &vec![0; 0xFF60]).unwrap()];
        let validation = key(STORED, key_types::VALIDATION_HASH, &[0; 32]).unwrap();
        let fits = |content: BlockContent| content.region(&validation).is_ok();
        assert!(BlockContent::new(&block, &large).is_ok_and(|content| !fits(content)));
    }
}
