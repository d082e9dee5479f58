//! Comparing the parts of a volume that nothing proves with the metadata, which the VMK proves.
//! An attacker who can write to the disk can change the boot record, the conversion map and the place of
//! the volume. If they contradict the metadata, no plaintext is shown (`docs/unauthenticated.md` has
//! the whole list).

use super::layout::{Content, Layout};
use super::unlocked::Unlocked;
use super::{ConversionMap, Volume, evidence};
use crate::error::{Error, Remedy, Result};
use crate::format::block::{MetadataBlock, REGION_LEN, State};
use crate::format::boot::{self, Flavor};

/// Bytes in a sector of a volume of Windows Vista. Its sealed metadata does not have the sector size,
/// and only this one was seen.
const VISTA_SECTOR_LEN: u32 = 512;

/// The evidence for the offset at which the volume begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartProof {
    /// The boot record is there.
    ByBootRecord,
    /// At least two metadata copies are where they can be only if the volume begins there.
    ByCopies,
    /// The metadata copies that were found fit several beginnings. The plaintext has to prove it.
    Unproved,
}

fn contradicted(what: impl Into<String>, remedy: impl Into<Remedy>) -> Error {
    Error::Contradicted {
        what: what.into(),
        remedy: Some(remedy.into()),
    }
}

fn bad_boot_record(what: impl Into<String>) -> Error {
    contradicted(what, Remedy::OpenByMetadata)
}

fn bad_map(what: impl Into<String>) -> Error {
    contradicted(
        what,
        "the conversion map is damaged or was changed; which areas are encrypted is not known",
    )
}

impl Volume {
    /// Checks that the boot record agrees with the metadata in all that both of them have.
    ///
    /// # Errors
    /// [`Error::Contradicted`] if it does not; [`Error::Unsupported`] for a volume of Windows Vista
    /// whose sectors do not have 512 bytes.
    pub fn check_boot_record(&self, block: &MetadataBlock) -> Result<()> {
        let vista = self.boot.flavor == Flavor::Vista;
        if vista != (block.version == 1) {
            return Err(bad_boot_record(format!(
                "the boot record is {} of Windows Vista, the metadata has version {}",
                if vista { "one" } else { "not one" },
                block.version
            )));
        }
        let has_map = matches!(self.boot.layout, boot::Layout::EncryptOnWrite { .. });
        if has_map != block.is_encrypt_on_write() {
            return Err(bad_boot_record(if has_map {
                "the boot record says that the volume has a conversion map of encrypt-on-write, the metadata says that it has none"
            } else {
                "the boot record says that the volume has no conversion map, the metadata says that it has one of encrypt-on-write"
            }));
        }
        if vista && self.sector_size != VISTA_SECTOR_LEN {
            return Err(Error::unsupported(format!(
                "a volume of Windows Vista with sectors of {} bytes",
                self.sector_size
            )));
        }
        match block.sector_size() {
            Some(size) if size != self.sector_size => Err(bad_boot_record(format!(
                "the boot record says that sectors have {} bytes, the metadata says {size}",
                self.sector_size
            ))),
            _ => Ok(()),
        }
    }

    /// Checks that the conversion map can belong to the volume: it has chunks of both kinds only if
    /// the metadata says that a conversion is in progress, it is inside a volume of `size` bytes, and
    /// it does not overlap the metadata copies or the moved boot sectors.
    ///
    /// # Errors
    /// [`Error::Contradicted`] if it cannot.
    pub(super) fn check_map(
        &self,
        block: &MetadataBlock,
        map: &ConversionMap,
        size: Option<u64>,
    ) -> Result<()> {
        let (encrypted, all) = map.progress();
        if block.state == State::DECRYPTED && encrypted > 0 {
            return Err(bad_map(
                "the volume says that it is decrypted, but its conversion map says that parts are encrypted",
            ));
        }
        if block.state != State::DECRYPTED && !block.is_converting() && encrypted < all {
            return Err(bad_map(
                "the conversion map says that parts of the volume are not encrypted, but the metadata says that no conversion is under way",
            ));
        }
        let ends = map.regions.iter().chain(&map.reserved);
        let end = ends.map(|range| range.end).max().unwrap_or(0);
        if size.is_some_and(|size| end > size) {
            return Err(bad_map(format!(
                "the conversion map extends to byte {end}, beyond the end of the volume"
            )));
        }
        let moved = u64::from(block.moved_sectors).saturating_mul(self.sector_size.into());
        let others = block.copies.map(|copy| (copy, REGION_LEN));
        let others = others.into_iter().chain([(block.header_source, moved)]);
        for (start, len) in others {
            let overlaps = |range: &&std::ops::Range<u64>| {
                range.start < start.saturating_add(len) && start < range.end
            };
            if let Some(range) = map.reserved.iter().find(overlaps) {
                return Err(bad_map(format!(
                    "the conversion map says that it is at {:#x}, where the metadata or the moved boot sectors are",
                    range.start
                )));
            }
        }
        Ok(())
    }

