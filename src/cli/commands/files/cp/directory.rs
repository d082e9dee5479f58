//! A directory that is copied into. Everything in it is created relative to its descriptor, under a
//! name without `/`, and never through a link.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fve::error::Error;
use fve::shown::ShowPath;
use jiff::Timestamp;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, UTIME_OMIT,
};
use rustix::io::Errno;

/// Longest name of a Linux file system, in bytes.
const MAX_NAME: usize = 255;

/// Most names that are tried for a file.
const MAX_TRIES: u32 = 10_000;

/// The permissions to write.
const WRITE: u32 = 0o222;

/// Files of this command that no copy replaces: SOURCE, and the list of hashes.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnFiles(Vec<OwnFile>);

#[derive(Debug, Clone)]
struct OwnFile {
    device: u64,
    inode: u64,
    what: &'static str,
}

impl OwnFiles {
    /// Adds an existing file.
    pub(super) fn add(&mut self, path: &Path, what: &'static str) {
        if let Ok(metadata) = path.metadata() {
            self.0.push(OwnFile {
                device: metadata.dev(),
                inode: metadata.ino(),
                what,
            });
        }
    }

    /// What a file of the file system is to this command.
    fn what(&self, stat: &Stat) -> Option<&'static str> {
        let mut own = self.0.iter();
        let found = own.find(|own| (own.device, own.inode) == (stat.st_dev, stat.st_ino));
        found.map(|own| own.what)
    }
}

/// The times of a copy.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stamps {
    pub(super) modified: Option<Timestamp>,
    pub(super) accessed: Option<Timestamp>,
}

/// Where the copy of a file is, to make links to it.
#[derive(Debug)]
pub(super) struct FinishedCopy {
    /// The names from DEST to its directory, and its own.
    below: Arc<[Vec<u8>]>,
    name: Vec<u8>,
    device: u64,
    inode: u64,
}

/// A directory that is copied into.
pub(super) struct Directory {
    descriptor: Arc<OwnedFd>,
    /// DEST, or the directory that it is in, and the names from there to this directory.
    top: Arc<OwnedFd>,
    below: Arc<[Vec<u8>]>,
    /// For messages, and for the list of hashes.
    path: PathBuf,
    /// Set when the last user of the directory is done with it: creating files in it changes them.
    times: Option<Stamps>,
    /// The names that were given away. Without regard to case, if the file system has none.
    used: Mutex<HashSet<Vec<u8>>>,
    ignores_case: bool,
    own_files: Arc<OwnFiles>,
}

/// Makes the names of temporary files unique in this process.
static COUNTER: AtomicU64 = AtomicU64::new(0);

