//! Running the command on an image.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::output::{assert_status, run, text};

/// The command, which never asks, and shows times in UTC.
pub fn fve() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fve"));
    command.env("TZ", "UTC").stdin(std::process::Stdio::null());
    command
}

/// Runs `fve COMMAND IMAGE ARGUMENTS…`.
pub fn output<A: AsRef<OsStr>>(command: &str, image: &Path, arguments: &[A]) -> Output {
    let mut fve = fve();
    fve.arg(command).arg(image).args(arguments);
    fve.output().unwrap()
}

/// The same for a command that must succeed: its standard output.
#[track_caller]
pub fn shown(command: &str, image: &Path, arguments: &[&str]) -> String {
    let output = output(command, image, arguments);
    assert_status(&output, 0);
    text(&output.stdout)
}

/// Asserts that a command fails with this status, and that its messages have these words.
#[track_caller]
pub fn fails(command: &str, image: &Path, arguments: &[&str], status: i32, words: &[&str]) {
    let output = output(command, image, arguments);
    assert_status(&output, status);
    let messages = text(&output.stderr);
    for word in words {
        assert!(messages.contains(word), "{word}: {messages}");
    }
}

/// A BitLocker volume with the file system of an image, which opens without a credential.
pub fn encrypted(image: &Path, directory: &Path) -> PathBuf {
    let volume = directory.join("volume");
    let mut create = fve();
    create.arg("create").arg(&volume);
    run(create.arg("--from").arg(image).arg("--clear-key"));
    volume
}
