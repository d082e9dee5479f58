//! The storage that backs a file or block device, as the kernel reports it in sysfs and in the mount
//! table: the disk of a partition, the file of a loop device, the parts of a device-mapper or md
//! device, the device of the file system that holds a file.
//!
//! | relation | where it is read | range in the backing device |
//! |---|---|---|
//! | partition on disk | `/sys/dev/block/N/{partition,start,size}` | exact |
//! | loop device on file or device | `/sys/dev/block/N/loop/{backing_file,offset}` | exact |
//! | device-mapper, md, bcache device on its parts | `/sys/dev/block/N/slaves` | anywhere in the part |
//! | file on the device of its file system | its device number, `/proc/self/mountinfo` | anywhere in the device |
//!
//! Two ranges that are only known to be anywhere in one device do not share bytes, because the file
//! system or volume manager keeps them apart. All others share bytes if they overlap.

mod disks;
mod overlaid;
mod uses;

use std::collections::VecDeque;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};

use super::mount_table::MountEntry;

pub(super) use disks::Described;
#[cfg(feature = "map")]
pub(crate) use overlaid::OVERLAY_KIND;
pub use uses::Use;

/// The unit of sizes and offsets in sysfs, in bytes, whatever the sectors of the device are.
const KERNEL_SECTOR: u64 = 512;

/// Limit on the ranges that are followed down from one: no real stack of devices has so many.
const MAX_NODES: usize = 1000;

/// A block device, by its number, or a file, by the number of its file system's device and its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Node {
    Device { major: u32, minor: u32 },
    File { major: u32, minor: u32, inode: u64 },
}

/// A range of bytes of a file or device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeRange {
    pub(super) node: Node,
    pub(super) range: Range<u64>,
    /// Whether every byte of the range counts. `false`: only some of them do, chosen by a file system
    /// or volume manager.
    pub(super) exact: bool,
}

impl NodeRange {
    pub(super) fn whole(node: Node) -> Self {
        Self {
            node,
            range: 0..u64::MAX,
            exact: true,
        }
    }

    /// Whether writing to one changes the other.
    fn shares_bytes_with(&self, other: &Self) -> bool {
        self.node == other.node
            && self.range.start < other.range.end
            && other.range.start < self.range.end
            && (self.exact || other.exact)
    }
}

/// Whether writing to the first ranges changes the others. Both have their backing with them
/// ([`System::with_backing`]).
pub(super) fn share_bytes(some: &[NodeRange], others: &[NodeRange]) -> bool {
    some.iter()
        .any(|one| others.iter().any(|other| one.shares_bytes_with(other)))
}

/// The file systems in which the kernel reports storage. Tests use directories with their own files.
#[derive(Debug, Clone)]
pub(super) struct System {
    sys: PathBuf,
    proc: PathBuf,
    dev: PathBuf,
}

impl Default for System {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            proc: "/proc".into(),
            dev: "/dev".into(),
        }
    }
}

impl System {
    /// The directories `sys`, `proc` and `dev` of a test, with files as the kernel has them.
    #[cfg(test)]
    pub(crate) fn below(root: &Path) -> Self {
        Self {
            sys: root.join("sys"),
            proc: root.join("proc"),
            dev: root.join("dev"),
        }
    }

    /// The range itself and every range that backs it, down to the disks.
    pub(super) fn with_backing(&self, part: NodeRange) -> Vec<NodeRange> {
        self.backing(part, |_| true)
    }

    /// The range itself and every range that changes with it: a device that keeps its changes elsewhere does
    /// not change what is below it.
    fn written_with(&self, part: NodeRange) -> Vec<NodeRange> {
        self.backing(part, |node| !self.is_overlaid(node))
    }

    /// The range itself and those that back it, below each device for which `goes_on` holds.
    fn backing(&self, part: NodeRange, goes_on: impl Fn(Node) -> bool) -> Vec<NodeRange> {
        let mut found: Vec<NodeRange> = Vec::new();
        let mut waiting = VecDeque::from([part]);
        while let Some(part) = waiting.pop_front() {
            if found.contains(&part) || found.len() == MAX_NODES {
                continue;
            }
            if goes_on(part.node) {
                waiting.extend(self.directly_backing(&part));
            }
            found.push(part);
        }
        found
    }

    fn directly_backing(&self, part: &NodeRange) -> Vec<NodeRange> {
        match part.node {
            Node::Device { .. } => {
                let directory = self.directory_of(part.node);
                let exact = self
                    .disk_range(&directory, part)
                    .or_else(|| self.backing_range(&directory, part));
                let parts = self.parts_of(&directory).map(anywhere_in);
                exact.into_iter().chain(parts).collect()
            }
            Node::File { major, minor, .. } => self
                .device_of_file_system(major, minor)
                .map(anywhere_in)
                .into_iter()
                .collect(),
        }
    }

    /// The range of a partition on its disk.
    fn disk_range(&self, directory: &Path, part: &NodeRange) -> Option<NodeRange> {
        directory_is_partition(directory).then_some(())?;
        let start = number_in(&directory.join("start"))?.checked_mul(KERNEL_SECTOR)?;
        let disk = directory.canonicalize().ok()?;
        Some(NodeRange {
            node: device_in(disk.parent()?)?,
            range: shifted(&part.range, start, size_in(directory)?),
            exact: part.exact,
        })
    }

