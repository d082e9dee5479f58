//! `fve recovery lookup`: finds a saved recovery password in files or in a directory server.
//!
//! Keys of `--json`: `query` (id, computer, volume; null except those that were given), `places`,
//! `found` (id, computer, volume, saved, from, on_volume, and with `--show` password) and `notes`
//! (what could not be read). If nothing is found, `found` is empty and the exit status is 1.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueHint};
use fve::escrow::{Escrowed, LookupResult, PasswordStore, Query};
use fve::format::protector::ProtectorKind;
use fve::guid::Guid;
use fve::shown::ShowPath;
use fve::volume::Volume;
use serde_json::{Value, json};

use crate::cli::advice;
use crate::cli::describe::line;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::OptionValues;
use crate::cli::options::credentials::recovery_lookup::{
    BASE, CA, KERBEROS, PASSWORD, TIMEOUT, USER, checked_place, checked_timeout, place_of,
};
use crate::cli::options::parse::parse_bytes;
use crate::cli::options::readable::warn_if_others_can_read;
use crate::cli::options::source::{self, LostArgs, SourceArgs};
use crate::cli::output::json::document;
use crate::cli::output::term::{self, escaped, print_failure};
use crate::cli::run::Run;

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("query").required(true).multiple(true).args(["id", "computer", "volume"])))]
#[command(after_help = "\
Examples:
  Find the password whose ID the recovery screen shows:
    fve recovery lookup /media/usb --id 64311DEA
  Find and print the password of a volume:
    fve recovery lookup /media/usb --volume /dev/sda3 --show
  Find all passwords of a computer in Active Directory:
    fve recovery lookup ldaps://dc.example.com --computer PC01")]
pub(crate) struct LookupArgs {
    /// Files or directories with saved recovery passwords (key files, LDIF, CSV, JSON), or
    /// ldaps://SERVER
    #[arg(value_name = "WHERE", required = true, value_hint = ValueHint::AnyPath, value_parser = parser(checked_place))]
    places: Vec<PathBuf>,

    /// Find the recovery password with this ID: the 8 hex digits that the recovery screen shows, or
    /// all 32
    #[arg(long, value_name = "ID", conflicts_with = "computer")]
    id: Option<String>,

    /// Find all recovery passwords of this computer
    #[arg(long, value_name = "NAME")]
    computer: Option<String>,

    /// Find the recovery passwords of this volume; with --id or --computer, show which of those
    /// found are still on it
    #[arg(long, value_name = "SOURCE", value_hint = ValueHint::FilePath)]
    volume: Option<PathBuf>,

    /// The volume begins this many bytes into SOURCE
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, requires = "volume")]
    offset: Option<u64>,

    /// The volume is this partition of SOURCE
    #[arg(long, value_name = "N", requires = "volume", conflicts_with = "offset")]
    partition: Option<u32>,

    #[arg(long = USER.option, value_name = "USER", help = USER.help)]
    user: Option<PathBuf>,

    #[arg(long = PASSWORD.option, value_name = "FILE", help = PASSWORD.help, value_hint = ValueHint::FilePath)]
    password_file: Option<PathBuf>,

    #[arg(long = CA.option, value_name = "FILE", help = CA.help, value_hint = ValueHint::FilePath)]
    ca_file: Option<PathBuf>,

    #[arg(long = BASE.option, value_name = "DN", help = BASE.help)]
    base: Option<PathBuf>,

    #[arg(long = KERBEROS.option, help = KERBEROS.help)]
    kerberos: bool,

    #[arg(long = TIMEOUT.option, value_name = "SECONDS", help = TIMEOUT.help, value_parser = parser(checked_timeout))]
    timeout: Option<PathBuf>,

    /// Print the passwords
    #[arg(long)]
    show: bool,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

