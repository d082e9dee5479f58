//! A directory in which files are opened by name, and no link is followed.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

use std::fs::File;

#[cfg(target_os = "linux")]
pub(super) use linux::Folder;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Folder;

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
