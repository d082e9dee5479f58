//! Datums: the typed entries that metadata and `.BEK` files are made of (docs/format.md §3).
//!
//! Every datum begins with eight bytes: size (of the whole, u16), role, type, flags. Some types
//! carry further datums behind their fixed part. Types that we do not know, and known ones whose
//! body is not as described, are kept as they are: shown, never fatal. Only a size that leaves the
//! list broken is an error, for then nothing behind it can be trusted.

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

/// Deepest nesting accepted. Three levels have been seen (protector, stretch key, sealed key).
const MAX_DEPTH: usize = 8;
/// Most datums of one list, those nested in them not counted. A volume with a hundred protectors
/// has less than a quarter of it.
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
    /// No role of its own.
    pub const PROPERTY: u16 = 0x00;
    /// A key protector.
    pub const VMK_INFO: u16 = 0x02;
    /// The sealed sector key.
    pub const FVEK: u16 = 0x03;
    /// The external key of a `.BEK` file.
    pub const EXTERNAL_INFO: u16 = 0x06;
    /// The volume's description.
    pub const DESCRIPTION: u16 = 0x07;
    /// The sealed auto-unlock master key: not a second copy of the sector key.
    pub const AUTO_UNLOCK_KEY: u16 = 0x0B;
    /// The public key of a certificate protector's certificate.
    pub const RECIPIENT_KEY: u16 = 0x0C;
    /// The sealed organisation identifier.
    pub const IDENTIFICATION: u16 = 0x0E;
    /// The place of the moved boot sectors.
    pub const VIRTUALIZATION: u16 = 0x0F;
    /// A recovery password's 128 bits, sealed with the VMK.
    pub const RECOVERY_KEY_BACKUP: u16 = 0x12;
    /// A recovery password's stretched key, sealed with the VMK.
    pub const STRETCHED_KEY_BACKUP: u16 = 0x13;
    /// The name of the algorithm that stretches a FIPS recovery password.
    pub const ALGORITHM: u16 = 0x14;
    /// The volume's identifier inside a `.BEK` file.
    pub const VOLUME_ID: u16 = 0x19;
}

/// Key types, the field at offset 8 of a KEY datum (docs/format.md §3.4).
pub mod key_types {
    /// The 128 bits of a recovery password.
    pub const RECOVERY_KEY: u16 = 0x1000;
    /// A password, as the secret that a stretch datum works on.
    pub const PASSWORD: u16 = 0x1001;
    /// A clear key, or an intermediate key that a TPM released.
    pub const CLEAR_KEY: u16 = 0x2000;
    /// An external key, or the auto-unlock master key.
    pub const EXTERNAL_KEY: u16 = 0x2002;
    /// The volume master key.
    pub const VMK: u16 = 0x2003;
    /// A PIN, as the secret that a stretch datum works on.
    pub const PIN: u16 = 0x2004;
    /// SHA-256 of the metadata.
    pub const VALIDATION_HASH: u16 = 0x2005;
    /// The intermediate key of a certificate.
    pub const CERTIFICATE_KEY: u16 = 0x2006;
    /// A stretched password.
    pub const STRETCHED_PASSWORD: u16 = 0x2007;
    /// A stretched recovery password.
    pub const STRETCHED_RECOVERY: u16 = 0x2008;
}

/// Flag of a stretch datum: PBKDF2 takes the place of the chain of SHA-256 (docs/format.md §3.4).
pub const STRETCH_FLAG_PBKDF2: u16 = 0x0040;

/// One entry.
#[derive(Debug)]
#[non_exhaustive]
pub struct Datum {
    /// What it is for; see [`roles`].
    pub role: u16,
    /// How its body is laid out (docs/format.md §3.2).
    pub datum_type: u16,
    /// Bit 0: inside a container. More for a clear key, see [`KeyProtector::reboots_left`].
    pub flags: u16,
    /// Where it lies, in bytes from the start of the volume or file.
    pub position: u64,
    /// Size in bytes with its header and all that is nested in it.
    pub size: u16,
    /// What it says.
    pub body: Body,
}

/// One way to the volume master key.
#[derive(Debug)]
#[non_exhaustive]
pub struct KeyProtector {
    /// Identifier, as Windows shows it; of a recovery password, its password ID.
    pub id: Guid,
    /// When it was last changed.
    pub changed: FileTime,
    /// Hints; zero in all samples.
    pub hints: u16,
    /// Kind as stored: a set of bits (docs/format.md §3.8).
    pub code: u16,
    /// Flags of the datum; see [`KeyProtector::reboots_left`].
    pub flags: u16,
    /// What it is made of.
    pub parts: Vec<Datum>,
}

