//! Checking a mount point before anything costly is done.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::unmount::is_dead;
use crate::error::{Error, Remedy, Result};
use crate::shown::ShowPath;
use crate::source::MountEntry;

/// The type of the mount with which systemd and automount(8) wait for the first access to a mount
/// point, to mount on top of it then. The access that made them mount waits until that is done, and
/// so would any access of ours that reads the directory.
const AUTOMOUNT: &str = "autofs";

/// Returns the absolute path of an empty directory that nothing is mounted on.
pub(super) fn check(directory: &Path) -> Result<PathBuf> {
    let shown = directory.shown();
    let path = directory
        .canonicalize()
        .map_err(|error| unusable(directory, directory, error))?;
    let already_mounted = || {
        unfit(
            format!("something is already mounted on {shown}"),
            Remedy::UnmountOrNameAnother {
                directory: directory.to_owned(),
            },
        )
    };
    match MountEntry::at(&path) {
        Ok(Some(entry)) if entry.kind == AUTOMOUNT => return Ok(path),
        Ok(Some(entry)) if is_dead(&entry) => {
            return Err(unusable(directory, &path, Errno::NOTCONN.into()));
        }
        // Its server may never answer, so the directory is not looked at.
        Ok(Some(_)) => return Err(already_mounted()),
        Ok(None) | Err(_) => {}
    }
    // The system call stat(2), which does not trigger an automount, unlike statx(2).
    let found = stat(&path).map_err(|error| unusable(directory, &path, error.into()))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return Err(unfit(
            format!("the mount point {shown} is not a directory"),
            "name an empty directory".into(),
        ));
    }
    // The table may be missing, or show the mount under another path, as after chroot(2).
    if is_on_other_device(&path) {
        return Err(already_mounted());
    }
    // The helper `fusermount3` would refuse it when the volume is unlocked already.
    if !geteuid().is_root() && accessat(CWD, &path, Access::WRITE_OK, AtFlags::EACCESS).is_err() {
        return Err(unfit(
            format!("you may not write to the mount point {shown}"),
            Remedy::NameOwnDirectory,
        ));
    }
    let mut entries = std::fs::read_dir(&path)
        .map_err(|error| Error::io(format!("cannot read the mount point {shown}"), error))?;
    if entries.next().is_some() {
        return Err(unfit(
            format!("the mount point {shown} is not empty"),
            "name an empty directory: a mount would hide the files in it".into(),
        ));
    }
    Ok(path)
}

fn unfit(what: String, remedy: Remedy) -> Error {
    Error::Environment {
        what,
        remedy: Some(remedy),
    }
}

/// The error for a mount point that cannot be looked at. `path` is the same directory without links,
/// as far as they could be followed.
fn unusable(directory: &Path, path: &Path, error: io::Error) -> Error {
    let shown = directory.shown();
    if error.kind() == io::ErrorKind::NotFound {
        return unfit(
            format!("the mount point {shown} does not exist"),
            format!("create it: mkdir -p {shown}").into(),
        );
    }
    // Every access to a mount whose server has ended without unmounting fails with this error.
    if error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()) {
        return unfit(
            format!("{shown} is a mount point whose server has ended"),
            Remedy::Unmount {
                directory: dead_mount(path).unwrap_or_else(|| directory.to_owned()),
            },
        );
    }
    // Something is mounted there that does not answer as it should.
    if let Ok(Some(mounted)) = std::path::absolute(path).and_then(|path| MountEntry::at(&path))
        && mounted.kind != AUTOMOUNT
    {
        return Error::Environment {
            what: format!("something is already mounted on {shown}, and cannot be read: {error}"),
            remedy: Some(Remedy::UnmountOrNameAnother {
                directory: directory.to_owned(),
            }),
        };
    }
    Error::io(format!("cannot use {shown} as a mount point"), error)
}

/// The innermost mount point on the way to `path`.
fn dead_mount(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors()
        .find(|above| matches!(MountEntry::at(above), Ok(Some(_))))
        .map(Path::to_owned)
}

/// Whether a directory is on another file system than its parent.
fn is_on_other_device(path: &Path) -> bool {
    let device = |path: &Path| stat(path).map(|found| found.st_dev).ok();
    match path.parent() {
        Some(parent) => device(path) != device(parent),
        None => true,
    }
}
