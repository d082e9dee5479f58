//! One metadata block: header, dataset, datums and validation (docs/format.md §2).
//!
//! ```text
//! +0x000      header, 64 bytes
//! +0x040      dataset header, 48 bytes
//! +0x070      datums, then zeros to a multiple of 16
//! +info_size  validation: size, version, CRC-32, and SHA-256 sealed with the VMK
//! ```
//! Three copies of it lie on the volume, alike byte for byte.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::FormatError;
use super::boot::SIGNATURE;
use super::datum::{Body, Datum, SealedDatum, Virtualization, key_types, roles};
use super::protector::KeyProtector;
use super::time::FileTime;
use super::wire::Fields;
use crate::guid::Guid;

/// Bytes that a copy takes on the volume from version 2 on (docs/format.md §2.5).
pub const REGION_LEN: u64 = 0x1_0000;
/// Bytes that a copy takes on a Vista volume, before rounding up to clusters (docs/format.md §2.5).
pub const VISTA_REGION_LEN: u64 = 0x4000;

pub(crate) const HEADER_LEN: usize = 0x40;
pub(crate) const DATASET_HEADER_LEN: usize = 0x30;
pub(crate) const VALIDATION_HEADER_LEN: usize = 8;

/// One metadata block as read.
#[derive(Debug)]
#[non_exhaustive]
pub struct MetadataBlock {
    /// Where it lies, in bytes from the start of the volume.
    pub position: u64,
    /// 1 Vista, 2 Windows 7 and later.
    pub version: u16,
    /// What is the case.
    pub state: State,
    /// What is wanted.
    pub next_state: State,
    /// Size of the volume in bytes; while it is converted, the watermark: bytes below it are
    /// encrypted.
    pub encrypted_extent: u64,
    /// Bytes in flight at the watermark while [`State::SWITCHING`].
    pub conversion_size: u32,
    /// How many sectors of the volume's size were moved from its start.
    pub moved_sectors: u32,
    /// Where the three copies lie, in bytes.
    pub copies: [u64; 3],
    /// Where the moved sectors lie, in bytes; on Vista the cluster number that belongs at 0x38 of
    /// the NTFS boot sector.
    pub header_source: u64,
    /// Header of the list of datums.
    pub dataset: Dataset,
    /// The entries.
    pub datums: Vec<Datum>,
    /// What proves the block.
    pub validation: Validation,
    /// What the checks cover: header, dataset and padding.
    bytes: Vec<u8>,
}

/// What a block's header says of the volume.
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

/// A state of the volume (docs/format.md §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State(pub u16);

impl State {
    /// Not encrypted; the structures exist.
    pub const DECRYPTED: Self = Self(1);
    /// A chunk is being converted.
    pub const SWITCHING: Self = Self(2);
    /// Conversion stands still at the watermark.
    pub const PAUSED: Self = Self(3);
    /// Encrypted.
    pub const ENCRYPTED: Self = Self(4);
    /// Conversion stands still, second kind.
    pub const SWITCHING_DETACHED: Self = Self(5);
}

/// Header of a list of datums (docs/format.md §2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dataset {
    /// Identifier: of the volume, or of the key in a `.BEK` file.
    pub id: Guid,
    /// The counter that the next nonce takes.
    pub next_nonce: u32,
    /// Encryption method of the sectors (docs/format.md §4.7).
    pub method: u16,
    /// Method that Windows would choose.
    pub preferred_method: u16,
    /// When it was made: when BitLocker was turned on.
    pub created: FileTime,
    /// Offset of the first datum and end of the last, from the start of the header.
    pub(crate) datums: (usize, usize),
}

/// What proves a block (docs/format.md §2.4).
#[derive(Debug)]
#[non_exhaustive]
pub struct Validation {
    /// 2, or 1 on Vista.
    pub version: u16,
    /// CRC-32 as stored.
    pub crc: u32,
    /// Whether it is the CRC-32 of the block.
    pub crc_matches: bool,
    /// SHA-256 of the block.
    pub hash: ValidationHash,
}

/// Where a block keeps its SHA-256.
#[derive(Debug)]
#[non_exhaustive]
pub enum ValidationHash {
    /// Sealed with the VMK.
    Sealed(SealedDatum),
    /// In the open: only a volume that has no VMK writes it so.
    Plain([u8; 32]),
    /// There is none that can be read.
    Missing,
}

