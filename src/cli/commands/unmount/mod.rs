//! `fve unmount`: unmounts a volume, or says which programs use it.

mod find;
mod unmounter;
mod users;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use self::unmounter::Unmounter;
use self::users::Users;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::run::Run;
use clap::{Args, ValueHint};
use fve::error::Error;
use fve::serve::fuse::{FILE_NAME, unmount};
use fve::source::{MountEntry, writer_of};

#[derive(Debug, Args)]
#[command(visible_aliases = ["umount", "close"])]
pub(crate) struct UnmountArgs {
    /// The directory that the volume is mounted on, or what was mounted; without it, the command lists
    /// what is mounted
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: Option<PathBuf>,

    /// Unmount DIR when the server of the mount asks for it on standard input
    #[arg(long, hide = true, requires = "directory")]
    pub(crate) on_request: bool,
}

/// How long to try again while the mount is in use: ntfs-3g closes the volume a moment after
/// umount(8) has returned.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(20);

impl Run for UnmountArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &UnmountArgs) -> Result<(), Failure> {
    let Some(directory) = &args.directory else {
        return Err(find::not_named());
    };
    if args.on_request {
        return unmounter::serve_requests(directory);
    }
    let mounted = find::find(directory)?;
    let directory = &mounted.directory;
    let server = writer(&mounted);
    let start = Instant::now();
    loop {
        let synced = if mounted.writable {
            sync(directory)
        } else {
            Ok(())
        };
        match unmount(directory) {
            Ok(()) => {
                wait_for_end_of(server, &mounted);
                return Ok(synced?);
            }
            Err(error) if !is_busy(&error) => return Err(error.into()),
            Err(_) if start.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(_) => {
                let users = Users::of(&mounted);
                return Err(refused(users.described(directory), users.how_to_end()));
            }
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
