//! What the mount shows, without a word of FUSE: a directory with one file in it.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Error;
use crate::volume::Unlocked;

/// Name of the file.
const FILE_NAME: &str = "volume";

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// The directory.
    Root,
    /// The decrypted volume.
    Volume,
}

/// What `stat` says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Bytes.
    pub size: u64,
    /// Permissions.
    pub mode: u16,
    /// Time of last change.
    pub modified: SystemTime,
    /// Whether it is the directory.
    pub directory: bool,
}

/// The file system: a directory that holds the file `volume`.
#[derive(Debug)]
pub struct Tree {
    volume: Arc<Unlocked>,
    for_all: bool,
    modified: SystemTime,
    cached: bool,
}

impl Tree {
    /// The tree over `volume`; readable by everybody or only by its owner.
    pub fn new(volume: Arc<Unlocked>, for_all: bool, modified: SystemTime) -> Self {
        Self {
            cached: volume.is_whole(),
            volume,
            for_all,
            modified,
        }
    }

    /// Keeps the kernel from caching the file's pages.
    pub fn bypass_cache(&mut self) {
        self.cached = false;
    }

    /// The node with this name in the directory.
    pub fn lookup(&self, name: &str) -> Option<Node> {
        (name == FILE_NAME).then_some(Node::Volume)
    }

    /// The directory's entries.
    pub fn entries(&self) -> [(Node, &'static str); 3] {
        [
            (Node::Root, "."),
            (Node::Root, ".."),
            (Node::Volume, FILE_NAME),
        ]
    }

    /// What `stat` says.
    pub fn attributes(&self, node: Node) -> Attributes {
        let directory = node == Node::Root;
        let mode = match (directory, self.for_all) {
            (true, true) => 0o555,
            (true, false) => 0o500,
            (false, true) => 0o444,
            (false, false) => 0o400,
        };
        Attributes {
            size: if directory { 0 } else { self.volume.size() },
            mode,
            modified: self.modified,
            directory,
        }
    }

    /// Whether the kernel may keep the file's pages: not where some bytes cannot be read, for a
    /// page holds all of its bytes or none, and what is missing must not be filled with zeros.
    pub fn may_be_cached(&self) -> bool {
        self.cached
    }

    /// Fills the start of `buf` with the file's bytes from `offset` on and says how many there
    /// are: all, or as many as come before the end of the file, or, where the file is not cached,
    /// before the first that cannot be read.
    ///
    /// # Errors
    /// When there are some, but not one can be read.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.volume.size().saturating_sub(offset);
        let mut len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        if !self.cached {
            match self.volume.readable(offset, len as u64) {
                0 => {}
                readable => len = usize::try_from(readable).unwrap_or(len),
            }
        }
        self.volume
            .read_at(offset, &mut buf[..len])
            .map_err(|error| {
                tracing::warn!("read of {len} bytes at {offset}: {error}");
                match error {
                    Error::Io { source, .. } => source,
                    other => io::Error::other(other),
                }
            })?;
        Ok(len)
    }
}
