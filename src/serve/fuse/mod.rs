//! FUSE mounts: of the files in a volume, or of a directory with one file, `volume`, that holds the
//! decrypted volume.
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use fve::serve::fuse::{Busy, Mount, MountOptions};
//!
//! # fn example(unlocked: fve::Unlocked) -> fve::Result<()> {
//! let options = MountOptions::new("disk.img");
//! let files = fve::files::open(Arc::new(unlocked))?;
//! let mount = Mount::files(files, Path::new("/mnt"), &options)?.spawn()?;
//! // Other programs now read the files in /mnt.
//! mount.stop(Busy::Detach)?;
//! mount.join()
//! # }
//! ```

mod adapter;
mod connect;
mod files;
mod mount_point;
mod mounted;
mod stop;
mod tree;
mod unmount;
mod unserved;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use self::adapter::Adapter;
use self::connect::{Connection, DEVICE, Parameters, connect, connect_to};
use self::files::{FilesAdapter, Shown};
use self::mounted::Mounted;
pub use self::stop::{BackgroundMount, Busy, Stopper};
use self::stop::{Requests, Shared, lost_writes};
pub use self::tree::FILE_NAME;
use self::tree::{Permissions, Tree};
pub use self::unmount::{detach_mount, is_dead, unmount};
pub use self::unserved::Unserved;
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use crate::error::{Error, Remedy, Result};
use crate::files::Files;
use crate::shown::ShowPath;
use crate::volume::{Unlocked, Writable};

/// The type of our mounts in the mount table is `fuse.` and this name.
pub const SUBTYPE: &str = "fve";

/// How to mount.
#[derive(Debug, Clone)]
pub struct MountOptions {
    source_name: String,
    allow_other: bool,
    allow_root: bool,
    uid: Option<u32>,
    gid: Option<u32>,
    umask: Option<u16>,
    modified: SystemTime,
    threads: Option<usize>,
    direct_io: bool,
    file_name: String,
    device: Option<Arc<OwnedFd>>,
}

impl MountOptions {
    /// A mount that only its owner can read, through the kernel's page cache. The mount table shows
    /// `source_name` as its source; the file was last modified now.
    pub fn new(source_name: impl Into<String>) -> Self {
        Self {
            source_name: source_name.into(),
            allow_other: false,
            allow_root: false,
            uid: None,
            gid: None,
            umask: None,
            modified: SystemTime::now(),
            threads: None,
            direct_io: false,
            file_name: FILE_NAME.to_owned(),
            device: None,
        }
    }

    /// Sets whether other users may read what is shown.
    #[must_use]
    pub fn allow_other(mut self, allow: bool) -> Self {
        self.allow_other = allow;
        self
    }

    /// Sets whether root may read what is shown, besides the owner, and no other user: whatever the other
    /// options permit to the group and to others does not apply.
    #[must_use]
    pub fn allow_root(mut self, allow: bool) -> Self {
        self.allow_root = allow;
        self
    }

    /// Sets the user who owns everything. Without this, it is the one who mounts.
    #[must_use]
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Sets the group that owns everything, and lets its members read it.
    #[must_use]
    pub fn gid(mut self, gid: u32) -> Self {
        self.gid = Some(gid);
        self
    }

    /// Sets which permissions files and directories do not have, as of umask(2). Without this, they
    /// have only those that the other options give.
    #[must_use]
    pub fn umask(mut self, mask: u16) -> Self {
        self.umask = Some(mask);
        self
    }

    /// Sets the modification time of the file with the volume.
    #[must_use]
    pub fn modified(mut self, time: SystemTime) -> Self {
        self.modified = time;
        self
    }

    /// Sets how many threads serve requests, at least one. Without this, one for each core, at most
    /// four.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets whether reads of the file with the volume bypass the kernel's page cache. That is two to
    /// six times as fast for a program that reads the file once from start to end, and slower for
    /// everything else.
    #[must_use]
    pub fn direct_io(mut self, direct: bool) -> Self {
        self.direct_io = direct;
        self
    }

    /// Sets the name of the file with the volume. Without this, it is [`FILE_NAME`].
    #[must_use]
    pub fn file_name(mut self, name: impl Into<String>) -> Self {
        self.file_name = name.into();
        self
    }

    /// Sets the connection to the kernel of a file system that is mounted already, by an
    /// [`Unserved`] with the same options. Nothing is mounted then, nothing is unmounted when the
    /// [`Mount`] is dropped, and a [`Stopper`] works only in a process that may unmount the directory.
    #[must_use]
    pub fn device(mut self, device: OwnedFd) -> Self {
        self.device = Some(Arc::new(device));
        self
    }

