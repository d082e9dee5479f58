//! A range of bytes of a file or device.

use std::ops::Range;
use std::path::PathBuf;

use super::storage::{NodeRange, node_of};

/// Bytes of a file or device that are read while an output is written, so that the output must not
/// overwrite them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// Path of the file or device.
    pub path: PathBuf,
    /// The bytes, from the start of the file or device.
    pub range: Range<u64>,
}

impl Extent {
    /// All bytes of a file or device.
    pub fn whole(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            range: 0..u64::MAX,
        }
    }

    pub(super) fn node_range(&self) -> Option<NodeRange> {
        Some(NodeRange {
            range: self.range.clone(),
            ..NodeRange::whole(node_of(&self.path)?)
        })
    }

    /// A volume of `len` bytes that begins at byte `offset` of the file or device. If `offset` is
    /// negative (the file lacks the beginning of the volume), the whole file or device.
    pub fn of_volume(path: impl Into<PathBuf>, offset: i64, len: u64) -> Self {
        match u64::try_from(offset) {
            Ok(offset) => Self::part(path, offset, len),
            Err(_) => Self::whole(path),
        }
    }

    /// `len` bytes from `offset` on, such as one volume of a disk.
    pub fn part(path: impl Into<PathBuf>, offset: u64, len: u64) -> Self {
        Self {
            path: path.into(),
            range: offset..offset.saturating_add(len),
        }
    }
}
