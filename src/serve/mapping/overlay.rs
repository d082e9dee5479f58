//! A device that shows a source with the changes in a file of [`FileOverlay`](crate::source::FileOverlay): the
//! kernel's target `snapshot` (its documentation, `admin-guide/device-mapper/snapshot`).

use std::io;
use std::path::{Path, PathBuf};

use super::device::{self, MAX_UUID, check_free, check_name, device_path, numbers};
use super::libdevmapper::{self, Failed, Kind};
use super::{SECTOR, sectors};
use crate::error::{Error, Remedy, Result};
use crate::shown::ShowPath;
use crate::source::OVERLAY_KIND;

/// What their names end with.
const SUFFIX: &str = "-overlay";

/// Longest name of a mapping in bytes, so that the identifier of the device below has room for it: it ends with the
/// name. The name of the device is shorter.
const MAX_NAME: usize = MAX_UUID - OVERLAY_KIND.len();

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
                    device: device_path(&below),
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
        libdevmapper::create(&below, &uuid(name), Kind::Internal, &[target]).map_err(|error| {
            let what = format!("cannot make {}", device_path(&below).shown());
            match error {
                // The kernel does not say which of both it is.
                Failed::System(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    Error::environment(format!("{what}: the kernel refuses the table")).with_remedy(
                        "'dmesg' shows the kernel's reason; if it does not know snapshots: 'modprobe dm-snapshot'",
                    )
                }
                Failed::System(error) => Error::io(what, error),
                other @ Failed::NoLibrary(_) => device::failed(what, other),
            }
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
    if name.len() > MAX_NAME {
        return Ok(false);
    }
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

pub(super) fn name_below(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

fn uuid(name: &str) -> String {
    format!("{OVERLAY_KIND}{name}")
}
