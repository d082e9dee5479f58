//! Whether the Windows in a volume is hibernated.

use std::sync::Arc;

use super::Writable;
use crate::files::Condition;

/// Whether the volume has the memory image of a hibernated Windows. When that resumes, it undoes or
/// corrupts changes that were made to the file system meanwhile. Fast startup leaves such an image
/// at every shutdown.
///
/// `false` if the volume has no NTFS that can be read.
pub fn is_hibernated(volume: &Writable) -> bool {
    let files = Arc::clone(&volume.unlocked).files();
    files.is_ok_and(|files| {
        let conditions = &files.properties().conditions;
        conditions.contains(&Condition::Hibernated)
    })
}
