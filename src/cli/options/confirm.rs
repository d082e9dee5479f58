//! Whether everything on a block device may be destroyed.

use std::path::Path;

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::term;
use fve::shown::ShowPath;

/// Goes on only if the person means it: `again`, the value of `--device-confirm`, is the device's
/// path once more, or it is typed on the terminal.
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
            "--device-confirm names {}, and {} would be written over",
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
                "if that is meant, give --device-confirm {}",
                device.shown()
            )),
        });
    }
    let answer = term::ask(&format!("{what}. To go on, type its path again: "))?;
    if Path::new(answer.trim()) == device {
        return Ok(());
    }
    Err(Failure::Other {
        status: Status::Usage,
        what: "that is not its path; nothing was written".to_owned(),
        help: None,
    })
}
