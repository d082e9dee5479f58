//! Mounting in one process for a server in another.
//!
//! Mounting needs capabilities, and makes a mount that other programs see only outside of a mount
//! namespace. Serving needs neither. So a server that handles what an unknown disk holds can be kept in
//! a sandbox, if another process mounts for it and passes it the connection to the kernel.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::connect::{Guard, Parameters, mount};
use super::mounted::Mounted;
use super::{MountOptions, cannot_mount, mount_point};
use crate::error::Result;

/// A mounted file system that no process serves yet.
///
/// The server passes [`Unserved::device`] to [`MountOptions::device`], in this process or in another.
/// Programs that use the mount wait until then. If this is dropped before [`Unserved::leave`], the
/// directory is unmounted.
///
/// ```no_run
/// use std::path::Path;
///
/// use fve::serve::fuse::{Mount, MountOptions, Unserved};
///
/// # fn example(files: fve::files::Files) -> fve::Result<()> {
/// let directory = Path::new("/mnt");
/// let options = MountOptions::new("disk.img");
/// let unserved = Unserved::mount(directory, &options, false)?;
/// // Another process could receive it, over a Unix socket.
/// let device = unserved.device().try_clone_to_owned().unwrap();
/// let mount = Mount::files(files, directory, &options.device(device))?;
/// unserved.leave();
/// mount.serve()
/// # }
/// ```
#[derive(Debug)]
pub struct Unserved {
    mounted: Arc<Mounted>,
    guard: Guard,
    directory: PathBuf,
}

impl Unserved {
    /// Mounts on `directory` with mount(2), which needs `CAP_SYS_ADMIN`. With `writable`, the server can
    /// be one of [`Mount::read_write`](super::Mount::read_write). It must have the same options.
    ///
    /// # Errors
    /// As [`Mount::new`](super::Mount::new).
    pub fn mount(directory: &Path, options: &MountOptions, writable: bool) -> Result<Self> {
        let directory = mount_point::check(directory)?;
        let parameters = Parameters::of(options, writable);
        let device = mount(&directory, &parameters)
            .map_err(|error| cannot_mount(&directory, io::Error::from(error)))?;
        let mounted = Arc::new(Mounted::on(&directory, device));
        Ok(Self {
            guard: Guard::of(&directory, mounted.clone()),
            mounted,
            directory,
        })
    }

    /// The connection to the kernel.
    pub fn device(&self) -> BorrowedFd<'_> {
        self.mounted.connection()
    }

    /// The directory that it is mounted on, as an absolute path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Leaves the directory mounted, since a server has the connection to the kernel. When the last
    /// process that has it ends, every access to the mount fails.
    pub fn leave(mut self) {
        self.guard.leave();
    }
}
