//! Which bytes of a file or device are meant.

use std::ops::Range;
use std::path::PathBuf;

use super::storage::{NodeRange, node_of};

/// Bytes of a file or device that are read while something else is written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// The file or device.
    pub path: PathBuf,
    /// Which of its bytes.
    pub range: Range<u64>,
}

impl Extent {
    /// All of it.
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

    /// A volume of `len` bytes that begins `offset` bytes into the file or device; all of that where
    /// the volume begins before it.
    pub fn of_volume(path: impl Into<PathBuf>, offset: i64, len: u64) -> Self {
        match u64::try_from(offset) {
            Ok(offset) => Self::part(path, offset, len),
            Err(_) => Self::whole(path),
        }
    }

    /// `len` bytes from `offset` on: of a disk, the volume that is meant.
    pub fn part(path: impl Into<PathBuf>, offset: u64, len: u64) -> Self {
        Self {
            path: path.into(),
            range: offset..offset.saturating_add(len),
        }
    }
}
