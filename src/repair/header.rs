//! Rebuilding a lost boot record from the metadata (docs/format-recovery.md §3.4).

use super::FoundVolume;
use crate::error::{Error, Result};
use crate::format::encode::boot::{BootFields, boot_record};
use crate::volume::sectors_per_cluster;

/// The first sector of the volume, as Windows 7 and later write it. The FAT file system that
/// BitLocker To Go puts before a volume is not rebuilt; no reader needs it.
///
/// # Errors
/// [`Error::Unsupported`] for a volume of Windows Vista, whose boot record has more than the metadata;
/// [`Error::Damaged`] when the offsets in the metadata are impossible.
pub fn header(volume: &FoundVolume) -> Result<Vec<u8>> {
    let unsupported = |what: &str| Error::unsupported(what.to_owned());
    let best = volume
        .best()
        .filter(|best| best.block.version != 1)
        .ok_or_else(|| {
            unsupported("a volume of Windows Vista, whose boot record holds more than its metadata")
        })?;
    if best.block.is_encrypt_on_write() && volume.conversion_map.is_none() {
        return Err(unsupported(
            "an encrypt-on-write volume whose conversion map is not found",
        ));
    }
    let sector_size = best.block.sector_size().unwrap_or(512);
    let fits = sector_size.is_power_of_two() && (512..=4096).contains(&sector_size);
    if !fits {
        return Err(unsupported("a volume with an impossible sector size"));
    }
    let start = u64::try_from(volume.start)
        .map_err(|_| unsupported("a volume whose first sectors are not on the source"))?;
    let hidden = start / u64::from(sector_size);
    let mut header = boot_record(&BootFields {
        bytes_per_sector: u16::try_from(sector_size).unwrap_or(512),
        sectors_per_cluster: sectors_per_cluster(sector_size),
        hidden_sectors: u32::try_from(hidden).unwrap_or(0),
        copies: best.block.copies,
        information: volume.conversion_map,
    })
    .map_err(|fault| Error::Damaged {
        what: fault.to_string(),
        copies: Vec::new(),
    })?;
    header.resize(sector_size as usize, 0);
    Ok(header)
}
