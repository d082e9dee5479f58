//! What a program said.

use std::process::Output;

use serde_json::Value;

/// Text as it came.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one JSON document on standard output.
#[track_caller]
pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", all(output)))
}

/// Asserts how it ended.
#[track_caller]
pub fn assert_status(output: &Output, status: i32) {
    assert_eq!(output.status.code(), Some(status), "{}", all(output));
}

fn all(output: &Output) -> String {
    let (said, noted) = (text(&output.stdout), text(&output.stderr));
    format!("{}: {said}{noted}", output.status)
}
