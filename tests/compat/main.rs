//! The command lines of dislocker and libbde: the same lines through these programs and through fve, programs
//! of others that call them, and what happens with a secret on the command line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod callers;
#[path = "../common/mod.rs"]
mod common;
mod fstab;
mod keys;
mod lines;
mod messages;
mod secrets;
mod volumes;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use tempfile::TempDir;

use common::testdata::{self, Entry};

fn main() -> ExitCode {
    common::let_children_receive_hup();
    common::harness::main()
}

/// The names under which fve is installed.
const NAMES: &[&str] = &[
    "dislocker",
    "dislocker-fuse",
    "dislocker-file",
    "dislocker-find",
    "dislocker-metadata",
    "dislocker-bek",
    "bdemount",
    "bdeinfo",
    "mount.fuse.dislocker",
    "mount.dislocker",
];

/// fve itself, as the scripts of the RPM package call it.
const ITSELF: &str = "fve";

/// A directory with links to fve, as the package has them.
struct Links(TempDir);

impl Links {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        for name in NAMES.iter().chain([&ITSELF]) {
            let link = directory.path().join(name);
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_fve"), link).expect("link");
        }
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// fve under this name.
    fn program(&self, name: &str) -> Command {
        Command::new(self.path().join(name))
    }

    /// The `PATH` with the links before everything else.
    fn search_path(&self) -> std::ffi::OsString {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut directories = vec![self.path().to_owned()];
        directories.extend(std::env::split_paths(&path));
        std::env::join_paths(directories).expect("path")
    }
}

/// A place to mount on. It is unmounted when this value is dropped.
struct MountPoint(TempDir);

impl MountPoint {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The names of the files in it.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).expect("directory");
        let names = entries.map(|entry| entry.expect("entry").file_name());
        names
            .map(|name| name.into_string().expect("UTF-8"))
            .collect()
    }

    fn unmount(&self) -> bool {
        let mut umount = Command::new("umount");
        let done = umount.arg(self.path()).output();
        done.is_ok_and(|output| output.status.success())
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        // A server that has just started may still have the directory open.
        for _ in 0..20 {
            let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            if !table.contains(&*self.path().to_string_lossy()) || self.unmount() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// A copy of a frozen volume that tests may write to.
struct Copied {
    entry: Entry,
    directory: TempDir,
}

impl Copied {
    fn of(name: &str) -> Self {
        Self::from(testdata::volume(name))
    }

    fn from(entry: Entry) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        std::fs::copy(&entry.file, directory.path().join("volume.img")).expect("copy");
        Self { entry, directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("volume.img")
    }

    /// A file beside the volume.
    fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
