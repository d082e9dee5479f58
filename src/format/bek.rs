//! `.BEK` files: an external key, and the identifier of the key protector that it belongs to
//! (docs/format.md §4.5).
//!
//! The file is a dataset, as in a metadata block, with one EXTERNAL_INFO datum. The key itself and
//! the volume's identifier are nested in that datum.

use super::FormatError;
use super::block::Dataset;
use super::datum::{Body, Datum, key_types, roles};
use super::time::FileTime;
use super::wire::Fields;
use crate::guid::Guid;
use crate::secret::ExternalKey;

/// Largest file that is read, in bytes. Windows writes 156 bytes, or 180 with the volume's
/// identifier; the margin is for files with datums that are not known.
pub const MAX_LEN: u64 = 0x1_0000;

/// The content of a `.BEK` file.
#[derive(Debug)]
#[non_exhaustive]
pub struct BekFile {
    /// Identifier of the key, and of the external-key protector that it unlocks.
    pub id: Guid,
    /// When the key was made.
    pub created: FileTime,
    /// When the file was made. A key can be saved again, long after it was made.
    pub written: FileTime,
    /// Identifier of the volume. Windows 11 writes it; older versions do not.
    pub volume: Option<Guid>,
    /// The external key, 256 bits, unencrypted in the file.
    pub key: ExternalKey,
}

impl BekFile {
    /// An external key that comes from elsewhere than a file. Identifier and time are zero: no key
    /// protector has that identifier, so the key is tried on every external-key protector.
    pub fn of_key(key: ExternalKey) -> Self {
        Self {
            id: Guid::from_disk([0; 16]),
            created: FileTime(0),
            written: FileTime(0),
            volume: None,
            key,
        }
    }

    /// Parses the content of a file.
    ///
    /// # Errors
    /// The content is not that of a `.BEK` file, or it is damaged.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let file = Fields::new(".BEK file", bytes, 0);
        let dataset = Dataset::parse(file)?;
        let (start, end) = dataset.datums;
        let datums = Datum::parse_list(file.part("datum list", start, end)?.bytes(), start as u64)?;
        let info = datums
            .iter()
            .find_map(|datum| match &datum.body {
                Body::ExternalKey(info) if datum.role == roles::EXTERNAL_INFO => Some(info),
                _ => None,
            })
            .ok_or_else(|| file.fault("it contains no external key"))?;
        let key = info
            .nested
            .iter()
            .filter_map(Datum::key)
            .find(|key| key.key_type == key_types::EXTERNAL_KEY)
            .and_then(|key| ExternalKey::from_slice(key.data.expose()))
            .ok_or_else(|| file.fault("the external key is missing or has the wrong length"))?;
        let volume = info.nested.iter().find_map(|datum| match datum.body {
            Body::Id(id) if datum.role == roles::VOLUME_ID => Some(id),
            _ => None,
        });
        Ok(Self {
            id: info.id,
            created: info.time,
            written: dataset.created,
            volume,
            key,
        })
    }
}
