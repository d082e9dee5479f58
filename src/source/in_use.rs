//! Opening files and devices that no other program uses, and the errors that name the program.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, major, minor};
use rustix::io::Errno;

use super::storage::Use;
use super::writers::Writer;
use crate::error::{Error, Result};
use crate::shown::ShowPath;

/// Whether a device is write-protected. Opening it for writing would succeed, and each write fail.
pub(super) fn is_read_only(device: &Path) -> bool {
    let flag = device.metadata().and_then(|metadata| {
        let (major, minor) = (major(metadata.rdev()), minor(metadata.rdev()));
        std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/ro"))
    });
    flag.is_ok_and(|flag| flag.trim() == "1")
}

/// Opens a file, or a device that no other program has claimed.
pub(super) fn open_unused(
    path: &Path,
    options: &mut OpenOptions,
    is_device: bool,
) -> Result<io::Result<File>> {
    if is_device {
        options.custom_flags(i32::try_from(OFlags::EXCL.bits()).unwrap_or(0));
    }
    match options.open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
            Err(in_use(path, "it is mounted, or another program holds it"))
        }
        other => Ok(other),
    }
}

/// The error for a file or device that is in use, and `why`.
pub(super) fn in_use(path: &Path, why: &str) -> Error {
    Error::Environment {
        what: format!("{} is in use: {why}", path.shown()),
        remedy: Some("unmount it and close the programs that use it, then try again".into()),
    }
}

/// The error for a use that the system shows, with the command that ends it.
pub(super) fn used(target: &Path, found: &Use) -> Error {
    Error::Environment {
        what: format!("{} is in use: {}", target.shown(), found.description()),
        remedy: Some(found.how_to_end()),
    }
}

/// The error for a program that has the target open for writing.
pub(super) fn written_by(target: &Path, writer: &Writer) -> Error {
    Error::Environment {
        what: format!(
            "{} is in use: {writer} has it open for writing",
            target.shown()
        ),
        remedy: Some("end that program first".into()),
    }
}
