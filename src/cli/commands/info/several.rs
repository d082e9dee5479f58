//! All volumes of a disk, one after the other. The description of one may need some MiB of memory, so
//! each is printed before the next volume is opened.

use std::sync::Arc;

use fve::error::Candidate;
use fve::source::ReadAt;
use serde_json::{Value, json};

use super::InfoArgs;
use crate::cli::describe;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::source;
use crate::cli::output::json::{self, List};
use crate::cli::output::term;

/// The most volumes of a disk that are described: more than Windows has letters for.
const MOST_DESCRIBED: usize = 32;

/// Describes the volumes. The status is that of the first one that cannot be described.
pub(super) fn print(
    args: &InfoArgs,
    candidates: &[Candidate],
    notes: &[String],
) -> Result<(), Failure> {
    for note in notes {
        term::note(note);
    }
    let disk = source::disk_of_several(&args.source).print_notes()?;
    let described = candidates.get(..MOST_DESCRIBED).unwrap_or(candidates);
    let left_out = candidates.len() - described.len();
    let mut list = List::new("volumes");
    if args.json {
        term::print(&list.begin(&json!({
            "source": { "path": source::absolute(&args.source.source).to_string_lossy() },
            "notes": notes,
            "left_out": left_out,
        })))?;
    }
    let mut status = None;
    for candidate in described {
        let (text, failure) = describe_one(args, &disk, candidate);
        match args.json {
            true => term::print(&list.item(&text))?,
            false => term::print(&text)?,
        }
        if let Some(failure) = failure {
            let number = candidate.partition.unwrap_or(0);
            term::say(format_args!(
                "error: partition {number}: {}",
                failure.message().unwrap_or_default()
            ));
            status.get_or_insert(failure.status());
        }
    }
    if args.json {
        term::print(&list.end())?;
    }
    if left_out > 0 {
        term::note(format_args!(
            "{left_out} further volumes are not described; choose one with --partition N"
        ));
    }
    status.map_or(Ok(()), |status: Status| Err(Failure::Silent(status)))
}

/// The text or JSON document of a volume, and why it is not a whole description.
fn describe_one(
    args: &InfoArgs,
    disk: &Arc<dyn ReadAt>,
    candidate: &Candidate,
) -> (String, Option<Failure>) {
    let heading = format!("Partition {}\n\n", candidate.partition.unwrap_or(0));
    let mut entry = json!({
        "partition": candidate.partition,
        "offset": candidate.offset,
        "size": candidate.len,
        "error": null,
    });
    let (text, failure) = match source::open_candidate(&args.source, disk, candidate) {
        Ok(opened) => {
            let report = describe::Report::of(&opened);
            let text = match args.json {
                true => {
                    extend(&mut entry, report.value());
                    String::new()
                }
                false => format!("{heading}{}\n", report.text()),
            };
            (text, opened.volume.metadata().err().map(Failure::from))
        }
        Err(failure) => {
            let message = failure.message().unwrap_or_default();
            let text = format!("{heading}    It cannot be described: {message}\n\n");
            (text, Some(failure))
        }
    };
    if !args.json {
        return (text, failure);
    }
    if let Some(failure) = &failure {
        entry["error"] = json::error_object(failure);
    }
    (json::document(&entry), failure)
}

fn extend(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}
