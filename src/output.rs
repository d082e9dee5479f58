//! Files that are written whole or not at all.
//!
//! * [`NewFile`] is created under its final name before the work, so that an obstacle is found early.
//!   It is removed again if the work fails.
//! * [`PartialFile`] is renamed to its final name when it is complete; until then, its name ends in
//!   `.partial`.
//! * [`replace`] replaces a small file atomically.
//!
//! All of them are created exclusively, never through a symbolic link, and only their owner can read
//! them.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FallocateFlags, FlockOperation, RenameFlags};
use rustix::io::Errno;

use crate::error::{Error, Remedy, Result};
use crate::shown::ShowPath;

/// Mode of files with plaintext or keys: only the owner can read them.
const PRIVATE: u32 = 0o600;
/// Mode of files without secrets, limited by the umask.
#[cfg(feature = "network-server")]
const PUBLIC: u32 = 0o666;

/// Bytes reserved for a new file: more than any saved secret needs.
const RESERVED: u64 = 4096;

/// Creates a file for reading and writing, which only its owner can read.
///
/// # Errors
/// [`Error::OutputRefused`] if the name exists, even as a dangling link; [`Error::Io`] if the file
/// cannot be created.
pub fn create_new(path: &Path) -> Result<File> {
    create_with(path, PRIVATE)
}

fn create_with(path: &Path, mode: u32) -> Result<File> {
    check_name(path)?;
    // O_EXCL does not follow a symbolic link in the last component.
    let made = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => cannot_create(path, error),
    })
}

/// Checks whether a file could be created at `path`, without creating it.
///
/// # Errors
/// As [`create_new`].
pub fn check_new(path: &Path) -> Result<()> {
    check_name(path)?;
    if path.symlink_metadata().is_ok() {
        return Err(exists(path));
    }
    check_directory(directory_of(path)).map_err(|error| cannot_create(path, error))
}

/// The same for a file in `directory` whose name is not known yet.
pub fn check_new_in(directory: &Path) -> Result<()> {
    check_directory(directory).map_err(|error| cannot_create(&directory.join("…"), error))
}

fn check_directory(directory: &Path) -> io::Result<()> {
    if !directory.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(rustix::fs::accessat(
        CWD,
        directory,
        access,
        AtFlags::EACCESS,
    )?)
}

/// Refuses names that are most likely a mistake.
fn check_name(path: &Path) -> Result<()> {
    if path == Path::new("-") {
        return Err(refused(
            "'-' is not a file name, and this output cannot be written to standard output",
            "name a new file",
        ));
    }
    // The device does not exist. A regular file in /dev would be in memory and fill it.
    let directory = directory_of(path).canonicalize().unwrap_or_default();
    if directory.starts_with("/dev") && !directory.starts_with("/dev/shm") && !path.exists() {
        return Err(refused(
            format!("there is no device {}", path.shown()),
            "check its name and connection; 'lsblk' lists the devices",
        ));
    }
    Ok(())
}

/// The error for a name that exists.
pub fn exists(path: &Path) -> Error {
    refused(
        format!("{} already exists", path.shown()),
        "name a file that does not exist yet",
    )
}

fn refused(what: impl Into<String>, remedy: impl Into<Remedy>) -> Error {
    Error::OutputRefused {
        what: what.into(),
        remedy: Some(remedy.into()),
    }
}

fn cannot_create(path: &Path, error: io::Error) -> Error {
    Error::io(format!("cannot create {}", path.shown()), error)
}

/// A new file that is removed again unless its content is written.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl NewFile {
    /// Creates the file and reserves space for some thousand bytes, if the file system supports it.
    ///
    /// # Errors
    /// As [`create_new`].
    pub fn create(path: &Path) -> Result<Self> {
        Self::with_mode(path, PRIVATE)
    }

    /// The same for a file without secrets, which other users may read as far as the umask allows.
    ///
    /// # Errors
    /// As [`create_new`].
    #[cfg(feature = "network-server")]
    pub fn create_public(path: &Path) -> Result<Self> {
        Self::with_mode(path, PUBLIC)
    }

    fn with_mode(path: &Path, mode: u32) -> Result<Self> {
        let file = create_with(path, mode)?;
        // If this fails for lack of space, the write fails, too, and reports it.
        let _ = rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, RESERVED);
        Ok(Self {
            file,
            path: path.to_owned(),
            kept: false,
        })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the content. When this returns, the file is complete and on stable storage.
    ///
    /// # Errors
    /// [`Error::Io`]; the file is then removed.
    pub fn fill(mut self, content: &[u8]) -> Result<()> {
        let written = self
            .file
            .write_all(content)
            .and_then(|()| self.file.set_len(content.len() as u64))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| sync_directory_of(&self.path));
        written.map_err(|error| cannot_write(&self.path, error))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn cannot_write(path: &Path, error: io::Error) -> Error {
    Error::io(format!("cannot write {}", path.shown()), error)
}