    /// What the mount table shows as the source.
    pub fn source_name(&self) -> &str {
        &self.source_name
    }

    fn permissions(&self) -> Permissions {
        let permissions = match self.umask {
            Some(mask) => Permissions::without(mask),
            None => Permissions::of_owner(self.gid.is_some(), self.allow_other),
        };
        match self.allow_root {
            true => permissions.of_owner_alone(),
            false => permissions,
        }
    }

    fn owner(&self) -> (u32, u32) {
        (
            self.uid.unwrap_or_else(|| geteuid().as_raw()),
            self.gid.unwrap_or_else(|| getegid().as_raw()),
        )
    }

    /// Whether the kernel must let users other than the one who mounts use the mount. It then checks
    /// the permissions.
    fn is_for_others(&self) -> bool {
        // The kernel knows no mount for root alone. It lets all users in, and the permissions, which do
        // not hold for root, keep the others out.
        self.allow_other
            || self.allow_root
            || self.permissions().are_for_others()
            || self.owner().0 != geteuid().as_raw()
    }
}

/// A mounted file system, whose requests wait until they are served.
///
/// If it is dropped without being served, the directory is unmounted.
#[derive(Debug)]
pub struct Mount {
    connection: Connection,
    shared: Arc<Shared>,
    directory: PathBuf,
}

impl Mount {
    /// Mounts the files of a file system on `directory`, read-only. Requests wait until
    /// [`Mount::serve`] or [`Mount::spawn`] is called.
    ///
    /// The inode number of a file is the number in its [`FileId`](crate::files::FileId), except that
    /// the root directory has 1. Times have steps of 100 ns. Streams and the attributes of Windows
    /// are extended attributes with the names that ntfs-3g gives them. A symbolic link leads to its
    /// target if that is in the same volume, and otherwise nowhere. A name that Linux does not allow
    /// is shown as [`FileName::to_safe`](crate::files::FileName::to_safe) writes it.
    ///
    /// Programs get `EACCES` for a file that is encrypted with EFS, `EOPNOTSUPP` for content that is
    /// stored in another way that is not supported, and `EIO` for what is damaged.
    ///
    /// # Errors
    /// As [`Mount::new`].
    pub fn files(files: Files, directory: &Path, options: &MountOptions) -> Result<Self> {
        let shown = Arc::new(Shown::new(files, options.permissions(), options.owner()));
        let requests = Arc::new(Requests::default());
        let adapter = || FilesAdapter::new(shown.clone(), requests.clone());
        Self::connect(adapter, None, &requests, directory, options)
    }

    /// Shows the volume on `directory` as one file, read-only. Requests wait until [`Mount::serve`] or
    /// [`Mount::spawn`] is called.
    ///
    /// # Errors
    /// [`Error::Environment`] when the system cannot mount or the directory is not a suitable mount
    /// point; [`Error::Io`] otherwise.
    pub fn new(volume: Arc<Unlocked>, directory: &Path, options: &MountOptions) -> Result<Self> {
        let tree = Tree::new(volume, options.permissions(), options.modified);
        Self::start(tree, directory, options)
    }

    /// Mounts the volume so that its owner can write to it. A write has reached the source when it
    /// returns, and the disk when the file is synced or closed. The kernel does not cache unwritten
    /// data, so the program whose write fails gets the error.
    ///
    /// # Errors
    /// As [`Mount::new`].
    pub fn read_write(
        volume: Arc<Writable>,
        directory: &Path,
        options: &MountOptions,
    ) -> Result<Self> {
        let tree = Tree::read_write(volume, options.permissions(), options.modified);
        Self::start(tree, directory, options)
    }

    fn start(mut tree: Tree, directory: &Path, options: &MountOptions) -> Result<Self> {
        if options.direct_io {
            tree.bypass_cache();
        }
        tree.set_file_name(&options.file_name);
        let tree = Arc::new(tree);
        let requests = Arc::new(Requests::default());
        let adapter = || Adapter::new(tree.clone(), requests.clone(), options.owner());
        Self::connect(adapter, Some(tree.clone()), &requests, directory, options)
    }

