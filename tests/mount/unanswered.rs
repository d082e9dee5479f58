//! Mounts whose server does not answer, as one whose source is on a network that is down.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use fve::serve::fuse::{MountOptions, Unserved};
use fve::source::MountEntry;
use rustix::fs::{CWD, Mode, OFlags};
use tempfile::TempDir;

use crate::common::output::{assert_status, text};
use crate::common::testdata;
use crate::common::trials::{fuse, trial};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

/// A mount that no process serves: requests wait for ever.
fn unanswered() -> (TempDir, Unserved) {
    let directory = tempfile::tempdir().expect("directory");
    let options = MountOptions::new("nothing");
    let unserved = Unserved::mount(directory.path(), &options, false).expect("mount");
    (directory, unserved)
}

fn is_mounted(directory: &Path) -> bool {
    let entry = MountEntry::of_kind_at(directory, "fuse.fve");
    entry.expect("mount table").is_some()
}

/// `fve`, which is killed after the limit.
fn fve() -> Command {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", &LIMIT.as_secs().to_string()]);
    command.arg(env!("CARGO_BIN_EXE_fve"));
    command
}

fn unmount(words: &[&str], directory: &Path) -> Output {
    let mut command = fve();
    command.arg("unmount").args(words).arg(directory);
    command.output().expect("fve")
}

#[trial(needs(fuse))]
fn it_can_be_unmounted() {
    let (directory, _unserved) = unanswered();
    assert_status(&unmount(&[], directory.path()), 0);
    assert!(!is_mounted(directory.path()));
}

#[trial(needs(fuse))]
fn the_process_that_unmounts_does_not_wait_for_the_server() {
    let (directory, _unserved) = unanswered();
    let mut process = fve();
    process.args(["unmount", "--on-request"]);
    process.arg(directory.path()).stdin(Stdio::piped());
    let mut process = process.spawn().expect("fve");
    let mut requests = process.stdin.take().expect("pipe");
    // The request of a server that has received a signal.
    std::io::Write::write_all(&mut requests, b"u").expect("request");
    let start = Instant::now();
    while is_mounted(directory.path()) && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!is_mounted(directory.path()));
    drop(requests);
    assert!(process.wait().expect("fve").success());
}

#[trial(needs(fuse))]
fn what_uses_it_is_named_and_nothing_is_mounted_over_it() {
    let (directory, unserved) = unanswered();
    let path = directory.path().canonicalize().expect("path");
    let entry = MountEntry::at(&path)
        .expect("mount table")
        .expect("mounted");
    let open = rustix::fs::openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let open = open.expect("open");
    let output = unmount(&[], &path);
    assert_status(&output, 5);
    let said = text(&output.stderr);
    let own = format!("({})", std::process::id());
    assert!(
        said.contains("is in use by") && said.contains(&own),
        "{said}"
    );

    let mut mount = fve();
    mount.args(["mount", "--volume"]);
    mount.arg(testdata::directory().join("ntfs-xts-128.img"));
    mount.arg(&path).arg("--recovery-password-file");
    mount.arg(testdata::directory().join("ntfs-xts-128.recovery.txt"));
    let output = mount.output().expect("fve");
    assert_status(&output, 5);
    let said = text(&output.stderr);
    assert!(said.contains("something is already mounted on"), "{said}");

    // Its server has not ended.
    assert!(!fve::serve::fuse::is_dead(&entry));
    assert_status(&unmount(&["--if-dead"], &path), 0);
    assert!(is_mounted(&path));
    drop(unserved);
    drop(open);
}
