//! The boot record: sector 0 of a BitLocker volume (docs/format.md §1).
//!
//! | flavor | recognized by | offsets of the metadata copies |
//! |---|---|---|
//! | Vista | jump `EB 52 90`, `-FVE-FS-` | cluster number of the first at 0x38; that copy lists all three |
//! | Windows 7 and later | `-FVE-FS-`, identifying GUID at 0xA0 | three offsets at 0xB0 |
//! | BitLocker To Go | identifying GUID at 0x1A8, in a FAT boot sector | three offsets at 0x1B8 |

use super::FormatError;
use super::wire::Fields;
use crate::guid::Guid;

/// How many bytes [`BootRecord::parse`] needs from the start of the volume.
pub const BOOT_RECORD_LEN: usize = 512;

/// The name at offset 3, where the boot sector of NTFS or FAT has its own; also the first bytes of a
/// metadata block.
pub(crate) const SIGNATURE: &[u8; 8] = b"-FVE-FS-";

/// Identifies a volume that was converted from start to end: 4967d63b-2e29-4ad8-8399-f6a339e3d001
/// (docs/format.md §1.2).
pub(crate) const NORMAL: Guid = Guid::from_disk([
    0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a, 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01,
]);
/// Identifies a volume converted by encrypt-on-write: 92a84d3b-dd80-4d0e-9e4e-b1e3284eaed8
/// (docs/format.md §1.2).
pub(crate) const ENCRYPT_ON_WRITE: Guid = Guid::from_disk([
    0x3b, 0x4d, 0xa8, 0x92, 0x80, 0xdd, 0x0e, 0x4d, 0x9e, 0x4e, 0xb1, 0xe3, 0x28, 0x4e, 0xae, 0xd8,
]);

/// Offset of the identifying GUID in a record of Windows 7 and later (docs/format.md §1.3).
const GUID_OFFSET: usize = 0x0A0;
/// The same in a BitLocker To Go record (docs/format.md §1.4).
const TO_GO_GUID_OFFSET: usize = 0x1A8;

/// Which Windows wrote the boot record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flavor {
    /// Windows Vista: metadata version 1.
    Vista,
    /// Windows 7 and later: metadata version 2.
    Windows7,
    /// BitLocker To Go: the volume begins with a small FAT file system that holds a reader program
    /// for Windows XP and Vista.
    ToGo,
}

/// How the volume is or was converted, which decides how to find out what is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// From start to end; during the conversion the metadata has a watermark.
    Whole,
    /// By encrypt-on-write: the bitmaps of a conversion map say which chunks are encrypted.
    EncryptOnWrite {
        /// Offsets of the two copies of the conversion map's header, in bytes from the start of the
        /// volume.
        information: [u64; 2],
    },
}

/// The fields of sector 0 that are needed to read a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootRecord {
    /// Which Windows wrote it.
    pub flavor: Flavor,
    /// How the volume is converted.
    pub layout: Layout,
    /// Bytes per sector as stored; 0 on some volumes that were formatted as exFAT. See
    /// [`BootRecord::sector_size`].
    pub bytes_per_sector: u16,
    /// Sectors per cluster as stored.
    pub sectors_per_cluster: u8,
    /// Offsets of the metadata copies, in bytes from the start of the volume: three, or on Vista only
    /// the first.
    pub metadata_offsets: Vec<u64>,
    /// Size of the volume in bytes; only the record of Vista has it.
    pub volume_size: Option<u64>,
}

impl BootRecord {
    /// Parses sector 0. `None` if it is not a BitLocker boot record at all, or shorter than
    /// [`BOOT_RECORD_LEN`].
    ///
    /// # Errors
    /// It is a BitLocker boot record of an unknown kind, or with impossible fields.
    pub fn parse(sector: &[u8]) -> Result<Option<Self>, FormatError> {
        let fields = Fields::new("boot record", sector, 0);
        if sector.len() < BOOT_RECORD_LEN {
            return Ok(None);
        }
        let known = |guid| guid == NORMAL || guid == ENCRYPT_ON_WRITE;
        // First, because the name at offset 3 of a To Go record is that of FAT.
        if known(fields.guid(TO_GO_GUID_OFFSET)?) {
            return Self::to_go(fields).map(Some);
        }
        if fields.slice(3, 8)? != SIGNATURE {
            return Ok(None);
        }
        let guid = fields.guid(GUID_OFFSET)?;
        if known(guid) {
            Self::windows7(fields, guid).map(Some)
        } else if fields.slice(0, 3)? == [0xEB, 0x52, 0x90] {
            Self::vista(fields).map(Some)
        } else {
            Err(fields.fault(format!(
                "the identifying GUID {guid} is not that of a known kind of BitLocker volume"
            )))
        }
    }

    /// Size of the volume's sectors in bytes: the stored one; if that is 0, `medium` (the sector size
    /// of the disk), or else 512.
    ///
    /// # Errors
    /// The size is not a power of two from 512 to 4096.
    pub fn sector_size(&self, medium: Option<u32>) -> Result<u32, FormatError> {
        let size = match self.bytes_per_sector {
            0 => medium.unwrap_or(512),
            size => u32::from(size),
        };
        if size.is_power_of_two() && (512..=4096).contains(&size) {
            return Ok(size);
        }
        Err(FormatError {
            structure: "boot record",
            position: 0x0B,
            what: format!("{size} bytes per sector: only 512, 1024, 2048 and 4096 are possible"),
        })
    }

