//! Mounts that end when the test does.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::fve;

/// A directory with something mounted on it.
pub struct Mounted {
    directory: tempfile::TempDir,
}

impl Mounted {
    /// `fve mount` with these arguments behind source and directory.
    pub fn volume(source: &Path, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let output = fve()
            .arg("mount")
            .arg(source)
            .arg(directory.path())
            .args(arguments)
            .output()
            .expect("fve mount");
        assert!(
            output.status.success(),
            "fve mount: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self { directory }
    }

    /// The NTFS file system in a file, mounted by ntfs-3g.
    pub fn ntfs(image: &Path) -> Self {
        Self::ntfs_with(image, "ro")
    }

    /// The same, to be written to.
    pub fn ntfs_for_writing(image: &Path) -> Self {
        Self::ntfs_with(image, "rw")
    }

    fn ntfs_with(image: &Path, options: &str) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let output = Command::new("ntfs-3g")
            .args(["-o", options])
            .arg(image)
            .arg(directory.path())
            .output()
            .expect("ntfs-3g");
        assert!(
            output.status.success(),
            "ntfs-3g: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Ends it as a person would; everything is on the disk then.
    pub fn unmount(self) {
        let output = fve().arg("unmount").arg(self.path()).output();
        let output = output.expect("fve unmount");
        assert!(
            output.status.success(),
            "fve unmount: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// The file that shows the volume.
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
