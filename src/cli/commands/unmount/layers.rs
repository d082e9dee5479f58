//! The layers of a mount. `fve mount` makes one of these:
//!
//! * a mount of its own on DIR;
//! * a file system of another driver on DIR, which has its bytes from the file `volume` of a mount of
//!   fve on a [private directory](super::private), often through a loop device.
//!
//! They are found in what the kernel reports: the mount table and the files of loop devices. Nothing else
//! keeps a record of them, so they are also found after a process was killed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fve::error::Error;
use fve::serve::fuse::{FILE_NAME, SUBTYPE, detach_mount, is_dead, unmount};
use fve::shown::ShowPath;
use fve::source::{MountEntry, writer_of};
use rustix::process::geteuid;

use super::FILE_NAMES;
use super::users::{self, Users};
use super::{is_busy, private, refused};
use crate::cli::failure::Failure;
use crate::cli::loop_device;
use crate::cli::output::term;

/// How long to try again while a mount is in use: ntfs-3g closes the volume a moment after umount(8)
/// has returned.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a driver may take to write what is left when its file system is unmounted.
const PATIENCE_WITH_DRIVER: Duration = Duration::from_secs(30);
/// How long the server of an earlier mount may take to end.
const PATIENCE_WITH_EARLIER: Duration = Duration::from_secs(10);
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// A mount with the layers below it.
#[derive(Debug)]
pub(super) struct Layers {
    /// Where the user sees it.
    pub(super) directory: PathBuf,
    /// The file system of another driver, if it is mounted.
    pub(super) files: Option<MountEntry>,
    /// Where the mount of fve is: on the private directory, or on the directory itself.
    pub(super) own: PathBuf,
}

impl Layers {
    /// The layers of a mount. `None` if fve did not make it.
    pub(super) fn of(mounted: MountEntry) -> Option<Self> {
        if is_fve(&mounted) {
            return Some(Self::on_own(mounted.directory));
        }
        Some(Self {
            own: private_below(&mounted)?,
            directory: mounted.directory.clone(),
            files: Some(mounted),
        })
    }

    /// The layers with a mount of fve on this directory.
    pub(super) fn on_own(own: PathBuf) -> Self {
        let Some(shown) = private::shown_on(&own) else {
            return Self {
                directory: own.clone(),
                files: None,
                own,
            };
        };
        let mounted = MountEntry::list().unwrap_or_default();
        let files = mounted.into_iter().rfind(|entry| {
            entry.directory == shown && private_below(entry).as_deref() == Some(&own)
        });
        Self {
            directory: shown,
            files,
            own,
        }
    }

    /// What is left of the layers for files on this directory, if no file system is mounted on it.
    pub(super) fn left_of(directory: &Path) -> Option<Self> {
        let left = private::candidates(directory)
            .find(|own| matches!(MountEntry::at(own), Ok(Some(entry)) if is_fve(&entry)));
        left.map(Self::on_own)
    }

    /// Whether there is a private directory.
    pub(super) fn is_private(&self) -> bool {
        self.own != self.directory
    }

    /// The mount of fve.
    pub(super) fn volume(&self) -> Option<MountEntry> {
        mount_on(&self.own)
    }

    /// Unmounts all layers, from the top. Stops at the first that is in use.
    pub(super) fn take_down(&self) -> Result<(), Failure> {
        // While this is open, the server of the mount does not end, and can report what it lost.
        let opened = self.open_volume();
        let mut flushed = Ok(());
        if let Some(files) = &self.files {
            self.refuse_other_users(files)?;
            self.warn_of_loss(files);
            flushed = end_patiently(files, || sync_file_system(&files.directory))?;
        }
        let Some(volume) = self.volume() else {
            self.clean_up();
            return Ok(flushed?);
        };
        if self.is_private() {
            self.wait_for_driver(&volume, PATIENCE_WITH_DRIVER);
        }
        let server = writer(&volume);
        let synced = opened.map_or(Ok(()), sync);
        let synced_last = end_patiently(&volume, || self.open_volume().map_or(Ok(()), sync))
            .map_err(|failure| self.still_in_use(&volume, failure))?;
        let mut waited = Duration::ZERO;
        while server.is_some() && writer(&volume) == server {
            // It does not end as long as the file system is mounted anywhere, as by a bind mount.
            if waited >= PATIENCE {
                self.refuse_if_mounted_elsewhere(&volume)?;
            }
            // The kernel releases the mount point earlier, but the disk must not be unplugged while
            // the server still writes.
            std::thread::sleep(PAUSE);
            waited += PAUSE;
        }
        self.clean_up();
        Ok(flushed.and(synced).and(synced_last)?)
    }

