//! Disk-image containers, read-only: the virtual disk inside one as a source.
//!
//! Each reader keeps the numbers of the header in memory and reads its tables from the file when it
//! needs them. So there is no lock and no cache, and a hostile header cannot make it allocate much
//! memory. The other files of an image (segments, parts, extents) are read only if they are regular
//! files in its directory: see [`beside`].
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

mod beside;
mod blocks;
mod concat;
mod ewf;
mod folder;
mod qcow2;
mod split;
mod vhd;
mod vhdx;
mod vmdk;

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::ReadAt;
use crate::error::{Error, Remedy, Result};
use crate::shown::ShowPath;
pub(super) use split::{first_part, next_part};

type Disk = Arc<dyn ReadAt>;

/// A container format.
struct Format {
    /// As messages name it.
    name: &'static str,
    /// How to use an image with features that are not supported; `None` if QEMU may read them.
    way_out: Option<&'static str>,
    /// Whether the file is in this format.
    fits: fn(&Path, &dyn ReadAt) -> io::Result<bool>,
    /// Opens the disk in the file. [`io::ErrorKind::Unsupported`]: the file uses a feature that is
    /// not supported; any other error: it is damaged or cannot be read.
    open: fn(&Path, Disk) -> io::Result<Disk>,
}

/// How to use a differencing VHD or VHDX.
const MERGE: &str =
    "merge it into its parent in Windows: Merge-VHD -Path CHILD -DestinationPath PARENT";

const PROBES: &[Format] = &[
    Format {
        name: "VHD",
        way_out: None,
        fits: |_, file| vhd::fits(file),
        open: |_, file| vhd::open(file),
    },
    Format {
        name: "VHDX",
        way_out: None,
        fits: |_, file| vhdx::fits(file),
        open: |_, file| vhdx::open(file),
    },
    Format {
        name: "qcow2",
        way_out: None,
        fits: |_, file| qcow2::fits(file),
        open: |_, file| qcow2::open(file),
    },
    Format {
        name: "E01",
        way_out: Some("make a raw image of it: ewfexport -f raw IMAGE"),
        fits: |_, file| ewf::fits(file),
        open: ewf::open,
    },
    Format {
        name: "VMDK",
        way_out: None,
        fits: |_, file| vmdk::fits(file),
        open: vmdk::open,
    },
    Format {
        name: "split raw image",
        way_out: Some("join its parts, in their order: cat PART... > IMAGE"),
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
        let fail = |error| failure(format, path, error);
        // If the beginning cannot be read, the source is taken for a disk with a bad sector.
        if (format.fits)(path, file).unwrap_or(false) {
            let disk = (format.open)(path, file.clone()).map_err(fail)?;
            return Ok(Some((disk, format.name)));
        }
    }
    Ok(None)
}

fn failure(format: &Format, path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::Unsupported {
        let refusal = error.get_ref().and_then(|inner| inner.downcast_ref());
        let remedy = refusal.map(|refusal: &Refusal| refusal.remedy.clone());
        return Error::unsupported(format!("{}: {error}", path.shown())).with_remedy(
            remedy.unwrap_or_else(|| match format.way_out {
                Some(advice) => advice.into(),
                None => Remedy::AttachWithQemu {
                    file: Some(path.to_owned()),
                },
            }),
        );
    }
    let name = format.name;
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

/// The same, with a remedy of its own instead of that of the format.
fn unsupported_with(what: impl Into<String>, remedy: impl Into<Remedy>) -> io::Error {
    let refusal = Refusal {
        what: what.into(),
        remedy: remedy.into(),
    };
    io::Error::new(io::ErrorKind::Unsupported, refusal)
}

/// Why a container is refused, and what the user can do about it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Refusal {
    what: String,
    remedy: Remedy,
}
