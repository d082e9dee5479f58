//! Opening the disk at a path.

use std::path::Path;
use std::sync::Arc;

use super::{FileSource, ReadAt};
use crate::error::Result;

/// Opens an image file, a block device or a disk-image container for reading, in Linux also the disk of
/// an NBD server, whose URI is given in place of a path. Returns the bytes of the disk, and the name of
/// the container format if it is a container.
///
/// A container of an unknown format, or any container if the library was built without the feature
/// `containers`, is opened as a plain file; [`locate`](super::locate()) then names its format in the
/// error.
///
/// # Errors
/// Those of [`FileSource::open`]; [`Error::Unsupported`](crate::Error::Unsupported) for a container
/// with features that are not supported, such as a parent; [`Error::Io`](crate::Error::Io) for a
/// damaged one.
pub fn open(path: impl AsRef<Path>) -> Result<(Arc<dyn ReadAt>, Option<&'static str>)> {
    let path = path.as_ref();
    #[cfg(target_os = "linux")]
    if let Some(uri) = super::nbd::address_in(path) {
        return Ok((Arc::new(super::NbdSource::open(uri)?), None));
    }
    let file: Arc<dyn ReadAt> = Arc::new(FileSource::open(path)?);
    #[cfg(feature = "containers")]
    if let Some((disk, name)) = super::container::open(path, &file)? {
        return Ok((disk, Some(name)));
    }
    Ok((file, None))
}