    /// Mounts what `adapter` serves. `tree` is the file that can be written to.
    fn connect<F: fuser::Filesystem + std::fmt::Debug>(
        adapter: impl Fn() -> F,
        tree: Option<Arc<Tree>>,
        requests: &Arc<Requests>,
        directory: &Path,
        options: &MountOptions,
    ) -> Result<Self> {
        let parameters = Parameters::of(
            options,
            tree.as_ref().is_some_and(|tree| tree.is_writable()),
        );
        let (directory, connected) = match &options.device {
            None => {
                let directory = mount_point::check(directory)?;
                let connected = connect(adapter, &directory, &parameters);
                (directory, connected)
            }
            Some(device) => {
                let connected = device.try_clone().and_then(|device| {
                    let mounted = Arc::new(Mounted::on(directory, device));
                    connect_to(adapter(), mounted, &parameters)
                });
                (directory.to_owned(), connected)
            }
        };
        let connection = connected.map_err(|error| cannot_mount(&directory, error))?;
        let shared = Arc::new(Shared {
            tree,
            requests: requests.clone(),
            mounted: connection.mounted.clone(),
            is_serving: AtomicBool::new(false),
        });
        Ok(Self {
            connection,
            shared,
            directory,
        })
    }

    /// Checks a mount point before anything costly is done: it must be an empty directory that
    /// nothing is mounted on.
    ///
    /// # Errors
    /// [`Error::Environment`] says what is wrong with it.
    pub fn check_mount_point(directory: &Path) -> Result<()> {
        mount_point::check(directory).map(|_| ())
    }

    /// The directory that the volume is mounted on, as an absolute path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A handle that stops the mount from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper::new(&self.shared, &self.directory)
    }

    /// Serves requests until the directory is unmounted, by a [`Stopper`] or by another program.
    /// Everything that was written is on stable storage when this returns.
    ///
    /// # Errors
    /// [`Error::Io`] when the connection to the kernel fails, or when not everything that was
    /// written reached the disk.
    pub fn serve(self) -> Result<()> {
        self.shared.is_serving.store(true, Ordering::SeqCst);
        let Connection {
            session, mut guard, ..
        } = self.connection;
        let served = session.run();
        if let Some(guard) = &mut guard {
            guard.has_served();
        }
        self.shared.is_serving.store(false, Ordering::SeqCst);
        self.shared.flush().map_err(lost_writes)?;
        or_ended(served).map_err(|error| Error::io("serving the mount", error))
    }

    /// Serves requests as [`Mount::serve`] does, on a thread in the background.
    ///
    /// # Errors
    /// [`Error::Io`] when the thread cannot be started. The directory is unmounted then.
    pub fn spawn(self) -> Result<BackgroundMount> {
        let stopper = self.stopper();
        let server = std::thread::Builder::new()
            .name("fve-mount".to_owned())
            .spawn(move || self.serve())
            .map_err(|error| Error::io("cannot start a thread to serve the mount", error))?;
        Ok(BackgroundMount::new(stopper, server))
    }
}

fn cannot_mount(directory: &Path, error: io::Error) -> Error {
    let reason = error.to_string();
    let what = format!(
        "cannot mount on {}: {}",
        directory.shown(),
        reason.trim_end()
    );
    let remedy = if !Path::new(DEVICE).exists() {
        "/dev/fuse does not exist: load the module with 'modprobe fuse'".into()
    } else if error.kind() == io::ErrorKind::NotFound {
        "mount as root, or install the package fuse3: other users need its program fusermount3"
            .into()
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        Remedy::PermitMount
    } else {
        let kind = error.kind();
        let error = match error.raw_os_error() {
            Some(_) => error,
            // The helper ends its messages with a line break.
            None => io::Error::new(kind, reason.trim_end().to_owned()),
        };
        return Error::io(format!("cannot mount on {}", directory.shown()), error);
    };
    Error::Environment {
        what,
        remedy: Some(remedy),
    }
}

/// How serving ended. A thread that is reading a request while the connection is closed gets this error from the
/// kernel; all others get `ENODEV`, which fuser takes for the end.
fn or_ended(served: io::Result<()>) -> io::Result<()> {
    match served {
        Err(error) if error.raw_os_error() == Some(Errno::CONNABORTED.raw_os_error()) => Ok(()),
        served => served,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_was_closed_during_a_request_is_no_failure() {
        let with = |errno: Errno| or_ended(Err(errno.into()));
        assert!(with(Errno::CONNABORTED).is_ok());
        assert!(with(Errno::IO).is_err());
        assert!(or_ended(Ok(())).is_ok());
    }
}
