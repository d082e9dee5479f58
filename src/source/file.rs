//! An image file or a block device, opened for reading only.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::ReadAt;
use super::system::{dimensions, file_or_device, open_untouched, read_exact_at};
use crate::error::{Error, Result};
use crate::shown::ShowPath;

/// An image file, or a block device (on Linux only). The file descriptor is read-only.
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

    /// A block device that was opened already, with the facts that the kernel reports.
    #[cfg(target_os = "linux")]
    pub(super) fn of_device(
        file: File,
        path: PathBuf,
        size: u64,
        sector_size: Option<u32>,
    ) -> Self {
        Self {
            file,
            path,
            size,
            sector_size,
        }
    }

    /// A regular file that was opened already, with the path that messages name.
    #[cfg(feature = "containers")]
    pub(super) fn of_file(mut file: File, path: PathBuf) -> io::Result<Self> {
        let (size, sector_size) = dimensions(&mut file, false)?;
        Ok(Self {
            file,
            path,
            size,
            sector_size,
        })
    }

    /// The path that it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl ReadAt for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> Option<u32> {
        self.sector_size
    }

    fn modified(&self) -> Option<SystemTime> {
        ReadAt::modified(&self.file)
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        read_exact_at(&self.file, buf, offset)
    }
}

/// The size of a regular file or block device, determined at each call. Prefer [`FileSource`],
/// which keeps the size and knows the sectors of a device.
///
/// There is no `WriteAt` for [`File`]: a volume is written to only while its source is held
/// exclusively, as `ExclusiveFile` does.
impl ReadAt for File {
    /// 0 if the system does not say. On a block device, this moves the position of the file to
    /// its end.
    fn size(&self) -> u64 {
        match self.metadata() {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            _ => Seek::seek(&mut &*self, SeekFrom::End(0)).unwrap_or(0),
        }
    }

    fn modified(&self) -> Option<SystemTime> {
        let meta = self.metadata().ok().filter(std::fs::Metadata::is_file)?;
        meta.modified().ok()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        read_exact_at(self, buf, offset)
    }
}
