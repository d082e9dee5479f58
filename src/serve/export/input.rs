//! What is exported: a volume, or a file of the file system in a volume.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::files::Content;
use crate::volume::Unlocked;

/// The bytes that are exported.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    Volume(&'a Unlocked),
    File(&'a dyn Content),
}

impl Input<'_> {
    /// Its size in bytes.
    pub(super) fn size(self) -> u64 {
        match self {
            Self::Volume(volume) => volume.size(),
            Self::File(content) => content.size(),
        }
    }

    /// The bytes that the output gets: those of a volume that are inside its source.
    pub(super) fn available(self) -> u64 {
        match self {
            Self::Volume(volume) => volume.available(),
            Self::File(content) => content.size(),
        }
    }

    /// Bytes that are tried alone where more cannot be read. `None` if the output is of no use without
    /// them: a file is complete or an error.
    pub(super) fn smallest_part(self) -> Option<usize> {
        match self {
            Self::Volume(volume) => Some(volume.sector_size() as usize),
            Self::File(_) => None,
        }
    }

    pub(super) fn read_exact_at(self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match self {
            Self::Volume(volume) => volume.read_exact_at(offset, buf),
            Self::File(content) => content
                .read_exact_at(offset, buf)
                .map_err(|error| Error::io("cannot read the file", error)),
        }
    }

    /// Whether all bytes of the range are known to be zeros without reading them.
    pub(super) fn is_hole(self, range: &Range<u64>) -> bool {
        match self {
            Self::Volume(_) => false,
            Self::File(content) => content
                .stored_from(range.start)
                .is_none_or(|stored| stored.start >= range.end),
        }
    }

    /// Whether it has holes, for which no space is to be allocated.
    pub(super) fn has_holes(self) -> bool {
        let Self::File(content) = self else {
            return false;
        };
        let mut reached = 0;
        while reached < content.size() {
            // A content can give each of its extents.
            match content.stored_from(reached) {
                Some(stored) if stored.start <= reached && stored.end > reached => {
                    reached = stored.end;
                }
                _ => return true,
            }
        }
        false
    }
}
