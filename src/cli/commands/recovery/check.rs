//! `fve recovery check`: checks each block of a recovery password, and suggests corrections.

use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use fve::error::Error;
use fve::guid::Guid;
use fve::recovery_password::{
    BlockVerdict, CandidateCounts, Check, Options, Outcome, PasswordCheck, PasswordVerdict,
    Suggestion, check_bytes, check_text,
};
use fve::unlock::Credential;
use fve::unlock::RecoveryPasswords;
use fve::volume::UnlockOptions;
use serde_json::{Value, json};

use crate::cli::commands::recovery::input::{read_all, read_file};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::parse::parse_bytes;
use crate::cli::options::source::{self, LostArgs, SourceArgs};
use crate::cli::output::json::document;
use crate::cli::output::keyboard::Form;
use crate::cli::output::term;
use crate::cli::run::Run;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Type a recovery password, and check each block at once:
    fve recovery check
  Show corrections of a saved password:
    fve recovery check --file key.txt --show
  Also try it on the volume:
    fve recovery check --file key.txt --volume /dev/sda3")]
pub(crate) struct CheckArgs {
    /// Recovery password, or '-' for standard input. On the command line it stays in the shell's
    /// history and is visible in the process list: prefer '-' or --file. If neither is given, it is
    /// asked for
    #[arg(value_name = "PASSWORD", conflicts_with = "file")]
    pub(crate) password: Option<String>,

    /// File with the recovery password, such as the file that Windows saves, in any language
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,

    /// Also try the password on this volume
    #[arg(long, value_name = "SOURCE", value_hint = ValueHint::FilePath)]
    pub(crate) volume: Option<PathBuf>,

    /// The volume begins this many bytes into SOURCE
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, requires = "volume")]
    pub(crate) offset: Option<u64>,

    /// The volume is this partition of SOURCE
    #[arg(long, value_name = "N", requires = "volume", conflicts_with = "offset")]
    pub(crate) partition: Option<u32>,

    #[command(flatten)]
    pub(crate) lost: LostArgs,

    /// Show the digits of the password and of the suggested corrections
    #[arg(long)]
    pub(crate) show: bool,

    /// In suggestions, read letters that look like digits as these digits
    #[arg(long)]
    pub(crate) ocr: bool,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// How many suggestions are printed at most: a reader cannot try more than a few by hand.
const MAX_SUGGESTIONS: usize = 20;

impl Run for CheckArgs {
    fn run(&self) -> Result<(), Failure> {
        check(self)
    }
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    if (args.lost.metadata.is_some() || args.lost.volume_start.is_some()) && args.volume.is_none() {
        return Err(Failure::usage(
            "--metadata-offset and --volume-start need --volume SOURCE",
        ));
    }
    let check = read(args)?;
    let test = match (&args.volume, check.result) {
        (Some(volume), Outcome::WellFormed) => Some(VolumeTest::of(args, volume, &check)?),
        _ => None,
    };
    if args.json {
        term::print(&as_json(args, &check, test.as_ref()))?;
    } else {
        term::print(&as_text(args, &check, test.as_ref()))?;
    }
    match (check.result, test) {
        (Outcome::WellFormed, Some(VolumeTest { opened: false, .. })) => {
            Err(Failure::Silent(Status::Refused))
        }
        (Outcome::WellFormed, _) => Ok(()),
        _ => Err(Failure::Silent(Status::Malformed)),
    }
}

/// Reads the password from the file, standard input, the command line or the terminal.
fn read(args: &CheckArgs) -> Result<Check, Failure> {
    let options = Options::default().with_ocr(args.ocr);
    let from_bytes = |bytes: &[u8]| {
        check_bytes(bytes, &options).map_err(|error| Failure::Other {
            status: Status::Io,
            what: error.to_string(),
            help: None,
        })
    };
    match (&args.file, args.password.as_deref()) {
        (Some(path), _) => from_bytes(&read_file(path)?),
        (None, Some("-")) => from_bytes(&read_all(std::io::stdin(), "standard input")?),
        (None, Some(text)) => {
            term::note(
                "warning: the password is now in the shell's history and was visible in the process list; '-' or --file avoid that",
            );
            Ok(check_text(text, &options))
        }
        (None, None) if term::can_ask() => {
            let text = term::ask_for("Recovery password: ", Form::Digits)?;
            Ok(check_text(text.expose(), &options))
        }
        (None, None) => from_bytes(&read_all(std::io::stdin(), "standard input")?),
    }
}

/// The result of trying the password on a volume.
struct VolumeTest {
    protector: Option<Guid>,
    opened: bool,
}

