//! FAT.

use std::sync::Arc;

use super::FileSystem;
use super::fault::FileError;
use crate::source::ReadAt;

/// Opens the file system, if the source holds one of this kind.
pub(super) fn open(source: &Arc<dyn ReadAt>) -> Result<Option<Arc<dyn FileSystem>>, FileError> {
    let _ = source;
    Ok(None)
}