    /// A warning if areas are taken for unencrypted because of something that no key proves. `proved`
    /// says whether the VMK proves the metadata.
    pub(super) fn plain_warning(
        &self,
        block: &MetadataBlock,
        layout: &Layout,
        proved: bool,
    ) -> Option<String> {
        let plain = layout.extents().iter().filter_map(|extent| {
            let len = extent.range.end - extent.range.start;
            matches!(extent.content, Content::Plain { .. }).then_some(len)
        });
        let plain: u64 = plain.sum();
        let followed = self.conversion.is_some() && block.state != State::DECRYPTED;
        if followed && block.is_converting() {
            return Some(format!(
                "a conversion is under way, and no key proves the map that says which areas are encrypted: an attacker who could write to the disk may have changed it, and {plain} bytes are shown as they are on the disk"
            ));
        }
        (!proved && plain > 0).then(|| {
            format!(
                "no key proves the metadata that says that {plain} bytes of the volume are not encrypted: an attacker who could write to the disk may have put content there"
            )
        })
    }

    /// Checks that metadata which no key proves has the same offsets of the copies as the boot
    /// record. Otherwise the volume would show the content of metadata copies as data.
    ///
    /// # Errors
    /// [`Error::Contradicted`] if it does not.
    pub(super) fn check_unproved_places(&self, block: &MetadataBlock) -> Result<()> {
        match block.copies.starts_with(&self.boot.metadata_offsets) {
            true => Ok(()),
            false => Err(bad_boot_record(
                "the boot record names other places of the metadata copies than the metadata, which no key proves",
            )),
        }
    }

    /// Checks with the first sector of the plaintext what nothing else proves: where the volume
    /// begins, and the size of its sectors. `proved` says whether the VMK proves the metadata.
    ///
    /// # Errors
    /// [`Error::Contradicted`] if the first sector does not agree.
    pub(super) fn check_plaintext(
        &self,
        block: &MetadataBlock,
        unlocked: &Unlocked,
        proved: bool,
    ) -> Result<()> {
        let sector_size_is_sealed = proved && (block.version == 1 || block.sector_size().is_some());
        if self.start_proof != StartProof::Unproved && sector_size_is_sealed {
            return Ok(());
        }
        let mut sector = vec![0; self.sector_size as usize];
        let read = unlocked.read_exact_at(0, &mut sector);
        let begins =
            read.is_ok() && (evidence::is_boot_sector(&sector) || evidence::is_blank(&sector));
        if self.start_proof == StartProof::Unproved && !begins {
            return Err(contradicted(
                match read {
                    Ok(()) => {
                        "the key fits, but the volume does not begin here: what is decrypted does not begin with a boot sector".to_owned()
                    }
                    Err(error) => format!(
                        "the key fits, but nothing proves where the volume begins: its first sector cannot be read ({})",
                        error.with_causes()
                    ),
                },
                Remedy::SearchVolumeStart,
            ));
        }
        if sector_size_is_sealed || block.version == 1 {
            return Ok(());
        }
        match evidence::sector_size(&sector) {
            Some(size) if size != self.sector_size => Err(contradicted(
                format!(
                    "the sectors are taken to have {} bytes, but the file system inside says {size}",
                    self.sector_size
                ),
                "the boot record or the metadata is damaged or was changed",
            )),
            None if proved => Err(contradicted(
                "nothing proves the size of the sectors: the metadata does not have it, and the volume does not begin with a boot sector",
                "the boot record or the metadata is damaged or was changed",
            )),
            _ => Ok(()),
        }
    }
}
