//! Why a command failed.

use std::io::ErrorKind;
#[cfg(feature = "fuse")]
use std::path::Path;

use fve::error::Error;
use fve::shown::without_error_numbers;

use crate::cli::advice;
use crate::cli::exit::Status;
use crate::cli::unrepeated;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error of the library.
    Volume(Error),
    /// An error of the command line itself, with its exit status.
    Other {
        status: Status,
        what: String,
        help: Option<String>,
    },
    /// The message was printed already.
    Silent(Status),
}

/// The general help for an error in the command line.
const SEE_HELP: &str = "see 'fve --help'";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Volume(error)
    }
}

impl Failure {
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Other {
            status: Status::Usage,
            what: what.into(),
            help: Some(SEE_HELP.to_owned()),
        }
    }

    /// A file of the command line that is not of the kind that the option or argument is for. Nothing
    /// refused it: the command line is wrong.
    pub(crate) fn wrong_file(error: &Error) -> Self {
        Self::Other {
            status: Status::Usage,
            what: error.with_causes().to_string(),
            help: error.remedy().as_ref().map(advice::words),
        }
    }

    /// A command line that cannot be parsed, in the words of the parser.
    pub(crate) fn of_command_line(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let mut paragraphs = text.split("\n\n");
        let joined = |text: &str| {
            let lines: Vec<_> = text.lines().map(str::trim).collect();
            lines.join(" ")
        };
        let message = paragraphs.next().unwrap_or_default();
        let tip = paragraphs.find_map(|part| part.trim_start().strip_prefix("tip: "));
        Self::Other {
            status: Status::Usage,
            what: joined(message.trim_start_matches("error: ")),
            help: Some(tip.map_or_else(|| SEE_HELP.to_owned(), joined)),
        }
    }

    /// The same, with the help of this command instead of the general help.
    pub(crate) fn of_command(mut self, command: &str) -> Self {
        if let Self::Other {
            help: Some(help), ..
        } = &mut self
            && help == SEE_HELP
        {
            *help = format!("see 'fve {command}--help'");
        }
        self
    }

    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Volume(error) => error.into(),
            Self::Other { status, .. } | Self::Silent(status) => *status,
        }
    }

    /// The kind of the failure, as a word for programs (docs/json.md).
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Volume(Error::Io { source, .. }) => match source.kind() {
                ErrorKind::NotFound => "not-found",
                ErrorKind::PermissionDenied => "no-permission",
                ErrorKind::StorageFull => "no-space",
                ErrorKind::ResourceBusy => "in-use",
                ErrorKind::AlreadyExists => "output-refused",
                _ => "io-error",
            },
            Self::Volume(error) => match error {
                Error::NotBitLocker { .. } => "not-bitlocker",
                Error::Ambiguous { .. } => "several-volumes",
                Error::Unsupported { .. } => "unsupported",
                Error::Damaged { .. } => "damaged-metadata",
                Error::Refused { .. } => "refused",
                Error::Contradicted { .. } => "contradicted-metadata",
                Error::NothingToTry { .. } => "no-credential",
                Error::NoSuchProtector { .. } => "no-such-protector",
                Error::BadCredential { .. } => "bad-credential",
                Error::Unwritable(_) => "unwritable",
                Error::Uncreatable { .. } => "uncreatable",
                Error::Unchangeable { .. } => "unchangeable",
                Error::Stale { .. } => "stale-backup",
                Error::OutputRefused { .. } => "output-refused",
                Error::Interrupted => "interrupted",
                Error::OutOfRange { .. } | Error::Reserved { .. } | Error::Unreadable { .. } => {
                    "io-error"
                }
                Error::Environment { .. } => "environment",
                _ => "failed",
            },
            Self::Other { status, .. } | Self::Silent(status) => match status {
                Status::Done | Status::Failed => "failed",
                Status::Usage => "usage",
                Status::NotBitLocker => "not-bitlocker",
                Status::Refused => "refused",
                Status::Io => "io-error",
                Status::Damaged => "damaged-metadata",
                Status::Malformed => "malformed",
            },
        }
    }

    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::Volume(error) => Some(error.with_causes().to_string()),
            Self::Other { what, .. } => Some(without_error_numbers(what)),
            Self::Silent(_) => None,
        }
        .map(|message| unrepeated::without_secrets(&message).into_owned())
    }

    /// What to do next, as one text.
    pub(crate) fn help(&self) -> Option<String> {
        let lines = self.help_lines();
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    /// The same, one sentence for each line.
    pub(crate) fn help_lines(&self) -> Vec<String> {
        let help = match self {
            Self::Volume(error) => {
                dead_mount(error).or_else(|| error.remedy().as_ref().map(advice::words))
            }
            Self::Other { help, .. } => help.clone(),
            Self::Silent(_) => None,
        };
        let help = help.map(|help| unrepeated::without_secrets(&help).into_owned());
        let kept_back = self.keeps_a_word_back().then(|| {
            format!(
                "the word that was given there is not repeated, because it names no file and may be a secret; {}",
                unrepeated::ADVICE
            )
        });
        help.into_iter().chain(kept_back).collect()
    }

    /// Whether the message left out a word that may be a secret.
    fn keeps_a_word_back(&self) -> bool {
        match self {
            Self::Volume(error) => unrepeated::has_secrets(&error.with_causes().to_string()),
            Self::Other { what, .. } => unrepeated::has_secrets(what),
            Self::Silent(_) => false,
        }
    }
}

/// The help for an access to a mount whose server has ended: every access fails with the same error.
#[cfg(feature = "fuse")]
fn dead_mount(error: &Error) -> Option<String> {
    use fve::shown::ShowPath;
    let code = error.io_error()?.raw_os_error()?;
    if code != rustix::io::Errno::NOTCONN.raw_os_error() {
        return None;
    }
    let kind = format!("fuse.{}", fve::serve::fuse::SUBTYPE);
    let mounts = fve::source::MountEntry::list().ok()?;
    let text = error.to_string();
    let here = std::env::current_dir().unwrap_or_default();
    // Only a mount that the message names is asked: the server of another one may never answer.
    let is_named = |directory: &Path| {
        let relative = directory.strip_prefix(&here).unwrap_or(directory);
        let mut names = [directory, relative].into_iter();
        names.any(|name| !name.as_os_str().is_empty() && text.contains(&*name.to_string_lossy()))
    };
    let dead = mounts
        .into_iter()
        .filter(|mount| mount.kind.to_str() == Some(&kind) && is_named(&mount.directory))
        .find(fve::serve::fuse::is_dead)?;
    Some(format!(
        "the server of the mount on {0} has ended: unmount it with 'fve unmount {0}'",
        dead.directory.shown()
    ))
}

#[cfg(not(feature = "fuse"))]
fn dead_mount(_error: &Error) -> Option<String> {
    None
}
