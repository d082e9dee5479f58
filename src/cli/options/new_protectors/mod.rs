//! Options that make key protectors.
//!
//! To offer another kind: a file beside this one with its row, and its line in [`NEW_KINDS`].
//! `create` and `protector add` take their options from that table. A kind with options of its own,
//! as of a TPM or the network, is a set of clap arguments in its file.

#[cfg(feature = "certificates")]
mod certificate;
mod clear_key;
mod kind;
#[cfg_attr(not(feature = "network"), path = "no_network.rs")]
pub(crate) mod network;
mod password;
mod recovery_password;
mod startup_key;
pub(crate) mod tpm;

use self::kind::{Make, NewKind};

use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};

use crate::cli::failure::Failure;
use crate::cli::options::readable::warn_if_others_can_read;
use crate::cli::output::term;
use fve::enroll::{Enrollment, HandedOver, NewSecret};
use fve::error::Error;
use fve::format::protector::ProtectorKind;
use fve::secret::SecretText;
use fve::shown::ShowPath;

/// Every kind that can be made, in the order in which they come onto a volume.
const NEW_KINDS: &[NewKind] = &[
    recovery_password::SHOWN,
    recovery_password::SAVED,
    password::IN_FILE,
    password::TYPED,
    startup_key::KIND,
    #[cfg(feature = "certificates")]
    certificate::KIND,
    clear_key::KIND,
];

/// Protectors that a command is to make.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewProtectorArgs {
    /// Kind, by its place in the table, and value.
    given: Vec<(usize, PathBuf)>,
}

impl Args for NewProtectorArgs {
    fn augment_args(command: Command) -> Command {
        command.args(NEW_KINDS.iter().map(|kind| {
            let option = Arg::new(kind.option)
                .long(kind.option)
                .help(kind.help)
                .help_heading("New protectors");
            match kind.value {
                None => option.action(ArgAction::SetTrue),
                Some(value) => option
                    .value_name(value)
                    .value_hint(ValueHint::AnyPath)
                    .action(ArgAction::Append)
                    .value_parser(ValueParser::path_buf()),
            }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for NewProtectorArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for (number, kind) in NEW_KINDS.iter().enumerate() {
            if kind.value.is_none() {
                given.extend(
                    matches
                        .get_flag(kind.option)
                        .then(|| (number, PathBuf::new())),
                );
                continue;
            }
            let values = matches.get_many::<PathBuf>(kind.option);
            given.extend(
                values
                    .into_iter()
                    .flatten()
                    .map(|path| (number, path.clone())),
            );
        }
        Ok(Self { given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl NewProtectorArgs {
    /// Makes what was asked for.
    pub(crate) fn make(&self) -> Result<Vec<Enrollment>, Failure> {
        let kinds = self
            .given
            .iter()
            .filter_map(|(number, path)| Some((NEW_KINDS.get(*number)?, path)));
        kinds
            .map(|(kind, path)| match kind.make {
                Make::Given(make) => make(path).map_err(unfit),
                Make::Password(make) => {
                    let file = kind.value.map(|_| path.as_path());
                    make(&new_password(file)?).map_err(unfit)
                }
            })
            .collect()
    }

    /// Whether none was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Whether one of that kind was asked for.
    pub(crate) fn makes(&self, kind: ProtectorKind) -> bool {
        let mut kinds = self
            .given
            .iter()
            .filter_map(|(number, _)| NEW_KINDS.get(*number));
        kinds.any(|new| new.kind == kind)
    }

    /// The options of this build that add a key protector, for a message.
    pub(crate) fn options() -> String {
        let mut options: Vec<_> = NEW_KINDS
            .iter()
            .map(|kind| format!("--{}", kind.option))
            .collect();
        options.push("--tpm".to_owned());
        if cfg!(feature = "network") {
            options.push("--network-unlock with --network-certificate".to_owned());
        }
        options.join(", ")
    }
}

/// Stores what opens new protectors, and says where; digits are shown on standard output.
pub(crate) fn hand_over(secrets: &[NewSecret]) -> Result<(), Failure> {
    for secret in secrets {
        let (id, kind) = secret.protector();
        match secret.hand_over()? {
            HandedOver::Saved(path) => term::note(format_args!(
                "what opens {} {id:X} is saved in {}",
                kind.name(),
                path.shown()
            )),
            HandedOver::Show(password) => {
                let digits = password.expose_digits();
                let text = SecretText::new(format!("{id:X}  {}\n", digits.expose()));
                term::print(text.expose())?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A new secret that will not do is a matter of the command line, not of a volume that refuses it.
fn unfit(error: Error) -> Failure {
    match error {
        Error::BadCredential {
            credential, why, ..
        } => Failure::usage(format!("{credential}: {why}")),
        other => other.into(),
    }
}

/// Lengths of a password that Windows takes, in UTF-16 units (docs/format.md §4.1).
const WINDOWS_LENGTHS: std::ops::RangeInclusive<usize> = 8..=256;

/// A new password: from the file, or asked for twice on the terminal.
pub(crate) fn new_password(file: Option<&Path>) -> Result<SecretText, Failure> {
    let text = match file {
        Some(path) => {
            warn_if_others_can_read(path);
            fve::input::read_line(path, "new password")?
        }
        None if term::can_ask() => {
            let first = term::ask_secret("New password: ")?;
            let second = term::ask_secret("New password again: ")?;
            if first.expose() != second.expose() {
                return Err(Failure::usage("new password: the two differ"));
            }
            first
        }
        None => {
            return Err(Failure::usage(
                "there is no terminal to ask for the new password; give --new-password-file FILE",
            ));
        }
    };
    let len = text.expose().encode_utf16().count();
    if len == 0 {
        return Err(Failure::usage("new password: it is empty"));
    }
    if !WINDOWS_LENGTHS.contains(&len) {
        term::note(format_args!(
            "warning: the new password has {len} characters; Windows accepts only passwords of 8 to 256 characters"
        ));
    }
    Ok(text)
}
