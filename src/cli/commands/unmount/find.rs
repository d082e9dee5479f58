//! Which mount the user means: by its directory, also through a link, by the file in it, or by what was
//! mounted.

use std::path::{Path, PathBuf};

use fve::error::Error;
use fve::shown::ShowPath;
use fve::source::{MountEntry, is_nbd_address};
use serde_json::json;

use super::FILE_NAMES;
use super::layers::{Layers, is_fve};
use super::private;
use crate::cli::every_volume;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::mapped;
use crate::cli::output::json::document;
use crate::cli::output::term::{self, escaped};

/// Most links that are followed, as in the kernel.
const MAX_LINKS: usize = 40;

/// Whether the path is that of the file with the volume in this mount.
fn is_shown_in(entry: &MountEntry, path: &Path) -> bool {
    let mut names = FILE_NAMES.iter();
    names.any(|name| entry.directory.join(name) == path)
}

/// The mount that `word` names, with its layers.
pub(super) fn find(word: &Path) -> Result<Layers, Failure> {
    let path = match at_mount_point(word)? {
        Place::Mounted(entry) => {
            let other = not_meant(
                format!(
                    "{} is a mount of another kind ({})",
                    entry.directory.shown(),
                    escaped(&entry.kind.to_string_lossy())
                ),
                format!("umount {}", entry.directory.shown()),
            );
            return Layers::of(entry).ok_or(other);
        }
        Place::Other(path) => path,
    };
    if let Some(left) = Layers::left_of(&path) {
        return Ok(left);
    }
    let mut meant: Vec<_> = all()?
        .into_iter()
        .filter(|entry| is_shown_in(entry, &path) || is_source(entry, &path))
        .map(|entry| Layers::on_own(entry.directory))
        .collect();
    match (meant.pop(), meant.is_empty()) {
        (None, _) => Err(not_meant(
            format!("nothing is mounted on {}", path.shown()),
            match is_mapping(word) {
                true => "it is the name of a mapping: 'fve unmap' removes those",
                false => "'fve unmount' without DIR lists what is mounted",
            },
        )),
        (Some(layers), true) => {
            term::note(format_args!("unmounting {}", layers.directory.shown()));
            Ok(layers)
        }
        (Some(layers), false) => {
            meant.push(layers);
            let directories: Vec<_> = meant
                .iter()
                .map(|layers| layers.directory.shown().to_string())
                .collect();
            Err(not_meant(
                format!("{} is mounted on {}", path.shown(), directories.join(", ")),
                "name the directory to unmount",
            ))
        }
    }
}

/// Whether a word is the name or the path of a mapping of a volume.
fn is_mapping(word: &Path) -> bool {
    let directory = Path::new("/dev/mapper");
    let name = word.strip_prefix(directory).unwrap_or(word);
    name.components().count() == 1 && mapped::is_ours(&directory.join(name))
}

/// The mounts of all volumes of a disk below a directory on which nothing is mounted.
pub(super) fn below(word: &Path) -> Result<Vec<PathBuf>, Failure> {
    if is_nbd_address(word) {
        return Ok(Vec::new());
    }
    let directory = absolute(word)?;
    let mounts = all()?;
    if mounts.iter().any(|entry| shown_on(entry) == directory) {
        return Ok(Vec::new());
    }
    let shown = mounts.iter().map(shown_on);
    Ok(shown
        .filter(|shown| shown.parent() == Some(&directory) && every_volume::is_place(shown))
        .collect())
}

/// The failure for an argument that does not name one mount of fve.
fn not_meant(what: String, help: impl Into<String>) -> Failure {
    Failure::Other {
        status: Status::Usage,
        what,
        help: Some(help.into()),
    }
}

/// Lists the mounts.
pub(super) fn list(as_document: bool) -> Result<(), Failure> {
    let mounts = all()?;
    if as_document {
        let mounts = mounts.iter().map(|entry| {
            json!({
                "directory": shown_on(entry).to_string_lossy(),
                "source": entry.source.to_string_lossy(),
            })
        });
        return term::print(&document(&json!({ "mounts": mounts.collect::<Vec<_>>() })));
    }
    if mounts.is_empty() {
        term::note("nothing is mounted by fve");
    }
    let lines = mounts.iter().map(|entry| {
        let source = Path::new(&entry.source);
        format!("{}\t{}\n", shown_on(entry).shown(), source.shown())
    });
    term::print(&lines.collect::<String>())
}

/// Where the user sees a mount of fve.
fn shown_on(entry: &MountEntry) -> PathBuf {
    private::shown_on(&entry.directory).unwrap_or_else(|| entry.directory.clone())
}

/// All mounts of fve.
fn all() -> Result<Vec<MountEntry>, Failure> {
    let all = MountEntry::list().map_err(unreadable)?;
    Ok(all.into_iter().filter(is_fve).collect())
}

fn unreadable(error: std::io::Error) -> Failure {
    Error::io("cannot read the mount table", error).into()
}

/// Whether `path` is what was mounted.
fn is_source(mounted: &MountEntry, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let source = Path::new(&mounted.source);
    if !source.is_absolute() {
        return source == path && is_nbd_address(path);
    }
    let identity = |path: &Path| {
        let meta = path.metadata().ok()?;
        Some((meta.dev(), meta.ino(), meta.rdev()))
    };
    let same_device = |(_, _, one): (u64, u64, u64), (_, _, other)| one != 0 && one == other;
    source == path
        || match (identity(source), identity(path)) {
            (Some(one), Some(other)) => one == other || same_device(one, other),
            _ => false,
        }
}

/// What is at a path.
enum Place {
    Mounted(MountEntry),
    /// Nothing is mounted there. The path has no link in it.
    Other(PathBuf),
}

/// Follows links to a mount point. The mount itself is not looked at: if its server has ended, every
/// access fails.
fn at_mount_point(word: &Path) -> Result<Place, Failure> {
    if is_nbd_address(word) {
        return Ok(Place::Other(word.to_owned()));
    }
    let mut path = absolute(word)?;
    for _ in 0..MAX_LINKS {
        if let Some(entry) = MountEntry::at(&path).map_err(unreadable)? {
            return Ok(Place::Mounted(entry));
        }
        let Ok(target) = std::fs::read_link(&path) else {
            break;
        };
        path = absolute(&path.parent().unwrap_or(Path::new("/")).join(target))?;
    }
    Ok(Place::Other(path))
}

/// The absolute path, with links resolved up to the parent directory.
fn absolute(word: &Path) -> Result<PathBuf, Failure> {
    let fail = |error| Error::io(format!("cannot find {}", word.shown()), error);
    // `.` and `..` have no name: they are directories, and no links.
    let absolute = match word.file_name() {
        None => std::env::current_dir()
            .map_err(fail)?
            .join(word)
            .canonicalize()
            .map_err(fail)?,
        Some(_) => std::path::absolute(word).map_err(fail)?,
    };
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => match parent.canonicalize() {
            Ok(parent) => Ok(parent.join(name)),
            // The server of a mount on the way has ended, as for DIR/volume.
            Err(_) if MountEntry::at(parent).is_ok_and(|entry| entry.is_some()) => Ok(absolute),
            Err(error) => Err(fail(error).into()),
        },
        _ => Ok(absolute),
    }
}
