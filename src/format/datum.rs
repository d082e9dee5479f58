//! Datums: the typed entries of metadata blocks and `.BEK` files (docs/format.md §3).
//!
//! Every datum begins with a header of four u16: size (of the whole datum), role, type, flags. Some
//! types have further datums nested after their fixed part. A datum of an unknown type, or of a
//! known type with an unexpected body, is no error: its bytes are kept ([`Body::Unknown`],
//! [`Body::Malformed`]), so that new versions of Windows do not make volumes unreadable. Only an
//! impossible size is an error, because the datums that follow cannot be found then.
//!
//! This is the lowest layer. Programs that ask for a protector's kind or a volume's description
//! use [`KeyProtector`] and [`MetadataBlock`](super::block::MetadataBlock).

use std::ops::Range;

use super::FormatError;
use super::text::utf16le;
use super::time::FileTime;
use super::tpm_blob::TpmBlob;
use super::wire::Fields;
use crate::guid::Guid;
use crate::secret::SecretBytes;

/// Bytes of the common header: size, role, type, flags.
pub(crate) const HEADER_LEN: usize = 8;

/// Deepest nesting accepted, to bound the recursion. Samples have three levels: protector, stretch
/// key, sealed key.
const MAX_DEPTH: usize = 8;
/// Most datums in one list, nested ones not counted. A volume with a hundred protectors has fewer
/// than a quarter of that.
const MAX_DATUMS: usize = 1024;

/// Datum types, the field at offset 4 (docs/format.md §3.2).
pub(crate) mod types {
    pub(crate) const ERASED: u16 = 0x00;
    pub(crate) const KEY: u16 = 0x01;
    pub(crate) const UNICODE: u16 = 0x02;
    pub(crate) const STRETCH_KEY: u16 = 0x03;
    pub(crate) const USE_KEY: u16 = 0x04;
    pub(crate) const AES_CCM: u16 = 0x05;
    pub(crate) const TPM_BLOB: u16 = 0x06;
    pub(crate) const BOOT_VALIDATION: u16 = 0x07;
    pub(crate) const VMK_INFO: u16 = 0x08;
    pub(crate) const EXTERNAL_INFO: u16 = 0x09;
    pub(crate) const UPDATE: u16 = 0x0A;
    pub(crate) const ERROR: u16 = 0x0B;
    pub(crate) const ASYMMETRIC_BLOB: u16 = 0x0C;
    pub(crate) const EXPORTED_PUBLIC_KEY: u16 = 0x0D;
    pub(crate) const PUBLIC_KEY_INFO: u16 = 0x0E;
    pub(crate) const VIRTUALIZATION: u16 = 0x0F;
    pub(crate) const SIMPLE: [u16; 3] = [0x10, 0x11, 0x13];
    pub(crate) const CONCAT_HASH_KEY: u16 = 0x12;
    pub(crate) const SIMPLE_LARGE: u16 = 0x14;
    pub(crate) const BACKUP_INFO: u16 = 0x15;
    pub(crate) const CBC_HMAC: u16 = 0x16;
    pub(crate) const GUID: u16 = 0x17;
    pub(crate) const HINT: u16 = 0x18;
}

/// Roles, the field at offset 2 (docs/format.md §3.3).
pub mod roles {
    /// No particular role: nested datums, and the content of sealed datums.
    pub const PROPERTY: u16 = 0x00;
    /// A key protector.
    pub const VMK_INFO: u16 = 0x02;
    /// The FVEK, sealed with the VMK.
    pub const FVEK: u16 = 0x03;
    /// The external key of a `.BEK` file.
    pub const EXTERNAL_INFO: u16 = 0x06;
    /// The volume's description.
    pub const DESCRIPTION: u16 = 0x07;
    /// The auto-unlock key, sealed with the VMK; not a second copy of the FVEK.
    pub const AUTO_UNLOCK_KEY: u16 = 0x0B;
    /// The public key of a certificate protector's certificate.
    pub const RECIPIENT_KEY: u16 = 0x0C;
    /// The organization's identifier, sealed with the VMK.
    pub const IDENTIFICATION: u16 = 0x0E;
    /// Where the first sectors of the volume were moved to.
    pub const VIRTUALIZATION: u16 = 0x0F;
    /// The 128-bit key of a recovery password, sealed with the VMK.
    pub const RECOVERY_KEY_BACKUP: u16 = 0x12;
    /// The stretched key of a recovery password, sealed with the VMK.
    pub const STRETCHED_KEY_BACKUP: u16 = 0x13;
    /// The name of the algorithm that stretches a recovery password in FIPS mode.
    pub const ALGORITHM: u16 = 0x14;
    /// The volume's identifier inside a `.BEK` file.
    pub const VOLUME_ID: u16 = 0x19;
}