impl Directory {
    /// Opens DEST, or the directory that it is in.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| {
            Error::io(
                format!("cannot open the directory {}", path.shown()),
                error.into(),
            )
        })?;
        // Without './' before each name.
        let path = path.strip_prefix(".").unwrap_or(path);
        let descriptor = Arc::new(descriptor);
        Ok(Self {
            top: Arc::clone(&descriptor),
            below: Arc::default(),
            descriptor,
            path: path.to_owned(),
            times: None,
            used: Mutex::default(),
            ignores_case: false,
            own_files: Arc::default(),
        })
    }

    /// Keeps these files from being replaced.
    pub(super) fn protect(&mut self, own_files: OwnFiles) {
        self.own_files = Arc::new(own_files);
    }

    /// Finds out whether the file system tells capital and small letters apart in this directory.
    pub(super) fn learn_case(&mut self) {
        let other = Temporary::create(self).map(|temporary| {
            let capital = temporary.name.to_ascii_uppercase();
            rustix::fs::statat(&*self.descriptor, capital, AtFlags::SYMLINK_NOFOLLOW)
        });
        self.ignores_case = matches!(other, Ok(Ok(_)));
    }

    /// The path of a file in it.
    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(std::ffi::OsStr::from_bytes(name))
    }

    /// Gives a name away, once: a name that is taken gets a number.
    pub(super) fn give_name(&self, wanted: &[u8]) -> Vec<u8> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.insert(self.key(wanted)) {
            return wanted.to_vec();
        }
        for number in 2..MAX_TRIES {
            let suffix = format!("~{number}");
            let mut end = wanted.len().min(MAX_NAME - suffix.len());
            while end > 0 && wanted.get(end).is_some_and(|byte| byte & 0xC0 == 0x80) {
                end -= 1;
            }
            let mut name = wanted.get(..end).unwrap_or_default().to_vec();
            name.extend_from_slice(suffix.as_bytes());
            if used.insert(self.key(&name)) {
                return name;
            }
        }
        // Creating it will fail.
        wanted.to_vec()
    }

    fn key(&self, name: &[u8]) -> Vec<u8> {
        match self.ignores_case {
            // Such file systems compare capital letters; several small ones can have the same.
            true => {
                let capital = String::from_utf8_lossy(name).to_uppercase();
                capital.to_lowercase().into_bytes()
            }
            false => name.to_vec(),
        }
    }

    /// Creates a directory, or opens one that exists and is not a link.
    pub(super) fn directory(&self, name: &[u8], times: Option<Stamps>) -> io::Result<Self> {
        let mode = Mode::from_raw_mode(0o777);
        let is_new = match rustix::fs::mkdirat(&*self.descriptor, name, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let descriptor = open_directory(&*self.descriptor, name).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => {
                io::Error::other("there is something of that name that is not a directory")
            }
            other => other.into(),
        })?;
        let below: Vec<_> = self.below.iter().cloned().chain([name.to_vec()]).collect();
        let mut directory = Self {
            descriptor: Arc::new(descriptor),
            top: Arc::clone(&self.top),
            below: below.into(),
            path: self.path_of(name),
            times,
            used: Mutex::default(),
            ignores_case: self.ignores_case,
            own_files: self.own_files.clone(),
        };
        if !is_new {
            // It can be another file system, or have its own rule.
            directory.learn_case();
        }
        Ok(directory)
    }

    /// Refuses a name that is taken, if that cannot be replaced.
    pub(super) fn check_free(&self, name: &[u8], force: bool) -> io::Result<()> {
        let stat = match rustix::fs::statat(&*self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        };
        let refused = |why| Err(io::Error::other(why));
        if let Some(own) = self.own_files.what(&stat) {
            return Err(io::Error::other(format!("it would replace {own}")));
        }
        if !force {
            return refused("it already exists there; --force replaces it");
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Symlink => Ok(()),
            FileType::Directory => refused("there is a directory of that name"),
            _ => refused("there is something of that name that is not a regular file"),
        }
    }

    /// Creates a symbolic link.
    pub(super) fn link(&self, name: &[u8], target: &[u8], force: bool) -> io::Result<()> {
        self.check_free(name, force)?;
        let temporary = Temporary::link(self, target)?;
        temporary.rename(name, force)
    }

    /// Creates a hard link to the copy of a file. `None` if the file system does not allow that, or the copy
    /// is not there any more.
    pub(super) fn hard_link(&self, copy: &FinishedCopy) -> Option<Temporary<'_>> {
        let mut from = Arc::clone(&self.top);
        for name in copy.below.iter() {
            from = Arc::new(open_directory(&*from, name).ok()?);
        }
        let link = Temporary::with_new_name(self, |name| {
            rustix::fs::linkat(
                &*from,
                &*copy.name,
                &*self.descriptor,
                name,
                AtFlags::empty(),
            )?;
            Ok(None)
        });
        // Only the copy itself: another program may have put something else in its place.
        let link = link.ok()?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = rustix::fs::statat(&*self.descriptor, &*link.name, flags).ok()?;
        ((stat.st_dev, stat.st_ino) == (copy.device, copy.inode)).then_some(link)
    }
}

/// Opens a directory that is not a link.
fn open_directory(above: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(above, name, flags, Mode::empty())
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(times) = &self.times {
            // Some file systems cannot store them.
            let _ = set_times(&*self.descriptor, times);
        }
    }
}

/// A file or link with a temporary name, which is removed unless it gets its final one.
pub(super) struct Temporary<'a> {
    directory: &'a Directory,
    name: Vec<u8>,
    /// `None` for a link.
    file: Option<File>,
    is_renamed: bool,
}

