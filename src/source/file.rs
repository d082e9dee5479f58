//! An image file or a block device, opened for reading only.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::ReadAt;
use crate::error::{Error, Result};
use crate::shown::ShowPath;

/// An image file or a block device. The file descriptor is read-only.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    path: PathBuf,
    size: u64,
    sector_size: Option<u32>,
}

impl FileSource {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened or its size cannot be found;
    /// [`Error::NotBitLocker`] when it is neither a file nor a block device.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let fail = |source| Error::io(format!("cannot open {}", path.shown()), source);
        let is_device = file_or_device(path).map_err(fail)??;
        let mut file = open_untouched(path).map_err(fail)?;
        let (size, sector_size) = dimensions(&mut file, is_device).map_err(fail)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            size,
            sector_size,
        })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether the path leads to a block device; refused where it leads to neither that nor a file.
/// Looked at before it is opened: opening a pipe would wait for its other end.
pub(super) fn file_or_device(path: &Path) -> io::Result<Result<bool>> {
    let kind = std::fs::metadata(path)?.file_type();
    let found = if kind.is_file() || kind.is_block_device() {
        return Ok(Ok(kind.is_block_device()));
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_char_device() {
        "a character device"
    } else {
        "a pipe or socket"
    };
    Ok(Err(Error::NotBitLocker {
        found: format!(
            "{} is {found}, and a volume lies in a file or on a block device",
            path.shown()
        ),
    }))
}

/// Size in bytes, and size of a sector where there is a medium that has some.
pub(super) fn dimensions(file: &mut File, is_device: bool) -> io::Result<(u64, Option<u32>)> {
    let size = file.seek(SeekFrom::End(0))?;
    let sector_size = is_device
        .then(|| rustix::fs::ioctl_blksszget(&*file).ok())
        .flatten();
    Ok((size, sector_size))
}

/// Opens for reading without touching the access time, where the owner asks; else as usual.
pub(super) fn open_untouched(path: &Path) -> io::Result<File> {
    let noatime = i32::try_from(OFlags::NOATIME.bits()).unwrap_or(0);
    OpenOptions::new()
        .read(true)
        .custom_flags(noatime)
        .open(path)
        .or_else(|_| File::open(path))
}

impl ReadAt for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> Option<u32> {
        self.sector_size
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        FileExt::read_exact_at(&self.file, buf, offset)
    }
}

/// The size of a regular file or block device, found anew at each call. Prefer [`FileSource`],
/// which keeps the size and knows the sectors of a device.
///
/// There is no `WriteAt` for [`File`]: a volume is written to only while its source is held
/// exclusively, as [`ExclusiveFile`](super::ExclusiveFile) does.
impl ReadAt for File {
    /// 0 where the system does not say. On a block device, this moves the position of the file to
    /// its end.
    fn size(&self) -> u64 {
        match self.metadata() {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            _ => Seek::seek(&mut &*self, SeekFrom::End(0)).unwrap_or(0),
        }
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        FileExt::read_exact_at(self, buf, offset)
    }
}
