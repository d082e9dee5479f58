//! A device that shows a source with the changes in a file of [`FileOverlay`](crate::source::FileOverlay): the
//! kernel's target `snapshot` (its documentation, `admin-guide/device-mapper/snapshot`).

use std::path::{Path, PathBuf};

use super::device::{self, check_free, device_path, numbers};
use super::libdevmapper;
use super::{SECTOR, sectors};
use crate::error::Result;
use crate::shown::ShowPath;

/// What the identifiers of these devices begin with.
const KIND: &str = "FVE-OVERLAY-";

/// A device with the changes of an overlay. It is removed when this is dropped, unless it was kept.
#[derive(Debug)]
pub struct Overlay {
    name: String,
    is_kept: bool,
}

impl Overlay {
    /// Makes the device that the mapping `name` needs: the content of the device `source`, of `size` bytes, with the changes
    /// that the device `changes` holds in chunks of `chunk` bytes.
    ///
    /// # Errors
    /// Those of [`Mapping::make`](super::Mapping::make); [`Error::Unsupported`](crate::error::Error::Unsupported) when the size is not that of whole
    /// sectors.
    pub fn make(name: &str, source: &Path, changes: &Path, size: u64, chunk: u64) -> Result<Self> {
        let below = name_below(name);
        check_free(&below)?;
        let parameters = format!(
            "{} {} P {}",
            numbers(source)?,
            numbers(changes)?,
            sectors(chunk, SECTOR)?
        );
        let target = (0, sectors(size, SECTOR)?, "snapshot", parameters);
        libdevmapper::create(&below, &format!("{KIND}{name}"), false, &[target]).map_err(
            |error| {
                device::failed(
                    format!("cannot make {}", device_path(&below).shown()),
                    error,
                )
            },
        )?;
        Ok(Self {
            name: below,
            is_kept: false,
        })
    }

    /// The path of the device.
    pub fn path(&self) -> PathBuf {
        device_path(&self.name)
    }

    /// Leaves the device to the mapping above it, with which [`remove`](super::remove) removes it.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = libdevmapper::remove(&self.name)
        {
            tracing::warn!("cannot remove the mapping {}: {error:?}", self.name);
        }
    }
}

/// Removes the device below a mapping that is gone, if it had one.
pub(super) fn remove_below(name: &str) -> Result<()> {
    let below = name_below(name);
    match device::known(&below)? {
        Some(known) if known.uuid == format!("{KIND}{name}") => {
            let path = device_path(&below);
            libdevmapper::remove(&below).map_err(|error| {
                device::failed(format!("cannot remove the mapping {}", path.shown()), error)
            })
        }
        _ => Ok(()),
    }
}

fn name_below(name: &str) -> String {
    format!("{name}-overlay")
}