    /// The range of a loop device in its backing file or device.
    fn backing_range(&self, directory: &Path, part: &NodeRange) -> Option<NodeRange> {
        let path = self.backing_file(directory)?;
        let start = number_in(&directory.join("loop/offset")).unwrap_or(0);
        Some(NodeRange {
            node: node_of(&path)?,
            range: shifted(&part.range, start, size_in(directory)?),
            exact: part.exact,
        })
    }

    fn backing_file(&self, directory: &Path) -> Option<PathBuf> {
        let text = std::fs::read(directory.join("loop/backing_file")).ok()?;
        let path = text.strip_suffix(b"\n").unwrap_or(&text);
        Some(std::ffi::OsStr::from_bytes(path).into())
    }

    /// The parts of a device-mapper, md or bcache device.
    fn parts_of(&self, directory: &Path) -> impl Iterator<Item = Node> {
        devices_in(&directory.join("slaves"))
    }

    /// The device or file that a file system is on.
    fn device_of_file_system(&self, major: u32, minor: u32) -> Option<Node> {
        let device = Node::Device { major, minor };
        if self.directory_of(device).exists() {
            return Some(device);
        }
        let rows = self.mounts();
        let row = rows.iter().find(|row| row.device == (major, minor))?;
        self.mounted_from(row)
    }

    /// What a file system was mounted from. Some file systems have a device number that is no block
    /// device's (btrfs, FUSE); for those only the mount table has the source.
    fn mounted_from(&self, row: &MountEntry) -> Option<Node> {
        let device = Node::Device {
            major: row.device.0,
            minor: row.device.1,
        };
        if self.directory_of(device).exists() {
            return Some(device);
        }
        node_of(row.source_path()?)
    }

    /// The directory of a device in sysfs.
    fn directory_of(&self, node: Node) -> PathBuf {
        let number = match node {
            Node::Device { major, minor } | Node::File { major, minor, .. } => {
                format!("{major}:{minor}")
            }
        };
        self.sys.join("dev/block").join(number)
    }

    /// The device whose first byte is that of the range: the device itself, or a partition of it.
    pub(super) fn device_of(&self, part: &NodeRange) -> Option<Node> {
        let directory = match part.node {
            Node::Device { .. } => self.directory_of(part.node),
            Node::File { .. } => return None,
        };
        if part.range.start == 0 {
            return Some(part.node);
        }
        let inside = std::fs::read_dir(&directory).ok()?.flatten();
        inside.map(|entry| entry.path()).find_map(|partition| {
            directory_is_partition(&partition).then_some(())?;
            let start = number_in(&partition.join("start"))?.checked_mul(KERNEL_SECTOR)?;
            let node = device_in(&partition)?;
            (start == part.range.start).then_some(node)
        })
    }

    /// The size of a device in bytes.
    pub(super) fn size_of(&self, node: Node) -> Option<u64> {
        size_in(&self.directory_of(node))
    }

    /// The usual path of a device, for messages and for opening it.
    pub(super) fn path_of(&self, node: Node) -> PathBuf {
        let directory = self.directory_of(node);
        if let Ok(name) = std::fs::read_to_string(directory.join("dm/name")) {
            return self.dev.join("mapper").join(name.trim_end());
        }
        let canonical = directory.canonicalize().unwrap_or(directory);
        let name = canonical.file_name().unwrap_or_default().to_string_lossy();
        // sysfs has an exclamation mark for each slash in the name of a device.
        self.dev.join(name.replace('!', "/"))
    }

    fn mounts(&self) -> Vec<MountEntry> {
        MountEntry::all(&self.proc.join("self/mountinfo"))
    }
}

fn directory_is_partition(directory: &Path) -> bool {
    directory.join("partition").exists()
}

fn anywhere_in(node: Node) -> NodeRange {
    NodeRange {
        exact: false,
        ..NodeRange::whole(node)
    }
}

/// `range` of a device of `size` bytes that begins at byte `start` of its backing, as a range of the
/// backing.
fn shifted(range: &Range<u64>, start: u64, size: u64) -> Range<u64> {
    let at = |offset: u64| start.saturating_add(offset.min(size));
    at(range.start)..at(range.end)
}

/// The file or block device that a path leads to; `None` if it leads to neither. `STATX_DONT_SYNC`
/// uses what the kernel has cached, so that a network file system whose server is gone does not block
/// the caller.
pub(super) fn node_of(path: &Path) -> Option<Node> {
    let facts = statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS).ok()?;
    match FileType::from_raw_mode(facts.stx_mode.into()) {
        FileType::BlockDevice => Some(Node::Device {
            major: facts.stx_rdev_major,
            minor: facts.stx_rdev_minor,
        }),
        FileType::RegularFile | FileType::Directory => Some(Node::File {
            major: facts.stx_dev_major,
            minor: facts.stx_dev_minor,
            inode: facts.stx_ino,
        }),
        _ => None,
    }
}

/// The devices that a sysfs directory links to.
fn devices_in(directory: &Path) -> impl Iterator<Item = Node> + use<> {
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| device_in(&entry.path()))
}

/// The number of the device that a sysfs directory describes.
fn device_in(directory: &Path) -> Option<Node> {
    let text = std::fs::read_to_string(directory.join("dev")).ok()?;
    let (major, minor) = text.trim_end().split_once(':')?;
    Some(Node::Device {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

fn size_in(directory: &Path) -> Option<u64> {
    number_in(&directory.join("size"))?.checked_mul(KERNEL_SECTOR)
}

fn number_in(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
