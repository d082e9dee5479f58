//! From a path to the volume that lies there.

use std::path::Path;
use std::sync::Arc;

use super::Volume;
use crate::error::Result;
use crate::source::{self, Place, locate};

impl Volume {
    /// Opens the volume at a path: an image file or a block device, the volume itself or a whole
    /// disk with one BitLocker volume on it; with the feature `containers` also a disk-image
    /// container. Reads only.
    ///
    /// On a disk with several volumes, [`source::open`] and [`locate`](source::locate()) choose one
    /// for [`Volume::from_source`].
    ///
    /// # Errors
    /// [`Error::Ambiguous`](crate::Error::Ambiguous) for a disk with several volumes,
    /// [`Error::NotBitLocker`](crate::Error::NotBitLocker) for one without any,
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a container or a volume of a kind that
    /// is not read, and [`Error::Io`](crate::Error::Io) when the path cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let (disk, _) = source::open(path)?;
        let located = locate(disk, Place::Auto, &Self::probe)?;
        Self::from_source(Arc::new(located.source))
    }
}
