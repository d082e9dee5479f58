//! Files and block devices on Linux.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, ioctl_blksszget};

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

/// Fills `buf` with the file's bytes from `offset` on.
pub(in crate::source) fn read_exact_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(buf, offset)
}
