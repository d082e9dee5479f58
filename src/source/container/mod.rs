//! Disk-image containers, read-only: the virtual disk inside one as a source.
//!
//! Each reader keeps the numbers of the header in memory and reads its tables from the file when it
//! needs them. So there is no lock and no cache, and a hostile header cannot make it allocate much
//! memory. File names in an image are not followed, except those of a VMDK's extents in the same
//! directory.
//!
//! The formats are parsed here because the crates that were tried were unfit: `vhdx` 0.1 panics on
//! files that are not VHDX; `ewf` 0.4 does not check the checksum of an uncompressed chunk, so that
//! it returns changed bytes as sound, and allocates up to 2 GiB for a chunk if a table says so.
//! `imago` 0.2 (qcow2, VMDK) withstood the tests, but keeps caches behind locks and adds some 30
//! crates to a build that has only this feature.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod blocks;
mod concat;
mod ewf;
mod qcow2;
mod split;
mod vhd;
mod vhdx;
mod vmdk;

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::ReadAt;
use crate::error::{Error, Result};
use crate::shown::ShowPath;

type Disk = Arc<dyn ReadAt>;

/// A container format.
struct Format {
    /// As messages name it.
    name: &'static str,
    /// Whether the file is in this format.
    fits: fn(&Path, &dyn ReadAt) -> io::Result<bool>,
    /// Opens the disk in the file. [`io::ErrorKind::Unsupported`]: the file uses a feature that is
    /// not supported; any other error: it is damaged or cannot be read.
    open: fn(&Path, Disk) -> io::Result<Disk>,
}

const PROBES: &[Format] = &[
    Format {
        name: "VHD",
        fits: |_, file| vhd::fits(file),
        open: |_, file| vhd::open(file),
    },
    Format {
        name: "VHDX",
        fits: |_, file| vhdx::fits(file),
        open: |_, file| vhdx::open(file),
    },
    Format {
        name: "qcow2",
        fits: |_, file| qcow2::fits(file),
        open: |_, file| qcow2::open(file),
    },
    Format {
        name: "E01",
        fits: |_, file| ewf::fits(file),
        open: ewf::open,
    },
    Format {
        name: "VMDK",
        fits: |_, file| vmdk::fits(file),
        open: vmdk::open,
    },
    Format {
        name: "split raw image",
        fits: |path, _| split::fits(path),
        open: split::open,
    },
];

/// The virtual disk in `file`, which was opened at `path`, and the name of the container format;
/// `None` if the file is not a container.
///
/// # Errors
/// [`Error::Unsupported`] for a container with features that are not supported, [`Error::Io`] for one
/// that is damaged, cut off or cannot be read.
pub(super) fn open(path: &Path, file: &Disk) -> Result<Option<(Disk, &'static str)>> {
    for format in PROBES {
        let fail = |error| failure(format.name, path, error);
        // If the beginning cannot be read, the source is taken for a disk with a bad sector.
        if (format.fits)(path, file).unwrap_or(false) {
            let disk = (format.open)(path, file.clone()).map_err(fail)?;
            return Ok(Some((disk, format.name)));
        }
    }
    Ok(None)
}

fn failure(name: &str, path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::Unsupported {
        return Error::unsupported(format!("{}: {error}", path.shown()));
    }
    Error::io(format!("cannot open the {name} {}", path.shown()), error)
}

/// The error for a container with impossible values.
fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// The error for a container with features that are not supported.
fn unsupported(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what.into())
}
