//! Writes structures: the inverse of the parsers. Each function takes typed values and returns the
//! bytes of one structure.
//!
//! ```text
//! datums (here)      header, body, nested datums
//!   block            header, dataset and datums, CRC-32, sealed hash
//!   boot             sector 0
//!   conversion       information, bitmaps and records of encrypt-on-write
//!   bek              the .BEK file of an external key
//!   certificate      public key and wrapped key of a certificate protector
//!   tpm              an object sealed to a TPM, and a PIN
//! ```
//! Nothing here makes random numbers, reads a clock or encrypts. To seal a datum, the caller takes
//! its bytes from here, encrypts them, and passes the result back as a [`SealedDatum`]. Only the
//! forms of docs/format.md §7.1 can be written; tests that need other forms change the bytes
//! afterwards.

pub(crate) mod bek;
pub(crate) mod block;
pub(crate) mod boot;
#[cfg(feature = "certificates")]
pub(crate) mod certificate;
#[cfg(feature = "testing")]
pub(crate) mod conversion;
pub(crate) mod tpm;

use zeroize::Zeroizing;

use super::FormatError;
use super::datum::{self, SealedDatum, Virtualization, roles, types};
use super::text::to_utf16le;
use super::time::FileTime;
use crate::guid::Guid;

/// Flag of every datum on disk: it is inside a container. libbde refuses nested datums without it
/// (docs/format.md §3.1).
pub(crate) const STORED: u16 = 0x0001;
/// Flags of the content of a sealed datum: none (docs/format.md §3.1).
pub(crate) const SEALED: u16 = 0x0000;

/// Version of the extension of the virtualization datum, in all samples (docs/format.md §3.9).
const EXTENSION_VERSION: u16 = 5;
/// Its length field, in all samples: from its version to the end of the datum.
const EXTENSION_LEN: u16 = 0x4C;
/// Length of the virtualization datum with its extension, in bytes.
const VIRTUALIZATION_LEN: usize = 0x64;

/// One datum in the form on disk. Wiped when dropped, because some datums hold keys.
pub(crate) struct DatumBytes(Zeroizing<Vec<u8>>);