impl Run for LookupArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &LookupArgs) -> Result<(), Failure> {
    let protectors = match &args.volume {
        Some(path) => {
            let place = SourceArgs {
                source: path.clone(),
                offset: args.offset,
                partition: args.partition,
                rescue_map: None,
                lost: LostArgs::default(),
            };
            Some(OnVolume::of(&source::open(&place).print_notes()?.volume)?)
        }
        None => None,
    };
    let query = match (&args.id, &args.computer, &protectors) {
        (Some(id), _, _) => Query::password(id).map_err(|error| Failure::Other {
            status: Status::Usage,
            what: error.to_string(),
            help: error.remedy().as_ref().map(advice::words),
        })?,
        (None, Some(name), _) => Query::Computer(name.clone()),
        (None, None, Some(volume)) => Query::Protectors(volume.ids.clone()),
        (None, None, None) => return Err(Failure::usage("give --id, --computer or --volume")),
    };
    let mut found = LookupResult::default();
    let mut failure = None;
    for place in args.open()? {
        if let Some(user) = place.user() {
            // Administrators need a record of who looked up which password.
            term::note(format_args!(
                "looking up {} in {} as {}",
                query_words(args),
                place.name(),
                escaped(user)
            ));
        }
        let bar = term::progress_of_files();
        let result = place.search_watched(&query, &mut |at| {
            bar.set_position(at.files as u64);
            bar.set_message(at.path.shown().to_string());
        });
        bar.finish_and_clear();
        match result {
            Ok(here) => {
                found.entries.extend(here.entries);
                found.unnamed.extend(here.unnamed);
                found.notes.extend(here.notes);
            }
            // If one place cannot be searched, still search the others.
            Err(error) => failure = failure.or(Some(Failure::from(error))),
        }
    }
    let answer = Answer {
        args,
        volume: protectors,
        found,
    };
    term::print(&if args.json {
        answer.json()
    } else {
        answer.text()
    })?;
    answer.end(failure)
}

/// Parses the value of an option with a check of it.
fn parser(
    check: fn(OsString) -> Result<OsString, String>,
) -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(move |value| check(value).map(PathBuf::from))
}

/// What is searched for, in words.
fn query_words(args: &LookupArgs) -> String {
    match (&args.id, &args.computer, &args.volume) {
        (Some(id), _, _) => format!("the password {}", escaped(id)),
        (None, Some(name), _) => format!("the passwords of {}", escaped(name)),
        (None, None, Some(path)) => format!("the passwords of {}", path.shown()),
        (None, None, None) => "nothing".to_owned(),
    }
}

impl LookupArgs {
    fn open(&self) -> Result<Vec<PasswordStore>, Failure> {
        let mut others = Vec::new();
        let mut add = |option, value: &Option<PathBuf>| {
            others.extend(value.clone().map(|value| (option, value)));
        };
        if let Some(path) = &self.password_file {
            warn_if_others_can_read(path);
        }
        add(USER.option, &self.user);
        add(PASSWORD.option, &self.password_file);
        add(CA.option, &self.ca_file);
        add(BASE.option, &self.base);
        add(TIMEOUT.option, &self.timeout);
        if self.kerberos {
            others.push((KERBEROS.option, PathBuf::new()));
        }
        let prompt = term::prompt();
        for place in &self.places {
            warn_if_others_can_read(place);
        }
        let places = self.places.iter().map(|place| {
            place_of(&OptionValues {
                value: Some(place),
                others: &others,
                prompt: Some(&prompt),
                system: None,
            })
        });
        Ok(places.collect::<Result<_, _>>()?)
    }
}

/// The recovery passwords that a volume has.
struct OnVolume {
    ids: Vec<Guid>,
    computer: Option<String>,
}

impl OnVolume {
    fn of(volume: &Volume) -> Result<Self, Failure> {
        let block = volume.metadata()?;
        let ids: Vec<_> = block
            .protectors()
            .filter(|protector| protector.kind() == ProtectorKind::RecoveryPassword)
            .map(|protector| protector.id)
            .collect();
        if ids.is_empty() {
            return Err(Failure::Other {
                status: Status::Failed,
                what: "the volume has no recovery password".to_owned(),
                help: Some("'fve info' lists its key protectors".to_owned()),
            });
        }
        Ok(Self {
            ids,
            computer: block
                .description()
                .and_then(|text| text.split_whitespace().next())
                .map(str::to_owned),
        })
    }
}

struct Answer<'a> {
    args: &'a LookupArgs,
    volume: Option<OnVolume>,
    found: LookupResult,
}

