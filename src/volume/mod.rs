//! BitLocker volumes: [`Volume`] is locked and has everything that is known without a key;
//! [`Unlocked`] has the plaintext at any offset; [`Writable`] also takes writes.
//!
//! [`Volume::from_source`] reads the boot record, the metadata copies and the conversion map.
//! [`Volume::unlock`] takes credentials and gives an [`Unlocked`];
//! [`Unlocked::into_writable`] makes that writable, if writing is safe.

mod agreement;
mod conversion;
#[cfg(target_os = "linux")]
pub mod devices;
mod disk;
mod evidence;
mod fvek;
mod hibernation;
mod key_package;
pub mod layout;
mod open;
mod path;
mod plan;
mod range_lock;
mod status;
pub mod system;
mod target;
mod unlock;
mod unlocked;
mod writable;

use std::sync::Arc;

pub use crate::unlock::UnlockOptions;
pub(crate) use conversion::read_available;
pub use conversion::{ConversionMap, Run};
pub use disk::Disk;
pub use fvek::Fvek;
pub use hibernation::is_hibernated;
pub(crate) use open::sectors_per_cluster;
pub use status::{Conversion, Protection, Status};
pub use unlock::MasterKey;
pub use unlocked::{OpenedBy, Unlocked};
pub use writable::{IntoWritableError, Writable};

use self::target::Target;
use crate::error::{Error, Result};
use crate::format::block::{MetadataBlock, REGION_LEN, State};
use crate::format::boot::BootRecord;
use crate::format::copies::{Copies, MetadataCopy};
use crate::format::protector::KeyProtector;
use crate::source::ReadAt;

/// A locked volume: its boot record, metadata and key protectors.
pub struct Volume {
    source: Arc<dyn ReadAt>,
    /// The same source, if the volume was opened for writing.
    target: Option<Target>,
    boot: BootRecord,
    sector_size: u32,
    copies: Copies,
    conversion: Option<Result<ConversionMap, UnreadableMap>>,
    start_proof: agreement::StartProof,
    /// Length in bytes of the beginning of the volume that the source lacks.
    missing: u64,
    /// Set if the keys come from a key package.
    key_package: Option<key_package::KeyPackageOrigin>,
}

/// Why the conversion map cannot be used. Opening the volume keeps it; it becomes an error when the
/// plaintext is needed.
#[derive(Debug)]
struct UnreadableMap {
    what: String,
    /// Whether the source ends before the map.
    cut_off: bool,
}

impl Volume {
    /// The boot record.
    pub fn boot_record(&self) -> &BootRecord {
        &self.boot
    }

    /// Size of a sector in bytes.
    pub fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// Where the source ends, in bytes from the start of the volume: less or more than the size of the
    /// volume. The source lacks [`Volume::missing`] of these bytes.
    pub fn source_size(&self) -> u64 {
        self.source.size()
    }

    /// Length in bytes of the beginning of the volume that the source lacks.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// How many bytes of the volume the source holds. `None` if the size of the volume is not known
    /// ([`Volume::declared_size`]).
    pub fn available(&self) -> Option<u64> {
        let end = self.declared_size()?.min(self.source.size());
        Some(end.saturating_sub(self.missing))
    }

    /// The source that the volume was opened from.
    pub(crate) fn source(&self) -> &dyn ReadAt {
        self.source.as_ref()
    }

    /// The three metadata copies, each parsed or with the reason why it cannot be used.
    pub fn copies(&self) -> &Copies {
        &self.copies
    }

    /// The metadata: the first copy that passes its checks.
    ///
    /// # Errors
    /// [`Error::Damaged`] when no copy does; [`Error::Io`] when the image ends before the first copy,
    /// or when no copy is sound and reading one of them failed.
    pub fn metadata(&self) -> Result<&MetadataBlock> {
        self.copies
            .sound()
            .first()
            .copied()
            .ok_or_else(|| self.no_sound_copy())
    }

    /// The metadata as [`Volume::metadata`] gives it, or if no copy passes its checks, the first that
    /// can be parsed.
    pub fn metadata_as_found(&self) -> Option<&MetadataBlock> {
        self.copies.readable().first().copied()
    }

    /// The key protectors in [`Volume::metadata_as_found`], which may be damaged.
    pub fn protectors(&self) -> Vec<&KeyProtector> {
        self.metadata_as_found()
            .map(|block| block.protectors().collect())
            .unwrap_or_default()
    }

    /// Whether reading the plaintext needs a key. `false` for a volume that was decrypted.
    pub fn needs_key(&self) -> bool {
        !self.metadata_as_found().is_some_and(is_decrypted)
    }

    /// The conversion map, if this is an encrypt-on-write volume whose map could be read.
    pub fn conversion_map(&self) -> Option<&ConversionMap> {
        self.conversion.as_ref()?.as_ref().ok()
    }

    /// Why the conversion map of an encrypt-on-write volume could not be read.
    pub fn conversion_fault(&self) -> Option<&str> {
        let fault = self.conversion.as_ref()?.as_ref().err()?;
        Some(&fault.what)
    }

    fn no_sound_copy(&self) -> Error {
        let size = self.source.size();
        let beyond = |copy: &MetadataCopy| copy.offset.saturating_add(REGION_LEN) > size;
        if self.copies.0.iter().all(beyond) {
            let ends = self.copies.0.iter();
            let ends = ends.map(|copy| copy.offset.saturating_add(REGION_LEN));
            return Error::io(
                format!(
                    "the image has {size} bytes, and the first copy of the volume's metadata ends at byte {}",
                    ends.min().unwrap_or_default()
                ),
                std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the image is cut off"),
            );
        }
        if let Some(error) = self.copies.read_error() {
            let faults = self.copies.faults();
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            return Error::io(
                format!(
                    "no sound copy of the metadata can be read ({})",
                    faults.join("; ")
                ),
                error,
            );
        }
        Error::Damaged {
            what: "the metadata is damaged: no copy of it passes its checks".to_owned(),
            copies: self.copies.faults(),
        }
    }
}

/// Whether the volume is decrypted: nothing on it is encrypted, and it has no FVEK.
fn is_decrypted(block: &MetadataBlock) -> bool {
    block.state == State::DECRYPTED && block.sealed_fvek().is_none()
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume")
            .field("boot", &self.boot)
            .field("sector_size", &self.sector_size)
            .field("copies", &self.copies)
            .finish_non_exhaustive()
    }
}
