//! An image file or a block device, opened for writing and held exclusively.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::in_use::is_read_only;
use super::nbd::{NbdSource, address_in};
use super::system::{dimensions, file_or_device};
use super::{ReadAt, WriteAt, gate};
use crate::error::{Error, Result};
use crate::shown::ShowPath;

/// An image file or a block device, opened for writing and locked: no other program that respects
/// the lock writes to it while this exists.
#[derive(Debug)]
pub struct ExclusiveFile {
    file: File,
    path: PathBuf,
    size: u64,
    sector_size: Option<u32>,
    locked: bool,
}

impl ExclusiveFile {
    /// Opens `path` for reading and writing.
    ///
    /// A device is opened with `O_EXCL`, with which the kernel refuses one that is mounted or
    /// claimed. Files and devices are locked with flock(2), unless their file system has no locks
    /// ([`ExclusiveFile::is_locked`]). They are refused if a mount or another
    /// device uses them, or another program has them open for writing, as far as that can be seen.
    ///
    /// # Errors
    /// [`Error::Environment`] when it is in use; [`Error::Io`] when it cannot be opened for
    /// writing; [`Error::NotBitLocker`] when it is neither a file nor a block device.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let fail = |error| Error::io(format!("cannot open {} for writing", path.shown()), error);
        let is_device = file_or_device(path).map_err(fail)??;
        if is_device && is_read_only(path) {
            return Err(gate::write_protected(path));
        }
        gate::refuse_uses_of(path)?;
        let mut opened = gate::open_exclusive(path)?;
        opened.refuse_uses(path)?;
        let (size, sector_size) = dimensions(&mut opened.file, is_device).map_err(fail)?;
        Ok(Self {
            file: opened.file,
            path: path.to_owned(),
            size,
            sector_size,
            locked: opened.locked,
        })
    }

    /// Whether it is locked. `false` on a file system without locks: programs on other computers may
    /// then write to it at the same time.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// The path that it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a file of `size` bytes that only its owner can read, with all of its space allocated.
    ///
    /// # Errors
    /// [`Error::OutputRefused`] when the file exists; [`Error::Io`] when there is not enough space.
    /// No file is left behind.
    pub fn create(path: impl AsRef<Path>, size: u64) -> Result<Self> {
        let path = path.as_ref();
        crate::output::create_new(path)?;
        let made = Self::open(path).and_then(|mut file| file.resize(size).map(|()| file));
        if made.is_err() {
            let _ = std::fs::remove_file(path);
        }
        made
    }

    /// Changes the size of a file, with all of its space allocated. The size of a device cannot be
    /// changed.
    ///
    /// # Errors
    /// [`Error::Io`] when there is not enough space; the file then keeps its old size.
    pub fn resize(&mut self, size: u64) -> Result<()> {
        if size == self.size {
            return Ok(());
        }
        let allocated = match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, size) {
            // The file system cannot allocate in advance; a later write reports a full disk.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV) => Ok(()),
            other => other.map_err(io::Error::from),
        };
        match allocated.and_then(|()| self.file.set_len(size)) {
            Ok(()) => {
                self.size = size;
                Ok(())
            }
            Err(error) => {
                let _ = self.file.set_len(self.size);
                let what = format!("{} cannot have {size} bytes", self.path.shown());
                Err(Error::io(what, error))
            }
        }
    }
}

impl ReadAt for ExclusiveFile {
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
        FileExt::read_exact_at(&self.file, buf, offset)
    }
}

impl WriteAt for ExclusiveFile {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.checked_add(len);
        if end.is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // On a device this discards, in a file it makes a hole.
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, mode, offset, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            other => Ok(other?),
        }
    }
}

/// Opens an image file or a block device for reading and writing, with exclusive access, or the disk of
/// an NBD server, whose URI is given in place of a path. The second value says whether it is locked; an
/// NBD server has no locks.
///
/// # Errors
/// [`Error::Unsupported`] for a disk-image container, which can only be read; otherwise those of
/// [`open`](super::open()), [`ExclusiveFile::open`] and [`NbdSource::open_to_write`].
pub fn open_exclusive(path: impl AsRef<Path>) -> Result<(Arc<dyn WriteAt>, bool)> {
    let path = path.as_ref();
    if let Some(uri) = address_in(path) {
        return Ok((Arc::new(NbdSource::open_to_write(uri)?), false));
    }
    let (_, container) = super::open(path)?;
    if let Some(name) = container {
        return Err(Error::unsupported(format!(
            "{} holds a disk image of the kind {name}, which can only be read",
            path.shown()
        ))
        .with_remedy("convert it to a raw image first, as with 'qemu-img convert -O raw'; without writing, it can be used as it is"));
    }
    let file = ExclusiveFile::open(path)?;
    let is_locked = file.is_locked();
    Ok((Arc::new(file), is_locked))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::source::Window;

    #[test]
    fn is_locked_exclusively_and_never_grows() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1000).unwrap();
        let first = ExclusiveFile::open(file.path()).unwrap();
        let second = ExclusiveFile::open(file.path());
        assert!(matches!(second, Err(Error::Environment { .. })));
        first.write_all_at(990, &[7; 10]).unwrap();
        assert!(first.write_all_at(991, &[7; 10]).is_err());
        first.flush().unwrap();
        let window = Window::new(Arc::new(first), 900, 95);
        let mut byte = [0];
        window.read_exact_at(94, &mut byte).unwrap();
        assert_eq!(byte, [7]);
        window.write_all_at(90, &[1; 5]).unwrap();
        assert!(window.write_all_at(91, &[1; 5]).is_err());
        assert_eq!(std::fs::metadata(file.path()).unwrap().len(), 1000);
    }
}