    /// One try to unmount all layers, for the process that unmounts when the server is told to end.
    pub(super) fn try_to_take_down(&self) -> Result<(), Error> {
        if let Some(files) = &self.files {
            let visible = MountEntry::at(&files.directory).ok().flatten();
            if visible.is_some_and(|visible| visible.device != files.device) {
                return Err(hidden());
            }
            if self
                .volume()
                .is_some_and(|volume| !self.users_beside(&volume, files).is_empty())
            {
                return Err(in_use(io::Error::from(io::ErrorKind::ResourceBusy)));
            }
            // The errors of the disk come from the server, when it ends.
            let _ = sync_file_system(&files.directory);
            unmount(&files.directory)?;
        }
        let Some(volume) = self.volume() else {
            return Ok(());
        };
        if self.is_private() {
            self.wait_for_driver(&volume, PATIENCE);
        }
        let _ = self.open_volume().map_or(Ok(()), sync);
        unmount(&self.own)?;
        self.clean_up();
        Ok(())
    }

    /// Unmounts all layers after the server of `volume` was killed, also if programs still use them.
    pub(super) fn detach(&self, volume: &MountEntry) {
        // If this fails, the next mount says why the directory or the volume cannot be used.
        if let Some(files) = &self.files {
            self.warn_of_loss(files);
            let _ = detach_mount(files);
        }
        let _ = detach_mount(volume);
        self.clean_up();
    }

