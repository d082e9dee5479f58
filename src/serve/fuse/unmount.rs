//! Ending a mount: as root by the system call, else through FUSE's own helper.

use std::io;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

/// Unmounts the directory; fails while something uses it, and can be tried again then.
///
/// # Errors
/// The system's reason; [`io::ErrorKind::ResourceBusy`] while it is in use.
pub fn unmount(directory: &Path) -> io::Result<()> {
    match rustix::mount::unmount(directory, UnmountFlags::NOFOLLOW) {
        Ok(()) => return Ok(()),
        Err(Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let helped = Command::new("fusermount3")
        .arg("-u")
        .arg(directory)
        .output()?;
    if helped.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&helped.stderr);
    if said.contains("busy") {
        return Err(Errno::BUSY.into());
    }
    Err(io::Error::other(said.trim().to_owned()))
}