/// Key types, the field at offset 8 of a KEY datum (docs/format.md §3.4).
pub mod key_types {
    /// The 128-bit key of a recovery password.
    pub const RECOVERY_KEY: u16 = 0x1000;
    /// In a stretch datum: a password is stretched.
    pub const PASSWORD: u16 = 0x1001;
    /// A clear key, or the intermediate key that a TPM releases.
    pub const CLEAR_KEY: u16 = 0x2000;
    /// An external key, or the auto-unlock key.
    pub const EXTERNAL_KEY: u16 = 0x2002;
    /// The volume master key.
    pub const VMK: u16 = 0x2003;
    /// In a stretch datum: a PIN is stretched. In a KEY datum: the SHA-256 of a PIN.
    pub const PIN: u16 = 0x2004;
    /// The SHA-256 of the metadata block.
    pub const VALIDATION_HASH: u16 = 0x2005;
    /// The intermediate key of a certificate protector.
    pub const CERTIFICATE_KEY: u16 = 0x2006;
    /// The stretched key of a password.
    pub const STRETCHED_PASSWORD: u16 = 0x2007;
    /// The stretched key of a recovery password.
    pub const STRETCHED_RECOVERY: u16 = 0x2008;
}

/// Flag of a stretch datum: the key is stretched by PBKDF2 instead of the usual chain of SHA-256
/// (docs/format.md §3.4).
pub const STRETCH_FLAG_PBKDF2: u16 = 0x0040;

/// An entry of the metadata: a role and a parsed value (docs/format.md §3.1).
#[derive(Debug)]
#[non_exhaustive]
pub struct Datum {
    /// What it is for; see [`roles`].
    pub role: u16,
    /// Its type as stored, which determines the layout of the body (docs/format.md §3.2).
    pub datum_type: u16,
    /// Bit 0 is set for datums on disk and clear for the content of sealed datums. A clear key has
    /// more bits; see [`KeyProtector::reboots_left`].
    pub flags: u16,
    /// Its offset, in bytes from the start of the volume or file.
    pub position: u64,
    /// Size in bytes, with header and nested datums.
    pub size: u16,
    /// The parsed body.
    pub body: Body,
}

/// A key protector: the VMK, sealed with a key that one kind of credential gives. Body of a VMK_INFO
/// datum.
#[derive(Debug)]
#[non_exhaustive]
pub struct KeyProtector {
    /// Its identifier, as Windows shows it. For a recovery password, Windows calls it the recovery
    /// key ID or password ID.
    pub id: Guid,
    /// When it was last changed.
    pub changed: FileTime,
    /// Hints; 0 in all samples.
    pub hints: u16,
    /// Its kind as stored: a set of bits (docs/format.md §3.8). See [`KeyProtector::kind`].
    pub code: u16,
    /// Flags of the datum; see [`KeyProtector::reboots_left`].
    pub flags: u16,
    /// The nested datums: name, salt, sealed VMK and others, depending on the kind.
    pub parts: Vec<Datum>,
}

