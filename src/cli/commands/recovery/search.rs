//! `fve recovery search`: unreadable digits of a recovery password found by trying them on the
//! volume.
//!
//! Keys of `--json`: `result` (`found`, `not-found`, `planned` with `--dry-run`), `candidates`,
//! `tried`, `seconds`, `rate` (candidates a second), `expected_seconds`, `threads`, `lanes`,
//! `shape`, `protectors` (those tried), `protector` (the one that opened), `saved_to`, and with
//! `--show` `password`.

mod save;

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueHint};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use self::save::SavePlace;
use crate::cli::commands::recovery::checkpoint::{About, Checkpoint};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::source;
use crate::cli::options::source::Opened;
use crate::cli::options::source::SourceArgs;
use crate::cli::options::threads::bounded_threads;
use crate::cli::output::json::document;
use crate::cli::output::term;
use crate::cli::output::term::tell;
use crate::cli::run::{FailureDocument, Run};
use crate::cli::signals;
use fve::error::Error;
use fve::format::protector::{KeyProtector, ProtectorKind};
use fve::guid::Guid;
use fve::recovery_password::{
    Candidates, Check, NoCandidates, Options, PasswordCheck, RecoveryPassword, check_bytes,
    check_text,
};
use fve::shown::ShowPath;
use fve::unlock::recovery_password::RecoveryPasswords;
use fve::unlock::search::{Hit, Search};
use fve::unlock::{Credential, Selection};
use fve::volume::{UnlockOptions, Volume};

/// More candidates are a matter of days, and are searched only when somebody says so.
const MANY: u128 = 10_000_000;

/// How long the CPU is measured before a search, and before one that is over in seconds.
const MEASURE: Duration = Duration::from_secs(2);
const MEASURE_BRIEFLY: Duration = Duration::from_millis(200);
/// How many candidates are briefly measured for.
const FEW: u128 = 1000;

/// How often the checkpoint is saved.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// How often progress is told where there is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// The 48 digits, with '?' for each unreadable one and '[17]' for a 1 or 7; '-' is standard
    /// input. As an argument they stay in the shell's history and show in the process list: prefer
    /// --pattern-file. Without either, they are asked for
    #[arg(long, value_name = "PATTERN", conflicts_with = "pattern_file")]
    pattern: Option<String>,

    /// File that holds the pattern ('-' = standard input)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pattern_file: Option<PathBuf>,

    /// All digits are there, but open nothing: try the slips that the check digits let pass
    #[arg(long, conflicts_with = "any_order")]
    try_near: bool,

    /// All digits are there, but the order of the blocks is not known
    #[arg(long)]
    any_order: bool,

    /// Try only this protector (its GUID, or the first 8 hex digits of it, as on the printout)
    #[arg(long, value_name = "ID")]
    protector: Option<String>,

    /// Save how far the search is in this file, and go on from there if it exists
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    checkpoint: Option<PathBuf>,

    /// Save the password that is found in this new file, for its owner alone (in a directory: under
    /// the name that Windows would give it)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    save_to: Option<PathBuf>,

    /// Print the password that is found
    #[arg(long)]
    show: bool,

    /// Search even if it takes days
    #[arg(long)]
    yes: bool,

    /// Only say how many candidates there are, and how long it would take
    #[arg(long)]
    dry_run: bool,

    /// Use so many threads instead of one for each core
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Answer with one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is to be tried.
struct Task<'a> {
    search: Search<'a>,
    count: u128,
    shape: String,
    rate: f64,
}

impl Task<'_> {
    /// Seconds that trying all from candidate `from` on takes.
    fn seconds(&self, from: u64) -> f64 {
        self.count.saturating_sub(u128::from(from)) as f64 / self.rate
    }
}

/// How a search ended.
struct Ended {
    hit: Option<Hit>,
    tried: u64,
    took: Duration,
    /// To be removed once the password that was found is in good hands.
    checkpoint: Option<Checkpoint>,
}

