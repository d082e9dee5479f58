//! Bytes at offsets: where a volume's ciphertext comes from.
//!
//! Everything that reads goes through [`ReadAt`]: a shared reference, an offset, a buffer to fill.
//! There is no position to seek and no lock to take, so any number of threads may read at once.

#[cfg(feature = "containers")]
mod container;
mod cursor;
mod file;
mod forward;
mod headless;
mod locate;
mod memory_overlay;
mod open;
pub mod partition;
mod rescue_map;
mod signature;
mod system;
mod window;
mod write;

// Writing to files and devices, and finding out who else uses them: through flock(2), /proc and /sys.
#[cfg(target_os = "linux")]
mod devices;
#[cfg(target_os = "linux")]
mod exclusive;
#[cfg(target_os = "linux")]
mod extent;
#[cfg(target_os = "linux")]
mod file_overlay;
#[cfg(target_os = "linux")]
mod gate;
#[cfg(target_os = "linux")]
mod hold;
#[cfg(target_os = "linux")]
mod in_use;
#[cfg(target_os = "linux")]
mod lock;
#[cfg(target_os = "linux")]
mod lock_table;
#[cfg(target_os = "linux")]
mod mount_table;
#[cfg(target_os = "linux")]
mod nbd;
#[cfg(target_os = "linux")]
mod storage;
#[cfg(target_os = "linux")]
mod writers;

use std::io;
use std::time::SystemTime;

pub use cursor::Cursor;
pub use file::FileSource;
pub use headless::Headless;
pub(crate) use locate::candidates;
pub use locate::{Located, Place, Probe, locate};
pub use memory_overlay::MemoryOverlay;
pub use open::open;
pub use rescue_map::{RescueMap, RescueMapError, Rescued};
pub use window::Window;
pub use write::WriteAt;

#[cfg(target_os = "linux")]
pub use devices::{BlockDevice, Devices, device_of};
#[cfg(target_os = "linux")]
pub use exclusive::{ExclusiveFile, open_exclusive};
#[cfg(target_os = "linux")]
pub use extent::Extent;
#[cfg(target_os = "linux")]
pub use file_overlay::FileOverlay;
#[cfg(target_os = "linux")]
pub use gate::{check_overwrite, open_to_overwrite};
#[cfg(target_os = "linux")]
pub use hold::{DeviceHold, SharedHold, StableHold, changed_by, refuse_mapped, writer_of};
#[cfg(target_os = "linux")]
pub use mount_table::MountEntry;
#[cfg(target_os = "linux")]
pub use nbd::{NbdSource, is_nbd_address};
#[cfg(all(target_os = "linux", feature = "map"))]
pub(crate) use storage::OVERLAY_KIND;
#[cfg(target_os = "linux")]
pub use storage::Use;
#[cfg(target_os = "linux")]
pub use writers::Writer;

pub(crate) use signature::{Found, begins_with_known, is_blank, known};

/// The file that may be the next part of a split image of which the file at `path` is a part, by its
/// name. `None` if [`open`] joins the parts by itself, and without the feature `containers`.
pub fn next_part(path: &std::path::Path) -> Option<std::path::PathBuf> {
    #[cfg(feature = "containers")]
    return container::next_part(path);
    #[cfg(not(feature = "containers"))]
    path.parent().and(None)
}

/// The first part of a split image of which the file at `path` is a later part, by its name. Always
/// `None` without the feature `containers`.
pub fn first_part(path: &std::path::Path) -> Option<std::path::PathBuf> {
    #[cfg(feature = "containers")]
    return container::first_part(path);
    #[cfg(not(feature = "containers"))]
    path.parent().and(None)
}

/// What a source holds, for a message.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) when it cannot be read.
pub(crate) fn describe(source: &dyn ReadAt) -> crate::error::Result<Found> {
    signature::describe(source).map_err(|error| crate::Error::io("cannot read the image", error))
}

/// Whether a source begins with a file system that is not encrypted.
pub fn is_file_system(source: &dyn ReadAt) -> bool {
    signature::is_file_system(source).unwrap_or(false)
}

/// Bytes that can be read at any offset by any number of threads.
///
/// A file, a device, bytes in memory, or a source of your own, such as ranges of an object behind
/// HTTP. A reference, `Box` or `Arc` of a source is a source too. [`Cursor`] adds the traits of
/// `std::io`.
///
/// A source with latency should cache blocks of at least 64 KiB: opening a volume reads the first
/// sector and the three metadata copies one after the other, and programs then read the plaintext in
/// small pieces.
pub trait ReadAt: Send + Sync {
    /// Size in bytes. It must not change while a volume of the source is open.
    fn size(&self) -> u64;

    /// Size in bytes of the sectors of the medium, if it has sectors: a power of two from 512 to
    /// 4096. Any other size is ignored or refused.
    fn sector_size(&self) -> Option<u32> {
        None
    }

    /// How many of the `len` bytes from `offset` on can be read, as far as that is known without
    /// reading them. By default all that are inside the source; an [`Unlocked`](crate::Unlocked)
    /// volume of an image that was cut off has fewer.
    fn readable(&self, offset: u64, len: u64) -> u64 {
        self.size().saturating_sub(offset).min(len)
    }

    /// When the content was changed last, as far as the system says: for a source that consists of several files,
    /// the latest of their times. Devices have none.
    fn modified(&self) -> Option<SystemTime> {
        None
    }

    /// Fills `buf` with the bytes from `offset` on: all of it, or an error.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the source ends before the buffer is full; otherwise the
    /// reason why the bytes cannot be read. The content of `buf` is then unspecified.
    ///
    /// Never return [`io::ErrorKind::Interrupted`]: the readers of the standard library try again
    /// without end when they see it. Try again in the source, and use another kind, such as
    /// [`io::ErrorKind::TimedOut`], to give up or to cancel. An unlocked volume repeats a read that
    /// fails so a few times, then returns an error of another kind.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
}

/// How many times a read is tried that fails with [`io::ErrorKind::Interrupted`].
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
