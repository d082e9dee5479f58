//! `fve recovery search`: finds unreadable digits of a recovery password by trying candidates on
//! the volume.
//!
//! Keys of `--json`: `result` (`found`, `not-found`, or `planned` with `--dry-run`), `candidates`,
//! `tried`, `seconds`, `rate` (candidates per second), `expected_seconds`, `threads`, `lanes`,
//! `shape`, `protectors` (those tried), `protector` (the one that was unlocked), `saved_to`, and
//! with `--show` `password`.

mod answer;
mod args;
mod plan;
mod running;
mod save;

pub(crate) use self::args::SearchArgs;

use std::path::Path;

use fve::error::Error;
use fve::format::protector::{KeyProtector, ProtectorKind};
use fve::guid::Guid;
use fve::recovery_password::{
    Candidates, Check, NoCandidates, Options, PasswordCheck, check_bytes, check_text,
};
use fve::unlock::search::Search;
use fve::volume::Volume;
use zeroize::Zeroizing;

use self::answer::{found, not_found, plan_json};
use self::plan::{FEW, MEASURE, MEASURE_BRIEFLY, Plan, check_worth, print_plan};
use self::running::{checkpoint_subject, run_search};
use self::save::SaveFiles;
use super::checkpoint::Checkpoint;
use super::input::{read_all, read_file};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::source;
use crate::cli::options::threads::bounded_threads;
use crate::cli::output::term;
use crate::cli::run::Run;
use crate::cli::signals;

impl Run for SearchArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &SearchArgs) -> Result<(), Failure> {
    // Find problems with the file before the user types 48 digits.
    SaveFiles::check(args)?;
    let check = read(args)?;
    let pattern = only_password(&check)?;
    let candidates = candidates(args, pattern)?;
    let opened = source::open(&args.source).print_notes()?;
    let protectors = protectors(
        &opened.volume,
        args.protector.as_deref(),
        pattern.identifier,
    )?;
    let mut search = Search::new(&candidates, &protectors)?;
    if let Some(threads) = args.threads {
        search = search.with_threads(bounded_threads(threads));
    }
    term::tell_faults();
    let count = candidates.count();
    let rate = search.measure(if count <= FEW {
        MEASURE_BRIEFLY
    } else {
        MEASURE
    });
    let plan = Plan {
        search,
        count,
        shape: pattern.shape(),
        rate,
    };
    print_plan(&plan);
    if args.dry_run {
        return match args.json {
            true => term::print(&plan_json(&plan)),
            false => Ok(()),
        };
    }
    check_worth(args, &plan)?;
    // From here on, a signal stops the search, and its checkpoint is saved.
    let interrupted = signals::notice();
    let place = SaveFiles::create(args, &plan)?;
    let checkpoint = match &args.checkpoint {
        Some(path) => Some(Checkpoint::open(
            path,
            checkpoint_subject(args, &opened, &plan),
            &pattern.expose_normalized(),
        )?),
        None => None,
    };
    let outcome = run_search(&plan, checkpoint, args.checkpoint.as_deref(), &interrupted)?;
    let result = match &outcome.hit {
        Some(hit) => found(args, &opened.volume, &plan, &outcome, hit, place),
        None => not_found(args, &opened.volume, pattern, &plan, &outcome),
    };
    // If the password could not be saved or printed, the checkpoint must find it again.
    let is_over = outcome.hit.is_none() || result.is_ok();
    if let Some(checkpoint) = outcome.checkpoint.filter(|_| is_over) {
        checkpoint.remove();
    }
    result
}

