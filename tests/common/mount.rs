//! Mounts that are unmounted when their value is dropped.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::fve;
use super::output::run;

/// A temporary directory with a file system mounted on it.
pub struct Mounted {
    directory: tempfile::TempDir,
}

impl Mounted {
    /// Runs `fve mount --volume SOURCE DIR` with these further arguments.
    pub fn volume(source: &Path, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let mut mount = fve();
        mount
            .args(["mount", "--volume"])
            .arg(source)
            .arg(directory.path());
        run(mount.args(arguments));
        Self { directory }
    }

    /// Mounts the NTFS file system in a file read-only with ntfs-3g.
    pub fn ntfs(image: &Path) -> Self {
        Self::ntfs_with(image, "ro")
    }

    /// Mounts the NTFS file system in a file for writing with ntfs-3g.
    pub fn ntfs_for_writing(image: &Path) -> Self {
        Self::ntfs_with(image, "rw")
    }

    fn ntfs_with(image: &Path, options: &str) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let mut mount = Command::new("ntfs-3g");
        mount.args(["-o", options]).arg(image);
        run(mount.arg(directory.path()));
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Unmounts with `fve unmount`, which returns when everything is on disk.
    pub fn unmount(self) {
        run(fve().arg("unmount").arg(self.path()));
    }

    /// The file with the plaintext in a mount of `fve`.
    pub fn volume_file(&self) -> PathBuf {
        self.path().join("volume")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for program in ["umount", "fusermount3"] {
            let mut command = Command::new(program);
            if program == "fusermount3" {
                command.arg("-u");
            }
            let done = command.arg(self.path()).output();
            if done.is_ok_and(|output| output.status.success()) {
                return;
            }
        }
    }
}