impl Run for SearchArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }

    fn failure_document(&self) -> Option<FailureDocument> {
        self.json.then_some(crate::cli::output::json::failure)
    }
}

fn run(args: &SearchArgs) -> Result<(), Failure> {
    SavePlace::check(args)?;
    let check = read(args)?;
    let pattern = only_password(&check)?;
    let candidates = candidates(args, pattern)?;
    let opened = source::open(&args.source)?;
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
    let task = Task {
        search,
        count,
        shape: pattern.shape(),
        rate,
    };
    tell_plan(&task);
    if args.dry_run {
        return match args.json {
            true => term::print(&plan_json(&task)),
            false => Ok(()),
        };
    }
    check_worth(args, &task)?;
    let interrupted = signals::notice();
    let place = SavePlace::create(args, &task)?;
    let checkpoint = match &args.checkpoint {
        Some(path) => Some(Checkpoint::open(
            path,
            about(args, &opened, &task),
            &pattern.expose_normalised(),
        )?),
        None => None,
    };
    let ended = search_on(&task, checkpoint, args.checkpoint.as_deref(), &interrupted)?;
    let told = match &ended.hit {
        Some(hit) => found(args, &opened.volume, &task, &ended, hit, place),
        None => not_found(args, &opened.volume, pattern, &task, &ended),
    };
    let is_over = ended.hit.is_none() || told.is_ok();
    if let Some(checkpoint) = ended.checkpoint.filter(|_| is_over) {
        checkpoint.remove();
    }
    told
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
    let stdin =
        || crate::cli::commands::recovery::input::read_all(std::io::stdin(), "standard input");
    match (args.pattern_file.as_deref(), args.pattern.as_deref()) {
        (Some(path), _) if path == Path::new("-") => from_bytes(stdin()?),
        (Some(path), _) => from_bytes(crate::cli::commands::recovery::input::read_file(path)?),
        (None, Some("-")) => from_bytes(stdin()?),
        (None, Some(text)) => {
            term::note(
                "warning: the digits now stand in the shell's history and in the process list; --pattern-file avoids that",
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
            "there is nothing like a recovery password in the pattern",
            "write eight groups of six digits, with ? for each unreadable one",
        )),
        _ => Err(malformed(
            "there is more than one recovery password in the pattern",
            "give one at a time",
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
                    "--try-near and --any-order take a password of which every block is valid; search without them fills in and mends"
                }
                NoCandidates::Malformed(_) => {
                    "write eight groups of six, with ? for each unreadable digit and ?????? for a block that is missing"
                }
                NoCandidates::NothingKnown => "only what is nearly known can be searched for",
                _ => "write ? for every digit that is not certain",
            }
            .to_owned(),
        ),
        what: error.to_string(),
    })
}

/// The protectors to try: the one that is named, or the one that the password says it belongs to,
/// or all. Copies of the metadata that say different things may have different ones.
fn protectors<'a>(
    volume: &'a Volume,
    named: Option<&str>,
    identifier: Option<Guid>,
) -> Result<Vec<&'a KeyProtector>, Failure> {
    let selection = Selection {
        protector: named.map(str::to_owned),
    };
    // None that is sound is an error.
    volume.metadata()?;
    let mut protectors: Vec<&KeyProtector> = Vec::new();
    let blocks = volume.copies().sound();
    for protector in blocks.into_iter().flat_map(|block| block.protectors()) {
        let salt = |of: &KeyProtector| of.stretch().map(|stretch| stretch.salt);
        let known =
            |other: &KeyProtector| other.id == protector.id && salt(other) == salt(protector);
        let fits = protector.kind() == ProtectorKind::RecoveryPassword;
        if fits && selection.allows(protector) && !protectors.iter().any(|other| known(other)) {
            protectors.push(protector);
        }
    }
    if let (Some(name), []) = (named, protectors.as_slice()) {
        let why = format!("the volume has no recovery password with the identifier {name}");
        let error = Error::bad_credential("protector", why);
        return Err(error.with_remedy("'fve info' shows its protectors").into());
    }
    if let Some(id) = identifier
        && protectors.iter().any(|protector| protector.id == id)
    {
        protectors.retain(|protector| protector.id == id);
    }
    Ok(protectors)
}

