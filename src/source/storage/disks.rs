//! The block devices that sysfs lists.

use std::io;
use std::path::{Path, PathBuf};

use super::{Node, System, device_in, directory_is_partition, number_in, size_in};

/// Major device numbers of floppy drives and CD drives (`linux/major.h`).
const DRIVES: [u32; 2] = [2, 11];

/// A block device as sysfs describes it.
#[derive(Debug, Clone)]
pub(in crate::source) struct Described {
    pub(in crate::source) node: Node,
    /// Its usual path, which need not exist.
    pub(in crate::source) path: PathBuf,
    /// Size in bytes. 0 without a medium, or without a file behind a loop device.
    pub(in crate::source) size: u64,
    pub(in crate::source) sector_size: Option<u32>,
    /// Its number, if it is a partition.
    pub(in crate::source) partition: Option<u32>,
    /// Whether the size says nothing about whether there is a medium.
    pub(in crate::source) is_drive: bool,
}

impl System {
    /// All devices that are not partitions, ordered by name, each with its partitions in the order of
    /// their numbers.
    pub(in crate::source) fn disks(&self) -> io::Result<Vec<(Described, Vec<Described>)>> {
        let mut disks = Vec::new();
        for entry in std::fs::read_dir(self.sys.join("block"))? {
            let directory = entry?.path();
            // The paths of an NVMe device with several paths have no device file.
            if number_in(&directory.join("hidden")) == Some(1) {
                continue;
            }
            // A device can be removed meanwhile.
            let Some(disk) = self.described(&directory, &directory) else {
                continue;
            };
            let inside = std::fs::read_dir(&directory).into_iter().flatten();
            let inside = inside.flatten().map(|entry| entry.path());
            let mut partitions: Vec<_> = inside
                .filter(|path| directory_is_partition(path))
                .filter_map(|path| self.described(&path, &directory))
                .collect();
            partitions.sort_by_key(|partition| partition.partition);
            disks.push((sorting_key(&directory), (disk, partitions)));
        }
        disks.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(disks.into_iter().map(|(_, disk)| disk).collect())
    }

    fn described(&self, directory: &Path, disk: &Path) -> Option<Described> {
        let node = device_in(directory)?;
        let sector_size = number_in(&disk.join("queue/logical_block_size"));
        Some(Described {
            node,
            path: self.path_of(node),
            size: size_in(directory)?,
            sector_size: sector_size.and_then(|size| u32::try_from(size).ok()),
            partition: number_in(&directory.join("partition"))
                .and_then(|number| u32::try_from(number).ok()),
            is_drive: matches!(node, Node::Device { major, .. } if DRIVES.contains(&major)),
        })
    }
}

/// Orders `loop2` before `loop10`.
fn sorting_key(directory: &Path) -> (String, u64) {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name.get(letters.len()..).unwrap_or_default();
    (letters.to_owned(), number.parse().unwrap_or(0))
}