/// What a datum says.
#[derive(Debug)]
#[non_exhaustive]
pub enum Body {
    /// Overwritten.
    Erased,
    /// A key, in the open.
    Key(Key),
    /// A string.
    Text(String),
    /// How a secret that a person knows is stretched, with backups sealed by the VMK.
    Stretch(Stretch),
    /// That an external or intermediate key is needed, with a backup sealed by the VMK.
    UseKey(UseKey),
    /// Another datum, sealed with AES-CCM.
    Sealed(SealedDatum),
    /// An object sealed to a TPM.
    Tpm(TpmBlob),
    /// What the boot manager checks before Windows 8.
    BootValidation(Vec<BootCheck>),
    /// A key protector.
    KeyProtector(KeyProtector),
    /// An external key with its identifier.
    ExternalKey(ExternalKeyInfo),
    /// A log entry of a change of keys; its layout is not known.
    Update {
        /// Fixed part as it stands on disk.
        fixed: Vec<u8>,
        /// What is nested in it.
        nested: Vec<Datum>,
    },
    /// A record of an error; its layout is not known.
    ErrorRecord(Vec<u8>),
    /// A key encrypted with a public key.
    WrappedKey(Vec<u8>),
    /// A public key as Windows exports it.
    PublicKey(PublicKey),
    /// Which certificate a public-key protector belongs to.
    Certificate(CertificateInfo),
    /// Where the first sectors were moved to, and what Windows wrote about itself.
    Virtualization(Virtualization),
    /// A number.
    Number(u64),
    /// The label that is hashed into a PIN's key.
    ConcatHash(Vec<u8>),
    /// When a recovery password was saved.
    Backup(BackupInfo),
    /// Sealed with AES-CBC and HMAC-SHA-512 (newest Windows; single source).
    CbcHmac(Vec<u8>),
    /// An identifier.
    Id(Guid),
    /// A hint for the recovery screen, such as a masked mail address.
    Hint(String),
    /// A type that we do not know.
    Unknown(Vec<u8>),
    /// A type that we know, with a body that is not laid out as known.
    Malformed {
        /// Body as it stands on disk.
        bytes: Vec<u8>,
        /// What is wrong.
        fault: FormatError,
    },
}

/// Body of a KEY datum.
#[derive(Debug)]
#[non_exhaustive]
pub struct Key {
    /// What the key is; see [`key_types`]. For a sector key, the encryption method.
    pub key_type: u16,
    /// Key flags (docs/format.md §3.4).
    pub flags: u16,
    /// The key.
    pub data: SecretBytes,
}

/// Body of a STRETCH_KEY datum.
#[derive(Debug)]
#[non_exhaustive]
pub struct Stretch {
    /// What is stretched; see [`key_types`].
    pub key_type: u16,
    /// Key flags; see [`STRETCH_FLAG_PBKDF2`].
    pub flags: u16,
    /// Salt.
    pub salt: [u8; 16],
    /// Backups sealed with the VMK, and parameters.
    pub nested: Vec<Datum>,
}

/// Body of a USE_KEY datum.
#[derive(Debug)]
#[non_exhaustive]
pub struct UseKey {
    /// Which key is used; see [`key_types`].
    pub key_type: u16,
    /// Key flags.
    pub flags: u16,
    /// Backups sealed with the VMK.
    pub nested: Vec<Datum>,
}

/// Body of an AES_CCM_ENC datum: another datum, sealed with AES-256-CCM (docs/format.md §4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedDatum {
    /// A FILETIME and a counter.
    pub nonce: [u8; 12],
    /// Authentication tag.
    pub tag: [u8; 16],
    /// The datum, encrypted.
    pub ciphertext: Vec<u8>,
}

impl SealedDatum {
    /// When it was sealed.
    pub fn time(&self) -> FileTime {
        let [a, b, c, d, e, f, g, h, ..] = self.nonce;
        FileTime(u64::from_le_bytes([a, b, c, d, e, f, g, h])).masked()
    }

    /// The counter in the nonce.
    pub fn counter(&self) -> u32 {
        let [.., a, b, c, d] = self.nonce;
        u32::from_le_bytes([a, b, c, d])
    }
}

/// One entry of a VALIDATION_INFO datum (docs/format.md §3.11).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootCheck {
    /// 1: hash of a boot application; 2: hash of a boot configuration element.
    pub kind: u16,
    /// Flags.
    pub flags: u16,
    /// Identifier of the boot configuration element.
    pub element: u32,
    /// Hash, padded with zeros.
    pub hash: [u8; 32],
}

/// Body of an EXTERNAL_INFO datum.
#[derive(Debug)]
#[non_exhaustive]
pub struct ExternalKeyInfo {
    /// Identifier of the key and of the protector that it opens.
    pub id: Guid,
    /// When the key was made.
    pub time: FileTime,
    /// Name, volume identifier and the key.
    pub nested: Vec<Datum>,
}

/// An RSA public key as Windows' CNG exports it (docs/format.md §3.13).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublicKey {
    /// Length of the modulus in bits.
    pub bits: u32,
    /// Public exponent, big-endian.
    pub exponent: Vec<u8>,
    /// Modulus, big-endian.
    pub modulus: Vec<u8>,
}

