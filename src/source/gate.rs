//! The checks that every file and device passes before the program overwrites it.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::extent::Extent;
use super::in_use::{is_read_only, open_unused, used, written_by};
use super::lock::locked;
use super::storage::{Node, NodeRange, System, node_of, share_bytes};
use super::system::{dimensions, file_or_device};
use super::writers::read_by_this_process;
use crate::error::{Error, Result};
use crate::shown::ShowPath;

/// How long to wait for another program that still holds the target: the server of a FUSE mount
/// ends a moment after the mount does.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Time between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Checks that `target` may be overwritten with `len` bytes, without opening it for writing. A target
/// that does not exist yet is accepted, unless it would be stored on one of the `sources`.
///
/// It refuses
/// * a target that is mounted, swap space, used by a loop device, or a part of a device-mapper, md
///   or other device; a disk with such a partition, and a partition of such a disk;
/// * a target that shares bytes with a source, directly or through loop devices, partitions,
///   device-mapper and md devices, and file systems;
/// * a target that shares bytes with a file that this program has open for reading, such as the
///   other parts of a split image;
/// * a device that is write-protected or has fewer than `len` bytes.
///
/// # Errors
/// [`Error::Environment`] that names what uses the target and how to end that; [`Error::Io`] when
/// the target cannot be examined; [`Error::NotBitLocker`] when it is neither a file nor a block
/// device.
pub fn check_overwrite(target: &Path, sources: &[Extent], len: u64) -> Result<()> {
    let system = System::default();
    let fail = |error| Error::io(format!("cannot examine {}", target.shown()), error);
    let is_device = match file_or_device(target) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return check_new_file(&system, target, sources);
        }
        other => other.map_err(fail)??,
    };
    let Some(node) = node_of(target) else {
        return Ok(());
    };
    let below = system.with_backing(NodeRange::whole(node));
    refuse_sources(&system, target, &below, sources)?;
    refuse_used(&system, target, &below)?;
    if is_device {
        check_device(target, len)?;
    }
    Ok(())
}

/// Opens an existing `target` for overwriting: makes the checks of [`check_overwrite`], then opens it
/// exclusively. Its content and length stay as they are.
///
/// # Errors
/// Those of [`check_overwrite`]; [`Error::Environment`] when another program holds it.
pub fn open_to_overwrite(target: &Path, sources: &[Extent], len: u64) -> Result<File> {
    check_overwrite(target, sources, len)?;
    let opened = open_exclusive(target)?;
    check_overwrite(target, sources, len)?;
    opened.refuse_uses(target)?;
    Ok(opened.file)
}

/// A file or device that is open for writing.
pub(super) struct Opened {
    pub(super) file: File,
    /// Whether it is locked: some file systems have no locks.
    pub(super) locked: bool,
}

impl Opened {
    /// Refuses a file or device that is in use. It may have come into use between the first check and
    /// the lock, or `target` may have led to another file then.
    pub(super) fn refuse_uses(&self, target: &Path) -> Result<()> {
        let opened = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        refuse_uses(target, Path::new(&opened))
    }
}

/// Opens a file or device for reading and writing, with an exclusive lock. The caller has checked
/// that nothing uses it, and checks again with the result ([`Opened::refuse_uses`]).
pub(super) fn open_exclusive(target: &Path) -> Result<Opened> {
    retry_while_busy(|| try_open_exclusive(target))
}

fn try_open_exclusive(target: &Path) -> Result<Opened> {
    let fail = |error| {
        let what = format!("cannot open {} for writing", target.shown());
        Error::io(what, error)
    };
    let is_device = file_or_device(target).map_err(fail)??;
    let mut options = OpenOptions::new();
    let file = open_unused(target, options.read(true).write(true), is_device)?.map_err(fail)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Opened { file, locked: true }),
        Err(Errno::WOULDBLOCK) => Err(locked(target)),
        // The file system has no locks: NFS without its lock service, some servers of FUSE and SMB.
        // The lock is only one of the checks: other writers on this computer are seen without it, and
        // those on others do not take it. The caller warns.
        Err(error) if is_no_lock(error) => Ok(Opened {
            file,
            locked: false,
        }),
        Err(error) => Err(fail(error.into())),
    }
}

