//! Disk-image containers, read-only: the virtual disk inside as a source of its own.
//!
//! Every reader keeps nothing but the header's numbers and looks its tables up in the file where it
//! needs them: no lock, no cache, and no memory that a hostile header could ask for. Names that an
//! image mentions are never followed, but for a VMDK's extents beside it.
//!
//! Readers of our own. What was tried instead: `vhdx` 0.1 panics on files that are none; `ewf` 0.4
//! shows a plain chunk with a changed byte as if it were sound, and asks for 2 GiB where a table
//! says so; `imago` 0.2 (qcow2) stood what was tried, at the price of some 30 crates for what is one
//! file here.

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

/// A kind of container.
struct Format {
    name: &'static str,
    /// Whether this file is one.
    fits: fn(&Path, &dyn ReadAt) -> io::Result<bool>,
    /// The disk in it. [`io::ErrorKind::Unsupported`] says that it is one of a kind that is not
    /// read, any other error that it cannot be read.
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

/// The virtual disk in `file`, which was opened by `path`, and the container's name; `None` if the
/// file is no container.
///
/// # Errors
/// [`Error::Unsupported`] for a container of a kind that is not read, [`Error::Io`] for one that is
/// damaged, cut off or cannot be read.
pub(super) fn open(path: &Path, file: &Disk) -> Result<Option<(Disk, &'static str)>> {
    for format in PROBES {
        let fail = |error| failure(format.name, path, error);
        // What cannot be read shows no container: a failing disk is a disk.
        if (format.fits)(path, file).unwrap_or(false) {
            let disk = (format.open)(path, file.clone()).map_err(fail)?;
            return Ok(Some((disk, format.name)));
        }
    }
    Ok(None)
}

fn failure(name: &str, path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::Unsupported {
        return Error::Unsupported {
            what: format!("{}: {error}", path.shown()),
        };
    }
    Error::io(format!("cannot open the {name} {}", path.shown()), error)
}

/// A container that says something impossible.
fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// A container of a kind that is not read.
fn unsupported(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what.into())
}
