//! One metadata block: header, dataset, datums and validation (docs/format.md §2).
//!
//! ```text
//! +0x000      header, 64 bytes
//! +0x040      dataset header, 48 bytes
//! +0x070      datums, then zeros to a multiple of 16
//! +info_size  validation: size, version, CRC-32, and SHA-256 sealed with the VMK
//! ```
//! A volume holds three identical copies, at the offsets that the boot record and every copy list.

use sha2::{Digest as _, Sha256};

use super::FormatError;
use super::boot::SIGNATURE;
use super::datum::{Body, Datum, SealedDatum, Virtualization, key_types, roles};
use super::protector::KeyProtector;
use super::time::FileTime;
use super::wire::Fields;
use crate::guid::Guid;

/// Bytes reserved for a copy on the volume, in metadata of version 2 (docs/format.md §2.5).
pub const REGION_LEN: u64 = 0x1_0000;
/// Bytes reserved for a copy on a Vista volume, before rounding up to whole clusters
/// (docs/format.md §2.5).
pub const VISTA_REGION_LEN: u64 = 0x4000;

/// Bytes of a block's header (docs/format.md §2.1).
pub(crate) const HEADER_LEN: usize = 0x40;
/// Bytes of a dataset's header (docs/format.md §2.3).
pub(crate) const DATASET_HEADER_LEN: usize = 0x30;
/// Bytes of the validation part before its datum: size, version, CRC-32 (docs/format.md §2.4).
pub(crate) const VALIDATION_HEADER_LEN: usize = 8;

/// A metadata block, parsed. Its checks may fail; see [`Validation`].
#[derive(Debug)]
#[non_exhaustive]
pub struct MetadataBlock {
    /// Where the block was read, in bytes from the start of the volume.
    pub position: u64,
    /// Metadata version: 1 for Vista, 2 for Windows 7 and later.
    pub version: u16,
    /// The state that the volume is in.
    pub state: State,
    /// The state that the volume is being converted to; equal to `state` when nothing is pending.
    pub next_state: State,
    /// Size of the volume in bytes. During a conversion, the watermark: bytes below it are
    /// encrypted, bytes above it are not.
    pub encrypted_extent: u64,
    /// Bytes being converted at the watermark while the state is [`State::SWITCHING`]; otherwise 0.
    pub conversion_size: u32,
    /// How many sectors, of the volume's sector size, were moved from the start of the volume to
    /// make room for the boot record.
    pub moved_sectors: u32,
    /// Offsets of the three copies, in bytes from the start of the volume.
    pub copies: [u64; 3],
    /// Where the moved sectors are, in bytes from the start of the volume. On Vista, which moves
    /// none: the cluster number to put back at 0x38 of the NTFS boot sector.
    pub header_source: u64,
    /// Header of the list of datums.
    pub dataset: Dataset,
    /// The entries: key protectors, the sealed FVEK, the description and others, in disk order.
    pub datums: Vec<Datum>,
    /// CRC-32 and SHA-256 that check the block.
    pub validation: Validation,
    /// The bytes that the checks cover: header, dataset and padding.
    bytes: Vec<u8>,
}

/// The fields of a block's header, with the meaning they have in [`MetadataBlock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeaderFields {
    pub(crate) version: u16,
    pub(crate) state: State,
    pub(crate) next_state: State,
    pub(crate) encrypted_extent: u64,
    pub(crate) conversion_size: u32,
    pub(crate) moved_sectors: u32,
    pub(crate) copies: [u64; 3],
    pub(crate) header_source: u64,
}

/// A conversion state of the volume, as stored (docs/format.md §2.2). Other values than the
/// constants are possible on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State(pub u16);

impl State {
    /// Not encrypted; BitLocker's structures exist all the same.
    pub const DECRYPTED: Self = Self(1);
    /// A chunk at the watermark is being converted, and is recorded in the conversion log.
    pub const SWITCHING: Self = Self(2);
    /// The conversion is stopped at the watermark.
    pub const PAUSED: Self = Self(3);
    /// Encrypted completely, or by encrypt-on-write as far as its bitmaps say.
    pub const ENCRYPTED: Self = Self(4);
    /// A second form of a stopped conversion. Sources disagree on it, and no sample is known.
    pub const SWITCHING_DETACHED: Self = Self(5);
}

