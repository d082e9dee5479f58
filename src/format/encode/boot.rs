//! The boot record of Windows 7 and later (docs/format.md §1.3).

use super::StructureWriter;
use crate::format::FormatError;
use crate::format::boot::{BOOT_RECORD_LEN, ENCRYPT_ON_WRITE, NORMAL, SIGNATURE};

/// The variable fields of sector 0.
pub(crate) struct BootFields {
    /// Bytes per sector.
    pub(crate) bytes_per_sector: u16,
    /// Sectors per cluster.
    pub(crate) sectors_per_cluster: u8,
    /// Sectors of the disk before the volume, as FAT and NTFS store them for boot code.
    pub(crate) hidden_sectors: u32,
    /// Offsets of the metadata copies, in bytes from the start of the volume.
    pub(crate) copies: [u64; 3],
    /// Offsets of the two copies of the conversion map's header, on an encrypt-on-write volume.
    pub(crate) information: Option<[u64; 2]>,
}

/// Boot code of our own, for a computer that tries to start from the volume: return to the firmware
/// (`int 18h`); if that returns, halt in a loop (`hlt`, `jmp` back).
const STUB: [u8; 5] = [0xCD, 0x18, 0xF4, 0xEB, 0xFD];

/// The first 512 bytes of the volume.
///
/// Geometry, media byte and the FAT32 fields have the values of every sample (docs/format.md §1.3).
/// No reader uses them.
pub(crate) fn boot_record(fields: &BootFields) -> Result<Vec<u8>, FormatError> {
    let mut writer = StructureWriter::new("boot record", BOOT_RECORD_LEN);
    writer.put(0x000, &[0xEB, 0x58, 0x90])?;
    writer.put(0x003, SIGNATURE)?;
    writer.put(0x00B, &fields.bytes_per_sector.to_le_bytes())?;
    writer.put(0x00D, &[fields.sectors_per_cluster])?;
    writer.put(0x015, &[0xF8])?;
    writer.put(0x018, &[0x3F, 0, 0xFF, 0])?;
    writer.put(0x01C, &fields.hidden_sectors.to_le_bytes())?;
    writer.put(0x024, &0x1FE0u32.to_le_bytes())?;
    writer.put(0x030, &[1, 0, 6, 0])?;
    writer.put(0x040, &[0x80, 0x00, 0x29])?;
    writer.put(0x047, b"NO NAME    FAT32   ")?;
    writer.put(0x05A, &STUB)?;
    let guid = match fields.information {
        Some(_) => ENCRYPT_ON_WRITE,
        None => NORMAL,
    };
    writer.put(0x0A0, &guid.to_disk())?;
    writer.put(0x0B0, fields.copies.map(u64::to_le_bytes).as_flattened())?;
    let information = fields.information.unwrap_or_default();
    writer.put(0x0C8, information.map(u64::to_le_bytes).as_flattened())?;
    writer.put(0x1FE, &[0x55, 0xAA])?;
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::boot::{BootRecord, Flavor, Layout};

    #[test]
    fn writes_what_the_parser_reads() {
        let mut fields = BootFields {
            bytes_per_sector: 4096,
            sectors_per_cluster: 1,
            hidden_sectors: 0x40,
            copies: [0x1_0000, 0x3_0000, 0x5_0000],
            information: None,
        };
        let boot = BootRecord::parse(&boot_record(&fields).unwrap())
            .unwrap()
            .unwrap();
        assert_eq!(boot.flavor, Flavor::Windows7);
        assert_eq!(boot.layout, Layout::Whole);
        assert_eq!(boot.bytes_per_sector, 4096);
        assert_eq!(boot.sectors_per_cluster, 1);
        assert_eq!(boot.metadata_offsets, fields.copies);
        fields.information = Some([0x7_0000, 0x7_1000]);
        let boot = BootRecord::parse(&boot_record(&fields).unwrap())
            .unwrap()
            .unwrap();
        let information = [0x7_0000, 0x7_1000];
        assert_eq!(boot.layout, Layout::EncryptOnWrite { information });
    }
}
