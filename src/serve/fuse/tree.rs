//! The file system that a mount shows, independent of FUSE: a directory with one file in it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustix::io::Errno;

use crate::error::Error;
use crate::volume::{Unlocked, Writable};

/// Name of the file that holds the decrypted volume, unless [`MountOptions::file_name`](super::MountOptions::file_name)
/// gives it another.
pub const FILE_NAME: &str = "volume";

/// A file or directory of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// The mount point.
    Root,
    /// The file with the decrypted volume.
    Volume,
}

/// What stat(2) reports about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Size in bytes; 0 for the directory.
    pub(super) size: u64,
    /// Permission bits.
    pub(super) mode: u16,
    /// Time of the last modification.
    pub(super) modified: SystemTime,
    /// Whether this is the directory.
    pub(super) directory: bool,
}

/// Permission bits for reading and writing the file. Of these, a read-only file has those for reading
/// only; the directory has them too, and may be searched by all who may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Permissions(u16);

impl Permissions {
    const READ: u16 = 0o444;
    const READ_AND_WRITE: u16 = 0o666;

    /// Only the owner may use the file; with `group`, its group may read it, and with `all`, everybody.
    pub(super) fn of_owner(group: bool, all: bool) -> Self {
        Self(match (group, all) {
            (_, true) => 0o644,
            (true, false) => 0o640,
            (false, false) => 0o600,
        })
    }

    /// All that are not in `mask`.
    pub(super) fn without(mask: u16) -> Self {
        Self(Self::READ_AND_WRITE & !mask)
    }

    /// Those of the owner, and none for the group and others.
    pub(super) fn of_owner_alone(self) -> Self {
        Self(self.0 & 0o600)
    }

    /// Whether users other than the owner have any.
    pub(super) fn are_for_others(self) -> bool {
        self.0 & 0o066 != 0
    }

    pub(super) fn of_file(self, writable: bool) -> u16 {
        match writable {
            true => self.0,
            false => self.0 & Self::READ,
        }
    }

    pub(super) fn of_directory(self) -> u16 {
        let read = self.0 & Self::READ;
        read | read >> 2
    }
}

/// The volume behind the file. Its type decides whether the file can be written to.
#[derive(Debug)]
enum Content {
    ReadOnly(Arc<Unlocked>),
    ReadWrite(Arc<Writable>),
}

/// The file system.
#[derive(Debug)]
pub(super) struct Tree {
    content: Content,
    permissions: Permissions,
    modified: Mutex<SystemTime>,
    cached: bool,
    name: String,
}

impl Tree {
    /// A read-only file.
    pub(super) fn new(
        volume: Arc<Unlocked>,
        permissions: Permissions,
        modified: SystemTime,
    ) -> Self {
        Self {
            cached: volume.is_whole(),
            content: Content::ReadOnly(volume),
            permissions,
            modified: Mutex::new(modified),
            name: FILE_NAME.to_owned(),
        }
    }

    /// The same with a file that can be written to.
    pub(super) fn read_write(
        volume: Arc<Writable>,
        permissions: Permissions,
        modified: SystemTime,
    ) -> Self {
        Self {
            cached: true,
            content: Content::ReadWrite(volume),
            permissions,
            modified: Mutex::new(modified),
            name: FILE_NAME.to_owned(),
        }
    }

    /// Makes the kernel pass every read and write on, without its page cache.
    pub(super) fn bypass_cache(&mut self) {
        self.cached = false;
    }