fn tell_plan(task: &Task<'_>) {
    let protectors = task.search.protectors().count();
    term::note(format_args!(
        "{} candidate{}, {protectors} protector{}: {} at {:.1} candidates/s ({}, {} thread{})",
        task.count,
        plural(task.count),
        plural(protectors as u128),
        match task.count {
            0 | 1 => "a moment".to_owned(),
            _ => format!("at most {}", term::human_time(task.seconds(0))),
        },
        task.rate,
        task.search.lanes().name(),
        task.search.threads(),
        plural(task.search.threads() as u128),
    ));
    if protectors > 1 {
        term::note(
            "each protector costs the whole work: --protector ID tries only the one that the printout names",
        );
    }
}

fn plural(count: u128) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn check_worth(args: &SearchArgs, task: &Task<'_>) -> Result<(), Failure> {
    /// A search of which nobody wants to lose the result.
    const LONG: f64 = 600.0;
    let refuse = |what: String, help: &str| Failure::Other {
        status: Status::Usage,
        what,
        help: Some(help.to_owned()),
    };
    if task.count > MANY && !args.yes {
        return Err(refuse(
            format!(
                "{} candidates are too many for a search by mistake",
                task.count
            ),
            "--yes searches nonetheless; 'fve recovery hash' prints the volume's hashes for programs that use graphics cards and many machines",
        ));
    }
    if args.save_to.is_some() || args.show {
        return Ok(());
    }
    if task.seconds(0) > LONG && !args.yes {
        return Err(refuse(
            "the password that is found would be neither saved nor shown".to_owned(),
            "give --save-to FILE or --show; --yes searches without",
        ));
    }
    term::note("the password that is found is neither saved (--save-to FILE) nor shown (--show)");
    Ok(())
}

fn about(args: &SearchArgs, opened: &Opened, task: &Task<'_>) -> About {
    let id = opened
        .volume
        .metadata_as_found()
        .map(|block| block.dataset.id);
    let way = match (args.try_near, args.any_order) {
        (true, _) => "near",
        (_, true) => "any-order",
        _ => "pattern",
    };
    About {
        volume: id.map(|id| format!("{id:X}")).unwrap_or_default(),
        protectors: task
            .search
            .protectors()
            .map(|id| format!("{id:X}"))
            .collect(),
        way: way.to_owned(),
        shape: task.shape.clone(),
        candidates: task.count.to_string(),
    }
}

