//! Why a command failed.

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
    let dead = mounts
        .into_iter()
        .find(|mount| mount.kind.to_str() == Some(&kind) && fve::serve::fuse::is_dead(mount))?;
    Some(format!(
        "the server of the mount on {0} has ended: unmount it with 'fve unmount {0}'",
        dead.directory.shown()
    ))
}

#[cfg(not(feature = "fuse"))]
fn dead_mount(_error: &Error) -> Option<String> {
    None
}
