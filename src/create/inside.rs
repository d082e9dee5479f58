//! The file system inside a volume that is to be written to, and whether it avoids the areas of
//! BitLocker's structures.

use std::ops::Range;

use super::filesystem;
use crate::error::{Error, Result};
use crate::source::ReadAt;

/// Only Windows creates ReFS, and keeps it from using these areas.
const REFS: &[u8; 4] = b"ReFS";
/// Offset of the name of the file system in a boot sector.
const NAME_OFFSET: u64 = 3;

/// The content of a volume's plaintext.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inside {
    /// A file system of Windows that does not use the areas.
    Aware,
    /// A file system of Windows for which this is not known.
    Unchecked {
        /// The reason, such as that it was not unmounted cleanly.
        why: String,
    },
    /// A file system of Windows with free clusters in the areas, where it will store files.
    Unreserved {
        /// Kind of the file system, such as `NTFS`.
        name: &'static str,
    },
    /// Zeros, or unknown data.
    Unknown {
        /// Which of the two, in words.
        found: String,
    },
    /// A file system or another known format that does not know these areas.
    Other {
        /// What it is, for a message.
        found: String,
    },
}

impl Inside {
    /// Examines the plaintext of a volume with these areas, as byte ranges.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read.
    pub fn of(plaintext: &dyn ReadAt, places: &[Range<u64>]) -> Result<Self> {
        match Self::of_file_system(plaintext, places) {
            Ok(Some(inside)) => Ok(inside),
            Ok(None) => Self::without_file_system(plaintext),
            Err(Error::Uncreatable { what, .. }) => Ok(Self::Unchecked { why: what }),
            Err(other) => Err(other),
        }
    }

    fn of_file_system(plaintext: &dyn ReadAt, places: &[Range<u64>]) -> Result<Option<Self>> {
        let Some(system) = filesystem::open(plaintext)? else {
            return Ok(None);
        };
        let facts = system.facts();
        let mut unreserved = false;
        system.free(plaintext, &mut |clusters| {
            let free = facts.clusters.bytes(&clusters);
            unreserved |= places
                .iter()
                .any(|place| place.start < free.end && free.start < place.end);
        })?;
        Ok(Some(match unreserved {
            true => Self::Unreserved { name: facts.name },
            false => Self::Aware,
        }))
    }

    fn without_file_system(plaintext: &dyn ReadAt) -> Result<Self> {
        let fail = |error| Error::io("cannot read the volume", error);
        let mut name = [0; REFS.len()];
        if plaintext.size() > 512 {
            plaintext
                .read_exact_at(NAME_OFFSET, &mut name)
                .map_err(fail)?;
        }
        if &name == REFS {
            let why = "a ReFS file system cannot be checked".to_owned();
            return Ok(Self::Unchecked { why });
        }
        let known = crate::source::known(plaintext).map_err(fail)?;
        Ok(match known {
            Some(found) => Self::Other {
                found: found.name().to_owned(),
            },
            None => Self::Unknown {
                found: crate::source::describe(plaintext)?.what,
            },
        })
    }
}
