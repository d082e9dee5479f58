//! Private directories: where a volume is mounted whose files another driver shows.
//!
//! The one for the files on `/mnt/c` is `/run/fve/mounts/mnt-c`. Its name is the path of the files, so
//! that each of the two mounts leads to the other, also if only one of them is left. In the name, `-`
//! stands for a slash, and `%` with two hexadecimal digits for any other byte that is not a letter, a
//! digit, `_` or `.`.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use fve::error::Error;
use fve::shown::ShowPath;
use fve::source::MountEntry;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat};
use rustix::io::{Errno, Result};
use rustix::process::geteuid;

use super::refused;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;

/// Where the directories can be; the first of these that can be used is. All of them exist.
const PLACES: &[&str] = &["/run", "/var/lib", "/tmp"];
/// The directory of ours in one of them. Others may enter it: services keep mount points there.
const OWN: &str = "fve";
const OPEN: Mode = Mode::from_raw_mode(0o755);
/// The directory with all private directories.
const FOLDER: &str = "mounts";
const CLOSED: Mode = Mode::from_raw_mode(0o700);
/// Permissions of the group and of others to write.
const OTHERS_WRITE: u32 = 0o022;

/// Longest name of a file on Linux, in bytes.
const MAX_NAME: usize = 255;
/// How often it is tried to make a directory while another process removes the one above it.
const TRIES: usize = 10;

/// A private directory that nothing is mounted on yet. While it exists, no other process can use it.
#[derive(Debug)]
pub(crate) struct PrivateDirectory {
    path: PathBuf,
    _lock: OwnedFd,
}

impl PrivateDirectory {
    /// Makes the one for files on `shown`, an absolute path without links.
    pub(crate) fn make(shown: &Path) -> std::result::Result<Self, Failure> {
        let Some(name) = name_of(shown) else {
            return Err(Failure::Other {
                status: Status::Usage,
                what: format!("the path of the mount point {} is too long", shown.shown()),
                help: Some("mount on a directory with a shorter path".to_owned()),
            });
        };
        if candidates(shown).any(|path| matches!(MountEntry::at(&path), Ok(Some(_)))) {
            return Err(refused(
                format!(
                    "an earlier mount on {} was not unmounted completely",
                    shown.shown()
                ),
                format!("unmount the rest of it: fve unmount {}", shown.shown()),
            ));
        }
        let mut first = None;
        for place in PLACES {
            match Self::make_in(place, &name) {
                Ok(made) => return Ok(made),
                Err(Errno::WOULDBLOCK) => {
                    return Err(refused(
                        format!("another fve is mounting on {}", shown.shown()),
                        "wait until that has ended, then try again",
                    ));
                }
                Err(error) => drop(first.get_or_insert((place, error))),
            }
        }
        let (place, error) = first.unwrap_or((&OWN, Errno::NOENT));
        let what = format!("cannot make a private directory in {place}");
        Err(Error::io(what, error.into()).into())
    }

    /// Its absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn make_in(place: &str, name: &OsStr) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place_opened = openat(CWD, place, flags, Mode::empty())?;
        let mut tries = 0;
        let directory = loop {
            let made = child(&place_opened, OsStr::new(OWN), OPEN)
                .and_then(|own| child(own, OsStr::new(FOLDER), CLOSED))
                .and_then(|folder| child(folder, name, CLOSED));
            tries += 1;
            match made {
                Err(Errno::NOENT) if tries < TRIES => {}
                other => break other?,
            }
        };
        flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self {
            path: folder(place).join(name),
            _lock: directory,
        })
    }
}

