//! Warnings about secret files that every user of the computer can read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fve::secret::others_can_read;
use fve::shown::ShowPath;

use crate::cli::output::term;

/// Files that a warning was printed for: a command may read a file more than once.
static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Prints a warning if the permissions of a secret file let every user of this computer read it.
pub(crate) fn warn_if_others_can_read(path: &Path) {
    let is_new = |path: &Path| {
        let mut warned = WARNED
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        warned.insert(path.to_owned())
    };
    if others_can_read(path) && is_new(path) {
        term::note(format_args!(
            "warning: every user of this computer can read the secret in {0}; 'chmod 600 {0}' prevents it",
            path.shown()
        ));
    }
}