/// Whether a lock failed because the file system has no locks.
fn is_no_lock(error: Errno) -> bool {
    [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL].contains(&error)
}

/// Refuses a file or device that is in use, as far as that can be seen.
pub(super) fn refuse_uses_of(path: &Path) -> Result<()> {
    refuse_uses(path, path)
}

/// The same for what `place` leads to; messages name `path`.
fn refuse_uses(path: &Path, place: &Path) -> Result<()> {
    let system = System::default();
    let Some(node) = node_of(place) else {
        return Ok(());
    };
    refuse_used(&system, path, &system.with_backing(NodeRange::whole(node)))
}

/// Refuses a target that is mounted, mapped, used by a loop device or part of another device, and
/// one that another program has open for writing.
pub(super) fn refuse_used(system: &System, target: &Path, below: &[NodeRange]) -> Result<()> {
    if let Some(found) = system.uses_of(below).first() {
        return Err(used(target, found));
    }
    retry_while_busy(|| match system.writer_of(below) {
        Some(writer) => Err(written_by(target, &writer)),
        None => Ok(()),
    })
}

/// Repeats an attempt for up to [`BUSY_TIMEOUT`] while it fails because something is in use.
pub(super) fn retry_while_busy<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(Error::Environment { .. }) if start.elapsed() < BUSY_TIMEOUT => {
                std::thread::sleep(RETRY_INTERVAL);
            }
            other => return other,
        }
    }
}

fn refuse_sources(
    system: &System,
    target: &Path,
    below: &[NodeRange],
    sources: &[Extent],
) -> Result<()> {
    for source in sources {
        let Some(range) = source.node_range() else {
            continue;
        };
        if share_bytes(below, &system.with_backing(range)) {
            return Err(on_source(format!(
                "{} and {} are on the same storage: writing to one changes the other",
                target.shown(),
                source.path.shown()
            )));
        }
    }
    let read = read_by_this_process().into_iter().map(NodeRange::whole);
    if share_bytes(below, &read.collect::<Vec<_>>()) {
        let target = target.shown();
        return Err(on_source(format!("{target} is part of the source")));
    }
    Ok(())
}

fn on_source(what: String) -> Error {
    Error::Environment {
        what,
        remedy: Some(
            "name a file or device on other storage: the source is never written to".into(),
        ),
    }
}

/// Checks a file that does not exist yet: it will be stored on the file system of its directory.
fn check_new_file(system: &System, target: &Path, sources: &[Extent]) -> Result<()> {
    let parent = match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // Creating the file will report a directory that does not exist.
    let Some(directory @ Node::File { .. }) = node_of(parent) else {
        return Ok(());
    };
    let below = system.with_backing(NodeRange::whole(directory));
    refuse_sources(system, target, &below, sources)
}

fn check_device(target: &Path, len: u64) -> Result<()> {
    if is_read_only(target) {
        return Err(write_protected(target));
    }
    let fail = |error| Error::io(format!("cannot open {}", target.shown()), error);
    let mut device = File::open(target).map_err(fail)?;
    let (size, _) = dimensions(&mut device, true).map_err(fail)?;
    if size < len {
        return Err(Error::Environment {
            what: format!(
                "{} has {size} bytes, but {len} bytes must be written",
                target.shown()
            ),
            remedy: Some("name a larger device, or a file; nothing was written".into()),
        });
    }
    Ok(())
}

pub(super) fn write_protected(device: &Path) -> Error {
    Error::Environment {
        what: format!("{} is read-only", device.shown()),
        remedy: Some("remove its write protection first: blockdev --setrw".into()),
    }
}