fn read(args: &SearchArgs) -> Result<Check, Failure> {
    let options = Options::default();
    let from_bytes = |bytes: Zeroizing<Vec<u8>>| {
        check_bytes(&bytes, &options).map_err(|error| Failure::Other {
            status: Status::Io,
            what: error.to_string(),
            help: None,
        })
    };
    let stdin = || read_all(std::io::stdin(), "standard input");
    match (args.pattern_file.as_deref(), args.pattern.as_deref()) {
        (Some(path), _) if path == Path::new("-") => from_bytes(stdin()?),
        (Some(path), _) => from_bytes(read_file(path)?),
        (None, Some("-")) => from_bytes(stdin()?),
        (None, Some(text)) => {
            term::note(
                "warning: the digits are now in the shell's history and were visible in the process list; --pattern-file avoids that",
            );
            Ok(check_text(text, &options))
        }
        (None, None) if term::can_ask() => {
            let text = term::ask_secret("Recovery password, with ? for each unreadable digit: ")?;
            Ok(check_text(text.expose(), &options))
        }
        (None, None) => from_bytes(stdin()?),
    }
}

fn only_password(check: &Check) -> Result<&PasswordCheck, Failure> {
    let malformed = |what: &str, help: &str| Failure::Other {
        status: Status::Malformed,
        what: what.to_owned(),
        help: Some(help.to_owned()),
    };
    match check.passwords.as_slice() {
        [one] => Ok(one),
        [] => Err(malformed(
            "the pattern is not a recovery password",
            "write 8 blocks of 6 digits, with ? for each unreadable digit",
        )),
        _ => Err(malformed(
            "the pattern has more than one recovery password",
            "search for one at a time",
        )),
    }
}

fn candidates(args: &SearchArgs, pattern: &PasswordCheck) -> Result<Candidates, Failure> {
    let candidates = if args.try_near {
        pattern.near_candidates()
    } else if args.any_order {
        pattern.reordered_candidates()
    } else {
        pattern.candidates()
    };
    candidates.map_err(|error| Failure::Other {
        status: Status::Malformed,
        help: Some(
            match error {
                NoCandidates::Malformed(_) if args.try_near || args.any_order => {
                    "use --try-near and --any-order only if every block is valid; a search without them fills in and corrects digits"
                }
                NoCandidates::Malformed(_) => {
                    "write 8 blocks of 6 digits, with ? for each unreadable digit and ?????? for a missing block"
                }
                NoCandidates::NothingKnown => "a search needs a password of which most digits are known",
                _ => "write ? for every digit that is not certain",
            }
            .to_owned(),
        ),
        what: error.to_string(),
    })
}

/// The key protectors to try: the one that `--protector` names, else the one whose ID is given with
/// the password, else all. Metadata copies that disagree may have different key protectors, so all
/// copies are read.
fn protectors<'a>(
    volume: &'a Volume,
    named: Option<&str>,
    identifier: Option<Guid>,
) -> Result<Vec<&'a KeyProtector>, Failure> {
    let is_named =
        |protector: &KeyProtector| named.is_none_or(|name| protector.id.is_named_by(name));
    // Fails if no copy is intact.
    volume.metadata()?;
    let mut protectors: Vec<&KeyProtector> = Vec::new();
    let blocks = volume.copies().sound();
    for protector in blocks.into_iter().flat_map(|block| block.protectors()) {
        let salt = |of: &KeyProtector| of.stretch().map(|stretch| stretch.salt);
        let known =
            |other: &KeyProtector| other.id == protector.id && salt(other) == salt(protector);
        let fits = protector.kind() == ProtectorKind::RecoveryPassword;
        if fits && is_named(protector) && !protectors.iter().any(|other| known(other)) {
            protectors.push(protector);
        }
    }
    if let (Some(name), []) = (named, protectors.as_slice()) {
        let why = format!("the volume has no recovery password with the ID {name}");
        let error = Error::bad_credential("protector", why);
        return Err(error
            .with_remedy("'fve info' lists its key protectors")
            .into());
    }
    if let Some(id) = identifier
        && protectors.iter().any(|protector| protector.id == id)
    {
        protectors.retain(|protector| protector.id == id);
    }
    Ok(protectors)
}
