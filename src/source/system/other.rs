//! Image files on macOS and Windows. Block devices are refused: finding their size and their sector
//! size, and reading them at any alignment, needs system calls that have not been tested yet.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::Entry;

use crate::error::{Error, Remedy, Result};
use crate::shown::ShowPath;

/// `false` (not a block device) for a regular file; everything else is refused.
pub(in crate::source) fn file_or_device(path: &Path) -> io::Result<Result<bool>> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_file() {
        return Ok(Ok(false));
    }
    if kind.is_dir()
        && let Some(error) = super::of_backup(path)
    {
        return Ok(Err(error));
    }
    let found = if kind.is_dir() {
        "a directory"
    } else {
        "not a regular file"
    };
    let what = format!(
        "{} is {found}, and on this system a volume is read from an image file",
        path.shown()
    );
    Ok(Err(Error::not_bitlocker(what).with_remedy(Remedy::NameDisk)))
}

/// Size in bytes; a file has no sectors.
pub(in crate::source) fn dimensions(
    file: &mut File,
    _is_device: bool,
) -> io::Result<(u64, Option<u32>)> {
    Ok((file.metadata()?.len(), None))
}

/// Opens for reading.
pub(in crate::source) fn open_untouched(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// A directory, in which files are opened by name.
#[derive(Debug)]
pub(in crate::source) struct Folder(PathBuf);

impl Folder {
    /// Names a directory.
    pub(in crate::source) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(path.to_owned()))
    }

    /// The regular file of this name, which is one name and no path.
    pub(in crate::source) fn entry(&self, name: &OsStr) -> io::Result<Entry> {
        let path = self.0.join(name);
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Entry::Absent),
            Err(error) => Err(error),
            Ok(meta) if meta.is_symlink() => Ok(Entry::Link),
            Ok(meta) if meta.is_file() => Ok(Entry::File(File::open(path)?)),
            Ok(_) => Ok(Entry::Other),
        }
    }

    /// Size in bytes of the regular file of this name; `None` if there is none. A link is not
    /// followed.
    pub(in crate::source) fn file_size(&self, name: &OsStr) -> Option<u64> {
        let meta = self.0.join(name).symlink_metadata().ok();
        meta.filter(Metadata::is_file).map(|meta| meta.len())
    }
}

/// Fills `buf` with the file's bytes from `offset` on.
#[cfg(unix)]
pub(in crate::source) fn read_exact_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, offset)
}

/// Fills `buf` with the file's bytes from `offset` on. `seek_read` may read less than it is asked
/// for, and moves the file's position, which nothing here relies on.
#[cfg(windows)]
pub(in crate::source) fn read_exact_at(
    file: &File,
    mut buf: &mut [u8],
    mut offset: u64,
) -> io::Result<()> {
    use std::os::windows::fs::FileExt;

    while !buf.is_empty() {
        match file.seek_read(buf, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buf = &mut buf[read..];
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
