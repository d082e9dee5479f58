//! What the mount shows, without a word of FUSE: a directory with one file in it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustix::io::Errno;

use crate::error::Error;
use crate::volume::{Unlocked, Writable};

/// Name of the file.
pub const FILE_NAME: &str = "volume";

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

/// What the file holds. That it may be written is the type, not a flag.
#[derive(Debug)]
enum Content {
    ReadOnly(Arc<Unlocked>),
    ReadWrite(Arc<Writable>),
}

/// The file system: a directory that holds the file `volume`.
#[derive(Debug)]
pub struct Tree {
    content: Content,
    for_all: bool,
    modified: Mutex<SystemTime>,
    cached: bool,
}

impl Tree {
    /// The tree over `volume`; readable by everybody or only by its owner.
    pub fn new(volume: Arc<Unlocked>, for_all: bool, modified: SystemTime) -> Self {
        Self {
            cached: volume.is_whole(),
            content: Content::ReadOnly(volume),
            for_all,
            modified: Mutex::new(modified),
        }
    }

    /// The same over a volume that may be written, by its owner alone.
    pub fn read_write(volume: Arc<Writable>, for_all: bool, modified: SystemTime) -> Self {
        Self {
            cached: true,
            content: Content::ReadWrite(volume),
            for_all,
            modified: Mutex::new(modified),
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
        let write = match self.content {
            Content::ReadWrite(_) if !directory => 0o200,
            _ => 0,
        };
        let read = match (directory, self.for_all) {
            (true, true) => 0o555,
            (true, false) => 0o500,
            (false, true) => 0o444,
            (false, false) => 0o400,
        };
        Attributes {
            size: if directory { 0 } else { self.size() },
            mode: read | write,
            modified: *self.modified.lock().unwrap_or_else(PoisonError::into_inner),
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
        let left = self.size().saturating_sub(offset);
        let mut len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let read = match &self.content {
            Content::ReadOnly(volume) => {
                if !self.cached {
                    match volume.readable(offset, len as u64) {
                        0 => {}
                        readable => len = usize::try_from(readable).unwrap_or(len),
                    }
                }
                volume.read_exact_at(offset, &mut buf[..len])
            }
            Content::ReadWrite(volume) => {
                volume.read_exact_at(offset.min(self.size()), &mut buf[..len])
            }
        };
        read.map_err(|error| system_error("read", len as u64, offset, error))?;
        Ok(len)
    }

    /// Writes as many of `bytes` from `offset` on as come before the end of the file, as a block
    /// device does, and says how many.
    ///
    /// # Errors
    /// `ENOSPC` where not one does, `EROFS` for a write into what belongs to BitLocker (nothing is
    /// written then) or on a mount that only reads, else what the disk said.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let volume = self.writable()?;
        let left = self.size().saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        if len == 0 && !bytes.is_empty() {
            return Err(Errno::NOSPC.into());
        }
        volume
            .write_all_at(offset, &bytes[..len])
            .map_err(|error| system_error("write", len as u64, offset, error))?;
        self.set_modified(SystemTime::now());
        Ok(len)
    }

    /// Makes a range of the file read as zeros.
    ///
    /// # Errors
    /// As [`Tree::write`]; `ENOSPC` where it goes beyond the end.
    pub fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        let volume = self.writable()?;
        volume
            .zero(offset, len)
            .map_err(|error| system_error("zeroing", len, offset, error))?;
        self.set_modified(SystemTime::now());
        Ok(())
    }

    /// Returns when everything that was written lies on stable storage; at once where nothing can
    /// have been.
    ///
    /// # Errors
    /// What the disk said, or `EIO` when it failed before.
    pub fn flush(&self) -> io::Result<()> {
        match &self.content {
            Content::ReadOnly(_) => Ok(()),
            Content::ReadWrite(volume) => volume
                .flush()
                .map_err(|error| system_error("flush", 0, 0, error)),
        }
    }

    /// Sets the time of the last change, which nobody keeps beyond the mount.
    pub fn set_modified(&self, time: SystemTime) {
        *self.modified.lock().unwrap_or_else(PoisonError::into_inner) = time;
    }

    fn size(&self) -> u64 {
        match &self.content {
            Content::ReadOnly(volume) => volume.size(),
            Content::ReadWrite(volume) => volume.size(),
        }
    }

    fn writable(&self) -> io::Result<&Writable> {
        match &self.content {
            Content::ReadOnly(_) => Err(Errno::ROFS.into()),
            Content::ReadWrite(volume) => Ok(volume),
        }
    }
}

/// What the system is told, always with a number that it knows; the log hears the sentence.
fn system_error(doing: &str, len: u64, offset: u64, error: Error) -> io::Error {
    tracing::warn!(
        "{doing} of {len} bytes at {offset}: {}",
        error.with_causes()
    );
    let known = match error {
        Error::Reserved { .. } => Errno::ROFS,
        Error::OutOfRange { .. } => Errno::NOSPC,
        Error::Io { source, .. } if source.raw_os_error().is_some() => return source,
        _ => Errno::IO,
    };
    known.into()
}