/// A file that gets its final name only when it is complete.
#[derive(Debug)]
pub struct PartialFile {
    file: File,
    /// The path until it is complete.
    partial: PathBuf,
    /// The final path.
    path: PathBuf,
    replaces: bool,
    removed: bool,
}

/// `path` with a suffix appended to its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The suffix of incomplete files.
pub const PARTIAL: &str = ".partial";

impl PartialFile {
    /// Creates the file. With `replace`, it will replace an existing file and keep its mode; an
    /// incomplete file of an earlier run is removed.
    ///
    /// # Errors
    /// [`Error::OutputRefused`] without `replace` if the file exists, complete or not; and if another
    /// process writes it. [`Error::Io`] if it cannot be created.
    pub fn create(path: &Path, replace: bool) -> Result<Self> {
        check_name(path)?;
        let (path, mode) = place(path, replace)?;
        let partial = with_suffix(&path, PARTIAL);
        if replace && let Ok(left) = open_regular(&partial) {
            lock(&left, &partial)?;
            std::fs::remove_file(&partial).map_err(|error| cannot_create(&partial, error))?;
        }
        let file = create_new(&partial)?;
        let unfinished = Self {
            file,
            partial,
            path,
            replaces: replace,
            removed: false,
        };
        let fail = |error| cannot_create(&unfinished.partial, error);
        lock(&unfinished.file, &unfinished.partial)?;
        if let Some((mode, owner, group)) = mode {
            // Fails if this process may not change the owner; the file then belongs to its user.
            let _ = std::os::unix::fs::fchown(&unfinished.file, Some(owner), Some(group));
            let permissions = std::fs::Permissions::from_mode(mode);
            unfinished.file.set_permissions(permissions).map_err(fail)?;
        }
        Ok(unfinished)
    }

    /// Opens the incomplete file of an earlier run to continue it; `None` if there is none.
    ///
    /// # Errors
    /// As [`PartialFile::create`]; [`Error::OutputRefused`] also if it is not a regular file.
    pub fn reopen(path: &Path, replace: bool) -> Result<Option<Self>> {
        check_name(path)?;
        let (path, _) = place(path, replace)?;
        let partial = with_suffix(&path, PARTIAL);
        if partial.symlink_metadata().is_err() {
            return Ok(None);
        }
        let file = open_regular(&partial).map_err(|error| cannot_create(&partial, error))?;
        lock(&file, &partial)?;
        Ok(Some(Self {
            file,
            partial,
            path,
            replaces: replace,
            removed: false,
        }))
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The path until it is complete.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Finishes the file: when this returns, it is on stable storage under its final name.
    ///
    /// # Errors
    /// [`Error::Io`]. If the flush fails, the file is removed. If the final name is taken, the file
    /// keeps its partial name.
    pub fn finish(mut self) -> Result<()> {
        let fail = |error| cannot_write(&self.path, error);
        self.file.sync_all().map_err(fail)?;
        let renamed = match self.replaces {
            true => std::fs::rename(&self.partial, &self.path),
            false => rename_new(&self.partial, &self.path),
        };
        // From here on the content is complete, so the file stays even if the rename failed.
        self.removed = true;
        renamed.map_err(|error| {
            let (partial, path) = (self.partial.shown(), self.path.shown());
            let what = format!("{partial} is complete, but cannot be renamed to {path}");
            Error::io(what, error)
        })?;
        sync_directory_of(&self.path).map_err(fail)
    }

    /// Writes the whole content and finishes the file.
    ///
    /// # Errors
    /// As [`PartialFile::finish`].
    pub fn fill(self, content: &[u8]) -> Result<()> {
        let written = (&self.file).write_all(content);
        written.map_err(|error| cannot_write(&self.partial, error))?;
        self.finish()
    }

    /// Keeps the incomplete file, for a later run to continue.
    pub fn leave(mut self) {
        self.removed = true;
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.removed {
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

/// Mode, owner and group of a file that is replaced.
type Ownership = (u32, u32, u32);

/// The final path, and the ownership of the file that is replaced, if there is one.
fn place(path: &Path, replace: bool) -> Result<(PathBuf, Option<Ownership>)> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((path.to_owned(), None)),
        Err(error) => Err(cannot_create(path, error)),
        Ok(_) if !replace => Err(exists(path)),
        Ok(_) => {
            // A symbolic link stays, and its target is replaced.
            let fail = |error| cannot_create(path, error);
            let real = path.canonicalize().map_err(fail)?;
            let old = real.metadata().map_err(fail)?;
            if !old.is_file() {
                return Err(refused(
                    format!("{} is not a regular file", path.shown()),
                    "name a file",
                ));
            }
            let ownership = (old.mode() & 0o777, old.uid(), old.gid());
            Ok((real, Some(ownership)))
        }
    }
}

/// Opens an existing regular file that belongs to the user and has no other name. A file that another
/// user made could be read by that user.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path)?;
    let metadata = file.metadata()?;
    let own = rustix::process::geteuid().as_raw();
    if !metadata.is_file() || metadata.nlink() != 1 || metadata.uid() != own {
        return Err(io::Error::other(
            "it is not a regular file of your own with a single name",
        ));
    }
    Ok(file)
}

/// Locks the file, so that two processes never write to it.
fn lock(file: &File, path: &Path) -> Result<()> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(refused(
            format!("{} is being written by another program", path.shown()),
            "wait for it, or name another file",
        )),
        // Some file systems do not support locks.
        _ => Ok(()),
    }
}

