//! The metadata block: one region of 64 KiB, of which three copies lie on the volume
//! (docs/format.md §2).

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
const DATASET_VERSION: u32 = 1;
/// The block's size is counted in these (docs/format.md §2.1).
const SIZE_UNIT: usize = 16;

/// What stands at the front of a list of datums (docs/format.md §2.3).
pub(crate) struct DatasetHeader {
    /// Identifier of the volume, or of the key in a `.BEK` file.
    pub(crate) id: Guid,
    /// Counter that the next nonce takes.
    pub(crate) next_nonce: u32,
    /// Encryption method; zero for none.
    pub(crate) method: u16,
    /// When it was made.
    pub(crate) created: FileTime,
}

/// What stands at the front of a metadata block (docs/format.md §2.1).
pub(crate) struct BlockHeader {
    /// What is the case.
    pub(crate) state: State,
    /// What is wanted.
    pub(crate) next_state: State,
    /// Size of the volume in bytes, or the watermark.
    pub(crate) encrypted_extent: u64,
    /// Sectors of the volume's size that were moved from its start.
    pub(crate) moved_sectors: u32,
    /// Where the copies lie, in bytes.
    pub(crate) copies: [u64; 3],
    /// Where the moved sectors lie, in bytes.
    pub(crate) moved_to: u64,
    /// Head of the datums.
    pub(crate) dataset: DatasetHeader,
}

/// Header, dataset and datums as the checks cover them: complete but for the checks.
pub(crate) struct BlockContent(Vec<u8>);

impl BlockContent {
    /// Lays out header and datums, with zeros up to a multiple of 16.
    ///
    /// # Errors
    /// The datums do not fit a region.
    pub(crate) fn new(head: &BlockHeader, datums: &[DatumBytes]) -> Result<Self, FormatError> {
        let dataset = dataset(&head.dataset, datums)?;
        let len = HEADER_LEN
            .saturating_add(dataset.len())
            .next_multiple_of(SIZE_UNIT);
        let size = u16::try_from(len / SIZE_UNIT)
            .map_err(|_| fault("metadata block", format!("{len} bytes")))?;
        let mut page = StructureWriter::new("metadata block", len);
        page.put(0x00, SIGNATURE)?;
        page.put(0x08, &size.to_le_bytes())?;
        page.put(0x0A, &VERSION.to_le_bytes())?;
        page.put(0x0C, &head.state.0.to_le_bytes())?;
        page.put(0x0E, &head.next_state.0.to_le_bytes())?;
        page.put(0x10, &head.encrypted_extent.to_le_bytes())?;
        page.put(0x1C, &head.moved_sectors.to_le_bytes())?;
        page.put(0x20, head.copies.map(u64::to_le_bytes).as_flattened())?;
        page.put(0x38, &head.moved_to.to_le_bytes())?;
        page.put(HEADER_LEN, &dataset)?;
        Ok(Self(page.finish()))
    }

    /// Lays out a block anew with other datums: whatever else the headers of `old`, a block as the
    /// checks cover it, say stays as it is, but for the sizes and the next nonce.
    ///
    /// # Errors
    /// The datums do not fit a region, or `old` is shorter than its headers.
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
        let mut page = StructureWriter::new("metadata block", len);
        page.put(0, heads)?;
        page.put(0x08, &size.to_le_bytes())?;
        page.put(HEADER_LEN, &dataset_len)?;
        page.put(HEADER_LEN.saturating_add(0x0C), &dataset_len)?;
        page.put(HEADER_LEN.saturating_add(0x20), &next_nonce.to_le_bytes())?;
        let mut at = heads.len();
        for datum in datums {
            page.put(at, datum.expose())?;
            at = at.saturating_add(datum.len());
        }
        Ok(Self(page.finish()))
    }

    /// What the validation datum has to hold.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// The whole region, with its checks: `validation` is the hash as a KEY datum, sealed or, on a
    /// volume without a VMK, in the open.
    ///
    /// # Errors
    /// It does not fit.
    pub(crate) fn region(&self, validation: &DatumBytes) -> Result<Vec<u8>, FormatError> {
        let region_len = usize::try_from(REGION_LEN).unwrap_or(usize::MAX);
        let info_len = self.0.len();
        let mut page = StructureWriter::new("metadata block", region_len);
        page.put(0, &self.0)?;
        // The validation part fills what is left of the region (docs/format.md §2.4).
        let rest = u16::try_from(region_len.saturating_sub(info_len))
            .map_err(|_| fault("metadata block", format!("only {info_len} bytes")))?;
        let mut head = StructureWriter::new("validation", VALIDATION_HEADER_LEN);
        head.put(0, &rest.to_le_bytes())?;
        head.put(2, &VERSION.to_le_bytes())?;
        head.put(4, &crc32fast::hash(&self.0).to_le_bytes())?;
        page.put(info_len, &head.finish())?;
        let datum = info_len.saturating_add(VALIDATION_HEADER_LEN);
        page.put(datum, validation.expose())?;
        Ok(page.finish())
    }
}

/// A dataset: header and datums. Also what a `.BEK` file consists of.
pub(crate) fn dataset(head: &DatasetHeader, datums: &[DatumBytes]) -> Result<Vec<u8>, FormatError> {
    let len = datums
        .iter()
        .map(DatumBytes::len)
        .fold(DATASET_HEADER_LEN, usize::saturating_add);
    let size = u32::try_from(len).map_err(|_| fault("dataset", format!("{len} bytes")))?;
    let start = u32::try_from(DATASET_HEADER_LEN).unwrap_or(u32::MAX);
    let mut page = StructureWriter::new("dataset", len);
    let sizes = [size, DATASET_VERSION, start, size];
    page.put(0x00, sizes.map(u32::to_le_bytes).as_flattened())?;
    page.put(0x10, &head.id.to_disk())?;
    page.put(0x20, &head.next_nonce.to_le_bytes())?;
    // The method and the preferred method: what is and what would be chosen are the same here.
    page.put(0x24, &head.method.to_le_bytes())?;
    page.put(0x26, &head.method.to_le_bytes())?;
    page.put(0x28, &head.created.0.to_le_bytes())?;
    let mut at = DATASET_HEADER_LEN;
    for datum in datums {
        page.put(at, datum.expose())?;
        at = at.saturating_add(datum.len());
    }
    Ok(page.finish())
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