    /// Gives the file this name.
    pub(super) fn set_file_name(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// The name of the file.
    pub(super) fn file_name(&self) -> &str {
        &self.name
    }

    /// The node with this name in the directory.
    pub(super) fn lookup(&self, name: &str) -> Option<Node> {
        (name == self.name).then_some(Node::Volume)
    }

    /// The directory's entries.
    pub(super) fn entries(&self) -> [(Node, &str); 3] {
        [
            (Node::Root, "."),
            (Node::Root, ".."),
            (Node::Volume, &self.name),
        ]
    }

    /// What stat(2) reports about `node`.
    pub(super) fn attributes(&self, node: Node) -> Attributes {
        let directory = node == Node::Root;
        let mode = match directory {
            true => self.permissions.of_directory(),
            false => self.permissions.of_file(self.is_writable()),
        };
        Attributes {
            size: if directory { 0 } else { self.size() },
            mode,
            modified: *self.modified.lock().unwrap_or_else(PoisonError::into_inner),
            directory,
        }
    }

    /// Whether the kernel may cache the file's pages. It may not if some bytes cannot be read: a page
    /// is cached as a whole, and missing bytes in it must not become zeros.
    pub(super) fn may_be_cached(&self) -> bool {
        self.cached
    }

    /// Reads the file from `offset` on into the start of `buf` and returns the number of bytes. They
    /// are fewer than `buf` holds at the end of the file and, if the file is not cached, before the
    /// first byte that cannot be read.
    ///
    /// # Errors
    /// If not even the first byte can be read.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        // At and beyond the end there is nothing to read, which is no error.
        let offset = offset.min(self.size());
        let left = self.size() - offset;
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
            Content::ReadWrite(volume) => volume.read_exact_at(offset, &mut buf[..len]),
        };
        read.map_err(|error| system_error("read", len as u64, offset, error))?;
        Ok(len)
    }

    /// Writes `bytes` from `offset` on, up to the end of the file, and returns the number of bytes
    /// written. As on a block device, the size does not change.
    ///
    /// # Errors
    /// `ENOSPC` if `offset` is at or beyond the end. `EROFS` on a read-only mount, and for a range
    /// with BitLocker's own structures in it, of which nothing is written then. Otherwise the error
    /// of the disk.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
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
    /// As [`Tree::write`]; `ENOSPC` also for a range that only ends beyond the end of the file.
    pub(super) fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        let volume = self.writable()?;
        volume
            .zero(offset, len)
            .map_err(|error| system_error("zeroing", len, offset, error))?;
        self.set_modified(SystemTime::now());
        Ok(())
    }

    /// Returns when everything that was written is on stable storage.
    ///
    /// # Errors
    /// The error of the disk, or `EIO` if an earlier flush failed.
    pub(super) fn flush(&self) -> io::Result<()> {
        match &self.content {
            Content::ReadOnly(_) => Ok(()),
            Content::ReadWrite(volume) => volume
                .flush()
                .map_err(|error| system_error("flush", 0, 0, error)),
        }
    }

    /// Sets the time of the last modification, which is forgotten at unmount.
    pub(super) fn set_modified(&self, time: SystemTime) {
        *self.modified.lock().unwrap_or_else(PoisonError::into_inner) = time;
    }

    /// Whether the volume can be written to.
    pub(super) fn is_writable(&self) -> bool {
        matches!(self.content, Content::ReadWrite(_))
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

/// Turns an error into one with an `errno`, which is all that FUSE can pass on. The sentence goes to
/// the log.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_can_be_searched_by_all_who_may_read_the_file() {
        let modes = |permissions: Permissions| {
            let file = permissions.of_file(false);
            (file, permissions.of_file(true), permissions.of_directory())
        };
        assert_eq!(
            modes(Permissions::of_owner(false, false)),
            (0o400, 0o600, 0o500)
        );
        assert_eq!(
            modes(Permissions::of_owner(true, false)),
            (0o440, 0o640, 0o550)
        );
        assert_eq!(
            modes(Permissions::of_owner(false, true)),
            (0o444, 0o644, 0o555)
        );
        assert_eq!(modes(Permissions::without(0o027)), (0o440, 0o640, 0o550));
        assert_eq!(modes(Permissions::without(0o002)), (0o444, 0o664, 0o555));
        assert_eq!(modes(Permissions::without(0o777)), (0, 0, 0));
        let alone = |mask| modes(Permissions::without(mask).of_owner_alone());
        assert_eq!(alone(0), (0o400, 0o600, 0o500));
        assert_eq!(alone(0o277), (0o400, 0o400, 0o500));
        assert!(!Permissions::without(0o077).are_for_others());
        assert!(Permissions::without(0o057).are_for_others());
    }
}