    /// Waits until the driver has closed the volume, and the kernel has detached the loop device.
    fn wait_for_driver(&self, volume: &MountEntry, patience: Duration) {
        let start = Instant::now();
        while start.elapsed() < patience {
            if !Users::of(volume).has_driver(self.of_driver()) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Refuses to unmount the files while something else uses the volume.
    fn refuse_other_users(&self, files: &MountEntry) -> Result<(), Failure> {
        let Some(volume) = self.volume() else {
            return Ok(());
        };
        let start = Instant::now();
        loop {
            let users = self.users_beside(&volume, files);
            if users.is_empty() {
                return Ok(());
            }
            if start.elapsed() >= PATIENCE {
                let what = users.described(&self.directory);
                return Err(refused(what, users.how_to_end()));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn of_driver(&self) -> users::Files<'_> {
        users::Files {
            directory: &self.directory,
            mounted: self.files.as_ref(),
        }
    }

    /// What uses the volume, except what shows its files.
    fn users_beside(&self, volume: &MountEntry, files: &MountEntry) -> Users {
        let own = loop_device::path_of(files.device);
        Users::of(volume).beside(self.of_driver(), own.as_deref())
    }

    /// What keeps the layers from being unmounted, and the directory that it uses.
    pub(super) fn in_the_way(&self) -> (Users, &Path) {
        let volume = self.volume();
        let top = self.files.as_ref().or(volume.as_ref());
        let users = top.map(Users::of).unwrap_or_default();
        match (&self.files, &volume) {
            (Some(files), Some(volume)) if users.is_empty() => {
                (self.users_beside(volume, files), &self.directory)
            }
            _ => (users, &self.directory),
        }
    }

    /// Refuses to wait for a server whose file system is still mounted somewhere else.
    fn refuse_if_mounted_elsewhere(&self, volume: &MountEntry) -> Result<(), Failure> {
        let directory = self.directory.shown();
        if let Ok(Some(other)) = volume.again() {
            let other = other.directory.shown().to_string();
            return Err(refused(
                format!("{directory} is unmounted, but the volume is also mounted on {other}"),
                format!("unmount it there, too: fve unmount {other}"),
            ));
        }
        match users::mounted_elsewhere(volume.device) {
            None => Ok(()),
            Some(program) => Err(refused(
                format!(
                    "{directory} is unmounted, but the volume is still mounted in the mount namespace of {program}"
                ),
                "end this program, or unmount it there with nsenter",
            )),
        }
    }

    /// The file with the volume, to have it written to the disk while the server can still report whether
    /// that worked. If it cannot be opened, the server has ended or serves another user only;
    /// unmounting must work all the same.
    fn open_volume(&self) -> Option<File> {
        self.volume().filter(|volume| volume.writable)?;
        let mut names = FILE_NAMES.iter();
        names.find_map(|name| File::open(self.own.join(name)).ok())
    }

    fn clean_up(&self) {
        if self.is_private() {
            private::remove(&self.own);
        }
    }

    /// Says that a process was killed that had not yet written everything.
    fn warn_of_loss(&self, files: &MountEntry) {
        let ended = match self.volume() {
            _ if !files.writable => return,
            _ if is_dead(files) => "the driver of the file system",
            None => "the server of the volume",
            Some(volume) if is_dead(&volume) => "the server of the volume",
            Some(_) => return,
        };
        term::note(format_args!(
            "warning: {ended} on {} had ended before it was unmounted: what it had not yet written is lost; check the file system with chkdsk in Windows",
            self.directory.shown()
        ));
    }

    /// The failure for a private mount that something uses after its files were unmounted.
    fn still_in_use(&self, volume: &MountEntry, failure: Failure) -> Failure {
        if !self.is_private() {
            return failure;
        }
        let users = Users::of(volume);
        match users.is_empty() {
            true => failure,
            false => refused(
                format!(
                    "the files on {} are unmounted, but {}",
                    self.directory.shown(),
                    users.described(&self.own)
                ),
                users.how_to_end(),
            ),
        }
    }
}

/// Has what is left of an earlier mount on `shown` end, if no driver shows files there. After umount(8)
/// of the files, its server writes the rest, and ends a moment later; what a killed one left is
/// unmounted here.
pub(crate) fn end_earlier(shown: &Path) {
    let start = Instant::now();
    let is_ending = |own: PathBuf| match mount_on(&own) {
        Some(mounted) => !is_dead(&mounted),
        None => private::is_locked(&own),
    };
    while private::candidates(shown).any(is_ending) && start.elapsed() < PATIENCE_WITH_EARLIER {
        std::thread::sleep(PAUSE);
    }
    for own in private::candidates(shown) {
        let is_left = mount_on(&own).is_some_and(|mounted| is_dead(&mounted));
        if is_left && unmount(&own).is_ok() {
            private::remove(&own);
        }
    }
}

/// Unmounts all layers on `shown` if the server of the volume was killed: what it had not yet written is
/// lost, and no access succeeds any more.
pub(super) fn end_dead(shown: &Path) {
    let path = std::path::absolute(shown).unwrap_or_else(|_| shown.to_owned());
    let found = MountEntry::at(&path).ok().flatten().and_then(Layers::of);
    let Some(layers) = found else {
        return;
    };
    if let Some(volume) = layers.volume().filter(is_dead) {
        layers.detach(&volume);
    }
}

/// The mount of fve on a directory.
fn mount_on(directory: &Path) -> Option<MountEntry> {
    MountEntry::at(directory).ok().flatten().filter(is_fve)
}

/// Whether the files on `shown` come from this source, through another driver: then the source is
/// mounted there already.
pub(crate) fn shows_source(shown: &Path, source: &Path) -> bool {
    let files = MountEntry::at(shown).ok().flatten();
    let volume = files
        .and_then(Layers::of)
        .filter(Layers::is_private)
        .and_then(|layers| layers.volume());
    volume.is_some_and(|volume| {
        let mounted = Path::new(&volume.source);
        let same = |one: &Path, other: &Path| {
            matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
        };
        mounted == source || same(mounted, source)
    })
}

/// The private directory with the volume from which another driver mounted this file system.
pub(super) fn private_below(mounted: &MountEntry) -> Option<PathBuf> {
    if mounted.device.0 == loop_device::MAJOR {
        let private = private_of(&loop_device::file_of(mounted.device)?)?;
        let below = loop_device::path_of(mounted.device)
            .and_then(|device| loop_device::file_system_of(&device));
        let volume = MountEntry::at(&private).ok().flatten();
        let is_other =
            matches!((below, volume), (Some(below), Some(volume)) if below != volume.device);
        return (!is_other).then_some(private);
    }
    // Everybody can mount a FUSE file system with any text as its source, but not on any directory.
    let private = private_of(Path::new(&mounted.source))?;
    (private::shown_on(&private)? == mounted.directory).then_some(private)
}

/// Whether it is a mount of fve.
pub(crate) fn is_fve(mounted: &MountEntry) -> bool {
    mounted.kind.to_str() == Some(&format!("fuse.{SUBTYPE}"))
}

/// The private directory with this file.
fn private_of(volume: &Path) -> Option<PathBuf> {
    let directory = volume.parent()?;
    (volume.file_name()? == FILE_NAME && private::shown_on(directory).is_some())
        .then(|| directory.to_owned())
}

/// What is returned by flushing a mount.
type Flushed = Result<(), Error>;

/// Unmounts after a flush, and tries again while the mount is in use. Returns what the last flush
/// returned.
fn end_patiently(mounted: &MountEntry, flush: impl Fn() -> Flushed) -> Result<Flushed, Failure> {
    let directory = &mounted.directory;
    refuse_for_others(mounted)?;
    let start = Instant::now();
    loop {
        let flushed = match mounted.writable {
            true => flush(),
            false => Ok(()),
        };
        match unmount(directory) {
            Ok(()) => return Ok(flushed),
            // The server has noticed that its files are unmounted, and was faster.
            Err(_) if matches!(mounted.again(), Ok(None)) => return Ok(flushed),
            Err(error) if !is_busy(&error) => return Err(error.into()),
            Err(_) if start.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(_) => {
                let users = Users::of(mounted);
                return Err(refused(users.described(directory), users.how_to_end()));
            }
        }
    }
}

/// Refuses a user who did not mount it: the helper `fusermount3` would just not find it.
fn refuse_for_others(mounted: &MountEntry) -> Result<(), Failure> {
    let own = geteuid();
    match mounted.user {
        Some(user) if !own.is_root() && user != own.as_raw() => Err(refused(
            format!(
                "{} was mounted by another user, with the number {user}",
                mounted.directory.shown()
            ),
            "only that user and root can unmount it",
        )),
        _ => Ok(()),
    }
}

fn sync(file: File) -> Flushed {
    file.sync_all().map_err(lost)
}

fn sync_file_system(directory: &Path) -> Flushed {
    match File::open(directory) {
        Ok(opened) => rustix::fs::syncfs(opened).map_err(|error| lost(error.into())),
        Err(_) => Ok(()),
    }
}

fn lost(error: io::Error) -> Error {
    Error::io(
        "unmounted, but not everything that was written reached the disk",
        error,
    )
}

/// The error for a mount point that another file system is mounted over.
pub(super) fn hidden() -> Error {
    in_use(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "another file system is mounted over it",
    ))
}

fn in_use(why: io::Error) -> Error {
    Error::io("cannot unmount", why)
}

/// The process that serves a mount that can be written to, found by its lock on the source.
fn writer(mounted: &MountEntry) -> Option<u32> {
    mounted
        .writable
        .then(|| writer_of(&mounted.source))
        .flatten()
}
