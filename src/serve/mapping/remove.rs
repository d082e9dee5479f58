//! Removing a mapping from the kernel, and what is below it.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::device::{BITLOCKER, check_name, device_path, failed, known};
use super::libdevmapper::{self, Failed};
use super::overlay;
use crate::error::Error;
use crate::shown::ShowPath;

/// Why [`remove`] did not remove a mapping.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotRemoved {
    /// There is none with this name.
    #[error("there is no mapping {}", .0.shown())]
    Missing(PathBuf),
    /// It is a mapping of another kind.
    #[error("{} is not the mapping of a BitLocker volume", .0.shown())]
    OfAnotherKind(PathBuf),
    /// It is in use.
    #[error("cannot remove the mapping {}: it is in use", .0.shown())]
    InUse(PathBuf),
    /// As in [`Mapping::make`](super::Mapping::make).
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Removes the mapping of a BitLocker volume, also one that cryptsetup made, and the [`Overlay`](super::Overlay)
/// below it. If only that is left, it is removed. The name may also be that of the [`Overlay`](super::Overlay).
///
/// # Errors
/// See [`NotRemoved`].
pub fn remove(name: &str) -> std::result::Result<(), NotRemoved> {
    check_name(name)?;
    let name = overlay::mapping_above(name)?.unwrap_or(name);
    let has_overlay = overlay::exists(name)?;
    let path = device_path(name);
    let mut flushed = Ok(());
    match known(name)? {
        Some(known) if known.uuid.starts_with(BITLOCKER) => {
            // Removing it does not have the disks write what is in their caches.
            flushed = File::open(&path).and_then(|device| device.sync_all());
            remove_one(name)?;
        }
        None if has_overlay => {}
        Some(_) => return Err(NotRemoved::OfAnotherKind(path)),
        None => return Err(NotRemoved::Missing(path)),
    }
    if has_overlay {
        remove_one(&overlay::name_below(name))?;
    }
    let what = || {
        let path = path.shown();
        format!("{path} was removed, but not all that was written to it may have reached the disk")
    };
    Ok(flushed.map_err(|error| Error::io(what(), error))?)
}

fn remove_one(name: &str) -> std::result::Result<(), NotRemoved> {
    let path = device_path(name);
    libdevmapper::remove(name).map_err(|error| match &error {
        Failed::System(reason) if reason.kind() == io::ErrorKind::ResourceBusy => {
            NotRemoved::InUse(path)
        }
        _ => failed(format!("cannot remove the mapping {}", path.shown()), error).into(),
    })
}
