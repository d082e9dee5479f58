//! Secret files that others on this computer can read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::cli::output::term;
use fve::secret::others_can_read;
use fve::shown::ShowPath;

/// Files that were spoken of already: a command may come across one more than once.
static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Warns of a file with a secret that its permissions let every user of this computer read.
pub(crate) fn warn_if_others_can_read(path: &Path) {
    let is_new = |path: &Path| {
        let mut told = TOLD
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        told.insert(path.to_owned())
    };
    if others_can_read(path) && is_new(path) {
        term::note(format_args!(
            "warning: every user of this computer can read the secret in {0}; 'chmod 600 {0}' prevents it",
            path.shown()
        ));
    }
}
