//! Running programs, and checking their output.

use std::process::{Command, Output};

use serde_json::Value;

/// Runs a program that must succeed, and returns its standard output.
#[track_caller]
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", all(&output));
    output.stdout
}

/// Bytes as text, with replacement characters for invalid UTF-8.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The JSON document on standard output.
#[track_caller]
pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", all(output)))
}

/// Asserts the exit status.
#[track_caller]
pub fn assert_status(output: &Output, status: i32) {
    assert_eq!(output.status.code(), Some(status), "{}", all(output));
}

/// Exit status, standard output and standard error, for failure messages.
fn all(output: &Output) -> String {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    format!("{}: {stdout}{stderr}", output.status)
}
