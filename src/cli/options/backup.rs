//! Backups of the metadata of a volume: on request, and during a change.

use std::path::{Path, PathBuf};

use fve::enroll::save_key;
use fve::error::Error;
use fve::manage::Backup;
use fve::manage::Managed;
use fve::secret::SecretBytes;
use fve::shown::ShowPath;
use fve::volume::Volume;

use crate::cli::failure::Failure;
use crate::cli::output::term;

/// Saves a backup in a new file.
///
/// # Errors
/// The file exists, or cannot be written.
pub(crate) fn save(path: &Path, backup: &Backup) -> Result<(), Error> {
    save_key(path, &SecretBytes::new(backup.to_bytes())).map_err(|error| match error {
        Error::Io { source, .. } => Error::io(
            format!("cannot save the backup in {}", path.shown()),
            source,
        ),
        other => other,
    })
}

/// A backup for the time of a change.
pub(crate) struct BeforeChange {
    backup: Backup,
    /// Its file; `None` if it could not be written.
    path: Option<PathBuf>,
    /// Whether the user named the file.
    keep: bool,
}

/// Saves a backup before the first change: in the file that the user named, which is kept, or in the
/// state directory of the user, where it is deleted after the change. It could be unlocked with
/// credentials that the change removes.
pub(crate) fn before_change(volume: &Volume, file: Option<&Path>) -> Result<BeforeChange, Failure> {
    let backup = Backup::of(volume)?;
    if let Some(path) = file {
        save(path, &backup)?;
        return Ok(BeforeChange {
            backup,
            path: Some(path.to_owned()),
            keep: true,
        });
    }
    let saved = state_directory().and_then(|directory| {
        let name = format!("{:X}-{}.fvemeta", backup.volume_id(), std::process::id());
        let path = directory.join(name);
        std::fs::create_dir_all(&directory).ok()?;
        save(&path, &backup).ok().map(|()| path)
    });
    if saved.is_none() {
        term::note(
            "cannot save a backup of the metadata during the change; give a file with --backup-to FILE",
        );
    }
    Ok(BeforeChange {
        backup,
        path: saved,
        keep: false,
    })
}

/// The directory for temporary files of a command, and for output that could not be saved elsewhere.
pub(crate) fn state_directory() -> Option<PathBuf> {
    let of = |name| std::env::var_os(name).map(PathBuf::from);
    let absolute = |path: &PathBuf| path.is_absolute();
    of("XDG_STATE_HOME")
        .filter(absolute)
        .or_else(|| {
            of("HOME")
                .filter(absolute)
                .map(|home| home.join(".local/state"))
        })
        .map(|state| state.join("fve"))
}

impl BeforeChange {
    /// After the change was made and read back: deletes the backup, unless the user asked for it.
    pub(crate) fn done(self) {
        if let Some(path) = self.path.filter(|_| !self.keep) {
            // If this fails, a copy of the old metadata stays, whose keys are encrypted.
            let _ = std::fs::remove_file(path);
        }
    }

    /// After the change failed: keeps the backup if the metadata was modified.
    pub(crate) fn failed(self, managed: &Managed) {
        match &self.path {
            Some(path) if !managed.is_as_in(&self.backup) => term::note(format_args!(
                "the previous metadata is saved in {}; 'fve metadata restore' restores it",
                path.shown()
            )),
            _ => self.done(),
        }
    }
}