/// The parsed body of a datum, by type.
#[derive(Debug)]
#[non_exhaustive]
pub enum Body {
    /// Deleted; the bytes were overwritten.
    Erased,
    /// An unencrypted key.
    Key(Key),
    /// A string, such as a name or the description.
    Text(String),
    /// How a password, PIN or recovery password is stretched, with backups sealed with the VMK.
    Stretch(Stretch),
    /// Which external or intermediate key is used, with a backup of it sealed with the VMK.
    UseKey(UseKey),
    /// Another datum, sealed with AES-CCM.
    Sealed(SealedDatum),
    /// An object sealed to a TPM.
    Tpm(TpmBlob),
    /// Hashes that the boot manager of Windows Vista and 7 compares.
    BootValidation(Vec<BootCheck>),
    /// A key protector.
    KeyProtector(KeyProtector),
    /// An external key with its identifier.
    ExternalKey(ExternalKeyInfo),
    /// A record of a change of keys; only its nested datums are understood.
    Update {
        /// The fixed part, not parsed.
        fixed: Vec<u8>,
        /// The nested datums.
        nested: Vec<Datum>,
    },
    /// A record of an error, not parsed: its layout is not known.
    ErrorRecord(Vec<u8>),
    /// The intermediate key of a certificate protector, encrypted with a public key.
    WrappedKey(Vec<u8>),
    /// The public key of a certificate.
    PublicKey(PublicKey),
    /// Which certificate a public-key protector belongs to.
    Certificate(CertificateInfo),
    /// Where the first sectors were moved to; from Windows 8 on, also facts about the volume and the
    /// version of Windows.
    Virtualization(Virtualization),
    /// A number; its meaning depends on the role.
    Number(u64),
    /// The label that is hashed together with a PIN (docs/format-tpm.md §3.2).
    ConcatHash(Vec<u8>),
    /// When a recovery password was saved.
    Backup(BackupInfo),
    /// Content sealed with AES-CBC and HMAC-SHA-512, not parsed. A single source says so, of the
    /// newest Windows.
    CbcHmac(Vec<u8>),
    /// An identifier.
    Id(Guid),
    /// A hint for the recovery screen, such as a partly masked mail address.
    Hint(String),
    /// A type that is not known, with the bytes of the body.
    Unknown(Vec<u8>),
    /// A known type whose body does not have the expected layout.
    Malformed {
        /// The bytes of the body.
        bytes: Vec<u8>,
        /// What is wrong with it.
        fault: FormatError,
    },
}

/// Body of a KEY datum.
#[derive(Debug)]
#[non_exhaustive]
pub struct Key {
    /// Which key it is; see [`key_types`]. For an FVEK, the encryption method
    /// (docs/format.md §4.7).
    pub key_type: u16,
    /// Key flags (docs/format.md §3.4).
    pub flags: u16,
    /// The key's bytes; their number depends on the type.
    pub data: SecretBytes,
}

/// Body of a STRETCH_KEY datum.
#[derive(Debug)]
#[non_exhaustive]
pub struct Stretch {
    /// What is stretched: [`key_types::PASSWORD`], [`key_types::PIN`] or
    /// [`key_types::RECOVERY_KEY`].
    pub key_type: u16,
    /// Key flags; see [`STRETCH_FLAG_PBKDF2`].
    pub flags: u16,
    /// The salt of the key stretching.
    pub salt: [u8; 16],
    /// Backups of the secret and of its stretched key, sealed with the VMK, and parameters.
    pub nested: Vec<Datum>,
}

/// Body of a USE_KEY datum.
#[derive(Debug)]
#[non_exhaustive]
pub struct UseKey {
    /// Which key is used; see [`key_types`].
    pub key_type: u16,
    /// Key flags (docs/format.md §3.4).
    pub flags: u16,
    /// Backups of that key, sealed with the VMK.
    pub nested: Vec<Datum>,
}

/// Body of an AES_CCM_ENC datum: another datum, sealed with AES-256-CCM (docs/format.md §4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedDatum {
    /// The nonce: a FILETIME of 8 bytes and a counter of 4, both little-endian.
    pub nonce: [u8; 12],
    /// The authentication tag.
    pub tag: [u8; 16],
    /// The encrypted datum.
    pub ciphertext: Vec<u8>,
}

impl SealedDatum {
    /// When it was sealed: the time in the nonce.
    pub fn time(&self) -> FileTime {
        let [a, b, c, d, e, f, g, h, ..] = self.nonce;
        FileTime(u64::from_le_bytes([a, b, c, d, e, f, g, h])).masked()
    }