/// Header of a list of datums, in a metadata block or a `.BEK` file (docs/format.md §2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dataset {
    /// Identifier of the volume; in a `.BEK` file, of the key.
    pub id: Guid,
    /// The counter for the next nonce: one more than the last used (docs/format.md §4.6).
    pub next_nonce: u32,
    /// Encryption method of the sectors, as stored (docs/format.md §4.7); 0 for none.
    /// [`Volume::method`](crate::Volume::method) and
    /// [`Method::by_code`](crate::Method::by_code) give it a type.
    pub method: u16,
    /// The method that Windows would choose; equal to `method`, or 0.
    pub preferred_method: u16,
    /// When the dataset was made; for a volume, when BitLocker was turned on.
    pub created: FileTime,
    /// Offsets of the first datum and of the end of the last, in bytes from the start of the
    /// dataset.
    pub(crate) datums: (usize, usize),
}

/// The checks at the end of a block (docs/format.md §2.4). The CRC-32 finds accidents; the sealed
/// SHA-256 shows that the writer knew the VMK.
#[derive(Debug)]
#[non_exhaustive]
pub struct Validation {
    /// Version of this part: 2, or 1 on Vista.
    pub version: u16,
    /// The CRC-32 as stored.
    pub crc: u32,
    /// Whether the stored CRC-32 is that of [`MetadataBlock::bytes`].
    pub crc_matches: bool,
    /// The SHA-256 of [`MetadataBlock::bytes`] as stored, usually sealed.
    pub hash: ValidationHash,
}

/// How a block stores its SHA-256.
#[derive(Debug)]
#[non_exhaustive]
pub enum ValidationHash {
    /// Sealed with the VMK, so it can be compared only after unlocking.
    Sealed(SealedDatum),
    /// Unencrypted: on a decrypted volume, which has no VMK.
    Plain([u8; 32]),
    /// Missing, or not readable as either form.
    Missing,
}

impl Dataset {
    /// Parses the header at the start of `fields`, which may be longer than the dataset.
    pub(crate) fn parse(fields: Fields<'_>) -> Result<Self, FormatError> {
        let size = fields.u32(0x00)? as usize;
        let version = fields.u32(0x04)?;
        let start = fields.u32(0x08)? as usize;
        let end = fields.u32(0x0C)? as usize;
        if version != 1 {
            // A large number is no version: the file may be that of a password, given as a .BEK file
            // by mistake.
            return Err(fields.fault(match version {
                0..=0xFF => format!("dataset version {version}, expected 1"),
                _ => "no dataset version, expected 1".to_owned(),
            }));
        }
        let sound = DATASET_HEADER_LEN <= start && start <= end && end <= size;
        if !sound || size > fields.bytes().len() {
            return Err(fields.fault(format!(
                "dataset of {size} bytes with datums from {start:#x} to {end:#x} in {} bytes",
                fields.bytes().len()
            )));
        }
        Ok(Self {
            id: fields.guid(0x10)?,
            next_nonce: fields.u32(0x20)?,
            method: fields.u16(0x24)?,
            preferred_method: fields.u16(0x26)?,
            created: FileTime(fields.u64(0x28)?),
            datums: (start, end),
        })
    }
}

/// The encryption method of what begins like a dataset, sound or not. `None` for anything else.
pub(crate) fn method_of_dataset(bytes: &[u8]) -> Option<u16> {
    let fields = Fields::new("dataset", bytes, 0);
    let version = fields.u32(0x04).ok()?;
    let start = fields.u32(0x08).ok()?;
    let begins = version == 1 && usize::try_from(start) == Ok(DATASET_HEADER_LEN);
    begins.then(|| fields.u16(0x24).ok())?
}

