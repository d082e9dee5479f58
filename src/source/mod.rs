//! Bytes at offsets: where a volume's ciphertext comes from.
//!
//! Everything that reads goes through [`ReadAt`]: a shared reference, an offset, a buffer to fill.
//! There is no position to seek and no lock to take, so any number of threads may read at once.

#[cfg(feature = "containers")]
mod container;
mod extent;
mod file;
mod gate;
mod headless;
mod hold;
mod in_use;
mod locate;
mod lock;
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

pub use extent::Extent;
pub use file::FileSource;
pub use gate::{check_overwrite, open_to_overwrite};
pub use headless::Headless;
pub use hold::{DeviceHold, HeldStill, SharedHold, changed_by, refuse_mapped, writer_of};
pub use locate::{Located, Place, Probe, locate};
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

/// Whether a source begins with a file system that is not encrypted.
pub fn is_file_system(source: &dyn ReadAt) -> bool {
    signature::is_file_system(source).unwrap_or(false)
}

/// Bytes that can be read at any offset by any number of threads.
pub trait ReadAt: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Size in bytes of the medium's own sectors, where it has any: a power of two from 512 to 4096.
    /// Another size is treated as if none was told, or refused.
    fn sector_size(&self) -> Option<u32> {
        None
    }

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// All or nothing: [`io::ErrorKind::UnexpectedEof`] when the source ends before the buffer is
    /// full, else the reason that the system gives. The buffer's content is then unspecified.
    ///
    /// Not [`io::ErrorKind::Interrupted`]: the standard library's readers try again for ever when
    /// they see it. A source tries again itself, and uses another kind, such as
    /// [`io::ErrorKind::TimedOut`], to give up or to cancel. An unlocked volume tries a few times
    /// where a source does it all the same, then tells it as an error of another kind.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
}

/// How often a read is tried that a signal interrupts.
const TRIES: usize = 16;

/// Reads as the source does, and never returns [`io::ErrorKind::Interrupted`].
pub(crate) fn read_uninterrupted(
    source: &dyn ReadAt,
    offset: u64,
    buf: &mut [u8],
) -> io::Result<()> {
    for _ in 0..TRIES {
        match source.read_exact_at(offset, buf) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
    Err(io::Error::other(format!(
        "the read was interrupted {TRIES} times"
    )))
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