    /// The counter in the nonce, which no two datums of a volume share.
    pub fn counter(&self) -> u32 {
        let [.., a, b, c, d] = self.nonce;
        u32::from_le_bytes([a, b, c, d])
    }
}

/// One entry of a VALIDATION_INFO datum (docs/format.md §3.11).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootCheck {
    /// 1 for the hash of a boot application, 2 for that of a boot configuration element.
    pub kind: u16,
    /// Flags as stored; their meaning is not known.
    pub flags: u16,
    /// Identifier of the boot configuration element.
    pub element: u32,
    /// The hash, padded with zeros to 32 bytes.
    pub hash: [u8; 32],
}

/// Body of an EXTERNAL_INFO datum, which a `.BEK` file holds (docs/format.md §3.12).
#[derive(Debug)]
#[non_exhaustive]
pub struct ExternalKeyInfo {
    /// Identifier of the key, and of the protector that it unlocks.
    pub id: Guid,
    /// When the key was made.
    pub time: FileTime,
    /// The key itself, its name, and from Windows 11 the volume's identifier.
    pub nested: Vec<Datum>,
}

/// An RSA public key, stored as a `BCRYPT_RSAPUBLIC_BLOB` of Windows' CNG (docs/format.md §3.13).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublicKey {
    /// Length of the modulus in bits.
    pub bits: u32,
    /// The public exponent, big-endian.
    pub exponent: Vec<u8>,
    /// The modulus, big-endian.
    pub modulus: Vec<u8>,
}

/// Which certificate a certificate or Network Unlock protector uses (docs/format.md §3.13).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateInfo {
    /// 2 for the thumbprint of a certificate, 8 for Network Unlock.
    pub kind: u32,
    /// The SHA-1 thumbprint of the certificate, usually 20 bytes.
    pub thumbprint: Vec<u8>,
    /// The bytes after the thumbprint; in Network Unlock's form, wrapped keys.
    pub rest: Vec<u8>,
}

/// Body of a VIRTUALIZATION_INFO datum (docs/format.md §3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Virtualization {
    /// Where the volume's first sectors were moved to, in bytes from the start of the volume.
    pub offset: u64,
    /// How many bytes were moved.
    pub size: u64,
    /// The fields that Windows 8 and later add.
    pub extension: Option<VirtualizationExtension>,
}

/// The fields that Windows 8 and later add to a VIRTUALIZATION_INFO datum (docs/format.md §3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VirtualizationExtension {
    /// Version of the extension; 5 in all samples.
    pub version: u16,
    /// Flags: 0x001 sectors of 4096 bytes, 0x040 encrypt-on-write, 0x100 conversion in progress, 0x800
    /// BitLocker To Go. Inferred from samples.
    pub flags: u64,
    /// Offset of the conversion log, in bytes from the start of the volume.
    pub log_offset: u64,
    /// Size of the conversion log, in bytes.
    pub log_size: u32,
    /// Sector size of the volume, in bytes.
    pub sector_size: u32,
    /// Physical sector size of the disk, in bytes.
    pub physical_sector_size: u32,
    /// Version of Windows that turned BitLocker on: major, minor, build.
    pub windows: (u32, u32, u32),
    /// 1 for a workstation, 2 for a domain controller, 3 for a server.
    pub product_type: u8,
    /// The byte range after the moved sectors that Windows reserves; empty if the datum has none. Its
    /// purpose is not known.
    pub spare: Range<u64>,
}

/// When a recovery password was saved (docs/format.md §3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupInfo {
    /// When it was first saved.
    pub first: FileTime,
    /// When it was last saved.
    pub last: FileTime,
    /// Code of the place that it was saved to; 8 is probably a file.
    pub kind: u16,
    /// Class of that place; meaning not known.
    pub class: u16,
}

impl Datum {
    /// Parses a list of datums that fills `bytes`, which were read `position` bytes into the volume or
    /// file.
    ///
    /// # Errors
    /// A datum is smaller than its header or larger than the rest of the list, there are more than
    /// 1024, or they are nested more than 8 levels deep.
    pub fn parse_list(bytes: &[u8], position: u64) -> Result<Vec<Self>, FormatError> {
        parse_list(Fields::new("datum list", bytes, position), 0)
    }