impl VolumeTest {
    fn of(args: &CheckArgs, path: &Path, check: &Check) -> Result<Self, Failure> {
        let opened = source::open(&SourceArgs {
            source: path.to_owned(),
            offset: args.offset,
            partition: args.partition,
            rescue_map: None,
            lost: args.lost.clone(),
        })
        .print_notes()?;
        let credential: Box<dyn Credential> = Box::new(RecoveryPasswords::found(check)?);
        match opened
            .volume
            .unlock(&[credential], &UnlockOptions::default())
        {
            Ok(unlocked) => Ok(Self {
                protector: unlocked.opened_by().protector.map(|(id, _)| id),
                opened: true,
            }),
            Err(Error::Refused { report, .. }) => Ok(Self {
                protector: report.attempts.iter().find_map(|attempt| attempt.protector),
                opened: false,
            }),
            Err(error) => Err(error.into()),
        }
    }
}

fn as_text(args: &CheckArgs, check: &Check, test: Option<&VolumeTest>) -> String {
    let mut text = String::new();
    for note in &check.source_notes {
        let _ = writeln!(text, "note: {note}");
    }
    if check.passwords.is_empty() {
        let _ = writeln!(
            text,
            "not found: the text has no recovery password (8 blocks of 6 digits)"
        );
    }
    let several = check.passwords.len() > 1;
    for (number, password) in (1..).zip(&check.passwords) {
        if several {
            let _ = writeln!(text, "password {number}, line {}:", password.line);
        }
        write_password(&mut text, args, password);
    }
    match test {
        Some(VolumeTest {
            opened: true,
            protector,
        }) => {
            let id = protector
                .map(|id| format!(": key protector {id:X}"))
                .unwrap_or_default();
            let _ = writeln!(text, "it unlocks the volume{id}");
        }
        Some(VolumeTest { opened: false, .. }) => {
            let _ = writeln!(
                text,
                "it does not unlock the volume: it may belong to another volume, its blocks may be in the wrong order, or two digits two places apart may be swapped; compare its ID with those that 'fve info' shows"
            );
        }
        None if check.result == Outcome::WellFormed => {
            let _ = writeln!(
                text,
                "only a test on the volume shows whether it is the right one: add --volume SOURCE"
            );
        }
        None => {}
    }
    text
}

fn write_password(text: &mut String, args: &CheckArgs, password: &PasswordCheck) {
    if let Some(id) = password.identifier {
        let _ = writeln!(text, "identifier {id:X}");
    }
    let _ = writeln!(text, "{}", verdict(password.verdict));
    if args.show {
        let _ = writeln!(text, "  {}", password.expose_normalized().expose());
    }
    for block in &password.blocks {
        let _ = writeln!(text, "  block {} {}", block.index, block.verdict);
        if let Some(kinds) = corrections(&block.candidates) {
            let _ = writeln!(text, "    {kinds}");
        }
        if args.show
            && block.verdict == BlockVerdict::NotMultipleOf11
            && let Some(digit) = password.expose_expected_check_digit(block.index)
        {
            let _ = writeln!(text, "    its first five digits need {digit} as the sixth");
        }
    }
    for note in &password.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    for group in &password.repeats {
        let group: Vec<_> = group.iter().map(usize::to_string).collect();
        let _ = writeln!(text, "  note: blocks {} are equal", group.join(" and "));
    }
    for first in &password.boundary_swaps {
        let _ = writeln!(
            text,
            "  note: swapping the last digit of block {first} with the first of block {} makes both valid",
            first + 1
        );
    }
    if let Some(placeholder) = &password.placeholder {
        let _ = writeln!(text, "  note: {placeholder}");
    }
    write_suggestions(text, args, password);
}

/// The verdict on the whole password, in words.
fn verdict(verdict: PasswordVerdict) -> String {
    match verdict {
        PasswordVerdict::WrongBlockCount { blocks: 1 } => {
            "malformed: 1 block found, 8 are needed".to_owned()
        }
        PasswordVerdict::WrongBlockCount { blocks } => {
            format!("malformed: {blocks} blocks found, 8 are needed")
        }
        other => other.word().to_owned(),
    }
}

fn write_suggestions(text: &mut String, args: &CheckArgs, password: &PasswordCheck) {
    let count = password.password_candidates;
    if count == 0 || password.outcome() == Outcome::WellFormed {
        return;
    }
    if !args.show {
        let _ = writeln!(
            text,
            "  {count} possible correction{} of the whole password; --show prints {}",
            if count == 1 { "" } else { "s" },
            if count == 1 { "it" } else { "the likeliest" },
        );
        return;
    }
    for suggestion in password.expose_suggestions(MAX_SUGGESTIONS) {
        let _ = writeln!(
            text,
            "  {}  {}",
            suggestion.password.expose_digits().expose(),
            changes(&suggestion)
        );
    }
    if count > MAX_SUGGESTIONS as u64 {
        let _ = writeln!(text, "  and {} more", count - MAX_SUGGESTIONS as u64);
    }
}

