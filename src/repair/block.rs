//! A metadata block at any offset of a source.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::block::{MetadataBlock, REGION_LEN};
use crate::format::time::FileTime;
use crate::source::ReadAt;
use crate::volume::read_available;

/// A metadata block that was found on a source.
#[derive(Debug)]
#[non_exhaustive]
pub struct FoundBlock {
    /// Its first byte, from the start of the source.
    pub offset: u64,
    /// Its content. The positions in it count from the start of the source.
    pub block: MetadataBlock,
}

impl FoundBlock {
    /// Whether its CRC-32 is right.
    pub fn is_sound(&self) -> bool {
        self.block.validation.crc_matches
    }

    /// What orders several blocks of a volume, the latest last: damaged before sound, then the counter
    /// for the next nonce, then the time of the last write.
    pub(super) fn rank(&self) -> (bool, u32, FileTime) {
        let written = self.block.last_written().unwrap_or_default();
        (self.is_sound(), self.block.dataset.next_nonce, written)
    }
}

/// The metadata block at `offset` of a source. Where its volume begins is not known, so the positions
/// in it count from the start of the source.
///
/// # Errors
/// [`Error::NotBitLocker`] when there is no block, [`Error::Io`] when it cannot be read.
pub fn block_at(source: &Arc<dyn ReadAt>, offset: u64) -> Result<MetadataBlock> {
    let len = usize::try_from(REGION_LEN).unwrap_or(0);
    let bytes = read_available(source, offset, len)
        .map_err(|error| Error::io(format!("cannot read the metadata at {offset:#x}"), error))?;
    MetadataBlock::parse(&bytes, offset).map_err(|fault| Error::not_bitlocker(fault.to_string()))
}
