//! Writing a new volume to a file or device that the caller opened.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use super::{Created, NewVolume, WriteJob};
use crate::error::{Error, Result};
use crate::source::{ReadAt, WriteAt};

impl NewVolume {
    /// Encrypts `plaintext` into `out`, from its first byte on: a new file, which is given the
    /// plaintext's size, or a device of that size. Everything is on stable storage when it returns.
    ///
    /// Whether another program uses `out` is not checked: open anything but a new file with
    /// [`Target`](super::Target), and pass it to [`NewVolume::write_to`].
    ///
    /// # Errors
    /// As [`NewVolume::write_to`].
    pub fn write(&self, plaintext: &dyn ReadAt, out: &File) -> Result<Created> {
        self.check(plaintext)?;
        let size = plaintext.size();
        let resized = out.metadata().and_then(|metadata| {
            if metadata.is_file() {
                out.set_len(size)
            } else {
                Ok(())
            }
        });
        resized.map_err(|error| Error::io("cannot give the volume its size", error))?;
        self.write_to(plaintext, &OpenFile { file: out, size }, &WriteJob::new())
    }
}

/// The caller's file.
struct OpenFile<'a> {
    file: &'a File,
    size: u64,
}

impl ReadAt for OpenFile<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        match FileExt::read_exact_at(self.file, buf, offset) {
            // The caller opened it for writing only.
            Err(error) if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            other => other,
        }
    }
}

impl WriteAt for OpenFile<'_> {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