impl Dataset {
    pub(crate) fn parse(fields: Fields<'_>) -> Result<Self, FormatError> {
        let size = fields.u32(0x00)? as usize;
        let version = fields.u32(0x04)?;
        let start = fields.u32(0x08)? as usize;
        let end = fields.u32(0x0C)? as usize;
        if version != 1 {
            return Err(fields.fault(format!("dataset version {version}, expected 1")));
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

impl MetadataBlock {
    /// Reads the block at the start of `bytes`, which lie `position` bytes into the volume and
    /// hold at least one region ([`REGION_LEN`]) where the volume has as much.
    ///
    /// The block may still fail its checks: see [`Validation::crc_matches`].
    ///
    /// # Errors
    /// It is no block, or one whose structure cannot be followed.
    pub fn parse(bytes: &[u8], position: u64) -> Result<Self, FormatError> {
        let region = Fields::new("metadata block", bytes, position);
        if region.slice(0, 8)? != SIGNATURE {
            return Err(region.fault("no -FVE-FS- signature"));
        }
        let version = region.u16(0x0A)?;
        let size = usize::from(region.u16(0x08)?);
        let info_size = match version {
            1 => size,
            2 => size.saturating_mul(16),
            _ => return Err(region.fault(format!("version {version}, expected 1 or 2"))),
        };
        let minimum = HEADER_LEN.saturating_add(DATASET_HEADER_LEN);
        let region_len = usize::try_from(REGION_LEN).unwrap_or(usize::MAX);
        if info_size < minimum || info_size.saturating_add(VALIDATION_HEADER_LEN) > region_len {
            return Err(region.fault(format!("a size of {info_size} bytes")));
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

    /// What its header says.
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

    /// A block that stands nowhere, of entries from one place and a header from another. It passes
    /// no check. Without a dataset header, volume and method are zero.
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

    /// The bytes that the CRC-32 and the SHA-256 cover.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the block, to compare with what its validation holds.
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

    /// The sealed sector key. Only role 3 holds it: role 0x0B looks alike and is another key.
    pub fn sealed_fvek(&self) -> Option<&SealedDatum> {
        self.datums
            .iter()
            .find(|datum| datum.role == roles::FVEK && datum.sealed().is_some())?
            .sealed()
    }

    /// The sealed key to the keys of other volumes, on a system volume that opens them by itself.
    pub fn sealed_auto_unlock_key(&self) -> Option<&SealedDatum> {
        let of_role = |datum: &&Datum| datum.role == roles::AUTO_UNLOCK_KEY;
        let mut datums = self.datums.iter().filter(of_role);
        datums.find_map(Datum::sealed)
    }

    /// The volume's description: computer, volume and date, in the words of whoever made it.
    pub fn description(&self) -> Option<&str> {
        self.datums
            .iter()
            .find(|datum| datum.role == roles::DESCRIPTION)?
            .text()
    }

    /// Where the first sectors were moved to, as the datum about it says.
    pub fn virtualization(&self) -> Option<&Virtualization> {
        self.datums.iter().find_map(|datum| match &datum.body {
            Body::Virtualization(virtualization) => Some(virtualization),
            _ => None,
        })
    }

    /// Size of the volume's sectors in bytes: as Windows 8 and later say, else of those that were
    /// moved. Not on Vista.
    pub fn sector_size(&self) -> Option<u32> {
        let datum = self.virtualization()?;
        if let Some(extension) = &datum.extension {
            return Some(extension.sector_size);
        }
        let size = datum.size.checked_div(self.moved_sectors.into())?;
        u32::try_from(size).ok()
    }

    /// Whether copies that were found `places` bytes behind where the volume is taken to begin,
    /// this one among them, can lie there for no other beginning. Two copies are not always enough:
    /// where the three are evenly spaced, the first two lie as the last two would.
    pub fn proves_start(&self, places: &[u64]) -> bool {
        let Some((first, others)) = places.split_first() else {
            return false;
        };
        let is_place = |place: i128| self.copies.iter().any(|copy| i128::from(*copy) == place);
        // For another beginning, the first of them would be another copy.
        let fits_elsewhere = |copy: &u64| {
            let moved = i128::from(*copy).saturating_sub(i128::from(*first));
            moved != 0
                && places
                    .iter()
                    .all(|place| is_place(i128::from(*place).saturating_add(moved)))
        };
        others.iter().any(|other| other != first) && !self.copies.iter().any(fits_elsewhere)
    }

    /// Whether the volume was converted by encrypt-on-write and keeps a map of that
    /// (docs/format.md §3.9; inferred from 29 volumes: of those with the flag, only BitLocker To
    /// Go's have no map).
    pub fn is_encrypt_on_write(&self) -> bool {
        const ENCRYPT_ON_WRITE: u64 = 0x040;
        const TO_GO: u64 = 0x800;
        self.flags() & (ENCRYPT_ON_WRITE | TO_GO) == ENCRYPT_ON_WRITE
    }

    /// Whether a conversion by encrypt-on-write is under way (docs/format.md §3.9; inferred). Where
    /// it is not, no chunk of an encrypted volume is plain.
    pub fn is_converting(&self) -> bool {
        const CONVERTING: u64 = 0x100;
        self.flags() & CONVERTING != 0
    }

    /// What Windows 8 and later say of the volume in bits; none set where they do not.
    fn flags(&self) -> u64 {
        let datum = self.virtualization();
        let extension = datum.and_then(|datum| datum.extension.as_ref());
        extension.map_or(0, |extension| extension.flags)
    }

    /// When the metadata was last written: the time in the validation's nonce.
    pub fn last_written(&self) -> Option<FileTime> {
        match &self.validation.hash {
            ValidationHash::Sealed(sealed) => Some(sealed.time()),
            _ => None,
        }
    }
}

impl Validation {
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
            crc_matches: crc.ct_eq(&computed).into(),
            hash,
        })
    }
}
