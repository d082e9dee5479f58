//! How the system uses a file or device: mounts, swap space, devices that it backs.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::overlaid::{is_own, keeps_changes};
use super::{Node, NodeRange, System, device_in, devices_in, node_of, share_bytes};
use crate::error::Remedy;
use crate::shown::ShowPath;
use crate::source::mount_table::first_word;

/// One use of a file or device, or of a device that shares bytes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Use {
    /// It is mounted.
    Mounted {
        /// What was mounted: the device itself, or another that shares bytes with it.
        what: PathBuf,
        /// Where.
        directory: PathBuf,
        /// Whether the file system can be written to, and the changes reach the file or device.
        writable: bool,
        /// Whether it is a FUSE mount of this library, which has layers that end together.
        own: bool,
    },
    /// It is swap space.
    Swap {
        /// The swap space: the device itself, or another that shares bytes with it.
        what: PathBuf,
    },
    /// A loop device is backed by it.
    Loop {
        /// The loop device.
        device: PathBuf,
    },
    /// It is a part of a device-mapper device.
    Mapped {
        /// The path `/dev/mapper/NAME`.
        device: PathBuf,
        /// Whether it can be written to, and the changes reach the file or device.
        writable: bool,
    },
    /// It is a part of another device, such as one of md or bcache.
    Device {
        /// The other device.
        device: PathBuf,
    },
}

impl Use {
    /// The use as a clause for a message.
    pub fn description(&self) -> String {
        match self {
            Self::Mounted {
                what, directory, ..
            } => format!("{} is mounted on {}", what.shown(), directory.shown()),
            Self::Swap { what } => format!("{} is swap space", what.shown()),
            Self::Loop { device } => format!("{} is backed by it", device.shown()),
            Self::Mapped { device, .. } => format!("it is open as {}", device.shown()),
            Self::Device { device } => format!("it is a part of {}", device.shown()),
        }
    }

    /// Whether this use may change the content. A loop device itself does not: what uses the loop
    /// device is a use of its own.
    pub(in crate::source) fn may_write(&self) -> bool {
        match self {
            Self::Mounted { writable, .. } | Self::Mapped { writable, .. } => *writable,
            Self::Loop { .. } => false,
            Self::Swap { .. } | Self::Device { .. } => true,
        }
    }

    /// The device to read instead: it writes past the page cache of its parts, so that reading them
    /// can give old content.
    pub(in crate::source) fn newer_view(&self) -> Option<&Path> {
        match self {
            Self::Mapped {
                device,
                writable: true,
            }
            | Self::Device { device } => Some(device),
            Self::Mounted { .. } | Self::Swap { .. } | Self::Loop { .. } | Self::Mapped { .. } => {
                None
            }
        }
    }

    /// How to end the use.
    pub(in crate::source) fn how_to_end(&self) -> Remedy {
        match self {
            Self::Mounted {
                directory,
                own: true,
                ..
            } => {
                let directory = directory.clone();
                return Remedy::Unmount { directory };
            }
            Self::Mounted { directory, .. } => {
                format!("unmount it first: umount {}", directory.shown())
            }
            Self::Swap { what } => format!("disable it first: swapoff {}", what.shown()),
            Self::Loop { device } => format!("detach it first: losetup -d {}", device.shown()),
            Self::Mapped { device, .. } => {
                let device = device.clone();
                return Remedy::Unmap { device };
            }
            Self::Device { device } => format!("stop {} first", device.shown()),
        }
        .into()
    }
}

impl System {
    /// Everything that uses the first range of `target` or a device that shares bytes with it.
    /// `target` is a range with its backing ([`System::with_backing`]).
    pub(in crate::source) fn uses_of(&self, target: &[NodeRange]) -> Vec<Use> {
        // Backing that is not exact is in use by design: the file system that holds a file is
        // mounted.
        let own: Vec<_> = target.iter().filter(|part| part.exact).cloned().collect();
        let uses_own = |node: Node| share_bytes(&own, &self.with_backing(NodeRange::whole(node)));
        let mut uses = Vec::new();
        uses.extend(self.mounted(&own, &uses_own));
        uses.extend(self.swap_space(&uses_own));
        uses.extend(self.devices_over(target, &own));
        uses
    }