    fn windows7(fields: Fields<'_>, guid: Guid) -> Result<Self, FormatError> {
        let layout = if guid == ENCRYPT_ON_WRITE {
            Layout::EncryptOnWrite {
                information: [fields.u64(0x0C8)?, fields.u64(0x0D0)?],
            }
        } else {
            Layout::Whole
        };
        Ok(Self {
            flavor: Flavor::Windows7,
            layout,
            bytes_per_sector: fields.u16(0x00B)?,
            sectors_per_cluster: fields.u8(0x00D)?,
            metadata_offsets: three_offsets(fields, 0x0B0)?,
            volume_size: None,
        })
    }

    fn to_go(fields: Fields<'_>) -> Result<Self, FormatError> {
        if fields.guid(TO_GO_GUID_OFFSET)? == ENCRYPT_ON_WRITE {
            return Err(fields.fault(
                "a BitLocker To Go volume converted by encrypt-on-write: the place of its conversion map is not known",
            ));
        }
        Ok(Self {
            flavor: Flavor::ToGo,
            layout: Layout::Whole,
            bytes_per_sector: fields.u16(0x00B)?,
            sectors_per_cluster: fields.u8(0x00D)?,
            metadata_offsets: three_offsets(fields, 0x1B8)?,
            volume_size: None,
        })
    }

    fn vista(fields: Fields<'_>) -> Result<Self, FormatError> {
        let bytes_per_sector = fields.u16(0x00B)?;
        let sectors_per_cluster = fields.u8(0x00D)?;
        let sector = u64::from(bytes_per_sector);
        let cluster = sector.checked_mul(u64::from(sectors_per_cluster));
        let first = cluster
            .and_then(|cluster| fields.u64(0x038).ok()?.checked_mul(cluster))
            .filter(|offset| *offset != 0)
            .ok_or_else(|| fields.fault("the place of the first metadata copy is missing"))?;
        // The field does not count the last sector, which holds the copy of the boot record.
        let volume_size = fields
            .u64(0x028)?
            .checked_add(1)
            .and_then(|sectors| sectors.checked_mul(sector))
            .filter(|size| *size > first);
        Ok(Self {
            flavor: Flavor::Vista,
            layout: Layout::Whole,
            bytes_per_sector,
            sectors_per_cluster,
            metadata_offsets: vec![first],
            volume_size,
        })
    }
}

/// Three 64-bit offsets, one after another.
fn three_offsets(fields: Fields<'_>, at: usize) -> Result<Vec<u64>, FormatError> {
    let table = fields.part("boot record", at, at.saturating_add(24))?;
    [0, 8, 16]
        .into_iter()
        .map(|offset| table.u64(offset))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standard() -> Vec<u8> {
        let mut sector = vec![0; 512];
        sector[..11].copy_from_slice(b"\xEB\x58\x90-FVE-FS-");
        sector[0x0B..0x0E].copy_from_slice(&[0, 2, 8]);
        sector[0xA0..0xB0].copy_from_slice(&NORMAL.to_disk());
        for (i, offset) in [0x2195000u64, 0x2C1D000, 0x373A000].into_iter().enumerate() {
            sector[0xB0 + i * 8..][..8].copy_from_slice(&offset.to_le_bytes());
        }
        sector
    }

    #[test]
    fn reads_the_three_offsets_of_the_worked_example() {
        let boot = BootRecord::parse(&standard()).unwrap().unwrap();
        assert_eq!(boot.flavor, Flavor::Windows7);
        assert_eq!(boot.layout, Layout::Whole);
        assert_eq!(boot.metadata_offsets, [0x2195000, 0x2C1D000, 0x373A000]);
        assert_eq!(boot.sector_size(None).unwrap(), 512);
    }

    #[test]
    fn a_sector_size_of_zero_means_that_of_the_medium() {
        let mut sector = standard();
        sector[0x0B..0x0D].fill(0);
        let boot = BootRecord::parse(&sector).unwrap().unwrap();
        assert_eq!(boot.sector_size(None).unwrap(), 512);
        assert_eq!(boot.sector_size(Some(4096)).unwrap(), 4096);
        for wild in [1u16, 511, 513, 8192, 0xFFFF] {
            sector[0x0B..0x0D].copy_from_slice(&wild.to_le_bytes());
            let boot = BootRecord::parse(&sector).unwrap().unwrap();
            assert!(boot.sector_size(None).is_err(), "{wild}");
        }
    }

    #[test]
    fn distinguishes_other_file_systems_from_unknown_flavors() {
        assert_eq!(BootRecord::parse(&[0; 512]).unwrap(), None);
        assert_eq!(BootRecord::parse(&standard()[..511]).unwrap(), None);
        let mut ntfs = standard();
        ntfs[3..11].copy_from_slice(b"NTFS    ");
        assert_eq!(BootRecord::parse(&ntfs).unwrap(), None);
        let mut unknown = standard();
        unknown[0xA0] ^= 1;
        assert!(BootRecord::parse(&unknown).is_err());
    }
}