impl<'a> Temporary<'a> {
    /// Creates an empty file.
    pub(super) fn create(directory: &'a Directory) -> io::Result<Self> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Self::with_new_name(directory, |name| {
            let mode = Mode::from_raw_mode(0o666);
            let file = rustix::fs::openat(&*directory.descriptor, name, flags, mode)?;
            Ok(Some(file.into()))
        })
    }

    fn link(directory: &'a Directory, target: &[u8]) -> io::Result<Self> {
        Self::with_new_name(directory, |name| {
            rustix::fs::symlinkat(target, &*directory.descriptor, name)?;
            Ok(None)
        })
    }

    fn with_new_name(
        directory: &'a Directory,
        create: impl Fn(&[u8]) -> Result<Option<File>, Errno>,
    ) -> io::Result<Self> {
        let process = std::process::id();
        for _ in 0..MAX_TRIES {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = format!(".fve-{process}-{number}.partial").into_bytes();
            match create(&name) {
                // An earlier process with this number left it.
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
                Ok(file) => {
                    return Ok(Self {
                        directory,
                        name,
                        file,
                        is_renamed: false,
                    });
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The open file.
    pub(super) fn file(&self) -> io::Result<&File> {
        self.file
            .as_ref()
            .ok_or_else(|| io::Error::other("a link has no content"))
    }

    /// Sets the times, takes the permission to write away if the file is read-only, and gives the file
    /// its final name.
    pub(super) fn finish(
        self,
        name: &[u8],
        times: &Stamps,
        is_read_only: bool,
        force: bool,
    ) -> io::Result<FinishedCopy> {
        let file = self.file()?;
        let metadata = file.metadata()?;
        if is_read_only {
            let mode = metadata.mode() & 0o777 & !WRITE;
            // Some file systems have no permissions.
            let _ = rustix::fs::fchmod(file, Mode::from_raw_mode(mode));
        }
        let _ = set_times(file, times);
        let copy = FinishedCopy {
            below: Arc::clone(&self.directory.below),
            name: name.to_vec(),
            device: metadata.dev(),
            inode: metadata.ino(),
        };
        self.rename(name, force)?;
        Ok(copy)
    }

    /// Gives it its final name.
    pub(super) fn rename(mut self, name: &[u8], force: bool) -> io::Result<()> {
        let directory = &*self.directory.descriptor;
        if force {
            self.directory.check_free(name, force)?;
            rustix::fs::renameat(directory, &self.name, directory, name)?;
            if self.file.is_none() {
                // Nothing is renamed if both names are the same file.
                let _ = rustix::fs::unlinkat(directory, &self.name, AtFlags::empty());
            }
        } else {
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(directory, &self.name, directory, name, flags) {
                // The file system does not support NOREPLACE, so the check and the rename are two
                // steps.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    self.directory.check_free(name, force)?;
                    rustix::fs::renameat(directory, &self.name, directory, name)?;
                }
                Err(Errno::EXIST) => {
                    self.directory.check_free(name, force)?;
                    // It was removed in the meantime.
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                other => other?,
            }
        }
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.is_renamed {
            let directory = &*self.directory.descriptor;
            let _ = rustix::fs::unlinkat(directory, &self.name, AtFlags::empty());
        }
    }
}

fn set_times(file: impl AsFd, times: &Stamps) -> rustix::io::Result<()> {
    let spec = |time: Option<Timestamp>| match time {
        Some(time) => {
            let (mut seconds, mut nanoseconds) = (time.as_second(), time.subsec_nanosecond());
            if nanoseconds < 0 {
                seconds -= 1;
                nanoseconds += 1_000_000_000;
            }
            Timespec {
                tv_sec: seconds,
                tv_nsec: nanoseconds.into(),
            }
        }
        None => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
    };
    let stamps = Timestamps {
        last_access: spec(times.accessed.or(times.modified)),
        last_modification: spec(times.modified),
    };
    rustix::fs::futimens(file, &stamps)
}
