//! JSON documents that more than one command prints. Keys are only ever added.

use serde::Serialize;
use serde_json::{Value, json};

use super::Failure;
use crate::error::{Attempt, Error};
use crate::volume::Unlocked;

/// One document with a line end behind it.
pub(crate) fn document(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value);
    // Maps with text keys and plain values: this cannot fail.
    text.unwrap_or_default() + "\n"
}

/// What `fve unlock --json` answers.
pub(crate) fn unlocked(volume: &Unlocked) -> String {
    let by = volume.opened_by();
    let protector = by.protector.map(|(id, kind)| {
        json!({
            "id": format!("{id:X}"),
            "type": kind.word(),
            "name": kind.name(),
        })
    });
    document(&json!({
        "unlocked": true,
        "credential": by.credential,
        "protector": protector,
        "attempts": attempts(&by.report.attempts),
        "encryption_method": volume.method().map(|method| method.name),
        "size": volume.size(),
        "available": volume.available(),
        "sector_size": volume.sector_size(),
        "warnings": volume.warnings(),
    }))
}

/// What `fve unlock --json` answers when it fails.
pub(crate) fn not_unlocked(failure: &Failure) -> String {
    let mut answer = json!({ "unlocked": false });
    if let (Some(answer), Some(error)) = (answer.as_object_mut(), error(failure).as_object()) {
        answer.extend(error.clone());
    }
    document(&answer)
}

/// What any other command with `--json` answers when it fails.
pub(crate) fn failure(failure: &Failure) -> String {
    document(&error(failure))
}

fn error(failure: &Failure) -> Value {
    let report = match failure {
        Failure::Volume(Error::Refused { report }) => attempts(&report.attempts),
        _ => Vec::new(),
    };
    json!({
        "error": {
            "status": failure.status() as u8,
            "message": failure.message(),
            "help": failure.help(),
        },
        "attempts": report,
    })
}

fn attempts(attempts: &[Attempt]) -> Vec<Value> {
    attempts
        .iter()
        .map(|attempt| {
            json!({
                "credential": attempt.credential,
                "protector": attempt.protector.map(|id| format!("{id:X}")),
                "opened": attempt.failure.is_none(),
                "reason": attempt.failure.as_ref().map(|failure| failure.reason),
                "message": attempt.failure.as_ref().map(|failure| &failure.message),
            })
        })
        .collect()
}