fn changes(suggestion: &Suggestion) -> String {
    let changes: Vec<_> = suggestion
        .changes
        .iter()
        .map(|(block, correction)| format!("block {block}: {}", correction.word()))
        .collect();
    changes.join(", ")
}

/// Counts of possible corrections by kind, in words; `None` if there are none.
fn corrections(counts: &CandidateCounts) -> Option<String> {
    let kinds = [
        (counts.substitution, "single-digit correction"),
        (counts.transposition, "swap of neighboring digits"),
        (counts.insertion, "way to add a missing digit"),
        (counts.deletion, "digit that may be superfluous"),
        (counts.wildcard, "way to fill in the unreadable digits"),
    ];
    let kinds: Vec<_> = kinds
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, kind)| match (count, kind.split_once(' ')) {
            (1, _) => format!("1 {kind}"),
            (count, Some(("single-digit", _))) => format!("{count} single-digit corrections"),
            (count, Some((first, rest))) => format!("{count} {first}s {rest}"),
            (count, None) => format!("{count} {kind}s"),
        })
        .collect();
    (!kinds.is_empty()).then(|| kinds.join(", "))
}

fn as_json(args: &CheckArgs, check: &Check, test: Option<&VolumeTest>) -> String {
    let primary = check.primary();
    let mut answer = json!({
        "result": check.result.word(),
        "source": {
            "encoding": check.encoding.map(|encoding| encoding.word()),
            "notes": notes(check, primary),
        },
        "identifier": primary.and_then(|first| first.identifier).map(|id| format!("{id:X}")),
        "blocks": primary.map_or(Vec::new(), |first| blocks_json(args, first)),
        "password_candidates": primary.map_or(0, |first| first.password_candidates),
    });
    if let Some(first) = primary {
        answer["repeated_blocks"] = json!(first.repeats);
        answer["placeholder"] = json!(first.placeholder.map(|placeholder| placeholder.word()));
        if args.show {
            answer["password"] = json!(first.expose_normalized().expose());
            answer["suggestions"] = suggestions_json(first);
        }
    }
    answer["passwords"] = check
        .passwords
        .iter()
        .map(|password| {
            json!({
                "result": password.outcome().word(),
                "line": password.line,
                "identifier": password.identifier.map(|id| format!("{id:X}")),
                "blocks": blocks_json(args, password),
            })
        })
        .collect();
    if let Some(test) = test {
        answer["volume"] = json!({
            "protector": test.protector.map(|id| format!("{id:X}")),
            "opened": test.opened,
        });
    }
    document(&answer)
}

fn notes(check: &Check, primary: Option<&PasswordCheck>) -> Vec<&'static str> {
    let of_source = check.source_notes.iter().map(|note| note.word());
    let of_password = primary.into_iter().flat_map(|first| &first.notes);
    of_source
        .chain(of_password.map(|note| note.word()))
        .collect()
}

fn blocks_json(args: &CheckArgs, password: &PasswordCheck) -> Vec<Value> {
    password
        .blocks
        .iter()
        .map(|block| {
            let mut value = json!({
                "index": block.index,
                "verdict": block.verdict.word(),
                "message": block.verdict.to_string(),
                "digits": block.digits,
                "candidates": {
                    "substitution": block.candidates.substitution,
                    "transposition": block.candidates.transposition,
                    "insertion": block.candidates.insertion,
                    "deletion": block.candidates.deletion,
                    "wildcard": block.candidates.wildcard,
                },
            });
            if args.show {
                value["expected_check_digit"] =
                    json!(password.expose_expected_check_digit(block.index));
            }
            value
        })
        .collect()
}

fn suggestions_json(password: &PasswordCheck) -> Value {
    if password.outcome() == Outcome::WellFormed {
        return json!([]);
    }
    password
        .expose_suggestions(MAX_SUGGESTIONS)
        .iter()
        .map(|suggestion| {
            let changes: Vec<_> = suggestion
                .changes
                .iter()
                .map(|(block, correction)| {
                    json!({ "block": block, "correction": correction.word() })
                })
                .collect();
            json!({
                "password": suggestion.password.expose_digits().expose(),
                "changes": changes,
            })
        })
        .collect()
}
