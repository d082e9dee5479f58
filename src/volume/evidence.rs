//! What the decrypted first sector shows: whether it is a boot sector, and the sizes in it. This is
//! used only if the BitLocker metadata leaves something open.

impl super::Unlocked {
    /// Whether the plaintext begins with the boot sector of a file system that Windows encrypts: a
    /// test of a key that nothing else proves.
    ///
    /// # Errors
    /// The reason why the sector cannot be read.
    pub fn begins_with_file_system(&self) -> crate::error::Result<bool> {
        let mut sector = vec![0; self.sector_size() as usize];
        self.read_exact_at(0, &mut sector)?;
        Ok(is_boot_sector(&sector))
    }
}

/// Size in bytes of the file system with this boot sector; `None` if it is none that Windows
/// encrypts, or one whose boot sector does not have the size (ReFS).
pub(super) fn file_system_size(sector: &[u8]) -> Option<u64> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(sector.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(sector.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(sector.get(at..at + 8)?.try_into().ok()?));
    let bytes_per_sector = u64::from(u16_at(0x0B)?);
    match sector.get(3..11)? {
        // The field does not count the last sector, which has a copy of the boot sector.
        b"NTFS    " => u64_at(0x28)?.checked_add(1)?.checked_mul(bytes_per_sector),
        b"EXFAT   " => u64_at(0x48)?.checked_mul(1 << sector.get(0x6C)?.min(&12)),
        _ if is_fat(sector) => {
            let small = u64::from(u16_at(0x13)?);
            let sectors = if small == 0 {
                u64::from(u32_at(0x20)?)
            } else {
                small
            };
            sectors.checked_mul(bytes_per_sector)
        }
        _ => None,
    }
}

/// Bytes per sector according to the file system with this boot sector; `None` if it does not say,
/// or gives a size that no medium has.
pub(super) fn sector_size(sector: &[u8]) -> Option<u32> {
    let size = match sector.get(3..11)? {
        b"EXFAT   " => 1u32.checked_shl((*sector.get(0x6C)?).into()),
        b"ReFS\0\0\0\0" => Some(u32::from_le_bytes(sector.get(0x20..0x24)?.try_into().ok()?)),
        _ if is_boot_sector(sector) => {
            Some(u16::from_le_bytes(sector.get(0x0B..0x0D)?.try_into().ok()?).into())
        }
        _ => None,
    };
    size.filter(|size| (512..=4096).contains(size) && size.is_power_of_two())
}

/// Whether this is the first sector of a file system that Windows encrypts.
pub(super) fn is_boot_sector(sector: &[u8]) -> bool {
    let named = matches!(
        sector.get(3..11),
        Some(b"NTFS    " | b"EXFAT   " | b"ReFS\0\0\0\0")
    );
    named || is_fat(sector)
}

fn is_fat(sector: &[u8]) -> bool {
    let named = [0x36, 0x52]
        .into_iter()
        .any(|at| sector.get(at..at + 3) == Some(b"FAT".as_slice()));
    named && sector.get(510..512) == Some(&[0x55, 0xAA])
}

/// Whether every byte is zero, as at the beginning of an unformatted volume.
pub(super) fn is_blank(sector: &[u8]) -> bool {
    sector.iter().all(|byte| *byte == 0)
}
