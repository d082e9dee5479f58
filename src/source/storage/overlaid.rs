//! Devices and mounts that show a source with the changes in a file: what is written to them does not reach
//! the source.

use super::{Node, System};
use crate::source::lock_table::holder_of;
use crate::source::mount_table::MountEntry;

/// What the identifiers of such device-mapper devices begin with.
pub(crate) const OVERLAY_KIND: &str = "FVE-OVERLAY-";

/// The type of our mounts in the mount table.
const OWN: &str = "fuse.fve";

/// Whether a mount is one of this library.
pub(super) fn is_own(row: &MountEntry) -> bool {
    row.kind == OWN
}

/// Whether a mount is one of this library that keeps its changes elsewhere: a server that writes to the source
/// locks it.
pub(super) fn keeps_changes(row: &MountEntry) -> bool {
    let is_locked = |source| holder_of(source, |access| access == "WRITE").is_some();
    is_own(row) && row.source_path().is_some_and(|source| !is_locked(source))
}

impl System {
    /// Whether what is written to a device, or to a file of a mount, does not reach what is below it.
    pub(super) fn is_overlaid(&self, node: Node) -> bool {
        match node {
            Node::Device { .. } => {
                let identifier = std::fs::read_to_string(self.directory_of(node).join("dm/uuid"));
                identifier.is_ok_and(|identifier| identifier.starts_with(OVERLAY_KIND))
            }
            Node::File { major, minor, .. } => {
                let rows = self.mounts();
                let row = rows.iter().find(|row| row.device == (major, minor));
                row.is_some_and(keeps_changes)
            }
        }
    }
}
