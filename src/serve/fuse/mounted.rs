//! Whether the file system of a connection is still mounted, and where.
//!
//! The mount table alone cannot tell: the kernel gives the device number of a file system that was
//! unmounted to the next one that is mounted. So the kernel is asked over the connection, too.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use fuser::INodeNo;
use rustix::io::Errno;

use super::SUBTYPE;
use crate::source::MountEntry;

/// "The attributes of an inode have changed": `FUSE_NOTIFY_INVAL_INODE` of linux/fuse.h.
const INODE_CHANGED: i32 = 2;

/// A FUSE file system that this process has mounted or serves.
#[derive(Debug)]
pub(super) struct Mounted {
    connection: OwnedFd,
    /// Its row in the mount table; `None` if that did not show it.
    entry: Option<MountEntry>,
}

/// Where a file system is mounted.
#[derive(Debug)]
pub(super) enum Place {
    /// Nowhere that this process can see.
    Nowhere,
    /// As this row of the mount table shows.
    At(MountEntry),
    /// The mount table cannot be read, or has never shown it.
    Unknown,
}

impl Mounted {
    /// The file system that was just mounted on `directory`.
    pub(super) fn on(directory: &Path, connection: OwnedFd) -> Self {
        // Something else may be mounted over it already.
        let entry = MountEntry::of_kind_at(directory, &format!("fuse.{SUBTYPE}"));
        Self {
            connection,
            entry: entry.ok().flatten(),
        }
    }

    pub(super) fn connection(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// The number of the connection, which is the minor device number of the file system; `None` if the file system
    /// has ended, and its number may be that of another.
    pub(super) fn number(&self) -> Option<u32> {
        let (_, minor) = self.entry.as_ref()?.device;
        self.exists().then_some(minor)
    }

    /// Whether the file system exists: it is mounted, or was detached while a program used it.
    pub(super) fn exists(&self) -> bool {
        exists(self.connection())
    }

    pub(super) fn place(&self) -> Place {
        let found = self.entry.as_ref().map(MountEntry::again);
        // Asked after the mount table was read: as long as it is mounted, its number is its own.
        if !self.exists() {
            return Place::Nowhere;
        }
        match found {
            Some(Ok(Some(mount))) => Place::At(mount),
            Some(Ok(None)) => Place::Nowhere,
            Some(Err(_)) | None => Place::Unknown,
        }
    }
}

/// Whether the file system of a connection exists. The kernel answers this also after it has closed the connection.
///
/// The kernel is told that the attributes of the root directory have changed. If there is no file system,
/// there is no such directory.
fn exists(connection: BorrowedFd<'_>) -> bool {
    // struct fuse_out_header of a notification, then struct fuse_notify_inval_inode_out: with a negative
    // offset, cached data are kept.
    let mut message = Vec::new();
    message.extend_from_slice(&40_u32.to_ne_bytes());
    message.extend_from_slice(&INODE_CHANGED.to_ne_bytes());
    message.extend_from_slice(&0_u64.to_ne_bytes());
    message.extend_from_slice(&INodeNo::ROOT.0.to_ne_bytes());
    message.extend_from_slice(&(-1_i64).to_ne_bytes());
    message.extend_from_slice(&0_i64.to_ne_bytes());
    rustix::io::write(connection, &message) != Err(Errno::NOENT)
}
