//! Opening the volume at a path.

use std::path::Path;

use super::Volume;
use crate::error::Result;
use crate::source::{self, Place, locate};

impl Volume {
    /// Opens the volume at a path for reading: an image file or block device that is a volume, or a
    /// whole disk with one BitLocker volume; with the feature `containers` also a disk-image
    /// container.
    ///
    /// Of a disk with several volumes, [`Disk`](crate::Disk) opens each.
    ///
    /// # Errors
    /// [`Error::Ambiguous`](crate::Error::Ambiguous) for a disk with several volumes,
    /// [`Error::NotBitLocker`](crate::Error::NotBitLocker) for one without any,
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a container or a volume of an unknown
    /// kind, and [`Error::Io`](crate::Error::Io) when the path cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let (disk, _) = source::open(path)?;
        let located = locate(disk, Place::Auto, &Self::probe)?;
        Self::from_source(located.source)
    }

    /// The same for a volume that will be written to: the file or device is opened for writing and
    /// held exclusively. Opening the volume only reads; [`Unlocked::into_writable`] makes it
    /// writable. For one of several volumes of a disk, use [`Volume::from_exclusive`] with a
    /// [`Window`](crate::source::Window) on the file or device.
    ///
    /// # Errors
    /// Those of [`Volume::open`]; [`Error::Unsupported`](crate::Error::Unsupported) also for a
    /// disk-image container; [`Error::Environment`](crate::Error::Environment) when another program
    /// uses the file or device.
    ///
    /// [`Unlocked::into_writable`]: crate::Unlocked::into_writable
    #[cfg(target_os = "linux")]
    pub fn open_exclusive(path: impl AsRef<Path>) -> Result<Self> {
        use crate::source::{ReadAt, Window};

        let (disk, _) = source::open_exclusive(path)?;
        let located = locate(disk.clone(), Place::Auto, &Self::probe)?;
        let size = located.source.size();
        Self::from_exclusive(Window::new(disk, located.start, size))
    }
}
