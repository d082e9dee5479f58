//! From a path to the disk that it holds.

use std::path::Path;
use std::sync::Arc;

use super::{FileSource, ReadAt};
use crate::error::Result;

/// Opens an image file, a block device or a disk-image container for reading: the disk's bytes,
/// and the container's name where they come out of one.
///
/// A container that is not read (or the library built without the feature `containers`) comes out
/// as the file that it is; [`locate`](super::locate()) then names it.
///
/// # Errors
/// Those of [`FileSource::open`]; [`Error::Unsupported`](crate::Error::Unsupported) for a container
/// of a kind that is not read, such as one with a parent; [`Error::Io`](crate::Error::Io) for a
/// damaged one.
pub fn open(path: impl AsRef<Path>) -> Result<(Arc<dyn ReadAt>, Option<&'static str>)> {
    let path = path.as_ref();
    let file: Arc<dyn ReadAt> = Arc::new(FileSource::open(path)?);
    #[cfg(feature = "containers")]
    if let Some((disk, name)) = super::container::open(path, &file)? {
        return Ok((disk, Some(name)));
    }
    Ok((file, None))
}
