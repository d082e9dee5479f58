//! Opening files for reading: what differs between operating systems.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

use std::path::Path;

use crate::error::Error;
use crate::shown::ShowPath;

/// The error for a directory that is a backup by Clonezilla, which has a file of this name.
fn of_backup(directory: &Path) -> Option<Error> {
    directory.join("clonezilla-img").is_file().then(|| {
        let found = format!("{} is a backup by Clonezilla", directory.shown());
        Error::not_bitlocker(found).with_remedy(
            "make a raw image of the partition: join its files with cat, unpack them with gunzip or unzstd, and restore them into a file with partclone.restore (not needed for files of dd)",
        )
    })
}

#[cfg(target_os = "linux")]
pub(super) use linux::*;
#[cfg(not(target_os = "linux"))]
pub(super) use other::*;
