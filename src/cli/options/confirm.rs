//! Confirmation before a change that cannot be undone, or after which a computer no longer starts by itself.

use std::path::Path;

use fve::shown::ShowPath;

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::term;

/// Succeeds if the user confirms: with `again`, the value of `--device-confirm`, which must be the
/// path of the device, or by typing the path on the terminal.
pub(crate) fn confirm_device(
    device: &Path,
    size: u64,
    again: Option<&Path>,
) -> Result<(), Failure> {
    if let Some(again) = again {
        if again == device {
            return Ok(());
        }
        return Err(Failure::usage(format!(
            "--device-confirm names {}, but {} would be overwritten",
            again.shown(),
            device.shown()
        )));
    }
    let what = format!(
        "everything on {} ({}) would be destroyed",
        device.shown(),
        term::human_size(size)
    );
    if !term::can_ask() {
        return Err(Failure::Other {
            status: Status::Usage,
            what,
            help: Some(format!(
                "to confirm, give --device-confirm {}",
                device.shown()
            )),
        });
    }
    let answer = term::ask(&format!("{what}. To continue, type its path again: "))?;
    if Path::new(answer.trim()) == device {
        return Ok(());
    }
    Err(Failure::Other {
        status: Status::Usage,
        what: "the path differs; nothing was written".to_owned(),
        help: None,
    })
}

/// Succeeds if the user confirms on the terminal what would happen; `what` is a sentence without its
/// period. An option of the command says so in advance, and then this is not called.
pub(crate) fn confirm(what: &str) -> Result<(), Failure> {
    const WORD: &str = "yes";
    let refused = |what: String, help: Option<&str>| Failure::Other {
        status: Status::Usage,
        what,
        help: help.map(str::to_owned),
    };
    if !term::can_ask() {
        return Err(refused(what.to_owned(), Some("to confirm, give --yes")));
    }
    let answer = term::ask(&format!("{what}. To continue, type {WORD}: "))?;
    match answer.trim() {
        WORD => Ok(()),
        _ => Err(refused(
            "not confirmed; nothing was changed".to_owned(),
            None,
        )),
    }
}