impl DatumBytes {
    /// The whole datum, header included.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// A copy of a datum that was read from a volume.
    pub(crate) fn as_read(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// Replaces the nested sealed datum that begins `at` bytes into this one by another of the same
    /// length, and keeps its header.
    ///
    /// # Errors
    /// The new content would end after this datum.
    pub(crate) fn reseal(&mut self, at: usize, sealed: &SealedDatum) -> Result<(), FormatError> {
        let mut at = at.saturating_add(datum::HEADER_LEN);
        for field in [&sealed.nonce[..], &sealed.tag, &sealed.ciphertext] {
            let end = at.saturating_add(field.len());
            self.0
                .get_mut(at..end)
                .ok_or_else(|| fault("datum", format!("a sealed datum that ends at {end}")))?
                .copy_from_slice(field);
            at = end;
        }
        Ok(())
    }

    /// Length in bytes, header included.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A datum of any type: its header, then `fixed`, then the nested datums.
///
/// # Errors
/// The datum would have more than 65,535 bytes, the most that its size field can hold.
pub(crate) fn datum(
    role: u16,
    datum_type: u16,
    flags: u16,
    fixed: &[&[u8]],
    nested: &[DatumBytes],
) -> Result<DatumBytes, FormatError> {
    let parts = || {
        fixed
            .iter()
            .copied()
            .chain(nested.iter().map(DatumBytes::expose))
    };
    let body: usize = parts().map(<[u8]>::len).sum();
    let len = datum::HEADER_LEN.saturating_add(body);
    let size = u16::try_from(len).map_err(|_| fault("datum", format!("{len} bytes")))?;
    // Allocated once at full size: growing would move the bytes and leave a copy of keys in freed
    // memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(len));
    for field in [size, role, datum_type, flags] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    parts().for_each(|part| bytes.extend_from_slice(part));
    Ok(DatumBytes(bytes))
}

/// A KEY datum (docs/format.md §3.4); `flags` are [`STORED`] or [`SEALED`].
pub(crate) fn key(flags: u16, key_type: u16, key: &[u8]) -> Result<DatumBytes, FormatError> {
    let head = [key_type.to_le_bytes(), [0; 2]];
    let fixed = [head.as_flattened(), key];
    datum(roles::PROPERTY, types::KEY, flags, &fixed, &[])
}

/// A UNICODE datum with its terminating NUL.
pub(crate) fn text(role: u16, text: &str) -> Result<DatumBytes, FormatError> {
    datum(role, types::UNICODE, STORED, &[&to_utf16le(text)], &[])
}

/// A UNICODE datum with its terminating NUL, as the content of a sealed datum.
pub(crate) fn sealed_text(text: &str) -> Result<DatumBytes, FormatError> {
    let role = roles::PROPERTY;
    datum(role, types::UNICODE, SEALED, &[&to_utf16le(text)], &[])
}

/// An AES_CCM_ENC datum (docs/format.md §3.7).
pub(crate) fn sealed(role: u16, sealed: &SealedDatum) -> Result<DatumBytes, FormatError> {
    let fixed: [&[u8]; 3] = [&sealed.nonce, &sealed.tag, &sealed.ciphertext];
    datum(role, types::AES_CCM, STORED, &fixed, &[])
}

/// A STRETCH_KEY datum with the backups sealed by the VMK (docs/format.md §3.5).
pub(crate) fn stretch(
    key_type: u16,
    salt: &[u8; 16],
    backups: &[DatumBytes],
) -> Result<DatumBytes, FormatError> {
    let head = [key_type.to_le_bytes(), [0; 2]];
    let fixed = [head.as_flattened(), salt];
    datum(roles::PROPERTY, types::STRETCH_KEY, STORED, &fixed, backups)
}

/// A USE_KEY datum with the backup sealed by the VMK (docs/format.md §3.6).
pub(crate) fn use_key(key_type: u16, backups: &[DatumBytes]) -> Result<DatumBytes, FormatError> {
    let head = [key_type.to_le_bytes(), [0; 2]];
    let fixed = [head.as_flattened()];
    datum(roles::PROPERTY, types::USE_KEY, STORED, &fixed, backups)
}

/// The fixed part of a VMK_INFO datum (docs/format.md §3.8).
pub(crate) struct ProtectorHeader {
    /// Identifier of the protector.
    pub(crate) id: Guid,
    /// When it was last changed.
    pub(crate) changed: FileTime,
    /// Its kind: a set of bits.
    pub(crate) code: u16,
    /// Flags of the datum: [`STORED`]; a clear key has more (docs/format.md §3.1).
    pub(crate) flags: u16,
}

/// A VMK_INFO datum.
pub(crate) fn protector(
    head: &ProtectorHeader,
    parts: &[DatumBytes],
) -> Result<DatumBytes, FormatError> {
    const HINTS: [u8; 2] = [0; 2];
    let fixed: [&[u8]; 4] = [
        &head.id.to_disk(),
        &head.changed.0.to_le_bytes(),
        &HINTS,
        &head.code.to_le_bytes(),
    ];
    datum(roles::VMK_INFO, types::VMK_INFO, head.flags, &fixed, parts)
}

/// An EXTERNAL_INFO datum (docs/format.md §3.12).
pub(crate) fn external_info(
    id: Guid,
    time: FileTime,
    parts: &[DatumBytes],
) -> Result<DatumBytes, FormatError> {
    let fixed: [&[u8]; 2] = [&id.to_disk(), &time.0.to_le_bytes()];
    let role = roles::EXTERNAL_INFO;
    datum(role, types::EXTERNAL_INFO, STORED, &fixed, parts)
}

/// A GUID datum.
pub(crate) fn guid(role: u16, id: Guid) -> Result<DatumBytes, FormatError> {
    datum(role, types::GUID, STORED, &[&id.to_disk()], &[])
}

/// A VIRTUALIZATION_INFO datum: the short form of Windows 7 if there is no extension, otherwise the
/// form of Windows 8 and later (docs/format.md §3.9).
pub(crate) fn virtualization(info: &Virtualization) -> Result<DatumBytes, FormatError> {
    let place = [info.offset.to_le_bytes(), info.size.to_le_bytes()];
    let role = roles::VIRTUALIZATION;
    let Some(extension) = &info.extension else {
        let fixed = [place.as_flattened()];
        return datum(role, types::VIRTUALIZATION, STORED, &fixed, &[]);
    };
    let mut writer = StructureWriter::new("virtualization", VIRTUALIZATION_LEN);
    writer.put(0x08, place.as_flattened())?;
    writer.put(0x18, &EXTENSION_VERSION.to_le_bytes())?;
    writer.put(0x1A, &EXTENSION_LEN.to_le_bytes())?;
    writer.put(0x20, &extension.flags.to_le_bytes())?;
    writer.put(0x28, &extension.log_offset.to_le_bytes())?;
    writer.put(0x30, &extension.log_size.to_le_bytes())?;
    writer.put(0x34, &extension.sector_size.to_le_bytes())?;
    writer.put(0x38, &extension.physical_sector_size.to_le_bytes())?;
    let (major, minor, build) = extension.windows;
    writer.put(0x3C, &major.to_le_bytes())?;
    writer.put(0x40, &minor.to_le_bytes())?;
    writer.put(0x44, &build.to_le_bytes())?;
    writer.put(0x52, &[extension.product_type])?;
    let spare = &extension.spare;
    writer.put(0x54, &spare.start.to_le_bytes())?;
    let spare_len = u32::try_from(spare.end.saturating_sub(spare.start)).unwrap_or(u32::MAX);
    writer.put(0x5C, &spare_len.to_le_bytes())?;
    let bytes = writer.finish();
    let body = bytes.get(datum::HEADER_LEN..).unwrap_or_default();
    datum(role, types::VIRTUALIZATION, STORED, &[body], &[])
}

/// Writes a structure of a known size field by field. Bytes that are not written are zero.
pub(crate) struct StructureWriter {
    structure: &'static str,
    bytes: Vec<u8>,
}

impl StructureWriter {
    /// A structure of `len` zero bytes; its name is for errors.
    pub(crate) fn new(structure: &'static str, len: usize) -> Self {
        Self {
            structure,
            bytes: vec![0; len],
        }
    }

    /// Writes `field` at `offset`.
    ///
    /// # Errors
    /// The field would end after the structure.
    pub(crate) fn put(&mut self, offset: usize, field: &[u8]) -> Result<(), FormatError> {
        let end = offset.saturating_add(field.len());
        let len = self.bytes.len();
        let structure = self.structure;
        self.bytes
            .get_mut(offset..end)
            .ok_or_else(|| fault(structure, format!("{end} bytes do not fit its {len}")))?
            .copy_from_slice(field);
        Ok(())
    }

    /// Writes the CRC-32 of the first `len` bytes at `offset`. The four bytes of the CRC-32 itself
    /// count as zeros (docs/format.md §5.6).
    #[cfg(feature = "testing")]
    pub(crate) fn put_crc(&mut self, offset: usize, len: usize) -> Result<(), FormatError> {
        self.put(offset, &[0; 4])?;
        let crc = crc32fast::hash(self.bytes.get(..len).unwrap_or_default());
        self.put(offset, &crc.to_le_bytes())
    }

    /// The bytes of the structure.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// The error that a structure cannot be written.
fn fault(structure: &'static str, what: String) -> FormatError {
    FormatError {
        structure,
        position: 0,
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::datum::{Body, Datum, VirtualizationExtension, key_types};

    #[test]
    fn a_sealed_key_has_the_sizes_of_the_samples() {
        for (key_len, size) in [(16, 0x40), (32, 0x50), (64, 0x70)] {
            let content = key(SEALED, 0x8004, &vec![7; key_len]).unwrap();
            let boxed = SealedDatum {
                nonce: [1; 12],
                tag: [2; 16],
                ciphertext: content.expose().to_vec(),
            };
            assert_eq!(sealed(roles::FVEK, &boxed).unwrap().len(), size);
        }
    }

    #[test]
    fn writes_what_the_parser_reads() {
        let backup = sealed(
            roles::RECOVERY_KEY_BACKUP,
            &SealedDatum {
                nonce: [1; 12],
                tag: [2; 16],
                ciphertext: vec![3; 28],
            },
        )
        .unwrap();
        let stretched = stretch(key_types::RECOVERY_KEY, &[9; 16], &[backup]).unwrap();
        let head = ProtectorHeader {
            id: Guid::from_disk([5; 16]),
            changed: FileTime(77),
            code: 0x0800,
            flags: STORED,
        };
        let bytes = protector(&head, &[text(0, "DiskPassword").unwrap(), stretched]).unwrap();
        let datum = Datum::parse_one(bytes.expose()).unwrap();
        let Body::KeyProtector(read) = &datum.body else {
            panic!("{datum:?}");
        };
        assert_eq!(
            (read.id, read.changed, read.code),
            (head.id, head.changed, 0x0800)
        );
        assert_eq!(read.name(), Some("DiskPassword"));
        assert_eq!(read.recovery_key_backup().unwrap().tag, [2; 16]);
        assert_eq!(read.stretch().unwrap().salt, [9; 16]);
    }

    #[test]
    fn the_virtualization_datum_comes_in_two_lengths() {
        let mut info = Virtualization {
            offset: 0x21A_5000,
            size: 0x2000,
            extension: None,
        };
        assert_eq!(virtualization(&info).unwrap().len(), 0x18);
        info.extension = Some(VirtualizationExtension {
            version: 5,
            flags: 0xA,
            log_offset: 0,
            log_size: 0,
            sector_size: 512,
            physical_sector_size: 512,
            windows: (10, 0, 16299),
            product_type: 1,
            spare: 0x21A_7000..0x21B_7000,
        });
        let bytes = virtualization(&info).unwrap();
        assert_eq!(bytes.len(), 0x64);
        let datum = Datum::parse_one(bytes.expose()).unwrap();
        assert!(matches!(&datum.body, Body::Virtualization(read) if *read == info));
        assert_eq!(
            bytes.expose()[0x54..0x60],
            *b"\x00\x70\x1a\x02\0\0\0\0\0\0\x01\0"
        );
    }

    #[test]
    fn refuses_a_datum_that_is_too_large() {
        assert!(key(STORED, 0, &vec![0; 0xFFF3]).is_ok());
        assert!(key(STORED, 0, &vec![0; 0xFFF4]).is_err());
    }
}
