//! What the file system in a volume says about its condition, before it is written to.

use std::sync::Arc;

use super::Writable;
use crate::files::Condition;

impl Writable {
    /// What speaks against writing to the file system in the volume: it was not unmounted cleanly, is
    /// damaged, or its Windows is hibernated. Empty if the volume has no file system that can be read.
    pub fn conditions(&self) -> Vec<Condition> {
        let files = Arc::clone(&self.unlocked).files();
        files.map_or_else(
            |_| Vec::new(),
            |files| files.properties().conditions.clone(),
        )
    }
}

/// Whether the volume has the memory image of a hibernated Windows. When that resumes, it undoes or
/// corrupts changes that were made to the file system meanwhile. Fast startup leaves such an image
/// at every shutdown.
///
/// `false` if the volume has no NTFS that can be read.
pub fn is_hibernated(volume: &Writable) -> bool {
    volume.conditions().contains(&Condition::Hibernated)
}
