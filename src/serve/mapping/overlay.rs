//! A device that shows a source with the changes in a file of [`FileOverlay`](crate::source::FileOverlay): the
//! kernel's target `snapshot` (its documentation, `admin-guide/device-mapper/snapshot`).

use std::path::{Path, PathBuf};

use super::device::{self, MAX_UUID, check_free, check_name, device_path, numbers};
use super::libdevmapper;
use super::{SECTOR, sectors};
use crate::error::{Error, Remedy, Result};
use crate::shown::ShowPath;

/// What the identifiers of these devices begin with. The name of the mapping follows.
const KIND: &str = "FVE-OVERLAY-";

/// What their names end with.
const SUFFIX: &str = "-overlay";

/// Longest name of a mapping in bytes, so that the identifier has room for it. The name of the device is
/// shorter than that.
const MAX_NAME: usize = MAX_UUID - KIND.len();

/// A device with the changes of an overlay. It is removed when this is dropped, unless it was kept.
#[derive(Debug)]
pub struct Overlay {
    name: String,
    is_kept: bool,
}

impl Overlay {
    /// Checks that the mapping `name` can have such a device.
    ///
    /// # Errors
    /// [`Error::OutputRefused`] when there is one; those of [`Mapping::make`](super::Mapping::make).
    pub fn check_free(name: &str) -> Result<()> {
        check_name(name)?;
        if name.len() > MAX_NAME {
            return Err(Error::environment(format!(
                "a mapping with its changes in a file can have a name of at most {MAX_NAME} characters"
            )));
        }
        let below = name_below(name);
        match exists(name)? {
            // An interrupted command left it.
            true => Err(device::name_taken(
                &below,
                Remedy::Unmap {
                    device: device_path(name),
                },
            )),
            false => check_free(&below),
        }
    }

    /// Makes the device that the mapping `name` needs: the content of the device `source`, of `size` bytes, with the changes
    /// that the device `changes` holds in chunks of `chunk` bytes.
    ///
    /// # Errors
    /// Those of [`Mapping::make`](super::Mapping::make); [`Error::Unsupported`] when the size is not that of whole
    /// sectors.
    pub fn make(name: &str, source: &Path, changes: &Path, size: u64, chunk: u64) -> Result<Self> {
        Self::check_free(name)?;
        let below = name_below(name);
        let parameters = format!(
            "{} {} P {}",
            numbers(source)?,
            numbers(changes)?,
            sectors(chunk, SECTOR)?
        );
        let target = (0, sectors(size, SECTOR)?, "snapshot", parameters);
        libdevmapper::create(&below, &uuid(name), false, &[target]).map_err(|error| {
            let what = format!("cannot make {}", device_path(&below).shown());
            device::failed(what, error)
        })?;
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

/// Whether the mapping `name` has such a device below it.
pub(super) fn exists(name: &str) -> Result<bool> {
    let known = device::known(&name_below(name))?;
    Ok(known.is_some_and(|known| known.uuid == uuid(name)))
}

/// The mapping that the device `name` is below, if it is one of these devices.
pub(super) fn mapping_above(name: &str) -> Result<Option<&str>> {
    let above = name.strip_suffix(SUFFIX).unwrap_or_default();
    Ok(match !above.is_empty() && exists(above)? {
        true => Some(above),
        false => None,
    })
}

/// Removes the device below the mapping `name`, which is gone.
pub(super) fn remove_below(name: &str) -> std::result::Result<(), libdevmapper::Failed> {
    libdevmapper::remove(&name_below(name))
}

fn name_below(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

fn uuid(name: &str) -> String {
    format!("{KIND}{name}")
}
