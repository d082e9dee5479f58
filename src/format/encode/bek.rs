//! `.BEK` files (docs/format.md §4.5).

use zeroize::Zeroizing;

use super::block::{DatasetHeader, dataset};
use super::{STORED, external_info, guid, key, text};
use crate::format::FormatError;
use crate::format::bek::BekFile;
use crate::format::datum::{key_types, roles};
use crate::secret::SecretBytes;

/// The name that Windows gives an external key, in the file and in the protector.
pub(crate) const KEY_NAME: &str = "ExternalKey";

/// The content of a `.BEK` file: 156 bytes, or 180 with the volume's identifier, as Windows 11 writes
/// it.
pub(crate) fn bek(file: &BekFile) -> Result<SecretBytes, FormatError> {
    let mut parts = vec![text(roles::PROPERTY, KEY_NAME)?];
    if let Some(volume) = file.volume {
        parts.push(guid(roles::VOLUME_ID, volume)?);
    }
    parts.push(key(STORED, key_types::EXTERNAL_KEY, file.key.expose())?);
    let info = external_info(file.id, file.created, &parts)?;
    let head = DatasetHeader {
        id: file.id,
        // The first counter, as nothing in the file is sealed.
        next_nonce: 1,
        method: 0,
        created: file.written,
    };
    let mut bytes = Zeroizing::new(dataset(&head, &[info])?);
    Ok(SecretBytes::new(std::mem::take(&mut *bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::time::FileTime;
    use crate::guid::Guid;
    use crate::secret::ExternalKey;

    #[test]
    fn writes_what_the_parser_reads_in_the_sizes_of_windows() {
        for (volume, size) in [(None, 156), (Some(Guid::from_disk([8; 16])), 180)] {
            let file = BekFile {
                id: Guid::from_disk([7; 16]),
                created: FileTime(55),
                written: FileTime(66),
                volume,
                key: ExternalKey::from_bytes(&[6; 32]),
            };
            let bytes = bek(&file).unwrap();
            assert_eq!(bytes.len(), size);
            let read = BekFile::parse(bytes.expose()).unwrap();
            assert_eq!(
                (read.id, read.created, read.written, read.volume),
                (file.id, file.created, file.written, volume)
            );
            assert_eq!(read.key.expose(), file.key.expose());
        }
    }
}
