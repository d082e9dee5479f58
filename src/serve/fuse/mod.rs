//! The FUSE mount: the decrypted volume as the file `volume` in a directory.

mod adapter;
mod tree;
mod unmount;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{Config, MountOption, Session, SessionACL};

use self::adapter::Adapter;
pub use self::tree::{Attributes, FILE_NAME, Node, Tree};
pub use self::unmount::unmount;
use crate::error::{Error, Remedy, Result};
use crate::shown::ShowPath;
use crate::volume::{Unlocked, Writable};

/// Name under which mounts appear in the mount table, behind `fuse.`.
pub const SUBTYPE: &str = "fve";

/// Most threads that serve requests by default: more threads than cores make small reads slower.
const MAX_THREADS: usize = 4;

/// How to mount.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// What the mount table shows as the source.
    pub source_name: String,
    /// Whether other users may read.
    pub allow_other: bool,
    /// The time that the file shows.
    pub modified: SystemTime,
    /// How many threads serve requests; the number of cores, at most four, if none.
    pub threads: Option<usize>,
    /// Whether reads go past the kernel's page cache: two to six times as fast for whoever reads
    /// the file once from front to back, slower for everything else.
    pub direct_io: bool,
}

impl MountOptions {
    /// For the owner alone, cached, dated now.
    pub fn new(source_name: impl Into<String>) -> Self {
        Self {
            source_name: source_name.into(),
            allow_other: false,
            modified: SystemTime::now(),
            threads: None,
            direct_io: false,
        }
    }
}

/// A mount that is ready to serve.
pub struct Mount {
    session: Session<Adapter>,
    tree: Arc<Tree>,
    directory: PathBuf,
}

impl Mount {
    /// Mounts the volume on `directory`, read-only. Requests wait until [`Mount::serve`] is called.
    ///
    /// # Errors
    /// [`Error::Environment`] when the system cannot mount or the directory will not do;
    /// [`Error::Io`] otherwise.
    pub fn new(volume: Arc<Unlocked>, directory: &Path, options: &MountOptions) -> Result<Self> {
        let tree = Tree::new(volume, options.allow_other, options.modified);
        Self::start(tree, MountOption::RO, directory, options)
    }

    /// Mounts a volume that its owner may write to. Every write has reached the source when it
    /// returns, and the disk when the file is synced or closed: there is no cache of unwritten
    /// data in the kernel, so an error goes to the writer whom it concerns.
    ///
    /// # Errors
    /// As [`Mount::new`].
    pub fn read_write(
        volume: Arc<Writable>,
        directory: &Path,
        options: &MountOptions,
    ) -> Result<Self> {
        let tree = Tree::read_write(volume, options.allow_other, options.modified);
        Self::start(tree, MountOption::RW, directory, options)
    }

    fn start(
        mut tree: Tree,
        access: MountOption,
        directory: &Path,
        options: &MountOptions,
    ) -> Result<Self> {
        let directory = check_mount_point(directory)?;
        let threads = options.threads.unwrap_or_else(default_threads).max(1);
        let mut config = Config::default();
        config.mount_options = vec![
            access,
            MountOption::FSName(options.source_name.clone()),
            MountOption::Subtype(SUBTYPE.to_owned()),
            MountOption::DefaultPermissions,
            MountOption::NoDev,
            MountOption::NoSuid,
            MountOption::NoExec,
        ];
        if options.allow_other {
            config.acl = SessionACL::All;
        }
        config.n_threads = Some(threads);
        config.clone_fd = threads > 1;
        if options.direct_io {
            tree.bypass_cache();
        }
        let tree = Arc::new(tree);
        let session = Session::new(Adapter::new(tree.clone()), &directory, &config)
            .map_err(|error| cannot_mount(&directory, error))?;
        Ok(Self {
            session,
            tree,
            directory,
        })
    }

    /// Checks a mount point before anything costly is done: an empty directory that nothing is
    /// mounted on.
    ///
    /// # Errors
    /// [`Error::Environment`] with what stands in the way.
    pub fn check_mount_point(directory: &Path) -> Result<()> {
        check_mount_point(directory).map(|_| ())
    }

    /// Where it is mounted: what [`unmount`] takes to end it from another thread.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Serves requests until the directory is unmounted, by whatever means. What was written lies
    /// on the disk when it returns.
    ///
    /// # Errors
    /// [`Error::Io`] when the connection to the kernel fails, or when not everything that was
    /// written reached the disk.
    pub fn serve(self) -> Result<()> {
        let served = self.session.run();
        self.tree.flush().map_err(|error| {
            Error::io("not everything that was written reached the disk", error)
        })?;
        served.map_err(|error| Error::io("serving the mount", error))
    }
}

fn default_threads() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_THREADS)
}

/// The directory's absolute path, if it is an empty directory that nothing is mounted on.
fn check_mount_point(directory: &Path) -> Result<PathBuf> {
    let shown = directory.shown();
    let unfit = |what: String, remedy: Remedy| Error::Environment {
        what,
        remedy: Some(remedy),
    };
    let path = directory
        .canonicalize()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => unfit(
                format!("the mount point {shown} does not exist"),
                format!("create it: mkdir -p {shown}").into(),
            ),
            _ => match error.raw_os_error() {
                // A mount whose server died answers every question so.
                Some(code) if code == rustix::io::Errno::NOTCONN.raw_os_error() => unfit(
                    format!("{shown} holds a mount whose server is gone"),
                    Remedy::Unmount {
                        directory: directory.to_owned(),
                    },
                ),
                _ => Error::io(format!("cannot use {shown} as a mount point"), error),
            },
        })?;
    if !path.is_dir() {
        return Err(unfit(
            format!("the mount point {shown} is not a directory"),
            "name an empty directory".into(),
        ));
    }
    if is_mount_point(&path) {
        return Err(unfit(
            format!("something is mounted on {shown} already"),
            Remedy::UnmountOrNameAnother {
                directory: directory.to_owned(),
            },
        ));
    }
    let mut entries = std::fs::read_dir(&path)
        .map_err(|error| Error::io(format!("cannot read the mount point {shown}"), error))?;
    if entries.next().is_some() {
        return Err(unfit(
            format!("the mount point {shown} is not empty"),
            "name an empty directory: what is in it would be hidden".into(),
        ));
    }
    Ok(path)
}

/// Whether a directory lies on another file system than the one that holds it.
fn is_mount_point(path: &Path) -> bool {
    let device = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        path.metadata().map(|meta| meta.dev()).ok()
    };
    match path.parent() {
        Some(parent) => device(path) != device(parent),
        None => true,
    }
}

fn cannot_mount(directory: &Path, error: io::Error) -> Error {
    let reason = error.to_string();
    let what = format!(
        "cannot mount on {}: {}",
        directory.shown(),
        reason.trim_end()
    );
    let remedy = if !Path::new("/dev/fuse").exists() {
        "there is no /dev/fuse: load the module with 'modprobe fuse'".into()
    } else if error.kind() == io::ErrorKind::NotFound {
        "mounting without being root takes fusermount3: install the package fuse3".into()
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        Remedy::PermitMount
    } else {
        return Error::io(format!("cannot mount on {}", directory.shown()), error);
    };
    Error::Environment {
        what,
        remedy: Some(remedy),
    }
}
