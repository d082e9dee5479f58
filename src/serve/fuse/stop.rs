//! Ending a mount from another thread.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::thread::JoinHandle;

use super::mounted::{Mounted, Place};
use super::tree::Tree;
use super::unmount::{close_connection, detach, refuse_hidden, unmount};
use crate::error::{Error, Result};
use crate::shown::ShowPath;

/// What to do if a program uses a mount that is to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Busy {
    /// Refuse to stop: the mount stays as it is.
    Refuse,
    /// Stop all the same. Requests in progress are completed; every later access to a file that is
    /// still open fails.
    Detach,
}

/// Lets the mount's server answer requests until the mount is stopped.
#[derive(Debug, Default)]
pub(super) struct Requests {
    stopped: RwLock<bool>,
}

impl Requests {
    /// Permission to answer a request: the mount is not stopped until the guard is dropped. `None`
    /// if it is stopped already.
    pub(super) fn begin(&self) -> Option<RwLockReadGuard<'_, bool>> {
        let stopped = self.stopped.read().unwrap_or_else(PoisonError::into_inner);
        (!*stopped).then_some(stopped)
    }

    /// Returns when all requests in progress are answered; lets no other begin.
    fn stop(&self) {
        *self.stopped.write().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

/// What a mount shares with those that may stop it.
#[derive(Debug)]
pub(super) struct Shared {
    /// The file with the volume; `None` if the mount shows the files in it, which are never written.
    pub(super) tree: Option<Arc<Tree>>,
    pub(super) requests: Arc<Requests>,
    pub(super) mounted: Arc<Mounted>,
    /// Whether requests are being answered.
    pub(super) is_serving: AtomicBool,
}

impl Shared {
    /// Returns when everything that was written is on stable storage.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.tree.as_ref().map_or(Ok(()), |tree| tree.flush())
    }
}

/// Stops a [`Mount`](super::Mount) from any thread, also while [`Mount::serve`](super::Mount::serve)
/// runs in another.
///
/// A stopper does not keep the mount alive. Dropping it does nothing.
#[derive(Debug, Clone)]
pub struct Stopper {
    shared: Weak<Shared>,
    directory: PathBuf,
}

impl Stopper {
    pub(super) fn new(shared: &Arc<Shared>, directory: &Path) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            directory: directory.to_owned(),
        }
    }

    /// Unmounts, which makes the server end. Does nothing if it has ended already.
    ///
    /// With [`Busy::Detach`], this first waits until the requests in progress are answered, and
    /// writes everything that was written before to stable storage. What a program still writes to
    /// a shared memory mapping of the file after that is lost. If the user is not root and the
    /// system has no `/sys/fs/fuse/connections`, the server ends only after the last file is closed.
    ///
    /// A mount whose directory was moved is found at its new place.
    ///
    /// # Errors
    /// With [`Busy::Refuse`], those of [`unmount`]: the source of [`Error::Io`] is of the kind
    /// [`io::ErrorKind::ResourceBusy`] while a program uses the mount. It is also of this kind if
    /// another file system is mounted over the directory.
    ///
    /// With [`Busy::Detach`], [`Error::Io`] if not everything that was written reached the disk, if
    /// the system refuses to unmount, or if another program has detached the directory while a program uses it, and the
    /// connection to the kernel cannot be closed. Requests are not answered any more then.
    pub fn stop(&self, busy: Busy) -> Result<()> {
        let Some(shared) = self.shared.upgrade() else {
            return Ok(());
        };
        let stopped = match (self.mounted_on(&shared)?, busy) {
            (Some(directory), Busy::Refuse) => unmount(&directory),
            (Some(directory), Busy::Detach) => Self::detach(&shared, &directory),
            (None, Busy::Refuse) => return Ok(()),
            (None, Busy::Detach) => return Self::end_detached(&shared),
        };
        match stopped {
            // Another program unmounted it in the meantime.
            Err(Error::Io { source, .. })
                if source.kind() == io::ErrorKind::InvalidInput && !self.is_mounted() =>
            {
                Ok(())
            }
            stopped => stopped,
        }
    }

    /// Where the file system is mounted now. `None` if it is not mounted.
    ///
    /// # Errors
    /// [`Error::Io`] if another file system hides it.
    fn mounted_on(&self, shared: &Shared) -> Result<Option<PathBuf>> {
        let mount = match shared.mounted.place() {
            Place::At(mount) => mount,
            Place::Nowhere => return Ok(None),
            Place::Unknown => return Ok(Some(self.directory.clone())),
        };
        refuse_hidden(&mount)?;
        Ok(Some(mount.directory))
    }

    /// Whether the mount table still has the mount, or cannot tell.
    fn is_mounted(&self) -> bool {
        let shared = self.shared.upgrade();
        shared.is_some_and(|shared| !matches!(shared.mounted.place(), Place::Nowhere))
    }

    /// Whether the file system has ended: it is mounted nowhere, and no program uses it.
    pub fn has_ended(&self) -> bool {
        let shared = self.shared.upgrade();
        shared.is_none_or(|shared| !shared.mounted.exists())
    }

    fn detach(shared: &Shared, directory: &Path) -> Result<()> {
        // The kernel holds no unwritten data but that of memory mappings.
        let writable = shared.tree.as_ref().filter(|tree| tree.is_writable());
        let synced = match writable {
            Some(tree) if shared.is_serving.load(Ordering::SeqCst) => {
                File::open(directory.join(tree.file_name())).and_then(|file| file.sync_all())
            }
            _ => Ok(()),
        };
        shared.requests.stop();
        let flushed = shared.flush();
        let detached = detach(directory, || shared.mounted.number());
        synced.and(flushed).map_err(lost_writes)?;
        detached
    }

    /// Ends the server of a file system that another program has detached, and that a program still uses.
    fn end_detached(shared: &Shared) -> Result<()> {
        shared.requests.stop();
        let flushed = shared.flush();
        let closed = shared.mounted.number().map_or(Ok(()), close_connection);
        flushed.map_err(lost_writes)?;
        closed.map_err(|error| Error::io("cannot close the connection of the mount", error))
    }
}

