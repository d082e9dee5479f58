//! The result of a search, as text and as a JSON document.

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
use super::plan::{Plan, plural};
use super::running::SearchOutcome;
use super::save::SaveFiles;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::json::document;
use crate::cli::output::term::{self, print_failure};

pub(super) fn found(
    args: &SearchArgs,
    volume: &Volume,
    plan: &Plan<'_>,
    outcome: &SearchOutcome,
    hit: &Hit,
    place: SaveFiles,
) -> Result<(), Failure> {
    // Save the password first: an error while unlocking must not lose it.
    let (place, saved) = place.save(args, hit);
    let opens = opens(volume, hit);
    if args.json {
        let mut answer = answer_json(plan, outcome, "found");
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
            outcome.tried,
            plural(outcome.tried.into()),
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
        // The JSON document has been printed; the error goes to standard error.
        Err(failure) if args.json => {
            print_failure(&failure);
            Err(Failure::Silent(failure.status()))
        }
        other => other,
    }
}

/// Unlocks the volume with the password, which also proves the metadata.
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
    plan: &Plan<'_>,
    outcome: &SearchOutcome,
) -> Result<(), Failure> {
    if args.json {
        term::print(&document(&answer_json(plan, outcome, "not-found")))?;
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
    term::say(format_args!(
        "error: none of the {} candidates unlocks the volume",
        plan.count
    ));
    term::say(format_args!("help: {help}"));
    Err(Failure::Silent(Status::Refused))
}

pub(super) fn plan_json(plan: &Plan<'_>) -> String {
    document(&json!({
        "result": "planned",
        "candidates": number(plan.count),
        "expected_seconds": plan.seconds(0),
        "rate": plan.rate,
        "threads": plan.search.threads(),
        "lanes": plan.search.lanes().name(),
        "shape": plan.shape,
        "protectors": identifiers(plan),
    }))
}

fn answer_json(plan: &Plan<'_>, outcome: &SearchOutcome, result: &str) -> Value {
    let seconds = outcome.took.as_secs_f64();
    json!({
        "result": result,
        "candidates": number(plan.count),
        "tried": outcome.tried,
        "seconds": seconds,
        "rate": outcome.tried as f64 / seconds.max(f64::MIN_POSITIVE),
        "expected_seconds": plan.seconds(0),
        "threads": plan.search.threads(),
        "lanes": plan.search.lanes().name(),
        "shape": plan.shape,
        "protectors": identifiers(plan),
    })
}

/// JSON numbers are exact up to 64 bits here; larger counts are rounded.
fn number(count: u128) -> Value {
    u64::try_from(count).map_or_else(|_| json!(count as f64), |count| json!(count))
}

fn identifiers(plan: &Plan<'_>) -> Vec<String> {
    plan.search
        .protectors()
        .map(|id| format!("{id:X}"))
        .collect()
}
