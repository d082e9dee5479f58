//! Files and block devices on Linux.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ioctl_blksszget};
use rustix::io::Errno;

use super::Entry;

use crate::error::{Error, Remedy, Result};
use crate::shown::ShowPath;

/// Whether the path leads to a block device; an error if it leads neither to one nor to a regular
/// file. This is checked before opening, because opening a pipe waits for a writer.
pub(in crate::source) fn file_or_device(path: &Path) -> io::Result<Result<bool>> {
    let kind = std::fs::metadata(path)?.file_type();
    let found = if kind.is_file() || kind.is_block_device() {
        return Ok(Ok(kind.is_block_device()));
    } else if kind.is_dir() {
        if let Some(error) = super::of_backup(path) {
            return Ok(Err(error));
        }
        "a directory"
    } else if kind.is_char_device() {
        "a character device"
    } else {
        "a pipe or socket"
    };
    let what = format!("{} is {found}, not a file or block device", path.shown());
    Ok(Err(Error::not_bitlocker(what).with_remedy(Remedy::NameDisk)))
}

/// Size in bytes, and the sector size of a device.
pub(in crate::source) fn dimensions(
    file: &mut File,
    is_device: bool,
) -> io::Result<(u64, Option<u32>)> {
    let size = file.seek(SeekFrom::End(0))?;
    let sector_size = is_device.then(|| ioctl_blksszget(&*file).ok()).flatten();
    Ok((size, sector_size))
}

/// Opens for reading without changing the access time, which only the owner of a file may ask for;
/// for everybody else as usual.
pub(in crate::source) fn open_untouched(path: &Path) -> io::Result<File> {
    let noatime = i32::try_from(OFlags::NOATIME.bits()).unwrap_or(0);
    OpenOptions::new()
        .read(true)
        .custom_flags(noatime)
        .open(path)
        .or_else(|_| File::open(path))
}

/// An open directory, in which files are opened by name. A directory that is moved or replaced
/// meanwhile, or a link that appears in it, leads nowhere else.
#[derive(Debug)]
pub(in crate::source) struct Folder(OwnedFd);

impl Folder {
    /// Opens a directory. Its content cannot be listed through this.
    pub(in crate::source) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// The regular file of this name, which is one name and no path.
    pub(in crate::source) fn entry(&self, name: &OsStr) -> io::Result<Entry> {
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
    pub(in crate::source) fn file_size(&self, name: &OsStr) -> Option<u64> {
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

/// Fills `buf` with the file's bytes from `offset` on.
pub(in crate::source) fn read_exact_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(buf, offset)
}
