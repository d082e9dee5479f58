//! `fve unmount`: unmounts a volume with all layers of the mount, or says which programs use it.

mod find;
mod layers;
mod private;
mod unmounter;
mod users;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use self::layers::{end_earlier, is_fve, shows_source};
pub(crate) use self::private::{PrivateDirectory, remove as remove_private, shown_on};
pub(crate) use self::unmounter::Unmounter;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::json::document;
use crate::cli::output::term;
use crate::cli::run::Run;
use clap::{Args, ValueHint};
use fve::error::Error;
use fve::serve::fuse::{FILE_NAME, detach_mount};
use fve::source::MountEntry;
use serde_json::json;

/// The names that the file with a decrypted volume can have: our own, and those of dislocker and libbde.
pub(crate) const FILE_NAMES: [&str; 3] = [FILE_NAME, "dislocker-file", "bde1"];

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Unmount:
    fve unmount /mnt/windows
  Unmount all volumes of a disk that 'fve mount --all' has mounted below a directory:
    fve unmount /mnt/disk
  Unmount what was mounted from a partition:
    fve unmount /dev/sda3
  List what is mounted:
    fve unmount")]
#[command(visible_aliases = ["umount", "close"])]
pub(crate) struct UnmountArgs {
    /// The directory that the volume is mounted on, or what was mounted; without it, the command lists
    /// what is mounted
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: Option<PathBuf>,

    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,

    /// Unmount DIR if the server of the mount was killed, and do nothing otherwise
    #[arg(long, hide = true, requires = "directory")]
    if_dead: bool,

    /// Unmount DIR when the server of the mount asks for it on standard input
    #[arg(long, hide = true, requires = "directory")]
    pub(crate) on_request: bool,
}

impl Run for UnmountArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &UnmountArgs) -> Result<(), Failure> {
    let Some(directory) = &args.directory else {
        return find::list(args.json);
    };
    if args.if_dead {
        layers::end_dead(directory);
        return Ok(());
    }
    if args.on_request {
        return unmounter::serve_requests(directory);
    }
    let below = find::below(directory)?;
    if !below.is_empty() {
        return unmount_all(args, directory, &below);
    }
    let layers = find::find(directory)?;
    layers.take_down()?;
    match args.json {
        true => term::print(&document(&json!({
            "directory": layers.directory.to_string_lossy(),
        }))),
        false => Ok(()),
    }
}

/// Unmounts all volumes of a disk that were mounted in a directory, and removes their directories. Goes on
/// where one is in use.
fn unmount_all(args: &UnmountArgs, directory: &Path, below: &[PathBuf]) -> Result<(), Failure> {
    let mut first_failure = None;
    let mut unmounted = Vec::new();
    for mounted in below {
        match find::find(mounted).and_then(|layers| layers.take_down()) {
            Ok(()) => {
                // Only an empty one can be removed.
                let _ = std::fs::remove_dir(mounted);
                unmounted.push(mounted.to_string_lossy());
            }
            Err(failure) => {
                if first_failure.is_some() {
                    term::print_failure(&failure);
                } else {
                    first_failure = Some(failure);
                }
            }
        }
    }
    match first_failure {
        Some(failure) => Err(failure),
        None if args.json => term::print(&document(&json!({
            "directory": directory.to_string_lossy(),
            "directories": unmounted,
        }))),
        None => Ok(()),
    }
}

/// Whether a mount was made from this file, the volume on a private directory.
pub(crate) fn is_from(mounted: &MountEntry, volume: &Path) -> bool {
    layers::private_below(mounted).is_some_and(|private| private.join(FILE_NAME) == volume)
}

/// Unmounts what is mounted on a private directory, and on the directory that it belongs to, also if
/// programs still use it.
pub(crate) fn end_rest(private: &Path) {
    let layers = layers::Layers::on_own(private.to_owned());
    if layers.try_to_take_down().is_err()
        && let Some(volume) = layers.volume()
    {
        let _ = detach_mount(&volume);
    }
}

/// Whether a program uses the mount.
fn is_busy(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::ResourceBusy)
}

fn refused(what: String, help: impl Into<String>) -> Failure {
    Failure::Other {
        status: Status::Io,
        what,
        help: Some(help.into()),
    }
}
