//! JSON documents that more than one command prints. Keys are only ever added.

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use fve::error::{Attempt, Error};
use fve::volume::{MasterKey, OpenedBy, Unlocked};

/// One document with a line end behind it.
pub(crate) fn document(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value);
    // Maps with text keys and plain values: this cannot fail.
    text.unwrap_or_default() + "\n"
}

/// What `fve unlock --json` answers.
pub(crate) fn unlocked(volume: &Unlocked) -> String {
    let mut answer = opened_by(volume.opened_by());
    answer["encryption_method"] = json!(volume.method().map(|method| method.name));
    answer["size"] = json!(volume.size());
    answer["available"] = json!(volume.available());
    answer["sector_size"] = json!(volume.sector_size());
    answer["warnings"] = json!(volume.warnings());
    document(&answer)
}

/// The same for a piece of a volume, of which nothing can be shown.
pub(crate) fn unlocked_piece(key: &MasterKey) -> String {
    let mut answer = opened_by(key.opened_by());
    answer["piece"] = json!(true);
    answer["warnings"] = json!(key.warnings());
    document(&answer)
}

fn opened_by(by: &OpenedBy) -> Value {
    let protector = by.protector.map(|(id, kind)| {
        json!({
            "id": format!("{id:X}"),
            "type": kind.word(),
            "name": kind.name(),
        })
    });
    json!({
        "unlocked": true,
        "credential": by.credential,
        "protector": protector,
        "attempts": attempts(&by.report.attempts),
    })
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
        Failure::Volume(Error::Refused { report, .. }) => attempts(&report.attempts),
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
                "reason": attempt.failure.as_ref().map(|failure| failure.reason.word()),
                "message": attempt.failure.as_ref().map(|failure| failure.with_causes().to_string()),
            })
        })
        .collect()
}
