//! The files of a volume shown by another driver: one of the kernel, or a program such as ntfs-3g. It
//! can also write them.
//!
//! fve mounts the volume as a file on a private directory, which only root can enter. A driver of the
//! kernel gets a loop device on that file. `fve unmount` takes these layers down again, see
//! [`unmount`](crate::cli::commands::unmount).

mod condition;
mod drivers;
mod system;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fve::serve::fuse::{Mount, MountOptions};
use fve::shown::ShowPath;
use rustix::process::geteuid;

pub(super) use self::drivers::Access;
use self::drivers::Task;
use self::system::System;
use super::volume::{self, Content};
use super::{MountArgs, server};
use crate::cli::commands::unmount::{PrivateDirectory, end_earlier, end_rest, shows_source};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::file_system::tell_conditions;

/// What shows the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Choice {
    /// Fve itself, read-only
    Own,
    /// The kernel's driver
    Kernel,
    /// The program ntfs-3g
    #[value(name = "ntfs-3g")]
    Ntfs3g,
}

/// Whether these arguments ask for another driver.
pub(super) fn is_wanted(args: &MountArgs) -> bool {
    match args.driver {
        None => args.read_write,
        Some(Choice::Own) => false,
        Some(Choice::Kernel | Choice::Ntfs3g) => true,
    }
}

/// Whether another driver shows the files of SOURCE on DIR already.
pub(super) fn is_mounted(args: &MountArgs) -> bool {
    shows_source(&shown_on(&args.directory), &args.source.source)
}

/// Refuses to write with the driver that only reads.
pub(super) fn check(args: &MountArgs) -> Result<(), Failure> {
    match args.read_write && args.driver == Some(Choice::Own) {
        true => Err(Failure::Other {
            status: Status::Usage,
            what: "with --driver own, files can only be read".to_owned(),
            help: Some(
                "leave out --driver to write with the kernel's driver or ntfs-3g, or leave out --read-write".to_owned(),
            ),
        }),
        false => Ok(()),
    }
}

/// Shows the files until they are unmounted.
pub(super) fn serve(args: &MountArgs) -> Result<(), Failure> {
    if !geteuid().is_root() {
        return Err(Failure::Other {
            status: Status::Io,
            what: "only root can have another driver show the files of a volume".to_owned(),
            help: Some(
                "run the command as root; read-only and without --driver, it needs no root"
                    .to_owned(),
            ),
        });
    }
    Mount::check_mount_point(&args.directory)?;
    let directory = shown_on(&args.directory);
    end_earlier(&directory);
    let (content, source, modified, _holds) = if args.read_write {
        let (writable, source) = volume::open_to_write(args)?;
        condition::check(&writable)?;
        (
            Content::ReadWrite(writable),
            source,
            None,
            Default::default(),
        )
    } else {
        let (unlocked, source, modified, holds) = volume::open_to_read(args)?;
        let unlocked = Arc::new(unlocked);
        if let Ok(files) = unlocked.files() {
            tell_conditions(&files);
        }
        (Content::ReadOnly(unlocked), source, modified, holds)
    };
    let system = System::in_volume(content.plaintext())?;
    let drivers = drivers::of(system, args.driver)?;
    let private = PrivateDirectory::make(&directory)?;
    let path = private.path().to_owned();
    let task = Task {
        volume: path.join(fve::serve::fuse::FILE_NAME),
        directory,
        read_write: args.read_write,
        access: args.access(),
        no_programs: args.noexec,
        system,
        drivers,
    };
    let mut options = MountOptions::new(source.to_string_lossy());
    if let Some(modified) = modified {
        options = options.modified(modified);
    }
    let rest = path.clone();
    let what = || {
        let access = if args.read_write { "" } else { ", read-only" };
        let shown = args.directory.shown();
        format!("the files are in {shown}{access}; end with 'fve unmount {shown}'")
    };
    let served = server::serve_with(
        args,
        || {
            Ok(match content {
                Content::ReadOnly(volume) => Mount::new(volume, &path, &options)?,
                Content::ReadWrite(volume) => Mount::read_write(Arc::new(volume), &path, &options)?,
            })
        },
        what,
        move || task.run().inspect_err(|_| end_rest(&rest)),
    );
    drop(private);
    crate::cli::commands::unmount::remove_private(&path);
    served
}

/// The path of the mount point without links. A directory on which an automounter waits is not looked at.
fn shown_on(directory: &Path) -> PathBuf {
    directory
        .canonicalize()
        .unwrap_or_else(|_| directory.to_owned())
}
