//! Files that are written whole or not at all.
//!
//! * [`NewFile`] has its name from the beginning: whatever stands in the way is found before the
//!   work, and the file is removed again if nothing comes of it.
//! * [`PartialFile`] gets its name when it is complete; until then it has `.partial` behind it.
//! * [`replace`] puts a small file in the place of another, so that there is always a whole one.
//!
//! All of them are made exclusively, never through a link, and for their owner alone.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FallocateFlags, FlockOperation, RenameFlags};
use rustix::io::Errno;

use crate::error::{Error, Remedy, Result};
use crate::shown::ShowPath;

/// For its owner alone: it holds plaintext or keys.
const PRIVATE: u32 = 0o600;
/// For everybody whom the umask lets: it holds nothing secret.
#[cfg(feature = "network-server")]
const PUBLIC: u32 = 0o666;

/// More than any secret that is saved takes.
const ROOM: u64 = 4096;

/// Opens a file that is not there yet, for reading and writing, for its owner alone.
///
/// # Errors
/// [`Error::OutputRefused`] when there is something of that name, even a link that leads nowhere;
/// [`Error::Io`] when it cannot be created.
pub fn create_new(path: &Path) -> Result<File> {
    create_with(path, PRIVATE)
}

fn create_with(path: &Path, mode: u32) -> Result<File> {
    check_name(path)?;
    // O_EXCL does not follow a link at the end of the path.
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

/// Says before the work what would keep a new file from being made at `path`. It makes none.
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

/// The same for a file whose name is not known yet, in `directory`.
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

/// Refuses names that nobody means for a file.
fn check_name(path: &Path) -> Result<()> {
    if path == Path::new("-") {
        return Err(refused(
            "'-' is not the name of a file, and this is not written to standard output",
            "name a new file",
        ));
    }
    // A device that is not there, or not any more: a file of its name would fill the memory.
    let directory = directory_of(path).canonicalize().unwrap_or_default();
    if directory.starts_with("/dev") && !directory.starts_with("/dev/shm") && !path.exists() {
        return Err(refused(
            format!("there is no device {}", path.shown()),
            "look at its name, and whether it is connected: lsblk lists the devices",
        ));
    }
    Ok(())
}

/// Something has the name already.
pub fn exists(path: &Path) -> Error {
    refused(
        format!("{} exists", path.shown()),
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

/// A new file that is removed again unless it is filled.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl NewFile {
    /// Creates it, with room for some thousand bytes where the file system can set them aside.
    ///
    /// # Errors
    /// As [`create_new`].
    pub fn create(path: &Path) -> Result<Self> {
        Self::with_mode(path, PRIVATE)
    }

    /// The same for what is no secret: others may read it as far as the umask says.
    ///
    /// # Errors
    /// As [`create_new`].
    #[cfg(feature = "network-server")]
    pub fn create_public(path: &Path) -> Result<Self> {
        Self::with_mode(path, PUBLIC)
    }

    fn with_mode(path: &Path, mode: u32) -> Result<Self> {
        let file = create_with(path, mode)?;
        // Where that is not possible, writing tells.
        let _ = rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, ROOM);
        Ok(Self {
            file,
            path: path.to_owned(),
            kept: false,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes its content. The file stays, and is on stable storage when this returns.
    ///
    /// # Errors
    /// [`Error::Io`]; the file is removed then.
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

/// A file that has its name only once it is complete.
#[derive(Debug)]
pub struct PartialFile {
    file: File,
    /// Where it is until then.
    partial: PathBuf,
    /// Where it will be.
    path: PathBuf,
    replaces: bool,
    removed: bool,
}

/// The name of `path` with something behind it.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// What a file that is not complete has behind its name.
pub const PARTIAL: &str = ".partial";

impl PartialFile {
    /// Creates it. With `replace` it takes the place of the file that has the name, and its mode;
    /// also of what an earlier run left unfinished.
    ///
    /// # Errors
    /// [`Error::OutputRefused`] when there is such a file, finished or not, and it is not to be
    /// replaced; or when another program writes it. [`Error::Io`] when it cannot be created.
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
            // Whoever is not allowed to give it away owns it.
            let _ = std::os::unix::fs::fchown(&unfinished.file, Some(owner), Some(group));
            let permissions = std::fs::Permissions::from_mode(mode);
            unfinished.file.set_permissions(permissions).map_err(fail)?;
        }
        Ok(unfinished)
    }

    /// What an earlier run left unfinished, opened to go on; nothing where there is none.
    ///
    /// # Errors
    /// As [`PartialFile::create`]; [`Error::OutputRefused`] also when it is no regular file.
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

    /// Where it is until it is complete.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// It is complete: on stable storage, and under its name, when this returns.
    ///
    /// # Errors
    /// [`Error::Io`]. It is removed when it may not be complete on the medium, and keeps the name
    /// that it has when something else took its own.
    pub fn finish(mut self) -> Result<()> {
        let fail = |error| cannot_write(&self.path, error);
        self.file.sync_all().map_err(fail)?;
        let renamed = match self.replaces {
            true => std::fs::rename(&self.partial, &self.path),
            false => rename_new(&self.partial, &self.path),
        };
        // It is complete, whatever its name is.
        self.removed = true;
        renamed.map_err(|error| {
            let (partial, path) = (self.partial.shown(), self.path.shown());
            let what = format!("{partial} is complete, but cannot be renamed to {path}");
            Error::io(what, error)
        })?;
        sync_directory_of(&self.path).map_err(fail)
    }

    /// Writes all of its content, and finishes it.
    ///
    /// # Errors
    /// As [`PartialFile::finish`].
    pub fn fill(self, content: &[u8]) -> Result<()> {
        let written = (&self.file).write_all(content);
        written.map_err(|error| cannot_write(&self.partial, error))?;
        self.finish()
    }

    /// Leaves it as it is, for a later run to go on with.
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
type Belongs = (u32, u32, u32);

/// Where the file will be, with what the one that is there now has.
fn place(path: &Path, replace: bool) -> Result<(PathBuf, Option<Belongs>)> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((path.to_owned(), None)),
        Err(error) => Err(cannot_create(path, error)),
        Ok(_) if !replace => Err(exists(path)),
        Ok(_) => {
            // A link stays, and the file that it leads to is replaced.
            let fail = |error| cannot_create(path, error);
            let real = path.canonicalize().map_err(fail)?;
            let there = real.metadata().map_err(fail)?;
            if !there.is_file() {
                return Err(refused(
                    format!("{} is not a regular file", path.shown()),
                    "name a file",
                ));
            }
            let belongs = (there.mode() & 0o777, there.uid(), there.gid());
            Ok((real, Some(belongs)))
        }
    }
}

/// Opens a file of the user's own that is there and is no link: whoever else made it could read what
/// is written to it.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path)?;
    let there = file.metadata()?;
    let own = rustix::process::geteuid().as_raw();
    if !there.is_file() || there.nlink() != 1 || there.uid() != own {
        return Err(io::Error::other(
            "it is not a regular file of your own with a single name",
        ));
    }
    Ok(file)
}

/// Keeps two programs from writing the same file.
fn lock(file: &File, path: &Path) -> Result<()> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(refused(
            format!("{} is being written by another program", path.shown()),
            "wait for it, or name another file",
        )),
        // Not every file system has locks.
        _ => Ok(()),
    }
}

