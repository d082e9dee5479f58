//! Mounting: with the system call as root, otherwise with FUSE's helper `fusermount3`.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{Config, Filesystem, MountOption, Session, SessionACL};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::process::{getgid, getuid};

use super::mounted::{Mounted, Place};
use super::unmount::{detach, refuse_hidden};
use super::{MountOptions, SUBTYPE};

/// The kernel's interface for servers.
pub(super) const DEVICE: &str = "/dev/fuse";

/// Most threads that serve requests by default: more threads than cores make small reads slower.
const MAX_THREADS: usize = 4;

/// Mode of a directory, as `stat` reports it: the root of the file system.
const DIRECTORY: u32 = 0o40_000;

/// What the kernel needs to know about a mount.
#[derive(Debug)]
pub(super) struct Parameters<'a> {
    /// What the mount table shows as the source.
    pub(super) source: &'a str,
    /// Whether the file can be written to.
    pub(super) writable: bool,
    /// Whether users other than the one who mounts may use the mount. The file modes then decide.
    pub(super) allow_other: bool,
    /// How many threads answer requests.
    pub(super) threads: usize,
}

impl<'a> Parameters<'a> {
    pub(super) fn of(options: &'a MountOptions, writable: bool) -> Self {
        Self {
            source: &options.source_name,
            writable,
            allow_other: options.is_for_others(),
            threads: options.threads.unwrap_or_else(default_threads).max(1),
        }
    }

    /// What fuser needs to know to serve.
    fn config(&self) -> Config {
        let mut config = Config::default();
        if self.allow_other {
            config.acl = SessionACL::All;
        }
        config.n_threads = Some(self.threads);
        config.clone_fd = self.threads > 1;
        config
    }
}

fn default_threads() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_THREADS)
}

/// A connection to the kernel, with a file system mounted.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) session: Box<dyn Serve>,
    pub(super) mounted: Arc<Mounted>,
    /// Unmounts when it is dropped, where the session does not.
    pub(super) guard: Option<Guard>,
}

/// Answers requests of the kernel.
pub(super) trait Serve: std::fmt::Debug + Send + Sync {
    /// Returns when the file system is unmounted, or the connection fails.
    fn run(self: Box<Self>) -> io::Result<()>;
}

impl<F: Filesystem + std::fmt::Debug> Serve for Session<F> {
    fn run(self: Box<Self>) -> io::Result<()> {
        Session::run(*self)
    }
}

/// Mounts on `directory`. `adapter` makes the file system, and may be called twice.
///
/// If fuser itself calls mount(2), the type is just `fuse`, as that of other FUSE servers. It also
/// opens the directory, which makes an automounter wait for this very mount.
pub(super) fn connect<F: Filesystem + std::fmt::Debug>(
    adapter: impl Fn() -> F,
    directory: &Path,
    parameters: &Parameters<'_>,
) -> io::Result<Connection> {
    match mount(directory, parameters) {
        Ok(device) => {
            let mounted = Arc::new(Mounted::on(directory, device));
            let guard = Some(Guard::of(directory, mounted.clone()));
            let connection = connect_to(adapter(), mounted, parameters)?;
            Ok(Connection {
                guard,
                ..connection
            })
        }
        Err(Errno::PERM) => {
            let mut config = parameters.config();
            config.mount_options = options_of_helper(parameters);
            let session = Session::new(adapter(), directory, &config)?;
            let device = session.as_fd().try_clone_to_owned()?;
            Ok(Connection {
                session: Box::new(session),
                mounted: Arc::new(Mounted::on(directory, device)),
                guard: None,
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Serves what is mounted already, by this or another process.
pub(super) fn connect_to<F: Filesystem + std::fmt::Debug>(
    adapter: F,
    mounted: Arc<Mounted>,
    parameters: &Parameters<'_>,
) -> io::Result<Connection> {
    let config = parameters.config();
    let device = mounted.connection().try_clone_to_owned()?;
    let session = Box::new(Session::from_fd(adapter, device, config.acl, config)?);
    Ok(Connection {
        session,
        mounted,
        guard: None,
    })
}

/// Unmounts when it is dropped, unless that was done already.
#[derive(Debug)]
pub(super) struct Guard {
    directory: PathBuf,
    mounted: Arc<Mounted>,
    served: bool,
    leaves: bool,
}

impl Guard {
    pub(super) fn of(directory: &Path, mounted: Arc<Mounted>) -> Self {
        Self {
            directory: directory.to_owned(),
            mounted,
            served: false,
            leaves: false,
        }
    }

    /// Records that the server has ended, as it does when the file system is unmounted.
    pub(super) fn has_served(&mut self) {
        self.served = true;
    }

    /// Makes it unmount nothing when it is dropped.
    pub(super) fn leave(&mut self) {
        self.leaves = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.leaves {
            return;
        }
        let number = || self.mounted.number();
        let detached = match self.mounted.place() {
            Place::At(mount) => {
                refuse_hidden(&mount).and_then(|()| detach(&mount.directory, number))
            }
            Place::Nowhere => return,
            // Another file system may be mounted there now.
            Place::Unknown if self.served => return,
            Place::Unknown => detach(&self.directory, number),
        };
        if let Err(error) = detached {
            tracing::warn!("{}", error.with_causes());
        }
    }
}

/// Mounts with mount(2), and returns the connection to the kernel.
pub(super) fn mount(directory: &Path, parameters: &Parameters<'_>) -> Result<OwnedFd, Errno> {
    let device = open_device()?;
    let mut data = format!(
        "fd={},rootmode={DIRECTORY:o},user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        getuid().as_raw(),
        getgid().as_raw()
    );
    if parameters.allow_other {
        data.push_str(",allow_other");
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let mut flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    if !parameters.writable {
        flags |= MountFlags::RDONLY;
    }
    rustix::mount::mount(
        parameters.source,
        directory,
        format!("fuse.{SUBTYPE}"),
        flags,
        data.as_c_str(),
    )?;
    Ok(device.into())
}

fn open_device() -> Result<File, Errno> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// The options for `fusermount3`. It separates options at commas, and takes a character after a
/// backslash as it is.
fn options_of_helper(parameters: &Parameters<'_>) -> Vec<MountOption> {
    let access = match parameters.writable {
        true => MountOption::RW,
        false => MountOption::RO,
    };
    vec![
        access,
        MountOption::FSName(escaped(parameters.source)),
        MountOption::Subtype(SUBTYPE.to_owned()),
        MountOption::DefaultPermissions,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoExec,
    ]
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if matches!(c, ',' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_adds_no_option_for_the_helper() {
        assert_eq!(escaped("/a/disk,dev.img"), r"/a/disk\,dev.img");
        assert_eq!(escaped(r"/a\,b"), r"/a\\\,b");
        assert_eq!(escaped("/plain name.img"), "/plain name.img");
    }
}
