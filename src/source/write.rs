//! Writing at offsets: only for callers that ask for this trait.

use std::io;

use super::{ReadAt, Window};

/// A source that can also be written to, at any offset and by any number of threads.
pub trait WriteAt: ReadAt {
    /// Writes all of `bytes` from `offset` on. It never makes the source longer:
    /// [`io::ErrorKind::UnexpectedEof`] if they do not fit.
    ///
    /// # Errors
    /// The reason of the system. Some of the bytes may have been written.
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything written before is on stable storage.
    ///
    /// # Errors
    /// The reason of the system. What was written since the last flush may be lost.
    fn flush(&self) -> io::Result<()>;

    /// Tells the medium that the content of `len` bytes from `offset` on is no longer needed. Their
    /// content is unspecified afterwards.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] when the medium does not support it (the default).
    fn discard(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl<S: WriteAt> WriteAt for Window<S> {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = self.translated(offset, bytes.len() as u64)?;
        self.inner().write_all_at(start, bytes)
    }
    fn flush(&self) -> io::Result<()> {
        self.inner().flush()
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let start = self.translated(offset, len)?;
        self.inner().discard(start, len)
    }
}