/// Searches with a bar, a checkpoint, and an ear for signals.
fn search_on(
    task: &Task<'_>,
    mut checkpoint: Option<Checkpoint>,
    path: Option<&Path>,
    interrupted: &AtomicBool,
) -> Result<Ended, Failure> {
    // The machine stays usable meanwhile; where that is refused it only is slower.
    let _ = rustix::process::nice(10);
    let from = checkpoint.as_ref().map_or(0, Checkpoint::next);
    if from > 0 {
        term::note(format_args!("going on from candidate {from}"));
    }
    let bar = term::progress_counting(u64::try_from(task.count).unwrap_or(u64::MAX));
    bar.set_position(from);
    bar.reset_eta();
    let watch = task.search.watch(from);
    let begun = Instant::now();
    let (hit, saved) = std::thread::scope(|scope| {
        let work = || task.search.run(from, &watch);
        let Ok(search) = std::thread::Builder::new().spawn_scoped(scope, work) else {
            // No thread is left that could tell how far it is, or save that.
            return (task.search.run(from, &watch), Ok(()));
        };
        let mut saved = Ok(());
        let mut clocks = [begun; 2];
        while !search.is_finished() {
            std::thread::sleep(Duration::from_millis(50));
            let tried = watch.tried();
            bar.set_position(from.saturating_add(tried));
            let [save, tell] = &mut clocks;
            if let Some(checkpoint) = &mut checkpoint
                && is_due(save, SAVE_EVERY)
                && saved.is_ok()
            {
                saved = checkpoint.save(watch.resume_at());
            }
            if bar.is_hidden() && is_due(tell, TELL_EVERY) {
                tell_progress(task, from, tried, begun);
            }
            if interrupted.load(Ordering::Relaxed) || saved.is_err() {
                watch.stop();
            }
        }
        (search.join().unwrap_or_default(), saved)
    });
    let took = begun.elapsed();
    bar.finish_and_clear();
    if let Some(checkpoint) = &mut checkpoint {
        match &hit {
            // What was found counts, whatever becomes of the checkpoint.
            Some(hit) => drop(checkpoint.save(hit.number)),
            None if watch.is_stopped() => checkpoint.save(watch.resume_at())?,
            None => {}
        }
    }
    let ended = Ended {
        hit,
        tried: watch.tried(),
        took,
        checkpoint,
    };
    if ended.hit.is_none() {
        saved?;
        if interrupted.load(Ordering::Relaxed) {
            let done = u128::from(watch.resume_at());
            let percent = done.saturating_mul(100) / task.count.max(1);
            return Err(Failure::Other {
                status: Status::Io,
                what: format!("interrupted at {percent} % of the candidates"),
                help: Some(match path {
                    Some(path) => {
                        format!("the same command goes on from there, by {}", path.shown())
                    }
                    None => "with --checkpoint FILE, a search goes on where it was interrupted"
                        .to_owned(),
                }),
            });
        }
    }
    Ok(ended)
}

fn is_due(last: &mut Instant, every: Duration) -> bool {
    let due = last.elapsed() >= every;
    if due {
        *last = Instant::now();
    }
    due
}

fn tell_progress(task: &Task<'_>, from: u64, tried: u64, begun: Instant) {
    let rate = tried as f64 / begun.elapsed().as_secs_f64();
    let done = from.saturating_add(tried);
    let left = task.count.saturating_sub(u128::from(done)) as f64 / rate.max(f64::MIN_POSITIVE);
    term::note(format_args!(
        "{done} of {} tried, {rate:.1} candidates/s, at most {} left",
        task.count,
        term::human_time(left)
    ));
}

fn found(
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
            "found after {} candidate{}: it opens the recovery password protector {{{:X}}}",
            ended.tried,
            plural(ended.tried.into()),
            hit.protector
        );
        if args.show {
            let _ = writeln!(text, "  {}", hit.password.expose_digits().expose());
        }
        if let Some(path) = &place {
            let _ = writeln!(text, "  saved in {}", path.shown());
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
    let mut options = UnlockOptions::default();
    options.selection.protector = Some(hit.protector.to_string());
    volume.unlock(&[credential(&hit.password)], &options)?;
    Ok(())
}

fn credential(password: &RecoveryPassword) -> Box<dyn Credential> {
    Box::new(RecoveryPasswords::new(password))
}

fn not_found(
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
            "the identifier beside the password, {id:X}, is of no protector of this volume: it belongs to another one"
        ),
        (None, true) => "compare the identifier on the printout with those that 'fve info' shows; --any-order tries the blocks in every order".to_owned(),
        (None, false) => "a digit that was taken as certain may be wrong: write ? for it, too; and compare the identifier on the printout with those that 'fve info' shows".to_owned(),
    };
    term::note(format_args!(
        "error: none of the {} candidates opens the volume",
        task.count
    ));
    term::note(format_args!("help: {help}"));
    Err(Failure::Silent(Status::Refused))
}

fn plan_json(task: &Task<'_>) -> String {
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