/// Some of what was written to the mount may be missing on the disk.
pub(super) fn lost_writes(error: io::Error) -> Error {
    Error::io("not everything that was written reached the disk", error)
}

/// A mount that a thread in the background serves: see [`Mount::spawn`](super::Mount::spawn).
///
/// Dropping it stops the mount as [`Busy::Detach`] does and waits for the thread, unless the mount
/// cannot be ended: the thread then goes on. Errors go to the log only, so call
/// [`BackgroundMount::join`] if the volume is written to.
#[derive(Debug)]
pub struct BackgroundMount {
    stopper: Stopper,
    server: Option<JoinHandle<Result<()>>>,
}

impl BackgroundMount {
    pub(super) fn new(stopper: Stopper, server: JoinHandle<Result<()>>) -> Self {
        Self {
            stopper,
            server: Some(server),
        }
    }

    /// The directory that the volume is mounted on.
    pub fn directory(&self) -> &Path {
        &self.stopper.directory
    }

    /// A handle that stops the mount from another thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// As [`Stopper::stop`]. [`BackgroundMount::join`] then waits for the thread.
    ///
    /// # Errors
    /// As [`Stopper::stop`].
    pub fn stop(&self, busy: Busy) -> Result<()> {
        self.stopper.stop(busy)
    }

    /// Waits until the directory is unmounted, by this program or another, and the thread has ended.
    ///
    /// # Errors
    /// As [`Mount::serve`](super::Mount::serve).
    pub fn join(mut self) -> Result<()> {
        self.wait()
    }

    fn wait(&mut self) -> Result<()> {
        match self.server.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(served)) => served,
            // The thread panicked: so does the caller who waits for it.
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for BackgroundMount {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        if let Err(error) = self.stopper.stop(Busy::Detach) {
            let directory = self.directory().shown();
            tracing::warn!("stopping the mount on {directory}: {}", error.with_causes());
            if !self.stopper.has_ended() {
                // The server may not end as long as the file system exists, so waiting might never end either.
                return;
            }
        }
        if let Ok(Err(error)) = server.join() {
            let directory = self.directory().shown();
            tracing::warn!("the mount on {directory}: {}", error.with_causes());
        }
    }
}
