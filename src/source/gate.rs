//! The one gate in front of whatever is written over: a file or device is looked at here before
//! its first byte is changed.

use std::fs::{File, OpenOptions};
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

/// How long another program may still hold the target: the server of a mount in user space ends a
/// moment after the mount does.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Time between two looks.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Checks that `len` bytes can be written over what is at `target`, without opening it for writing.
/// A target that does not exist yet passes, unless it would lie in one of the `sources`.
///
/// Refused are:
/// * what is mounted, swap space, shown by a loop device, or a part of a device-mapper, md or other
///   device; a disk of which a partition is, and a partition of such a disk;
/// * what shares bytes with a source: followed through loop devices, partitions, device-mapper and
///   md devices, and file systems, in both directions;
/// * what shares bytes with a file that this program has open for reading, such as the further parts
///   of an image that has several;
/// * a device that is write-protected or has fewer than `len` bytes.
///
/// # Errors
/// [`Error::Environment`] with who uses it and what to do; [`Error::Io`] when it cannot be looked
/// at; [`Error::NotBitLocker`] when it is neither a file nor a block device.
pub fn check_overwrite(target: &Path, sources: &[Extent], len: u64) -> Result<()> {
    let system = System::default();
    let fail = |error| Error::io(format!("cannot look at {}", target.shown()), error);
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

/// Opens `target`, which exists, to be written over: with the checks of [`check_overwrite`], then
/// exclusively. Nothing of it is changed yet, and a file keeps its length.
///
/// # Errors
/// Those of [`check_overwrite`]; [`Error::Environment`] when another program holds it.
pub fn open_to_overwrite(target: &Path, sources: &[Extent], len: u64) -> Result<File> {
    check_overwrite(target, sources, len)?;
    open_exclusive(target)
}

/// Opens a file or device, of which [`refuse_used`] knows no use, for reading and writing, and
/// keeps others out.
pub(super) fn open_exclusive(target: &Path) -> Result<File> {
    retry_while_busy(|| try_open_exclusive(target))
}

fn try_open_exclusive(target: &Path) -> Result<File> {
    let fail = |error| {
        let what = format!("cannot open {} for writing", target.shown());
        Error::io(what, error)
    };
    let is_device = file_or_device(target).map_err(fail)??;
    let mut options = OpenOptions::new();
    let file = open_unused(target, options.read(true).write(true), is_device)?.map_err(fail)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(locked(target)),
        Err(error) => Err(fail(error.into())),
    }
}

/// Refuses what somebody uses, as far as that can be seen.
pub(super) fn refuse_uses_of(path: &Path) -> Result<()> {
    let system = System::default();
    let Some(node) = node_of(path) else {
        return Ok(());
    };
    refuse_used(&system, path, &system.with_backing(NodeRange::whole(node)))
}

/// Refuses what is mounted, mapped, shown or made a part of something, and what another program
/// writes to.
pub(super) fn refuse_used(system: &System, target: &Path, below: &[NodeRange]) -> Result<()> {
    if let Some(found) = system.uses_of(below).first() {
        return Err(used(target, found));
    }
    retry_while_busy(|| match system.writer_of(below) {
        Some(writer) => Err(written_by(target, &writer)),
        None => Ok(()),
    })
}

/// Tries again for a moment while something is in use.
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
                "{} and {} lie on the same storage: writing to the one changes the other",
                target.shown(),
                source.path.shown()
            )));
        }
    }
    let read = read_by_this_process().into_iter().map(NodeRange::whole);
    if share_bytes(below, &read.collect::<Vec<_>>()) {
        let target = target.shown();
        return Err(on_source(format!("{target} is a part of what is read")));
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

/// A file that is to be made: it lies on the file system of its directory.
fn check_new_file(system: &System, target: &Path, sources: &[Extent]) -> Result<()> {
    let parent = match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // Opening it will tell of a directory that is not there.
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
                "{} has {size} bytes, and {len} are to be written",
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
        remedy: Some("its write-protection must be lifted first (blockdev --setrw)".into()),
    }
}
