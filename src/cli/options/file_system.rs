//! The files of SOURCE: of its BitLocker volume, which is unlocked, or of a file system that is not
//! encrypted.

use std::sync::Arc;

use fve::error::Error;
use fve::files::{self, Condition, Files};
use fve::source::DeviceHold;

use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source::{self, Shown, SourceArgs};
use crate::cli::output::term;

/// The files of a source.
pub(crate) struct OpenedFiles {
    pub(crate) files: Files,
    /// Keeps other processes from mounting or mapping the device.
    _hold: Result<Option<DeviceHold>, Error>,
}

/// Opens the files of SOURCE. A volume is unlocked with the given credentials, and a file system that
/// is not encrypted needs none. What the user should know is printed on standard error.
pub(crate) fn open(
    source: &SourceArgs,
    credentials: &CredentialArgs,
) -> Result<OpenedFiles, Failure> {
    let shown = source::open_for_files(source)
        .print_notes()
        .map_err(|failure| credentials.name_fitting(failure))?;
    let opened = match shown {
        Shown::Plain(plain) => OpenedFiles {
            files: plain.files,
            _hold: plain.hold,
        },
        Shown::Encrypted(shown) => {
            let unlocked = credentials.unlock(&shown.opened.volume)?;
            OpenedFiles {
                files: files::open(Arc::new(unlocked))?,
                _hold: shown.hold,
            }
        }
    };
    tell_conditions(&opened.files);
    Ok(opened)
}

/// Says why the file system may not show what its user saw last.
pub(crate) fn tell_conditions(files: &Files) {
    let kind = files.properties().kind;
    for condition in &files.properties().conditions {
        let text = match condition {
            Condition::Dirty { why } => {
                format!(
                    "the {kind} file system was not unmounted cleanly ({why}): the last changes may be missing"
                )
            }
            Condition::Hibernated => format!(
                "the Windows on the {kind} file system is hibernated or was shut down with fast startup: the last changes may be missing"
            ),
            Condition::Damaged { what } => {
                format!(
                    "a structure of the {kind} file system is damaged, and its files are read without it: {what}"
                )
            }
            _ => continue,
        };
        term::note(format_args!("warning: {}", term::escaped(&text)));
    }
}
