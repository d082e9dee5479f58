//! Unmounting: with the system call as root, otherwise with FUSE's helper `fusermount3`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::error::{Error, Result};
use crate::shown::ShowPath;
use crate::source::MountEntry;

/// Unmounts `directory` if no program uses it.
///
/// # Errors
/// [`Error::Io`]. Its source is of the kind [`io::ErrorKind::ResourceBusy`] while a program uses the
/// mount; the mount is then unchanged, and you can try again later.
pub fn unmount(directory: &Path) -> Result<()> {
    // The path may have been replaced by a link since it was mounted on.
    let unmounted = match rustix::mount::unmount(directory, UnmountFlags::NOFOLLOW) {
        Err(Errno::PERM) => fusermount(directory, "-u"),
        other => other.map_err(io::Error::from),
    };
    unmounted.map_err(|error| failed(directory, error))
}

/// Time for the server of a mount to answer a request for which it reads nothing.
const TIME_TO_ANSWER: Duration = Duration::from_secs(2);

/// Whether the server of a FUSE mount has ended without unmounting it, so that every access fails. This waits a moment
/// for a server that does not answer, which has not ended.
pub fn is_dead(mount: &MountEntry) -> bool {
    if !mount.kind.as_encoded_bytes().starts_with(b"fuse") {
        return false;
    }
    let (sender, answer) = channel();
    let directory = mount.directory.clone();
    // Attributes may be cached, but not what statfs(2) reports. It has no time limit, so another thread calls it.
    let asked = std::thread::Builder::new()
        .spawn(move || sender.send(rustix::fs::statfs(&directory).map(drop)));
    asked.is_ok() && answer.recv_timeout(TIME_TO_ANSWER) == Ok(Err(Errno::NOTCONN))
}

/// Unmounts a FUSE file system even if programs use it: the mount point is free at once, and the kernel
/// sends the server of the mount no further requests. Programs that still use it get errors, and what
/// they did not sync may be lost; [`Stopper::stop`](super::Stopper::stop) is more careful.
///
/// # Errors
/// [`Error::Io`] if the system refuses.
pub fn detach_mount(mount: &MountEntry) -> Result<()> {
    refuse_hidden(mount)?;
    detach(&mount.directory, || Some(mount.device.1))
}

/// Refuses to unmount by its directory a file system that another one hides: that one would be unmounted.
pub(super) fn refuse_hidden(mount: &MountEntry) -> Result<()> {
    match MountEntry::at(&mount.directory) {
        Ok(Some(visible)) if visible.device != mount.device => Err(failed(
            &mount.directory,
            io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another file system is mounted over it",
            ),
        )),
        _ => Ok(()),
    }
}

/// As [`detach_mount`], whatever is mounted on the directory. `connection` returns the minor device number of the
/// file system, which is also the number of its connection to the server, if it exists still.
pub(super) fn detach(directory: &Path, connection: impl FnOnce() -> Option<u32>) -> Result<()> {
    // For a FUSE mount, "force" closes the connection, even where the unmount itself is lazy.
    let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
    match rustix::mount::unmount(directory, flags | UnmountFlags::FORCE) {
        Ok(()) => return Ok(()),
        Err(Errno::PERM) => {}
        Err(error) => return Err(failed(directory, error.into())),
    }
    // Without root's privileges, these are two steps. The root user of a user namespace may detach,
    // but not force.
    let detached = match rustix::mount::unmount(directory, flags) {
        Err(Errno::PERM) => fusermount(directory, "-uz"),
        other => other.map_err(io::Error::from),
    };
    detached.map_err(|error| failed(directory, error))?;
    if let Some(number) = connection()
        && let Err(error) = close_connection(number)
    {
        // The server then ends when the last file of the mount is closed.
        tracing::warn!("cannot close the connection of the mount: {error}");
    }
    Ok(())
}

/// Closes the connection between the kernel and the server. The file belongs to the user who
/// mounted; the system has it if the file system `fusectl` is mounted, as systemd does.
pub(super) fn close_connection(number: u32) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(format!("/sys/fs/fuse/connections/{number}/abort"))?
        .write_all(b"1")
}

fn fusermount(directory: &Path, option: &str) -> io::Result<()> {
    let output = Command::new("fusermount3")
        .arg(option)
        .arg(directory)
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    // The helper reports the reason as text only.
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("busy") {
        return Err(Errno::BUSY.into());
    }
    Err(io::Error::other(said.trim().to_owned()))
}

fn failed(directory: &Path, error: io::Error) -> Error {
    Error::io(format!("cannot unmount {}", directory.shown()), error)
}
