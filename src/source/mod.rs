//! Bytes at offsets: where a volume's ciphertext comes from.
//!
//! Everything that reads goes through [`ReadAt`]: a shared reference, an offset, a buffer to fill.
//! There is no position to seek and no lock to take, so any number of threads may read at once.

#[cfg(feature = "containers")]
mod container;
mod file;
mod gate;
mod hold;
mod locate;
mod open;
mod overlay;
pub mod partition;
mod signature;
mod storage;
mod window;
mod write;
mod writers;

use std::io;
use std::sync::Arc;

pub use file::FileSource;
pub use gate::{Extent, check_overwrite, open_to_overwrite};
pub use hold::{DeviceHold, HeldStill, SharedHold, changed_by, refuse_mapped, writer_of};
pub use locate::{Located, Place, locate};
pub use open::open;
pub use overlay::Overlay;
pub use window::Window;
pub use write::{ExclusiveFile, WriteAt};
pub use writers::Writer;

pub(crate) use signature::known;

/// What a source holds, in words.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) when it cannot be read.
pub(crate) fn describe(source: &dyn ReadAt) -> crate::error::Result<String> {
    signature::describe(source).map_err(|error| crate::Error::io("cannot read the image", error))
}

/// Bytes that can be read at any offset by any number of threads.
pub trait ReadAt: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Size in bytes of the medium's own sectors, where it has any.
    fn sector_size(&self) -> Option<u32> {
        None
    }

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// All or nothing: [`io::ErrorKind::UnexpectedEof`] when the source ends before the buffer is
    /// full, else the reason that the system gives. The buffer's content is then unspecified.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn size(&self) -> u64 {
        (**self).size()
    }
    fn sector_size(&self) -> Option<u32> {
        (**self).sector_size()
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(offset, buf)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn size(&self) -> u64 {
        (**self).size()
    }
    fn sector_size(&self) -> Option<u32> {
        (**self).sector_size()
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(offset, buf)
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buf.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_exact_at(offset, buf)
    }
}