impl MetadataBlock {
    /// Parses the block at the start of `bytes`, which were read `position` bytes into the volume.
    /// Pass a whole region ([`REGION_LEN`] bytes), or as much of it as the volume has.
    ///
    /// The checks may fail all the same: see [`Validation::crc_matches`].
    ///
    /// # Errors
    /// The bytes are not a metadata block, or its structure cannot be followed.
    pub fn parse(bytes: &[u8], position: u64) -> Result<Self, FormatError> {
        let region = Fields::new("metadata block", bytes, position);
        if region.slice(0, 8)? != SIGNATURE {
            return Err(region.fault("no -FVE-FS- signature"));
        }
        let version = region.u16(0x0A)?;
        let size = usize::from(region.u16(0x08)?);
        // Version 2 counts in units of 16 bytes (docs/format.md §2.1).
        let info_size = match version {
            1 => size,
            2 => size.saturating_mul(16),
            _ => return Err(region.fault(format!("version {version}, expected 1 or 2"))),
        };
        let minimum = HEADER_LEN.saturating_add(DATASET_HEADER_LEN);
        let region_len = usize::try_from(REGION_LEN).unwrap_or(usize::MAX);
        if info_size < minimum || info_size.saturating_add(VALIDATION_HEADER_LEN) > region_len {
            return Err(region.fault(format!("its size of {info_size} bytes is impossible")));
        }
        let info = region.part("metadata block", 0, info_size)?;
        let dataset_fields = info.part("dataset", HEADER_LEN, info_size)?;
        let dataset = Dataset::parse(dataset_fields)?;
        let (start, end) = dataset.datums;
        let list = dataset_fields.part("datum list", start, end)?;
        Ok(Self {
            position,
            version,
            state: State(info.u16(0x0C)?),
            next_state: State(info.u16(0x0E)?),
            encrypted_extent: info.u64(0x10)?,
            conversion_size: info.u32(0x18)?,
            moved_sectors: info.u32(0x1C)?,
            copies: [info.u64(0x20)?, info.u64(0x28)?, info.u64(0x30)?],
            header_source: info.u64(0x38)?,
            datums: Datum::parse_list(list.bytes(), list.position())?,
            validation: Validation::parse(region, info_size),
            dataset,
            bytes: info.bytes().to_vec(),
        })
    }

    /// The fields of the header, without the rest of the block.
    pub(crate) fn header_fields(&self) -> HeaderFields {
        HeaderFields {
            version: self.version,
            state: self.state,
            next_state: self.next_state,
            encrypted_extent: self.encrypted_extent,
            conversion_size: self.conversion_size,
            moved_sectors: self.moved_sectors,
            copies: self.copies,
            header_source: self.header_source,
        }
    }

    /// A block that is not on the disk: it joins datums from one source (a key package) with a header
    /// from another. Its checks fail. Without `dataset`, the volume's identifier and the method are
    /// zero.
    pub(crate) fn assembled(
        header: HeaderFields,
        dataset: Option<Dataset>,
        datums: Vec<Datum>,
        position: u64,
    ) -> Self {
        let unknown = Dataset {
            id: Guid::from_disk([0; 16]),
            next_nonce: 0,
            method: 0,
            preferred_method: 0,
            created: FileTime(0),
            datums: (0, 0),
        };
        Self {
            position,
            version: header.version,
            state: header.state,
            next_state: header.next_state,
            encrypted_extent: header.encrypted_extent,
            conversion_size: header.conversion_size,
            moved_sectors: header.moved_sectors,
            copies: header.copies,
            header_source: header.header_source,
            dataset: dataset.unwrap_or(unknown),
            datums,
            validation: Validation::NONE,
            bytes: Vec::new(),
        }
    }

