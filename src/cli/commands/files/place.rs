//! From a PATH of the command line to the file that it names.

use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use fve::error::Error;
use fve::files::{FileError, FileName, FilePath, Files, Located};
use fve::shown::{Escaped, ShowPath, WithCauses};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;

/// How alike two names must be so that one is suggested for the other, from 0 to 1.
const ALIKE: f64 = 0.6;

/// Most names of a directory that are compared with one that does not exist.
const MAX_COMPARED: usize = 100_000;

/// Refuses SOURCE and paths in the wrong order: SOURCE does not exist here, but a PATH is a file or
/// device that does.
pub(super) fn check_order(source: &Path, arguments: &[OsString]) -> Result<(), Failure> {
    if source.exists() {
        return Ok(());
    }
    let is_source = |path: &Path| path.metadata().is_ok_and(|found| !found.is_dir());
    match arguments.iter().find(|word| is_source(Path::new(word))) {
        None => Ok(()),
        Some(word) => Err(Failure::Other {
            status: Status::Usage,
            what: format!(
                "there is no file for SOURCE, but {} is a file of this computer",
                Path::new(word).shown()
            ),
            help: Some("name SOURCE first, then the paths in the volume".to_owned()),
        }),
    }
}

/// The paths that the arguments mean; the root directory without any.
pub(super) fn paths(arguments: &[OsString]) -> Result<Vec<FilePath>, Failure> {
    if arguments.is_empty() {
        return Ok(vec![FilePath::root()]);
    }
    arguments.iter().map(|argument| path(argument)).collect()
}

/// The path that an argument means.
pub(super) fn path(argument: &OsStr) -> Result<FilePath, Failure> {
    FilePath::from_os_str(argument).ok_or_else(|| Failure::Other {
        status: Status::Io,
        what: format!(
            "no file has the name {}, which is not in UTF-8",
            Escaped(&argument.to_string_lossy())
        ),
        help: Some("give the name in UTF-8, as 'fve ls' prints it".to_owned()),
    })
}

/// The file that a path names. Links are followed.
pub(super) fn find(files: &Files, path: &FilePath) -> Result<Located, Failure> {
    found(files, path, files.find(path))
}

/// The same, but a link itself if the path names one.
pub(super) fn find_itself(files: &Files, path: &FilePath) -> Result<Located, Failure> {
    found(files, path, files.find_itself(path))
}

/// What was found, if it has the stream that the path names.
fn found(
    files: &Files,
    path: &FilePath,
    found: Result<Located, FileError>,
) -> Result<Located, Failure> {
    let found = found.map_err(|fault| not_found(files, path, fault))?;
    if let Some(stream) = &found.stream
        && matches!(files.open(found.id, Some(stream)), Err(FileError::NotFound))
    {
        return Err(Failure::Other {
            status: Status::Io,
            what: format!("{} has no stream named {stream}", found.path),
            help: Some("list its streams with 'fve ls --streams'".to_owned()),
        });
    }
    Ok(found)
}

/// A failure to do something with a file: `cannot read /a/b: it is encrypted…`.
pub(super) fn cannot(verb: &str, path: &FilePath, fault: &FileError) -> Failure {
    Failure::Other {
        status: Status::Io,
        what: format!("cannot {verb} {path}: {}", in_words(fault)),
        help: help(fault),
    }
}

/// Why something cannot be read, with all causes, in one line.
pub(super) fn in_words(fault: &FileError) -> String {
    match fault {
        // The errors of an unlocked volume say themselves that it cannot be read.
        FileError::Io(error) => read_error(error),
        other => WithCauses(other).to_string(),
    }
}

/// Why content cannot be read. A [`FileError`] or an [`Error`] may be inside.
pub(super) fn read_error(error: &io::Error) -> String {
    match error.get_ref() {
        Some(inner) => match inner.downcast_ref::<Error>() {
            Some(error) => error.with_causes().to_string(),
            None => WithCauses(inner).to_string(),
        },
        None => format!("the volume cannot be read: {}", WithCauses(error)),
    }
}

fn help(fault: &FileError) -> Option<String> {
    match fault {
        FileError::IsADirectory => {
            Some("list it with 'fve ls', or copy it with 'fve cp -r'".to_owned())
        }
        FileError::LeadsOutside { .. } => Some(
            "open the volume to which the link leads, and name the file there".to_owned(),
        ),
        FileError::Unreadable(fve::files::Unreadable::Efs) => Some(
            "decrypt the file in the Windows of its user, or use a program that takes the user's EFS key".to_owned(),
        ),
        _ => None,
    }
}

/// Why a path names no file: which of its names does not exist, and which name is similar.
fn not_found(files: &Files, path: &FilePath, fault: FileError) -> Failure {
    if !matches!(fault, FileError::NotFound | FileError::NotADirectory) {
        return cannot("open", path, &fault);
    }
    let mut reached = FilePath::root();
    let mut at = files.root();
    for name in path.names() {
        let next = reached.join(name.clone());
        match files.find(&next) {
            Ok(found) if found.kind != fve::files::FileKind::Directory && next != *path => {
                return Failure::Other {
                    status: Status::Io,
                    what: format!("cannot open {path}: {next} is not a directory"),
                    help: Some(format!("leave out what follows {next}")),
                };
            }
            Ok(found) => {
                at = found.id;
                reached = next;
            }
            Err(FileError::NotFound) => {
                let what = match next == *path {
                    true => format!("there is no file {path} in the volume"),
                    false => {
                        format!("there is no file {path} in the volume: {next} does not exist")
                    }
                };
                let help = match nearest(files, at, name) {
                    Some(similar) => format!("check the name: {reached} holds '{similar}'"),
                    None => format!("list the names in {reached} with 'fve ls'"),
                };
                return Failure::Other {
                    status: Status::Io,
                    what,
                    help: Some(help),
                };
            }
            Err(other) => return cannot("open", &next, &other),
        }
    }
    cannot("open", path, &fault)
}

/// The name in a directory that is most like one that does not exist.
fn nearest(files: &Files, directory: fve::files::FileId, name: &FileName) -> Option<FileName> {
    let wanted = name.to_text_lossy().to_lowercase();
    let mut best: Option<(f64, FileName)> = None;
    let mut left = MAX_COMPARED;
    // What can be read of the directory is enough for a suggestion.
    let _ = files.list(directory, &mut |entry| {
        if files.is_internal(&entry) {
            return ControlFlow::Continue(());
        }
        let likeness = strsim::normalized_damerau_levenshtein(
            &wanted,
            &entry.name.to_text_lossy().to_lowercase(),
        );
        if likeness >= best.as_ref().map_or(ALIKE, |(most, _)| *most) {
            best = Some((likeness, entry.name));
        }
        left -= 1;
        match left {
            0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    best.map(|(_, name)| name)
}