/// Renames a file unless the new name exists.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system does not support NOREPLACE, so the check and the rename are two steps.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(from, to)
        }
        other => Ok(other?),
    }
}

/// Creates or replaces a small file atomically. When this returns, the file is on stable storage.
///
/// # Errors
/// The error of the operating system; the old file is then unchanged.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = with_suffix(path, ".new");
    // Removes what a killed run left. A symbolic link itself is removed, not its target.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(&new)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&new, path))
        .and_then(|()| sync_directory_of(path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Flushes the directory of a file, so that its name is on stable storage, too.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    match File::open(directory_of(path))?.sync_all() {
        // Some network file systems cannot flush a directory.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_private_and_removed_unless_its_content_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let file = NewFile::create(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(path.metadata().unwrap().len(), 0);
        drop(file);
        assert!(!path.exists());
        NewFile::create(&path).unwrap().fill(b"content").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        let again = NewFile::create(&path);
        assert!(matches!(again, Err(Error::OutputRefused { .. })));
        assert!(matches!(check_new(&path), Err(Error::OutputRefused { .. })));
    }

    #[test]
    fn creates_nothing_through_a_symbolic_link() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = directory.path().join("elsewhere");
        let link = directory.path().join("link");
        symlink(&elsewhere, &link).unwrap();
        assert!(NewFile::create(&link).is_err());
        assert!(check_new(&link).is_err());
        assert!(PartialFile::create(&link, false).is_err());
        assert!(PartialFile::create(&link, true).is_err());
        assert!(!elsewhere.exists());
        // Nor temporary files.
        let path = directory.path().join("record");
        symlink(&elsewhere, with_suffix(&path, ".new")).unwrap();
        replace(&path, b"record").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"record");
        let out = directory.path().join("out");
        symlink(&elsewhere, with_suffix(&out, PARTIAL)).unwrap();
        assert!(PartialFile::create(&out, false).is_err());
        assert!(PartialFile::reopen(&out, false).is_err());
        assert!(!elsewhere.exists());
    }

    #[test]
    fn a_partial_file_gets_its_final_name_when_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let partial = directory.path().join("out.partial");
        let file = PartialFile::create(&path, false).unwrap();
        assert!(partial.exists() && !path.exists());
        assert!(matches!(
            PartialFile::create(&path, true),
            Err(Error::OutputRefused { .. })
        ));
        drop(file);
        assert!(!partial.exists());
        let file = PartialFile::create(&path, false).unwrap();
        file.file().write_all(b"half").unwrap();
        file.leave();
        assert!(PartialFile::create(&path, false).is_err());
        // A program that another test starts has the first descriptor too, and with it the lock, until it
        // runs its own code.
        let start = Instant::now();
        let file = loop {
            match PartialFile::reopen(&path, false) {
                Err(_) if start.elapsed() < Duration::from_secs(30) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                reopened => break reopened.unwrap().unwrap(),
            }
        };
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"half");
        assert!(!partial.exists());
    }

    #[test]
    fn keeps_a_file_that_was_created_under_the_final_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let file = PartialFile::create(&path, false).unwrap();
        std::fs::write(&path, "precious").unwrap();
        file.file().write_all(b"plaintext").unwrap();
        assert!(file.finish().is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        let partial = directory.path().join("out.partial");
        assert_eq!(std::fs::read(&partial).unwrap(), b"plaintext");
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_its_links() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let link = directory.path().join("link");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        let file = PartialFile::create(&link, true).unwrap();
        file.file().write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(mode(&path), 0o640);
        assert!(link.symlink_metadata().unwrap().is_symlink());
    }

    #[test]
    fn refuses_a_dash_as_a_file_name() {
        assert!(NewFile::create(Path::new("-")).is_err());
        assert!(check_new(Path::new("-")).is_err());
        assert!(!Path::new("-").exists());
    }
}
