//! `fve unmount`: unmounts a volume, or says which programs use it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::term::escaped;
use crate::cli::run::Run;
use clap::{Args, ValueHint};
use fve::error::Error;
use fve::serve::fuse::{FILE_NAME, SUBTYPE, unmount};
use fve::shown::ShowPath;
use fve::source::{MountEntry, writer_of};

#[derive(Debug, Args)]
pub(crate) struct UnmountArgs {
    /// The directory that the volume is mounted on
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,
}

/// How long to try again while the mount is in use: ntfs-3g closes the volume a moment after
/// umount(8) has returned.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Most programs and devices that a message names.
const MAX_USERS: usize = 8;

impl Run for UnmountArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &UnmountArgs) -> Result<(), Failure> {
    let directory = absolute(&args.directory)?;
    let mounted = mounted_at(&directory)?;
    if !is_fve(&mounted) {
        return Err(refused(
            format!(
                "{} is a mount of another kind ({})",
                directory.shown(),
                escaped(&mounted.kind.to_string_lossy())
            ),
            format!("umount {}", directory.shown()),
        ));
    }
    let server = writer(&mounted);
    let start = Instant::now();
    loop {
        let synced = if mounted.writable {
            sync(&directory)
        } else {
            Ok(())
        };
        match unmount(&directory) {
            Ok(()) => {
                wait_for_end_of(server, &mounted);
                return Ok(synced?);
            }
            Err(error) if !is_busy(&error) => return Err(error.into()),
            Err(_) if start.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(_) => return Err(busy(&directory)),
        }
    }
}

/// Whether a program uses the mount.
fn is_busy(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::ResourceBusy)
}

/// Makes the server write everything to the disk while it can still report whether that worked. If
/// the file cannot be opened, the server has ended or serves another user only; unmounting must
/// work all the same.
fn sync(directory: &Path) -> Result<(), Error> {
    let Ok(file) = File::open(directory.join(FILE_NAME)) else {
        return Ok(());
    };
    file.sync_all().map_err(|error| {
        Error::io(
            "unmounted, but not everything that was written reached the disk",
            error,
        )
    })
}

fn refused(what: String, help: impl Into<String>) -> Failure {
    Failure::Other {
        status: Status::Io,
        what,
        help: Some(help.into()),
    }
}

/// The path with links resolved up to the parent directory. The mount point itself is not looked at:
/// if its server has crashed, every access fails.
fn absolute(directory: &Path) -> Result<PathBuf, Failure> {
    let fail = |error| Error::io(format!("cannot find {}", directory.shown()), error);
    let absolute = std::path::absolute(directory).map_err(fail)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.canonicalize().map_err(fail)?.join(name)),
        _ => Ok(absolute),
    }
}

fn mounted_at(directory: &Path) -> Result<MountEntry, Failure> {
    MountEntry::at(directory)
        .map_err(|error| Error::io("cannot read the mount table", error))?
        .ok_or_else(|| {
            refused(
                format!("nothing is mounted on {}", directory.shown()),
                "'findmnt -t fuse.fve,fuse' lists the mounts",
            )
        })
}

/// Whether this may be a mount of fve. The kernel records the subtype only if `fusermount3` mounted:
/// for root, the type is just `fuse`.
fn is_fve(mounted: &MountEntry) -> bool {
    mounted.kind == "fuse" || mounted.kind.to_str() == Some(&format!("fuse.{SUBTYPE}"))
}

/// The process that serves a mount that can be written to, found by its lock on the source.
fn writer(mounted: &MountEntry) -> Option<u32> {
    mounted
        .writable
        .then(|| writer_of(&mounted.source))
        .flatten()
}

/// Waits until the server of a mount that can be written to has ended. The kernel releases the mount
/// point earlier, but the disk must not be unplugged while the server still writes.
fn wait_for_end_of(server: Option<u32>, mounted: &MountEntry) {
    while server.is_some() && writer(mounted) == server {
        std::thread::sleep(PAUSE);
    }
}

fn busy(directory: &Path) -> Failure {
    let users = users(directory);
    let what = if users.is_empty() {
        format!("{} is in use", directory.shown())
    } else {
        format!("{} is in use by {}", directory.shown(), users.join(", "))
    };
    refused(
        what,
        "unmount what was mounted from the volume, end the programs that use it, then try again",
    )
}

/// Processes with an open file or a working directory below `directory`, and loop devices on a file
/// in it.
fn users(directory: &Path) -> Vec<String> {
    let mut users = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let process = entry.path();
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if uses(&process, directory) {
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            users.push(format!("{} ({id})", escaped(name.trim())));
        }
    }
    for entry in std::fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten()
    {
        let backing = std::fs::read_to_string(entry.path().join("loop/backing_file"));
        if backing.is_ok_and(|path| Path::new(path.trim_end()).starts_with(directory)) {
            users.push(format!("/dev/{}", entry.file_name().to_string_lossy()));
        }
    }
    users.truncate(MAX_USERS);
    users
}

fn uses(process: &Path, directory: &Path) -> bool {
    let links = std::fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .chain([process.join("cwd"), process.join("root")]);
    links
        .filter_map(|link| std::fs::read_link(link).ok())
        .any(|target| target.starts_with(directory))
}
