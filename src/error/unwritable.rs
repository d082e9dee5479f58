//! Why a volume that can be read must not be written to.

use super::Remedy;
use crate::format::copies::{CopyFault, in_lines};

/// Why a volume that can be read must not be written to (docs/format.md §7.6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unwritable {
    /// Some of its sectors are encrypted and some are not.
    #[error(
        "it is part-converted ({status}), and which sectors Windows would encrypt next is not ours to say"
    )]
    #[non_exhaustive]
    PartConverted {
        /// In the words of `manage-bde`.
        status: &'static str,
    },
    /// Some of its chunks are encrypted and some are not.
    #[error("encrypt-on-write is under way, and a write would have to convert what it touches")]
    EncryptOnWrite,
    /// It was made by Windows Vista.
    #[error("it is a volume of Windows Vista, and writing to those was never tried")]
    Vista,
    /// Nothing on it is encrypted.
    #[error("it is decrypted: what is written would stand on the disk in the open")]
    Decrypted,
    /// Not every copy of the metadata can be read and passes its checks.
    #[error("not all copies of its metadata are sound{}", in_lines(.0))]
    DamagedCopies(Vec<CopyFault>),
    /// The copies of the metadata say different things.
    #[error(
        "the copies of its metadata say different things: an update was interrupted, or they were changed"
    )]
    DifferingCopies,
    /// It was opened with a sector key, which proves nothing of the metadata.
    #[error("it was opened with a sector key, which cannot prove the metadata")]
    SectorKey,
    /// The source holds less than the metadata speaks of.
    #[error("the image is cut off: it holds {present} of the volume's {size} bytes")]
    #[non_exhaustive]
    CutOff {
        /// Bytes that the source holds.
        present: u64,
        /// Bytes of the volume.
        size: u64,
    },
    /// It was not opened for writing.
    #[error("it was opened for reading only")]
    OpenedForReading,
    /// Its map is not made of whole sectors.
    #[error("its areas do not begin and end at whole sectors")]
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
            Self::DamagedCopies(_) | Self::DifferingCopies => Some("have the copies repaired"),
            Self::OpenedForReading => Some("open the volume for writing from the start"),
            Self::SectorKey => Some("give a credential that leads to the volume master key"),
            Self::Vista | Self::Decrypted | Self::CutOff { .. } | Self::Unaligned => None,
        };
        Remedy::ReadOnly { unless }
    }
}
