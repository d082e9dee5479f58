//! Options that add key protectors.
//!
//! A new kind is a file in this directory with its row, and a line in [`NEW_KINDS`]. `create` and
//! `protector add` have the options of that table. A kind that needs more than one option, such as
//! those of the TPM and of Network Unlock, is a set of clap arguments instead.

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

use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};
use fve::enroll::{Enrollment, HandedOver, NewSecret};
use fve::error::Error;
use fve::format::protector::ProtectorKind;
use fve::guid::Guid;
use fve::secret::SecretText;
use fve::shown::ShowPath;

use self::kind::{Make, NewKind};
use crate::cli::failure::Failure;
use crate::cli::options::readable::warn_if_others_can_read;
use crate::cli::output::term;

/// Every kind that can be added, in the order in which they are written to the volume.
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

/// The key protectors that a command adds.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewProtectorArgs {
    /// Index in [`NEW_KINDS`] and value of each given option.
    given: Vec<(usize, PathBuf)>,
}

impl Args for NewProtectorArgs {
    fn augment_args(command: Command) -> Command {
        command.args(NEW_KINDS.iter().map(|kind| {
            let option = Arg::new(kind.option)
                .long(kind.option)
                .help(kind.help)
                .help_heading("New key protectors");
            let option = match kind.former {
                Some(former) => option.alias(former),
                None => option,
            };
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
    /// Creates the requested key protectors, except those whose secret the user has to type: whatever
    /// is wrong with the others is reported before the user is asked.
    pub(crate) fn prepare(&self) -> Result<Prepared, Failure> {
        let kinds = self
            .given
            .iter()
            .filter_map(|(number, path)| Some((NEW_KINDS.get(*number)?, path)));
        let made = kinds.map(|(kind, path)| match (kind.make, kind.value) {
            (Make::Value(make), _) => make(path).map(Part::Made).map_err(unfit),
            (Make::Password(make), Some(_)) => {
                let password = new_password(Some(path))?;
                make(&password).map(Part::Made).map_err(unfit)
            }
            (Make::Password(make), None) => Ok(Part::Typed(make)),
        });
        made.collect::<Result<_, _>>().map(Prepared)
    }

    /// Whether no key protector was requested.
    pub(crate) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Whether a key protector of this kind was requested.
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

/// New key protectors, some of which still need what the user has to type.
pub(crate) struct Prepared(Vec<Part>);

enum Part {
    Made(Enrollment),
    Typed(fn(&SecretText) -> Result<Enrollment, Error>),
}

impl Prepared {
    /// Checks that the secrets can be saved where the user wants them.
    ///
    /// # Errors
    /// A file exists, or cannot be created.
    pub(crate) fn check_places(&self) -> Result<(), Failure> {
        for part in &self.0 {
            if let Part::Made(enrollment) = part {
                enrollment.check_place()?;
            }
        }
        Ok(())
    }

    /// Asks for what is missing.
    pub(crate) fn ask(self) -> Result<Vec<Enrollment>, Failure> {
        let asked = self.0.into_iter().map(|part| match part {
            Part::Made(enrollment) => Ok(enrollment),
            Part::Typed(make) => make(&new_password(None)?).map_err(unfit),
        });
        asked.collect()
    }
}

/// Saves the secrets of new key protectors and tells the user where. A recovery password without a
/// file is printed on standard output. If that fails, it is lost, and must not be added to the volume.
pub(crate) fn hand_over(secrets: &[NewSecret]) -> Result<(), Failure> {
    for secret in secrets {
        let (id, kind) = secret.protector();
        match secret.hand_over()? {
            HandedOver::Saved(path) => term::note(format_args!(
                "{} {id:X} saved to {}",
                in_words(kind),
                path.shown()
            )),
            HandedOver::Show(password) => {
                term::print_all(with_digits(id, &password.expose_digits()).expose())?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The line with a recovery password, as it is printed.
pub(crate) fn with_digits(id: Guid, digits: &SecretText) -> SecretText {
    SecretText::new(format!("{id:X}  {}\n", digits.expose()))
}

/// What is saved for a kind of key protector, in the words of the credential options.
fn in_words(kind: ProtectorKind) -> &'static str {
    match kind {
        ProtectorKind::RecoveryPassword => "recovery password",
        ProtectorKind::ExternalKey
        | ProtectorKind::TpmStartupKey
        | ProtectorKind::TpmPinStartupKey => "startup key",
        ProtectorKind::Network => "Network Unlock sidecar",
        kind => kind.name(),
    }
}

/// An unsuitable new secret is an error of the command line (status 2): no volume refused it.
fn unfit(error: Error) -> Failure {
    match error {
        Error::BadCredential {
            credential, why, ..
        } => Failure::usage(format!("{credential}: {why}")),
        other => other.into(),
    }
}

/// Lengths of a password that Windows accepts, in UTF-16 units (docs/format.md §4.1).
const WINDOWS_LENGTHS: std::ops::RangeInclusive<usize> = 8..=256;

/// A new password: from the file, or typed twice on the terminal.
pub(crate) fn new_password(file: Option<&Path>) -> Result<SecretText, Failure> {
    let text = match file {
        Some(path) => {
            warn_if_others_can_read(path);
            fve::input::read_line(path, "new password")?
        }
        None if term::can_ask() => {
            const DIFFER: &str = "the passwords do not match";
            term::ask_twice("New password: ", "New password again: ", DIFFER)?
        }
        None => {
            return Err(Failure::usage(
                "cannot ask for the new password without a terminal; give --new-password-file FILE",
            ));
        }
    };
    let len = text.expose().encode_utf16().count();
    if len == 0 {
        return Err(Failure::usage("the new password is empty"));
    }
    if !WINDOWS_LENGTHS.contains(&len) {
        term::note(format_args!(
            "warning: the new password has {len} characters; Windows accepts only passwords of 8 to 256 characters"
        ));
    }
    Ok(text)
}
