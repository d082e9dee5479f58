//! Locks on a source while it is read, and other users of it. The locks are those of flock(2);
//! taking one changes nothing in the file, not even its times.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::extent::Extent;
use super::gate::{refuse_uses_of, retry_while_busy};
use super::in_use::{is_read_only, open_unused, used};
use super::lock::locked;
use super::lock_table::holder_of;
use super::storage::{System, Use};
use super::system::{file_or_device, open_untouched};
use super::writers::Writer;
use crate::error::{Error, Remedy, Result};
use crate::shown::ShowPath;

/// A shared lock on a source that is being read: while it exists, the source cannot be opened as an
/// [`super::ExclusiveFile`], but other programs may read it too.
#[derive(Debug)]
pub struct SharedHold {
    file: File,
}

impl SharedHold {
    /// Locks the file or device at `path`. `None` if it cannot be locked; opening it then reports
    /// the reason, if there is one.
    ///
    /// # Errors
    /// [`Error::Environment`] when another program has locked it for writing, so that its content
    /// could change while it is read.
    pub fn take(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = path.as_ref();
        // Opening a pipe would wait for its other end.
        let lockable = path
            .metadata()
            .is_ok_and(|meta| meta.is_file() || meta.file_type().is_block_device());
        let Some(file) = lockable.then(|| open_untouched(path).ok()).flatten() else {
            return Ok(None);
        };
        let locked = lock_shared(path, &file)?;
        Ok(locked.then_some(Self { file }))
    }

    /// The locked file or device, open for reading. The lock lasts as long as it is open anywhere, as in a loop device.
    pub fn into_file(self) -> File {
        self.file
    }
}

/// A claim on a block device that is being read: while it exists, the device can be neither mounted
/// nor mapped. If the volume is a partition of a disk, only the partition is claimed.
#[derive(Debug)]
pub struct DeviceHold {
    _file: File,
}

impl DeviceHold {
    /// Claims the device or partition that begins where `extent` does. `None` if `extent` is in a
    /// file or begins inside a device, and if the device is write-protected or cannot be opened.
    ///
    /// # Errors
    /// [`Error::Environment`] when another program has claimed it.
    pub fn take(extent: &Extent) -> Result<Option<Self>> {
        let system = System::default();
        let Some(range) = extent.node_range() else {
            return Ok(None);
        };
        let Some(node) = system.device_of(&range) else {
            return Ok(None);
        };
        let device = match node == range.node {
            true => extent.path.clone(),
            false => system.path_of(node),
        };
        if is_read_only(&device) {
            return Ok(None);
        }
        match retry_while_busy(|| open_unused(&device, OpenOptions::new().read(true), true)) {
            // A partition may have no device node, or none that this user may open.
            Ok(opened) => Ok(opened.ok().map(|file| Self { _file: file })),
            Err(busy) => match system.uses_of(&system.with_backing(range)).first() {
                Some(found) => Err(used(&device, found)),
                None => Err(busy),
            },
        }
    }
}

/// Refuses to show bytes of a block device that is a part of a device-mapper, md or other device.
/// That device writes to the disk without passing through the page cache from which the bytes would
/// be read, so what is shown could be out of date.
///
/// # Errors
/// [`Error::Environment`] with the device to read instead.
pub fn refuse_mapped(extent: &Extent) -> Result<()> {
    let system = System::default();
    let Some(range) = extent.node_range() else {
        return Ok(());
    };
    let uses = system.uses_of(&system.with_backing(range));
    match uses.iter().find_map(Use::newer_view) {
        Some(instead) => Err(Error::Environment {
            what: format!(
                "{} cannot be read safely: it is open as {}, and its content may be out of date",
                extent.path.shown(),
                instead.shown()
            ),
            remedy: Some(Remedy::UseOrUnmap {
                device: instead.to_owned(),
            }),
        }),
        None => Ok(()),
    }
}

/// A sentence that names what may change these bytes while they are read: a process, a mount or
/// another device. `None` if nothing of the kind can be seen.
pub fn changed_by(extent: &Extent) -> Option<String> {
    let path = extent.path.shown();
    // Where a shared lock can be had, no other program has a lock for writing. This is tried first, because the kernel
    // can take 10 ms to show the table of all locks.
    let free = SharedHold::take(&extent.path).is_ok_and(|hold| hold.is_some());
    if !free && let Some(process) = writer_of(&extent.path) {
        let writer = Writer::of_process(process);
        return Some(format!("{writer} may be writing to {path}"));
    }
    let system = System::default();
    let below = system.with_backing(extent.node_range()?);
    let uses = system.uses_of(&below);
    if let Some(found) = uses.iter().find(|found| found.may_write()) {
        return Some(format!("{path} is in use: {}", found.description()));
    }
    let writer = system.writer_of(&below)?;
    Some(format!("{writer} has {path} open for writing"))
}

/// A file or block device that is read, and that nothing writes to meanwhile as far as the system
/// can tell.
#[derive(Debug)]
pub struct StableHold {
    _file: File,
}

impl StableHold {
    /// Opens `path` for reading after checking that nothing writes to it: it is neither mounted nor
    /// locked, and no loop device uses it.
    ///
    /// # Errors
    /// [`Error::Environment`] when it is in use, [`Error::Io`] when it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let fail = |error| Error::io(format!("cannot open {}", path.shown()), error);
        let is_device = file_or_device(path).map_err(fail)??;
        refuse_uses_of(path)?;
        let file = open_unused(path, OpenOptions::new().read(true), is_device)?.map_err(fail)?;
        if !is_device {
            lock_shared(path, &file)?;
        }
        Ok(Self { _file: file })
    }
}

/// Takes a shared lock. `false` if the file system does not support locks.
fn lock_shared(path: &Path, file: &File) -> Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Err(locked(path)),
        other => Ok(other.is_ok()),
    }
}

/// Identifier of the process that has locked the file or device at `path` for writing, if it can be
/// seen.
pub fn writer_of(path: impl AsRef<Path>) -> Option<u32> {
    holder_of(path.as_ref(), |access| access == "WRITE")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::source::ExclusiveFile;

    #[test]
    fn readers_keep_writers_out_and_writers_are_seen() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let first = SharedHold::take(file.path()).unwrap().unwrap();
        let second = SharedHold::take(file.path()).unwrap().unwrap();
        assert!(ExclusiveFile::open(file.path()).is_err());
        assert_eq!(writer_of(file.path()), None);
        drop((first, second));
        let writing = ExclusiveFile::open(file.path()).unwrap();
        let refused = SharedHold::take(file.path());
        assert!(matches!(refused, Err(Error::Environment { .. })));
        assert_eq!(writer_of(file.path()), Some(std::process::id()));
        drop(writing);
        // A program that another test starts has this descriptor too, and with it the lock, until it
        // runs its own code.
        let start = Instant::now();
        while writer_of(file.path()).is_some() {
            assert!(start.elapsed() < Duration::from_secs(30), "still locked");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
