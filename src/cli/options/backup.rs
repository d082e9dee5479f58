//! Backups of a volume's metadata: on request, and while it is changed.

use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::cli::output::term;
use fve::enroll::save_key;
use fve::error::Error;
use fve::manage::Backup;
use fve::manage::Managed;
use fve::secret::SecretBytes;
use fve::shown::ShowPath;
use fve::volume::Volume;

/// Saves a backup in a new file.
///
/// # Errors
/// There is such a file, or it cannot be written.
pub(crate) fn save(path: &Path, backup: &Backup) -> Result<(), Error> {
    save_key(path, &SecretBytes::new(backup.to_bytes())).map_err(|error| match error {
        Error::Io { source, .. } => Error::io(
            format!("cannot save the backup in {}", path.shown()),
            source,
        ),
        other => other,
    })
}

/// A backup that exists while a change is made.
pub(crate) struct BeforeChange {
    backup: Backup,
    /// The file, unless none could be written.
    path: Option<PathBuf>,
    /// Whether somebody asked for it.
    keep: bool,
}

/// Takes a backup before the first change: in the file that was named, which stays; else in the
/// user's state directory, from where it goes when the change is made. It would open with
/// credentials that the change may just have removed.
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
            "there is no place for a backup of the metadata while it is changed; --backup FILE names one",
        );
    }
    Ok(BeforeChange {
        backup,
        path: saved,
        keep: false,
    })
}

/// Where the command keeps what it needs for a while, or could not put where it was to go.
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
    /// The change is made and was read back.
    pub(crate) fn done(self) {
        if let Some(path) = self.path.filter(|_| !self.keep) {
            // What is left behind is only an encrypted copy of the old metadata.
            let _ = std::fs::remove_file(path);
        }
    }

    /// The change failed. Where nothing was written, the backup is of no use.
    pub(crate) fn failed(self, managed: &Managed) {
        match &self.path {
            Some(path) if !managed.is_as_in(&self.backup) => term::note(format_args!(
                "the metadata as it was is saved in {}; 'fve metadata restore' brings it back",
                path.shown()
            )),
            _ => self.done(),
        }
    }
}
