//! Opening files in a directory on Linux, through the directory's file descriptor.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Entry;

/// An open directory, in which files are opened by name. A directory that is moved or replaced
/// meanwhile, or a link that appears in it, leads nowhere else.
#[derive(Debug)]
pub(in crate::source::container) struct Folder(OwnedFd);

impl Folder {
    /// Opens a directory. Its content cannot be listed through this.
    pub(in crate::source::container) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// The regular file of this name, which is one name and no path.
    pub(in crate::source::container) fn entry(&self, name: &OsStr) -> io::Result<Entry> {
        // Looking first keeps pipes and devices from being opened, which can have effects.
        match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Entry::Absent),
            found => {
                if let Some(other) = not_a_file(found?.st_mode) {
                    return Ok(other);
                }
            }
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.0, name, flags | OFlags::NOATIME, Mode::empty())
            .or_else(|_| rustix::fs::openat(&self.0, name, flags, Mode::empty()));
        let file = match opened {
            Err(Errno::LOOP) => return Ok(Entry::Link),
            opened => opened?,
        };
        let mode = rustix::fs::fstat(&file)?.st_mode;
        Ok(not_a_file(mode).unwrap_or_else(|| Entry::File(file.into())))
    }

    /// Size in bytes of the regular file of this name; `None` if there is none. A link is not
    /// followed.
    pub(in crate::source::container) fn file_size(&self, name: &OsStr) -> Option<u64> {
        let found = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_file = not_a_file(found.st_mode).is_none();
        is_file.then(|| u64::try_from(found.st_size).ok()).flatten()
    }
}

fn not_a_file(mode: rustix::fs::RawMode) -> Option<Entry> {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => None,
        FileType::Symlink => Some(Entry::Link),
        _ => Some(Entry::Other),
    }
}
