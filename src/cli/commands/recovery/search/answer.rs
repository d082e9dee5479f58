//! The answer of a search, as text and as a JSON document.

use std::fmt::Write;

use fve::recovery_password::{PasswordCheck, RecoveryPassword};
use fve::shown::ShowPath;
use fve::unlock::Credential;
use fve::unlock::RecoveryPasswords;
use fve::unlock::search::Hit;
use fve::volume::{UnlockOptions, Volume};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::SearchArgs;
use super::plan::{Task, plural};
use super::running::Ended;
use super::save::SavePlace;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::json::document;
use crate::cli::output::term::{self, tell};

pub(super) fn found(
    args: &SearchArgs,
    volume: &Volume,
    task: &Task<'_>,
    ended: &Ended,
    hit: &Hit,
    place: SavePlace,
) -> Result<(), Failure> {
    // Whatever the volume says to it: it is not to be lost.
    let (place, saved) = place.save(args, hit);
    let opens = opens(volume, hit);
    if args.json {
        let mut answer = answer_json(task, ended, "found");
        answer["protector"] = json!(format!("{:X}", hit.protector));
        answer["saved_to"] = json!(
            place
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned())
        );
        if args.show {
            answer["password"] = json!(hit.password.expose_digits().expose());
        }
        term::print_all(&document(&answer))?;
    } else {
        let mut text = Zeroizing::new(String::with_capacity(512));
        let _ = writeln!(
            text,
            "found after {} candidate{}: it is the recovery password {{{:X}}}",
            ended.tried,
            plural(ended.tried.into()),
            hit.protector
        );
        if args.show {
            let _ = writeln!(text, "  {}", hit.password.expose_digits().expose());
        }
        if let Some(path) = &place {
            let _ = writeln!(text, "  saved to {}", path.shown());
        }
        term::print_all(&text)?;
    }
    match saved.and(opens) {
        // The one document was printed.
        Err(failure) if args.json => {
            tell(&failure);
            Err(Failure::Silent(failure.status()))
        }
        other => other,
    }
}

/// Opens the volume with the password, metadata proved and all.
fn opens(volume: &Volume, hit: &Hit) -> Result<(), Failure> {
    let options = UnlockOptions::new().protector(hit.protector);
    volume.unlock(&[credential(&hit.password)], &options)?;
    Ok(())
}

fn credential(password: &RecoveryPassword) -> Box<dyn Credential> {
    Box::new(RecoveryPasswords::new(password))
}

pub(super) fn not_found(
    args: &SearchArgs,
    volume: &Volume,
    pattern: &PasswordCheck,
    task: &Task<'_>,
    ended: &Ended,
) -> Result<(), Failure> {
    if args.json {
        term::print(&document(&answer_json(task, ended, "not-found")))?;
    }
    let of_another = pattern
        .identifier
        .filter(|id| volume.protectors().iter().all(|other| other.id != *id));
    let help = match (of_another, args.try_near) {
        (Some(id), _) => format!(
            "the volume has no key protector with the ID {id:X}, which was given with the password: the password belongs to another volume"
        ),
        (None, true) => "compare the ID on the printout with those that 'fve info' shows; --any-order tries the blocks in every order".to_owned(),
        (None, false) => "a digit that was given as certain may be wrong: write ? for it; also compare the ID on the printout with those that 'fve info' shows".to_owned(),
    };
    term::note(format_args!(
        "error: none of the {} candidates unlocks the volume",
        task.count
    ));
    term::note(format_args!("help: {help}"));
    Err(Failure::Silent(Status::Refused))
}

pub(super) fn plan_json(task: &Task<'_>) -> String {
    document(&json!({
        "result": "planned",
        "candidates": number(task.count),
        "expected_seconds": task.seconds(0),
        "rate": task.rate,
        "threads": task.search.threads(),
        "lanes": task.search.lanes().name(),
        "shape": task.shape,
        "protectors": identifiers(task),
    }))
}

fn answer_json(task: &Task<'_>, ended: &Ended, result: &str) -> Value {
    let seconds = ended.took.as_secs_f64();
    json!({
        "result": result,
        "candidates": number(task.count),
        "tried": ended.tried,
        "seconds": seconds,
        "rate": ended.tried as f64 / seconds.max(f64::MIN_POSITIVE),
        "expected_seconds": task.seconds(0),
        "threads": task.search.threads(),
        "lanes": task.search.lanes().name(),
        "shape": task.shape,
        "protectors": identifiers(task),
    })
}

/// A number that JSON can hold exactly, else the nearest.
fn number(count: u128) -> Value {
    u64::try_from(count).map_or_else(|_| json!(count as f64), |count| json!(count))
}

fn identifiers(task: &Task<'_>) -> Vec<String> {
    task.search
        .protectors()
        .map(|id| format!("{id:X}"))
        .collect()
}
