//! Why a volume that can be read must not be written to.

use super::Remedy;
use crate::format::copies::{CopyFault, in_lines};

/// Why a volume that can be read must not be written to (docs/format.md §7.6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unwritable {
    /// Its conversion is unfinished: only a part of its sectors is encrypted.
    #[error(
        "its conversion is unfinished ({status}), and writing would need to know what Windows converts next"
    )]
    #[non_exhaustive]
    PartConverted {
        /// The conversion status in the words of `manage-bde`.
        status: &'static str,
    },
    /// It encrypts on write, and only a part of its chunks is encrypted.
    #[error(
        "encrypt-on-write is not finished, and each write would have to convert what it touches"
    )]
    EncryptOnWrite,
    /// It was made by Windows Vista.
    #[error("writing to volumes of Windows Vista is not supported")]
    Vista,
    /// Nothing on it is encrypted.
    #[error("it is decrypted, so new data would be stored unencrypted")]
    Decrypted,
    /// A copy of the metadata cannot be read or fails its checks.
    #[error("not all copies of its metadata are sound{}", in_lines(.0))]
    DamagedCopies(Vec<CopyFault>),
    /// The copies of the metadata contradict each other.
    #[error("the copies of its metadata differ: an update was interrupted, or one was changed")]
    DifferingCopies,
    /// Its keys come from a key package, which proves nothing about the metadata on the volume.
    #[error("its keys come from a key package, which cannot prove the metadata")]
    KeyPackage,
    /// It was unlocked with a sector key (FVEK), which proves nothing about the metadata.
    #[error("it was unlocked with a sector key, which cannot prove the metadata")]
    SectorKey,
    /// The source ends before the volume does.
    #[error("the image is cut off: it holds {present} of the volume's {size} bytes")]
    #[non_exhaustive]
    CutOff {
        /// Bytes of the volume that the source holds.
        present: u64,
        /// Size of the volume in bytes.
        size: u64,
    },
    /// It was not opened for writing.
    #[error("it was opened for reading only")]
    OpenedForReading,
    /// The same opened volume is being written to already: two writers would overwrite each other's
    /// changes to a sector.
    #[error("it is already open for writing in this program")]
    AlreadyWritable,
    /// A region of the volume does not begin and end at sector boundaries.
    #[error("its regions do not begin and end at sector boundaries")]
    Unaligned,
}

impl Unwritable {
    pub(super) fn remedy(&self) -> Remedy {
        let unless = match self {
            Self::PartConverted { .. } | Self::EncryptOnWrite => {
                Some("let Windows finish the conversion")
            }
            Self::DamagedCopies(copies) if copies.iter().any(CopyFault::is_read_error) => {
                Some("check the medium and its connection, then try again")
            }
            Self::DamagedCopies(_) | Self::DifferingCopies => return Remedy::RepairCopies,
            Self::OpenedForReading => Some("open the volume for writing from the start"),
            Self::AlreadyWritable => Some("close the other writer"),
            Self::KeyPackage => Some("unlock the volume without the key package"),
            Self::SectorKey => Some("give a credential that unlocks the volume master key"),
            Self::Vista | Self::Decrypted | Self::CutOff { .. } | Self::Unaligned => None,
        };
        Remedy::ReadOnly { unless }
    }
}
