//! Image files on macOS and Windows. Block devices are refused: finding their size and their sector
//! size, and reading them at any alignment, needs system calls that have not been tested yet.

use std::fs::File;
use std::io;
use std::path::Path;

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
