//! Sources that are locked by another program.

use std::path::Path;

use super::extent::Extent;
use super::in_use::{in_use, used};
use super::lock_table::holder_of;
use super::storage::System;
use super::writers::Writer;
use crate::error::Error;

/// The error for a locked file: it names what holds the lock, if that can be seen, a mount by its
/// directory and another program by its name.
pub(super) fn locked(path: &Path) -> Error {
    let system = System::default();
    let uses = Extent::whole(path)
        .node_range()
        .map(|range| system.uses_of(&system.with_backing(range)));
    if let Some(found) = uses.iter().flatten().next() {
        return used(path, found);
    }
    match holder_of(path, |_| true).map(Writer::of_process) {
        Some(holder) => in_use(path, &format!("{holder} holds a lock on it")),
        None => in_use(path, "another program holds a lock on it"),
    }
}
