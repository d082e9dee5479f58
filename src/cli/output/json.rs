//! JSON documents that several commands print (docs/json.md). Keys are never renamed or removed.

use std::fmt::Write;

use fve::error::{Attempt, Candidate, Error};
use fve::shown::acts_on_terminal;
use fve::volume::{MasterKey, OpenedBy, Unlocked};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::failure::Failure;

/// The version of all documents, their key `version`. It grows if a document changes in a way that a
/// program could notice which ignores keys that it does not know.
const VERSION: u32 = 1;

/// A document with its version.
#[derive(Serialize)]
struct Versioned<'a> {
    version: u32,
    #[serde(flatten)]
    document: &'a Value,
}

/// Formats a document that a command prints: an object, with the version of the documents and a newline
/// at the end.
pub(crate) fn document(value: &Value) -> String {
    text(&Versioned {
        version: VERSION,
        document: value,
    })
}

/// Formats a value, with a newline at the end. Direction marks and the like are escaped as JSON
/// escapes them: a terminal may show the document.
pub(crate) fn text(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value);
    // Serializing maps with text keys and plain values cannot fail.
    let text = text.unwrap_or_default();
    let mut escaped = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        // Outside of strings, JSON has no other characters than line breaks and ASCII.
        match acts_on_terminal(c) && c != '\n' {
            true => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
            false => escaped.push(c),
        }
    }
    escaped.push('\n');
    escaped
}

/// A document whose last key is a list, in pieces: a list of large documents then needs no more memory
/// than one of them.
pub(crate) struct List {
    key: &'static str,
    is_empty: bool,
}

impl List {
    pub(crate) fn new(key: &'static str) -> Self {
        Self {
            key,
            is_empty: true,
        }
    }

    /// The beginning of the document, with the keys of this object, which must have some.
    pub(crate) fn begin(&self, object: &Value) -> String {
        let mut text = document(object);
        text.truncate(text.trim_end().trim_end_matches('}').trim_end().len());
        text + &format!(",\n  \"{}\": [", self.key)
    }

    /// An entry of the list: a formatted document.
    pub(crate) fn item(&mut self, document: &str) -> String {
        let mut text = String::with_capacity(document.len() * 2);
        if !std::mem::take(&mut self.is_empty) {
            text.push(',');
        }
        for line in document.lines() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n    {line}");
        }
        text
    }

    /// The end of the document.
    pub(crate) fn end(&self) -> String {
        "\n  ]\n}\n".to_owned()
    }
}

/// The output of `fve unlock --json`.
pub(crate) fn unlocked(volume: &Unlocked) -> String {
    let mut answer = opened_by(volume.opened_by());
    answer["encryption_method"] = json!(volume.method().map(|method| method.name));
    answer["size"] = json!(volume.size());
    answer["available"] = json!(volume.available());
    answer["sector_size"] = json!(volume.sector_size());
    answer["identification_field"] = json!(volume.identification());
    answer["warnings"] = json!(volume.warnings());
    document(&answer)
}

/// The same for a piece of a volume, whose plaintext cannot be read.
pub(crate) fn unlocked_piece(key: &MasterKey) -> String {
    let mut answer = opened_by(key.opened_by());
    answer["piece"] = json!(true);
    answer["identification_field"] = json!(key.identification());
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

/// The output of `fve unlock --json` after a failure.
pub(crate) fn not_unlocked(failure: &Failure) -> String {
    let mut answer = json!({ "unlocked": false });
    if let (Some(answer), Some(error)) = (answer.as_object_mut(), error(failure).as_object()) {
        answer.extend(error.clone());
    }
    document(&answer)
}

/// The output of any other command with `--json` after a failure.
pub(crate) fn failure(failure: &Failure) -> String {
    document(&error(failure))
}

/// The keys of [`failure`].
pub(crate) fn error(failure: &Failure) -> Value {
    let report = match failure {
        Failure::Volume(Error::Refused { report, .. }) => attempts(&report.attempts),
        _ => Vec::new(),
    };
    let mut answer = json!({
        "error": error_object(failure),
        "attempts": report,
    });
    if let Failure::Volume(Error::Ambiguous { candidates, .. }) = failure {
        let candidates: Vec<_> = candidates.iter().map(candidate).collect();
        answer["candidates"] = json!(candidates);
    }
    answer
}

/// The object `error` of every document about a failure.
pub(crate) fn error_object(failure: &Failure) -> Value {
    json!({
        "status": failure.status() as u8,
        "reason": failure.reason(),
        "message": failure.message(),
        "help": failure.help(),
    })
}

/// One of several volumes among which the user must choose.
fn candidate(candidate: &Candidate) -> Value {
    let protectors = candidate.protectors().iter().map(|(kind, id)| {
        json!({
            "id": format!("{id:X}"),
            "type": kind.word(),
            "name": kind.name(),
        })
    });
    let fault = match candidate.identifier() {
        Some(_) => None,
        None => Some(candidate.state.to_string()),
    };
    json!({
        "partition": candidate.partition,
        "offset": candidate.offset,
        "size": candidate.len,
        "volume": candidate.identifier().map(|id| format!("{id:X}")),
        "protectors": protectors.collect::<Vec<_>>(),
        "fault": fault,
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
