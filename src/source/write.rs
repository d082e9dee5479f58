//! Writing at offsets: only for callers that ask for this trait.

use std::io;

use super::{ReadAt, Window};

/// Bytes that can be written at any offset, too.
pub trait WriteAt: ReadAt {
    /// Writes all of `bytes` from `offset` on. Never makes the source longer.
    ///
    /// # Errors
    /// The system's reason; some of the bytes may have been written then.
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when all that was written before lies on stable storage.
    ///
    /// # Errors
    /// The system's reason: what was written since the last flush may be lost then.
    fn flush(&self) -> io::Result<()>;

    /// Tells the medium that the content of `len` bytes from `offset` on is of no use any more.
    /// What they hold afterwards is unspecified.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where the medium does not know of it (the default).
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