/// Whether a server uses this private directory, and nothing is mounted on it: it has not mounted yet, or
/// is about to end.
pub(super) fn is_locked(private: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(CWD, private, flags, Mode::empty());
    opened.is_ok_and(|directory| {
        flock(&directory, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    })
}

/// Opens a directory in another one, which is made if it does not exist. A link is not followed, and
/// one of another user is refused.
fn child(parent: impl AsFd, name: &OsStr, mode: Mode) -> Result<OwnedFd> {
    match mkdirat(&parent, name, mode) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(parent, name, flags, Mode::empty())?;
    let found = fstat(&opened)?;
    match found.st_uid == geteuid().as_raw() && found.st_mode & OTHERS_WRITE == 0 {
        true => Ok(opened),
        false => Err(Errno::ACCESS),
    }
}

fn folder(place: &str) -> PathBuf {
    Path::new(place).join(OWN).join(FOLDER)
}

/// The private directories that files on `shown` may have.
pub(super) fn candidates(shown: &Path) -> impl Iterator<Item = PathBuf> {
    let name = name_of(shown);
    PLACES
        .iter()
        .filter_map(move |place| Some(folder(place).join(name.as_ref()?)))
}

/// Where the files are shown to which a private directory belongs; `None` for any other directory.
pub(crate) fn shown_on(private: &Path) -> Option<PathBuf> {
    let parent = private.parent()?;
    PLACES
        .iter()
        .any(|place| folder(place) == parent)
        .then(|| private.file_name().and_then(path_of))
        .flatten()
}

/// Removes a private directory, and those above it that are empty. Nothing may be mounted on it.
pub(crate) fn remove(private: &Path) {
    for directory in private.ancestors().take(3) {
        if std::fs::remove_dir(directory).is_err() {
            return;
        }
    }
}

/// The name of the private directory for files on this path. `None` if it would be too long.
fn name_of(shown: &Path) -> Option<OsString> {
    let path = shown.as_os_str().as_bytes();
    let mut name = Vec::new();
    for byte in path.strip_prefix(b"/").unwrap_or(path) {
        match byte {
            b'/' => name.push(b'-'),
            b'.' if name.is_empty() => name.extend(b"%2e"),
            b'.' | b'_' => name.push(*byte),
            _ if byte.is_ascii_alphanumeric() => name.push(*byte),
            _ => name.extend(format!("%{byte:02x}").into_bytes()),
        }
    }
    let fits = !name.is_empty() && name.len() <= MAX_NAME;
    fits.then(|| OsString::from_vec(name))
}

/// The path in a name.
fn path_of(name: &OsStr) -> Option<PathBuf> {
    let mut path = vec![b'/'];
    let mut rest = name.as_bytes().iter();
    while let Some(byte) = rest.next() {
        path.push(match byte {
            b'-' => b'/',
            b'%' => {
                let digits = [*rest.next()?, *rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => *byte,
        });
    }
    let path = PathBuf::from(OsString::from_vec(path));
    (name_of(&path).as_deref() == Some(name)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_path_of_the_files() {
        for (path, name) in [
            ("/mnt/c", "mnt-c"),
            ("/mnt/my disk-1", "mnt-my%20disk%2d1"),
            ("/.hidden/ü", "%2ehidden-%c3%bc"),
            ("/a/.b_c", "a-.b_c"),
            ("/100%", "100%25"),
        ] {
            assert_eq!(name_of(Path::new(path)).unwrap(), name);
            assert_eq!(path_of(OsStr::new(name)).unwrap(), Path::new(path));
        }
        assert_eq!(name_of(Path::new("/")), None);
        assert_eq!(name_of(Path::new(&format!("/{}", "a".repeat(256)))), None);
        for name in ["mnt%2", "mnt%zz", "mnt%2Fc", "a b", ""] {
            assert_eq!(path_of(OsStr::new(name)), None, "{name}");
        }
    }

    #[test]
    fn only_private_directories_belong_to_files() {
        let shown = |path: &str| shown_on(Path::new(path));
        assert_eq!(
            shown("/run/fve/mounts/mnt-c"),
            Some(PathBuf::from("/mnt/c"))
        );
        assert_eq!(shown("/run/fve/mnt-c"), None);
        assert_eq!(shown("/home/run/fve/mounts/mnt-c"), None);
        assert!(candidates(Path::new("/mnt/c")).any(|path| shown_on(&path).is_some()));
    }
}
