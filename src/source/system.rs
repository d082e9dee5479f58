//! Opening files for reading: what differs between operating systems.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

use std::fs::File;
use std::path::Path;

use crate::error::Error;
use crate::shown::ShowPath;

/// The error for a directory that is a backup by Clonezilla, which has a file of this name.
fn of_backup(directory: &Path) -> Option<Error> {
    directory.join("clonezilla-img").is_file().then(|| {
        let found = format!("{} is a backup by Clonezilla", directory.shown());
        Error::not_bitlocker(found).with_remedy(
            "make a raw image of the partition: cat PARTITION.*-img.* | gunzip | partclone.restore -C --restore_raw_file -s - -o OUT (unzstd or unxz as the name says; parts of dd need no partclone)",
        )
    })
}

/// What a name in a directory leads to.
#[derive(Debug)]
pub(super) enum Entry {
    /// There is no such name.
    Absent,
    /// A symbolic link, which is not followed.
    Link,
    /// Neither a link nor a regular file.
    Other,
    /// A regular file, opened for reading.
    File(File),
}

#[cfg(target_os = "linux")]
pub(super) use linux::*;
#[cfg(not(target_os = "linux"))]
pub(super) use other::*;