/// Renames a file unless something has the new name.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems that cannot do both in one step.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(from, to)
        }
        other => Ok(other?),
    }
}

/// Puts a small new file in the place of the one at `path`, if there is one. It is on stable storage
/// when this returns.
///
/// # Errors
/// The system's reason; what was there before is there still.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = with_suffix(path, ".new");
    // Left by a run that was killed. A link is removed itself, not what it leads to.
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

/// Makes a file's name as durable as its content.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    match File::open(directory_of(path))?.sync_all() {
        // File systems without directories to flush, such as some network ones.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_for_its_owner_and_goes_unless_it_is_filled() {
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
    fn nothing_is_made_through_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = directory.path().join("elsewhere");
        let link = directory.path().join("link");
        symlink(&elsewhere, &link).unwrap();
        assert!(NewFile::create(&link).is_err());
        assert!(check_new(&link).is_err());
        assert!(PartialFile::create(&link, false).is_err());
        assert!(PartialFile::create(&link, true).is_err());
        assert!(!elsewhere.exists());
        // Nor what is only there for a while.
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
    fn a_partial_file_has_its_name_only_when_it_is_complete() {
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
        let file = PartialFile::reopen(&path, false).unwrap().unwrap();
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"half");
        assert!(!partial.exists());
    }

    #[test]
    fn what_takes_the_name_meanwhile_is_not_written_over() {
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
    fn a_file_that_is_replaced_keeps_its_mode_and_its_links() {
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
    fn a_dash_is_no_file() {
        assert!(NewFile::create(Path::new("-")).is_err());
        assert!(check_new(Path::new("-")).is_err());
        assert!(!Path::new("-").exists());
    }
}
