//! Files inside an unlocked NTFS volume, read without mounting it.

use super::Unlocked;
use crate::error::{Error, Result};

#[cfg(feature = "ntfs")]
pub use inside::{FileFault, ReadSeek, with_file};

/// The whole content of a file. `path` has the names from the root directory on, in any case. Bytes
/// beyond the initialized size of the file are zeros, as NTFS defines.
///
/// # Errors
/// [`Error::Io`] when there is no such file, when it has more than `max` bytes, when it is
/// compressed, encrypted by Windows or a reparse point (which are not supported), or when the volume
/// has no NTFS that can be read; [`Error::Environment`] if the library was built without the feature
/// `ntfs`.
#[cfg(feature = "ntfs")]
pub fn read_file(volume: &Unlocked, path: &[&str], max: u64) -> Result<Vec<u8>> {
    use std::io::Read;
    let read = with_file(volume, path, |file, len| {
        if len > max {
            return Err(FileFault::TooLarge(len));
        }
        let mut content = Vec::new();
        file.take(max)
            .read_to_end(&mut content)
            .map_err(FileFault::Unreadable)?;
        Ok(content)
    });
    read.map_err(|fault| {
        Error::io(
            format!("cannot read {} inside the volume", path.join("/")),
            fault.into(),
        )
    })
}

/// An error: this library was built without the feature `ntfs`.
///
/// # Errors
/// [`Error::Environment`], always.
#[cfg(not(feature = "ntfs"))]
pub fn read_file(_volume: &Unlocked, _path: &[&str], _max: u64) -> Result<Vec<u8>> {
    Err(Error::Environment {
        what: "this fve was built without support for files inside NTFS (the feature ntfs)"
            .to_owned(),
        remedy: None,
    })
}

#[cfg(feature = "ntfs")]
mod bounded;
#[cfg(feature = "ntfs")]
mod content;
#[cfg(feature = "ntfs")]
mod inside;