    /// The bytes that the CRC-32 and the SHA-256 cover: header, dataset and padding.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The SHA-256 of [`bytes`](Self::bytes), to compare with the one in [`Validation::hash`].
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }

    /// The key protectors, in the order on disk.
    pub fn protectors(&self) -> impl Iterator<Item = &KeyProtector> {
        self.datums.iter().filter_map(|datum| match &datum.body {
            Body::KeyProtector(protector) => Some(protector),
            _ => None,
        })
    }

    /// The sealed FVEK. Only the datum of role 3 holds it: role 0x0B has the same form and holds the
    /// auto-unlock key (docs/format.md §3.3).
    pub fn sealed_fvek(&self) -> Option<&SealedDatum> {
        self.datums
            .iter()
            .find(|datum| datum.role == roles::FVEK && datum.sealed().is_some())?
            .sealed()
    }

    /// The sealed identification field: the identifier of the organization that the volume belongs to.
    pub fn sealed_identification(&self) -> Option<&SealedDatum> {
        let of_role = |datum: &&Datum| datum.role == roles::IDENTIFICATION;
        let mut datums = self.datums.iter().filter(of_role);
        datums.find_map(Datum::sealed)
    }

    /// The sealed auto-unlock key, on a system volume: it decrypts the keys of the data volumes that
    /// unlock automatically with it.
    pub fn sealed_auto_unlock_key(&self) -> Option<&SealedDatum> {
        let of_role = |datum: &&Datum| datum.role == roles::AUTO_UNLOCK_KEY;
        let mut datums = self.datums.iter().filter(of_role);
        datums.find_map(Datum::sealed)
    }

    /// The volume's description. Windows writes computer name, volume name and date, in a format
    /// that depends on its language.
    pub fn description(&self) -> Option<&str> {
        self.datums
            .iter()
            .find(|datum| datum.role == roles::DESCRIPTION)?
            .text()
    }

    /// The datum that says where the first sectors were moved to.
    pub fn virtualization(&self) -> Option<&Virtualization> {
        self.datums.iter().find_map(|datum| match &datum.body {
            Body::Virtualization(virtualization) => Some(virtualization),
            _ => None,
        })
    }

    /// Size of the volume's sectors in bytes: as Windows 8 and later store it, otherwise computed
    /// from the number and the bytes of the moved sectors. `None` on Vista, which stores neither.
    pub fn sector_size(&self) -> Option<u32> {
        let datum = self.virtualization()?;
        if let Some(extension) = &datum.extension {
            return Some(extension.sector_size);
        }
        let size = datum.size.checked_div(self.moved_sectors.into())?;
        u32::try_from(size).ok()
    }

    /// Whether the copies that were found at these offsets prove where the volume starts. `places`
    /// are counted from the assumed start and include this copy's.
    ///
    /// Two copies are not always enough: if the three are evenly spaced, the first two copies of one
    /// volume have the same distance as the last two of a volume that starts elsewhere.
    pub fn proves_start(&self, places: &[u64]) -> bool {
        let Some((first, others)) = places.split_first() else {
            return false;
        };
        let is_place = |place: i128| self.copies.iter().any(|copy| i128::from(*copy) == place);
        // If the volume started elsewhere, the first copy found would be another of the three, and
        // all other copies would move with it.
        let fits_elsewhere = |copy: &u64| {
            let moved = i128::from(*copy).saturating_sub(i128::from(*first));
            moved != 0
                && places
                    .iter()
                    .all(|place| is_place(i128::from(*place).saturating_add(moved)))
        };
        others.iter().any(|other| other != first) && !self.copies.iter().any(fits_elsewhere)
    }

    /// Whether the volume was converted by encrypt-on-write and has a conversion map
    /// (docs/format.md §3.9). Inferred from 29 volumes: of those with the flag, only BitLocker To Go
    /// volumes have no map.
    pub fn is_encrypt_on_write(&self) -> bool {
        const ENCRYPT_ON_WRITE: u64 = 0x040;
        const TO_GO: u64 = 0x800;
        self.flags() & (ENCRYPT_ON_WRITE | TO_GO) == ENCRYPT_ON_WRITE
    }

    /// Whether a conversion by encrypt-on-write is in progress (docs/format.md §3.9; inferred). If it
    /// is not, every chunk of an encrypted volume is encrypted.
    pub fn is_converting(&self) -> bool {
        const CONVERTING: u64 = 0x100;
        self.flags() & CONVERTING != 0
    }

    /// The flags that Windows 8 and later store; 0 on older volumes, which have none.
    fn flags(&self) -> u64 {
        let datum = self.virtualization();
        let extension = datum.and_then(|datum| datum.extension.as_ref());
        extension.map_or(0, |extension| extension.flags)
    }

    /// When the metadata was last written: the time in the nonce of the sealed hash. `None` if the
    /// hash is not sealed.
    pub fn last_written(&self) -> Option<FileTime> {
        match &self.validation.hash {
            ValidationHash::Sealed(sealed) => Some(sealed.time()),
            _ => None,
        }
    }
}

impl Validation {
    /// What a block has whose validation part cannot be read: checks that fail.
    const NONE: Self = Self {
        version: 0,
        crc: 0,
        crc_matches: false,
        hash: ValidationHash::Missing,
    };

    fn parse(region: Fields<'_>, info_size: usize) -> Self {
        Self::try_parse(region, info_size).unwrap_or(Self::NONE)
    }

    fn try_parse(region: Fields<'_>, info_size: usize) -> Result<Self, FormatError> {
        let part = region.part("validation", info_size, region.bytes().len())?;
        let crc = part.u32(4)?;
        let computed = crc32fast::hash(region.slice(0, info_size)?);
        let len = usize::from(part.u16(VALIDATION_HEADER_LEN)?);
        let datum = part
            .slice(VALIDATION_HEADER_LEN, len)
            .and_then(Datum::parse_one);
        let hash = match datum.map(|datum| datum.body) {
            Ok(Body::Sealed(sealed)) => ValidationHash::Sealed(sealed),
            Ok(Body::Key(key)) if key.key_type == key_types::VALIDATION_HASH => {
                <[u8; 32]>::try_from(key.data.expose())
                    .map_or(ValidationHash::Missing, ValidationHash::Plain)
            }
            _ => ValidationHash::Missing,
        };
        Ok(Self {
            version: part.u16(2)?,
            crc,
            crc_matches: crc == computed,
            hash,
        })
    }
}