    /// Parses the one datum that fills `bytes`: the content of a sealed datum.
    ///
    /// # Errors
    /// As [`Datum::parse_list`], and if `bytes` are not exactly one datum.
    pub fn parse_one(bytes: &[u8]) -> Result<Self, FormatError> {
        let fields = Fields::new("datum", bytes, 0);
        let size = fields.u16(0)?;
        if usize::from(size) != bytes.len() {
            return Err(fields.fault(format!("size {size} in {} bytes", bytes.len())));
        }
        let mut list = parse_list(fields, 0)?;
        match (list.pop(), list.is_empty()) {
            (Some(datum), true) => Ok(datum),
            _ => Err(fields.fault("it is not exactly one datum")),
        }
    }

    /// The key, if this is a KEY datum.
    pub fn key(&self) -> Option<&Key> {
        match &self.body {
            Body::Key(key) => Some(key),
            _ => None,
        }
    }

    /// The sealed datum, if this is an AES_CCM_ENC datum.
    pub fn sealed(&self) -> Option<&SealedDatum> {
        match &self.body {
            Body::Sealed(sealed) => Some(sealed),
            _ => None,
        }
    }

    /// The text, if this is a UNICODE datum.
    pub fn text(&self) -> Option<&str> {
        match &self.body {
            Body::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The datums nested directly in this one; empty for types that have none.
    pub fn nested(&self) -> &[Datum] {
        match &self.body {
            Body::Stretch(Stretch { nested, .. })
            | Body::UseKey(UseKey { nested, .. })
            | Body::ExternalKey(ExternalKeyInfo { nested, .. })
            | Body::Update { nested, .. } => nested,
            Body::KeyProtector(protector) => &protector.parts,
            _ => &[],
        }
    }

    /// The type's name in docs/format.md §3.2.
    pub fn type_name(&self) -> &'static str {
        match self.datum_type {
            types::ERASED => "erased",
            types::KEY => "key",
            types::UNICODE => "text",
            types::STRETCH_KEY => "stretch key",
            types::USE_KEY => "use key",
            types::AES_CCM => "sealed datum",
            types::TPM_BLOB => "TPM blob",
            types::BOOT_VALIDATION => "boot validation",
            types::VMK_INFO => "key protector",
            types::EXTERNAL_INFO => "external key",
            types::UPDATE => "update record",
            types::ERROR => "error record",
            types::ASYMMETRIC_BLOB => "asymmetric blob",
            types::EXPORTED_PUBLIC_KEY => "public key",
            types::PUBLIC_KEY_INFO => "certificate",
            types::VIRTUALIZATION => "virtualization",
            0x10 | 0x11 | 0x13 | types::SIMPLE_LARGE => "number",
            types::CONCAT_HASH_KEY => "hash label",
            types::BACKUP_INFO => "backup record",
            types::CBC_HMAC => "CBC-HMAC blob",
            types::GUID => "identifier",
            types::HINT => "hint",
            _ => "unknown",
        }
    }
}

/// Parses the list that fills `fields`, at nesting level `depth`.
fn parse_list(fields: Fields<'_>, depth: usize) -> Result<Vec<Datum>, FormatError> {
    if depth > MAX_DEPTH {
        return Err(fields.fault("datums are nested too deeply"));
    }
    let mut list = Vec::new();
    let mut offset = 0usize;
    // Fewer bytes than a header has, or a size of 0, end the list (docs/format.md §3.1).
    while fields.bytes().len().saturating_sub(offset) >= HEADER_LEN {
        let size = fields.u16(offset)?;
        if size == 0 {
            break;
        }
        if usize::from(size) < HEADER_LEN {
            return Err(fields.fault(format!("a datum of {size} bytes at +{offset:#x}")));
        }
        if list.len() == MAX_DATUMS {
            return Err(fields.fault(format!("more than {MAX_DATUMS} datums in one list")));
        }
        let end = offset.saturating_add(usize::from(size));
        let datum = fields.part("datum", offset, end)?;
        list.push(Datum {
            role: datum.u16(2)?,
            datum_type: datum.u16(4)?,
            flags: datum.u16(6)?,
            position: datum.position(),
            size,
            body: parse_body(datum, depth),
        });
        offset = end;
    }
    Ok(list)
}

/// The body of a datum; one that cannot be parsed is kept as bytes.
fn parse_body(datum: Fields<'_>, depth: usize) -> Body {
    try_body(datum, depth).unwrap_or_else(|fault| Body::Malformed {
        bytes: datum.rest(HEADER_LEN).unwrap_or_default().to_vec(),
        fault,
    })
}

fn try_body(datum: Fields<'_>, depth: usize) -> Result<Body, FormatError> {
    let all = |offset| datum.rest(offset).map(<[u8]>::to_vec);
    let nested = |offset| {
        let list = datum.part("nested datums", offset, datum.bytes().len())?;
        parse_list(list, depth.saturating_add(1))
    };
    Ok(match datum.u16(4)? {
        types::ERASED => Body::Erased,
        types::KEY => Body::Key(Key {
            key_type: datum.u16(0x08)?,
            flags: datum.u16(0x0A)?,
            data: SecretBytes::new(all(0x0C)?),
        }),
        types::UNICODE => Body::Text(utf16le(datum.rest(HEADER_LEN)?)),
        types::STRETCH_KEY => Body::Stretch(Stretch {
            key_type: datum.u16(0x08)?,
            flags: datum.u16(0x0A)?,
            salt: datum.array(0x0C)?,
            nested: nested(0x1C)?,
        }),
        types::USE_KEY => Body::UseKey(UseKey {
            key_type: datum.u16(0x08)?,
            flags: datum.u16(0x0A)?,
            nested: nested(0x0C)?,
        }),
        types::AES_CCM => Body::Sealed(SealedDatum {
            nonce: datum.array(0x08)?,
            tag: datum.array(0x14)?,
            ciphertext: all(0x24)?,
        }),
        types::TPM_BLOB => Body::Tpm(TpmBlob::parse(datum, HEADER_LEN)?),
        types::BOOT_VALIDATION => Body::BootValidation(boot_checks(datum)?),
        types::VMK_INFO => Body::KeyProtector(KeyProtector {
            id: datum.guid(0x08)?,
            changed: FileTime(datum.u64(0x18)?),
            hints: datum.u16(0x20)?,
            code: datum.u16(0x22)?,
            flags: datum.u16(6)?,
            parts: nested(0x24)?,
        }),
        types::EXTERNAL_INFO => Body::ExternalKey(ExternalKeyInfo {
            id: datum.guid(0x08)?,
            time: FileTime(datum.u64(0x18)?),
            nested: nested(0x20)?,
        }),
        types::UPDATE => Body::Update {
            fixed: datum.slice(HEADER_LEN, 0x2C - HEADER_LEN)?.to_vec(),
            nested: nested(0x2C)?,
        },
        types::ERROR => Body::ErrorRecord(all(HEADER_LEN)?),
        types::ASYMMETRIC_BLOB => Body::WrappedKey(all(HEADER_LEN)?),
        types::EXPORTED_PUBLIC_KEY => Body::PublicKey(public_key(datum)?),
        types::PUBLIC_KEY_INFO => Body::Certificate(certificate(datum)?),
        types::VIRTUALIZATION => Body::Virtualization(virtualization(datum)?),
        kind if types::SIMPLE.contains(&kind) => Body::Number(datum.u32(HEADER_LEN)?.into()),
        types::SIMPLE_LARGE => Body::Number(datum.u64(HEADER_LEN)?),
        types::CONCAT_HASH_KEY => Body::ConcatHash(all(HEADER_LEN)?),
        types::BACKUP_INFO => Body::Backup(BackupInfo {
            first: FileTime(datum.u64(0x08)?),
            last: FileTime(datum.u64(0x10)?),
            kind: datum.u16(0x18)?,
            class: datum.u16(0x1A)?,
        }),
        types::CBC_HMAC => Body::CbcHmac(all(HEADER_LEN)?),
        types::GUID => Body::Id(datum.guid(HEADER_LEN)?),
        types::HINT => Body::Hint(utf16le(datum.rest(HEADER_LEN)?)),
        _ => Body::Unknown(all(HEADER_LEN)?),
    })
}

fn boot_checks(datum: Fields<'_>) -> Result<Vec<BootCheck>, FormatError> {
    const ENTRY: usize = 40;
    let entries = datum.rest(HEADER_LEN)?.chunks_exact(ENTRY);
    entries
        .map(|entry| {
            let entry = Fields::new("boot validation", entry, datum.position());
            Ok(BootCheck {
                kind: entry.u16(0)?,
                flags: entry.u16(2)?,
                element: entry.u32(4)?,
                hash: entry.array(8)?,
            })
        })
        .collect()
}

fn public_key(datum: Fields<'_>) -> Result<PublicKey, FormatError> {
    let blob = datum.part("public key", HEADER_LEN, datum.bytes().len())?;
    // BCRYPT_RSAPUBLIC_MAGIC; then four sizes and 8 bytes for the primes, which a public key lacks.
    if blob.slice(0, 4)? != b"RSA1" {
        return Err(blob.fault("it is not an RSA public key"));
    }
    let exponent_len = blob.u32(8)? as usize;
    let modulus_len = blob.u32(12)? as usize;
    let exponent = blob.slice(24, exponent_len)?.to_vec();
    let modulus = blob.slice(24usize.saturating_add(exponent_len), modulus_len)?;
    Ok(PublicKey {
        bits: blob.u32(4)?,
        exponent,
        modulus: modulus.to_vec(),
    })
}

fn certificate(datum: Fields<'_>) -> Result<CertificateInfo, FormatError> {
    /// Network Unlock: the thumbprint has a header of its own before it (from a single source).
    const NETWORK: u32 = 8;
    let info = datum.part("certificate", HEADER_LEN, datum.bytes().len())?;
    // The bytes are `gsin`; read as a little-endian number, `nisg`.
    if info.u32(0)? != 0x6E69_7367 {
        return Err(info.fault("it is not a certificate record"));
    }
    let kind = info.u32(8)?;
    let len = info.u32(12)? as usize;
    let data = info.slice(16, len)?;
    if kind != NETWORK {
        return Ok(CertificateInfo {
            kind,
            thumbprint: data.to_vec(),
            rest: Vec::new(),
        });
    }
    let data = Fields::new("network certificate", data, info.position());
    let thumbprint_len = data.u32(8)? as usize;
    Ok(CertificateInfo {
        kind,
        thumbprint: data.slice(16, thumbprint_len)?.to_vec(),
        rest: data.rest(thumbprint_len.saturating_add(16))?.to_vec(),
    })
}

/// The range that Windows reserves after the moved sectors (docs/format.md §3.9).
fn spare_area(datum: &Fields<'_>) -> Result<Range<u64>, FormatError> {
    /// Length of a datum that has the fields of the area.
    const END: usize = 0x60;
    if datum.bytes().len() < END {
        return Ok(0..0);
    }
    let start = datum.u64(0x54)?;
    Ok(start..start.saturating_add(datum.u32(0x5C)?.into()))
}

fn virtualization(datum: Fields<'_>) -> Result<Virtualization, FormatError> {
    // Windows 7 writes 0x18 bytes, later versions 0x54 or more (docs/format.md §3.9).
    let extension = if datum.bytes().len() >= 0x54 {
        Some(VirtualizationExtension {
            version: datum.u16(0x18)?,
            flags: datum.u64(0x20)?,
            log_offset: datum.u64(0x28)?,
            log_size: datum.u32(0x30)?,
            sector_size: datum.u32(0x34)?,
            physical_sector_size: datum.u32(0x38)?,
            windows: (datum.u32(0x3C)?, datum.u32(0x40)?, datum.u32(0x44)?),
            product_type: datum.u8(0x52)?,
            spare: spare_area(&datum)?,
        })
    } else {
        None
    };
    Ok(Virtualization {
        offset: datum.u64(0x08)?,
        size: datum.u64(0x10)?,
        extension,
    })
}