    /// Whether writing to a device or file changes its backing `own`, too.
    fn writes_to(&self, own: &[NodeRange], node: Node) -> bool {
        let whole = NodeRange::whole(node);
        // What does not list its parts is taken to write to them.
        share_bytes(own, &self.written_with(whole.clone()))
            || !share_bytes(own, &self.with_backing(whole))
    }

    fn mounted(&self, own: &[NodeRange], uses_own: &dyn Fn(Node) -> bool) -> Vec<Use> {
        self.mounts()
            .into_iter()
            .filter_map(|row| {
                let node = self.mounted_from(&row)?;
                uses_own(node).then(|| Use::Mounted {
                    what: match node {
                        Node::Device { .. } => self.path_of(node),
                        Node::File { .. } => row.source_path().unwrap_or(Path::new("it")).into(),
                    },
                    own: is_own(&row),
                    writable: row.writable && !keeps_changes(&row) && self.writes_to(own, node),
                    directory: row.directory,
                })
            })
            .collect()
    }

    /// proc_swaps(5): a title line, then one line for each swap space, with its path in the first
    /// column.
    fn swap_space(&self, uses_own: &dyn Fn(Node) -> bool) -> Vec<Use> {
        let table = std::fs::read(self.proc.join("swaps")).unwrap_or_default();
        table
            .split(|byte| *byte == b'\n')
            .skip(1)
            .map(|line| PathBuf::from(first_word(line)))
            .filter(|path| node_of(path).is_some_and(uses_own))
            .map(|what| Use::Swap { what })
            .collect()
    }

    /// Devices that are backed by the target, or by devices that share bytes with it.
    fn devices_over(&self, target: &[NodeRange], own: &[NodeRange]) -> Vec<Use> {
        let mut over: Vec<_> = self.holders(own);
        for entry in std::fs::read_dir(self.sys.join("block"))
            .into_iter()
            .flatten()
            .flatten()
        {
            // Machines have dozens of loop devices that nothing backs: they remain when a file is detached.
            let is_loop = entry.file_name().as_bytes().starts_with(b"loop");
            if is_loop && !entry.path().join("loop").exists() {
                continue;
            }
            let Some(node) = device_in(&entry.path()) else {
                continue;
            };
            if over.contains(&node) || target.iter().any(|part| part.node == node) {
                continue;
            }
            let mut below = self.with_backing(NodeRange::whole(node));
            below.retain(|part| part.node != node);
            if share_bytes(own, &below) {
                over.push(node);
            }
        }
        over.into_iter()
            .map(|node| self.use_as(own, node))
            .collect()
    }

    /// Devices that sysfs lists as holders of one of these devices as a whole. Most of them also list
    /// their parts (`slaves`); this finds those that do not.
    fn holders(&self, own: &[NodeRange]) -> Vec<Node> {
        own.iter()
            .filter(|part| part.range.start == 0 && matches!(part.node, Node::Device { .. }))
            .flat_map(|part| devices_in(&self.directory_of(part.node).join("holders")))
            .filter(|holder| own.iter().all(|part| part.node != *holder))
            .collect()
    }

    fn use_as(&self, own: &[NodeRange], node: Node) -> Use {
        let directory = self.directory_of(node);
        let device = self.path_of(node);
        if directory.join("loop").exists() {
            Use::Loop { device }
        } else if directory.join("dm").exists() {
            let flag = std::fs::read_to_string(directory.join("ro")).unwrap_or_default();
            Use::Mapped {
                device,
                writable: flag.trim() != "1" && self.writes_to(own, node),
            }
        } else {
            Use::Device { device }
        }
    }
}
