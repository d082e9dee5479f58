//! The files for the password that a search finds. They are created before the search begins, so
//! that hours of searching do not end with a password that cannot be saved.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fve::enroll::{RecoveryFile, save_key};
use fve::guid::Guid;
use fve::output::{NewFile, check_new, check_new_in};
use fve::unlock::search::Hit;

use super::SearchArgs;
use super::plan::Plan;
use crate::cli::failure::Failure;
use crate::cli::output::term;

/// Empty files, removed again unless they are filled.
pub(super) struct SaveFiles(Vec<(Option<Guid>, NewFile)>);

impl SaveFiles {
    /// Refuses paths that cannot be written, before anything is asked for or measured.
    pub(super) fn check(args: &SearchArgs) -> Result<(), Failure> {
        match &args.recovery_password_to {
            Some(path) if path.is_dir() => Ok(check_new_in(path)?),
            Some(path) if !is_left_over(args, path) => Ok(check_new(path)?),
            _ => Ok(()),
        }
    }

    /// Creates the file; in a directory, one for each key protector that the password may belong
    /// to.
    pub(super) fn create(args: &SearchArgs, plan: &Plan<'_>) -> Result<Self, Failure> {
        let create = |path: &Path| {
            if is_left_over(args, path) {
                let _ = std::fs::remove_file(path);
            }
            NewFile::create(path)
        };
        let mut files = Vec::new();
        match &args.recovery_password_to {
            None => {}
            Some(directory) if directory.is_dir() => {
                for id in plan.search.protectors() {
                    let path = RecoveryFile::path_in(directory, id);
                    files.push((Some(id), create(&path)?));
                }
            }
            Some(path) => files.push((None, create(path)?)),
        }
        Ok(Self(files))
    }

    /// Saves the password in the format of Windows, or elsewhere if that fails. Returns the path of
    /// the file, and the error of the first attempt.
    pub(super) fn save(
        self,
        args: &SearchArgs,
        hit: &Hit,
    ) -> (Option<PathBuf>, Result<(), Failure>) {
        let belongs = |id: &Option<Guid>| id.is_none_or(|id| id == hit.protector);
        let Some((_, place)) = self.0.into_iter().find(|(id, _)| belongs(id)) else {
            return (None, Ok(()));
        };
        let content = RecoveryFile::new(hit.protector, &hit.password).content;
        let path = place.path().to_owned();
        match place.fill(content.expose()) {
            Ok(()) => (Some(path), Ok(())),
            Err(error) => (save_elsewhere(args, hit), Err(error.into())),
        }
    }
}

/// Whether this empty file was left by a search that was killed and is now continued from its
/// checkpoint.
fn is_left_over(args: &SearchArgs, path: &Path) -> bool {
    let goes_on = args.checkpoint.as_ref().is_some_and(|path| path.is_file());
    let own = rustix::process::geteuid().as_raw();
    goes_on
        && path
            .symlink_metadata()
            .is_ok_and(|meta| meta.is_file() && meta.len() == 0 && meta.uid() == own)
}

/// Saves the password in the user's state directory or, if that fails too, in a file that the user
/// names.
fn save_elsewhere(args: &SearchArgs, hit: &Hit) -> Option<PathBuf> {
    let content = RecoveryFile::new(hit.protector, &hit.password).content;
    let saved = crate::cli::options::backup::state_directory().and_then(|directory| {
        std::fs::create_dir_all(&directory).ok()?;
        let path = RecoveryFile::path_in(&directory, hit.protector);
        save_key(&path, &content).ok().map(|()| path)
    });
    if saved.is_some() || args.show {
        return saved;
    }
    while term::can_ask() {
        let question = "The password was found but cannot be saved. Name another new file for it: ";
        let answer = term::ask(question).ok()?;
        let path = PathBuf::from(answer.trim());
        if answer.is_empty() {
            // End of input.
            break;
        }
        match save_key(&path, &content) {
            Ok(()) => return Some(path),
            Err(error) => term::say(error.with_causes()),
        }
    }
    let kept = match args.checkpoint {
        Some(_) => "the checkpoint is kept: the same search finds the password again at once",
        None => "--show prints it",
    };
    term::say(format_args!("the password was not saved; {kept}"));
    None
}