impl Answer<'_> {
    fn on_volume(&self, entry: &Escrowed) -> Option<bool> {
        let volume = self.volume.as_ref()?;
        Some(volume.ids.contains(&entry.id?))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for entry in &self.found.entries {
            match entry.id {
                Some(id) => line(&mut text, format_args!("{id:X}")),
                None => line(&mut text, format_args!("(without an ID)")),
            }
            let mut detail = |name: &str, value: &str| {
                line(&mut text, format_args!("  {name:<10} {}", escaped(value)));
            };
            if let Some(computer) = &entry.computer {
                detail("computer", computer);
            }
            if let Some(saved) = &entry.saved {
                detail("saved", saved);
            }
            if let Some(volume) = entry.volume {
                detail("volume", &format!("{volume:X}"));
            }
            detail("found in", &entry.origin);
            match self.on_volume(entry) {
                Some(true) => detail("on volume", "yes"),
                Some(false) => detail(
                    "on volume",
                    "no: it was removed, or belongs to another volume",
                ),
                None => {}
            }
            if self.args.show {
                line(
                    &mut text,
                    format_args!(
                        "  {:<10} {}",
                        "password",
                        entry.password.expose_digits().expose()
                    ),
                );
            } else {
                detail(
                    "password",
                    "found; --show prints it, 'fve unlock SOURCE --recovery-lookup WHERE' uses it",
                );
            }
        }
        text
    }

    fn json(&self) -> String {
        let found: Vec<_> = self
            .found
            .entries
            .iter()
            .map(|entry| self.entry_json(entry))
            .collect();
        let places = self.args.places.iter();
        document(&json!({
            "query": {
                "id": self.args.id,
                "computer": self.args.computer,
                "volume": self.args.volume.as_ref().map(|path| path.to_string_lossy().into_owned()),
            },
            "places": places.map(|place| place.to_string_lossy().into_owned()).collect::<Vec<_>>(),
            "found": found,
            "notes": self.found.notes,
        }))
    }

    fn entry_json(&self, entry: &Escrowed) -> Value {
        let mut value = json!({
            "id": entry.id.map(|id| format!("{id:X}")),
            "computer": entry.computer,
            "volume": entry.volume.map(|id| format!("{id:X}")),
            "saved": entry.saved,
            "from": entry.origin,
            "on_volume": self.on_volume(entry),
        });
        if self.args.show {
            value["password"] = json!(entry.password.expose_digits().expose());
        }
        value
    }

    /// Prints notes and errors, and decides the exit status.
    fn end(&self, failure: Option<Failure>) -> Result<(), Failure> {
        for note in &self.found.notes {
            term::note(format_args!("warning: {}", escaped(note)));
        }
        let mut ids: Vec<_> = self.found.entries.iter().map(|entry| entry.id).collect();
        ids.sort_unstable();
        ids.dedup();
        if self.args.id.is_some() && ids.len() > 1 {
            term::note(format_args!(
                "{} IDs begin with these digits: give all 32 digits",
                ids.len()
            ));
        }
        if let Some(failure) = failure {
            print_failure(&failure);
            return Err(Failure::Silent(failure.status()));
        }
        if !self.found.entries.is_empty() {
            return Ok(());
        }
        print_failure(&self.not_found());
        Err(Failure::Silent(Status::Failed))
    }

    fn wanted(&self) -> String {
        match (&self.args.id, &self.args.computer, &self.args.volume) {
            (Some(id), _, _) => format!("recovery password with ID {}", escaped(id)),
            (None, Some(name), _) => format!("recovery password of {}", escaped(name)),
            (None, None, Some(path)) => format!("recovery password of {}", path.shown()),
            (None, None, None) => "recovery password".to_owned(),
        }
    }

    fn places(&self) -> String {
        let places = self.args.places.iter().map(|place| place.shown());
        let places: Vec<_> = places.map(|place| place.to_string()).collect();
        places.join(", ")
    }

    fn not_found(&self) -> Failure {
        let unnamed = self.found.unnamed.len();
        let computer = self
            .volume
            .as_ref()
            .and_then(|volume| volume.computer.as_deref());
        let help = match (unnamed, computer) {
            (0, Some(computer)) if self.args.computer.is_none() => format!(
                "--computer {} finds all saved passwords of the computer that the volume names",
                escaped(computer)
            ),
            (0, _) if self.args.id.is_some() => {
                "compare the ID with the one on the recovery screen, or search other places"
                    .to_owned()
            }
            (0, _) => "search other places".to_owned(),
            _ => format!(
                "{unnamed} passwords without an ID were found, and one may be the right one: 'fve unlock SOURCE --recovery-lookup WHERE' tries them"
            ),
        };
        Failure::Other {
            status: Status::Failed,
            what: format!("no saved {} in {}", self.wanted(), self.places()),
            help: Some(help),
        }
    }
}