/// Which certificate a public-key protector belongs to (docs/format.md §3.13).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateInfo {
    /// 2: thumbprint of a certificate; 8: Network Unlock.
    pub kind: u32,
    /// SHA-1 thumbprint of the certificate.
    pub thumbprint: Vec<u8>,
    /// What follows the thumbprint (Network Unlock: wrapped keys).
    pub rest: Vec<u8>,
}

/// Body of a VIRTUALIZATION_INFO datum (docs/format.md §3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Virtualization {
    /// Where the volume's first sectors were moved to, in bytes.
    pub offset: u64,
    /// How many bytes were moved.
    pub size: u64,
    /// What Windows 8 and later add.
    pub extension: Option<VirtualizationExtension>,
}

/// What Windows 8 and later write about the volume and themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VirtualizationExtension {
    /// Version of the extension; 5 in all samples.
    pub version: u16,
    /// Bits 0x001 4096-byte sectors, 0x040 encrypt-on-write, 0x100 converting, 0x800 To Go
    /// (inferred).
    pub flags: u64,
    /// Place of the conversion log, in bytes.
    pub log_offset: u64,
    /// Size of the conversion log, in bytes.
    pub log_size: u32,
    /// Sector size of the volume, in bytes.
    pub sector_size: u32,
    /// Sector size of the medium, in bytes.
    pub physical_sector_size: u32,
    /// Version of Windows that turned BitLocker on: major, minor, build.
    pub windows: (u32, u32, u32),
    /// 1 workstation, 2 domain controller, 3 server.
    pub product_type: u8,
    /// Area that Windows keeps for itself behind the moved sectors, in bytes; empty where none is
    /// named. What it holds is not known.
    pub spare: Range<u64>,
}

/// When a recovery password was saved (docs/format.md §3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupInfo {
    /// First time.
    pub first: FileTime,
    /// Last time.
    pub last: FileTime,
    /// Where to; 8 is likely a file.
    pub kind: u16,
    /// Class of the place.
    pub class: u16,
}

impl Datum {
    /// Reads a list of datums that fills `bytes`, found `position` bytes into the volume.
    ///
    /// # Errors
    /// A datum that is larger than what is left, or nesting too deep.
    pub fn parse_list(bytes: &[u8], position: u64) -> Result<Vec<Self>, FormatError> {
        parse_list(Fields::new("datum list", bytes, position), 0)
    }

    /// Reads one datum that fills `bytes` (what a sealed datum decrypts to).
    ///
    /// # Errors
    /// As [`Datum::parse_list`], and when there is not exactly one.
    pub fn parse_one(bytes: &[u8]) -> Result<Self, FormatError> {
        let fields = Fields::new("datum", bytes, 0);
        let size = fields.u16(0)?;
        if usize::from(size) != bytes.len() {
            return Err(fields.fault(format!("size {size} in {} bytes", bytes.len())));
        }
        let mut list = parse_list(fields, 0)?;
        match (list.pop(), list.is_empty()) {
            (Some(datum), true) => Ok(datum),
            _ => Err(fields.fault("not a single datum")),
        }
    }

    /// The key, if this is one.
    pub fn key(&self) -> Option<&Key> {
        match &self.body {
            Body::Key(key) => Some(key),
            _ => None,
        }
    }

    /// The sealed datum, if this is one.
    pub fn sealed(&self) -> Option<&SealedDatum> {
        match &self.body {
            Body::Sealed(sealed) => Some(sealed),
            _ => None,
        }
    }

    /// The text, if this is one.
    pub fn text(&self) -> Option<&str> {
        match &self.body {
            Body::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What is nested directly in this datum.
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

fn parse_list(fields: Fields<'_>, depth: usize) -> Result<Vec<Datum>, FormatError> {
    if depth > MAX_DEPTH {
        return Err(fields.fault("datums nested too deeply"));
    }
    let mut list = Vec::new();
    let mut offset = 0usize;
    // Fewer bytes than a header, or a size of zero, end the list (docs/format.md §3.1).
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
    if blob.slice(0, 4)? != b"RSA1" {
        return Err(blob.fault("not an RSA public key"));
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
    /// Network Unlock: the thumbprint stands behind a head of its own (single source).
    const NETWORK: u32 = 8;
    let info = datum.part("certificate", HEADER_LEN, datum.bytes().len())?;
    // `gsin` as a little-endian number, that is `nisg` byte by byte.
    if info.u32(0)? != 0x6E69_7367 {
        return Err(info.fault("no certificate record"));
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

fn spare_area(datum: &Fields<'_>) -> Result<Range<u64>, FormatError> {
    /// Where the area's size ends.
    const END: usize = 0x60;
    if datum.bytes().len() < END {
        return Ok(0..0);
    }
    let start = datum.u64(0x54)?;
    Ok(start..start.saturating_add(datum.u32(0x5C)?.into()))
}

fn virtualization(datum: Fields<'_>) -> Result<Virtualization, FormatError> {
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
