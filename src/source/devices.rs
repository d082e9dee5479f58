//! The block devices of this machine, and how the system uses them.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::FileSource;
use super::extent::Extent;
use super::storage::{Described, Node, NodeRange, System, Use, node_of, share_bytes};
use crate::error::{Error, Result};

/// What the kernel reports about the block devices of this machine.
#[derive(Debug, Clone, Default)]
pub struct Devices(System);

/// A block device: a disk with its partitions, a partition, a loop device, or a device that consists of
/// others.
#[derive(Debug, Clone)]
pub struct BlockDevice {
    described: Described,
    partitions: Vec<BlockDevice>,
}

impl Devices {
    /// The devices of this machine.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those that a test describes with files below `root`.
    #[cfg(test)]
    pub(crate) fn below(root: &Path) -> Self {
        Self(System::below(root))
    }

    /// All devices with a content that are not partitions, ordered by name. Nothing is opened.
    ///
    /// # Errors
    /// [`Error::Io`] when the system does not list its devices.
    pub fn disks(&self) -> Result<Vec<BlockDevice>> {
        let fail = |error| Error::io("cannot list the block devices in /sys/block", error);
        let disks = self.0.disks().map_err(fail)?.into_iter();
        let disks = disks.map(|(disk, partitions)| BlockDevice {
            described: disk,
            partitions: partitions.into_iter().map(BlockDevice::alone).collect(),
        });
        Ok(disks.filter(|disk| disk.size() > 0).collect())
    }

    /// Everything that uses these bytes of a device, or another device that shares them.
    ///
    /// This looks at the paths of mounts and of files behind loop devices. So it can wait for a file
    /// system whose server does not answer.
    pub fn uses(&self, device: &BlockDevice, bytes: Range<u64>) -> Vec<Use> {
        let range = NodeRange {
            node: device.described.node,
            range: bytes,
            exact: true,
        };
        let target = self.0.with_backing(range);
        let mut uses = self.0.uses_of(&target);
        // Another loop device of the same file is no use of this one.
        let is_device = |part: &&NodeRange| part.exact && matches!(part.node, Node::Device { .. });
        let devices: Vec<_> = target.iter().filter(is_device).cloned().collect();
        uses.retain(|found| match found {
            Use::Loop { device, .. } => node_of(device).is_some_and(|node| {
                share_bytes(&devices, &self.0.with_backing(NodeRange::whole(node)))
            }),
            _ => true,
        });
        uses
    }
}

/// The block device to use for bytes of a device, and where they begin in it: the partition that begins
/// there, if the kernel knows one, since the whole disk may be in use by other partitions. `None` for
/// bytes of a file.
pub fn device_of(extent: &Extent) -> Option<(PathBuf, u64)> {
    let system = System::default();
    let range = extent.node_range()?;
    if let Node::File { .. } = range.node {
        return None;
    }
    let len = range.range.end - range.range.start;
    Some(match system.device_of(&range) {
        Some(node) if node != range.node && system.size_of(node) >= Some(len) => {
            (system.path_of(node), 0)
        }
        _ => (extent.path.clone(), range.range.start),
    })
}

impl BlockDevice {
    fn alone(described: Described) -> Self {
        Self {
            described,
            partitions: Vec::new(),
        }
    }

    /// Its usual path, which need not exist: `/dev/sda`, or `/dev/mapper/NAME`.
    pub fn path(&self) -> &Path {
        &self.described.path
    }

    /// Size in bytes, as the kernel knows it without looking at the medium.
    pub fn size(&self) -> u64 {
        self.described.size
    }

    /// Its number, if it is a partition.
    pub fn partition(&self) -> Option<u32> {
        self.described.partition
    }

    /// The partitions that the kernel found on it, in the order of their numbers.
    pub fn partitions(&self) -> &[BlockDevice] {
        &self.partitions
    }

    /// Opens the device for reading. This does not close the tray of a drive, and does not wait for a
    /// medium. `None` if the device has none.
    ///
    /// # Errors
    /// The system's reason.
    pub fn open(&self) -> io::Result<Option<FileSource>> {
        let no_wait = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let path = self.path();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(no_wait)
            .open(path);
        let of_device = |file: File| {
            let Described {
                size, sector_size, ..
            } = self.described;
            FileSource::of_device(file, path.to_owned(), size, sector_size)
        };
        match opened {
            Err(error) if self.is_empty(&error) => Ok(None),
            other => other.map(|file| Some(of_device(file))),
        }
    }

    /// Whether an error of this device means that it has no medium. Floppy and CD drives report any
    /// error then.
    pub fn is_empty(&self, error: &io::Error) -> bool {
        let code = error.raw_os_error();
        let no_medium = [Errno::NOMEDIUM, Errno::MEDIUMTYPE];
        no_medium.iter().any(|one| code == Some(one.raw_os_error()))
            || (self.described.is_drive && error.kind() != io::ErrorKind::PermissionDenied)
    }
}
