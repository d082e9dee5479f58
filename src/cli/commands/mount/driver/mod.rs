//! The files of a volume shown by another driver: one of the kernel, or a program such as ntfs-3g. It
//! can also write them.
//!
//! fve mounts the volume as a file on a private directory, which only root can enter. A driver of the
//! kernel gets a loop device on that file. `fve unmount` takes these layers down again, see
//! [`unmount`](crate::cli::commands::unmount).

mod condition;
mod drivers;
mod system;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fve::error::Error;
use fve::serve::fuse::{FILE_NAME, Mount, MountOptions, Unserved};
use fve::shown::ShowPath;
use rustix::process::geteuid;

pub(super) use self::drivers::Access;
use self::drivers::{Driver, Task};
use self::system::System;
use super::volume::Content;
use super::{MountArgs, apart, server};
use crate::cli::commands::unmount::{
    PrivateDirectory, end_earlier, end_rest, remove_private, shows_source,
};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::file_system::tell_conditions;
use crate::cli::options::plaintext::{open_to_read, open_to_write};

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
        None => args.writes(),
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
    match args.writes() && args.driver == Some(Choice::Own) {
        true => Err(Failure::Other {
            status: Status::Usage,
            what: "with --driver own, files can only be read".to_owned(),
            help: Some(
                "leave out --driver to write with the kernel's driver or ntfs-3g, or leave out --read-write and --overlay".to_owned(),
            ),
        }),
        false => Ok(()),
    }
}

/// Shows the files until they are unmounted.
pub(super) fn serve(args: &MountArgs) -> Result<(), Failure> {
    check_root()?;
    args.check_mount_point()?;
    let directory = shown_on(&args.directory);
    if args.mounted_by.is_none() {
        end_earlier(&directory);
    }
    let (content, source, modified, _holds) = if args.writes() {
        let (writable, source, holds) = open_to_write(
            &args.source,
            args.overlay.as_deref(),
            &args.credentials,
            condition::check,
        )?;
        (Content::ReadWrite(writable), source, None, holds)
    } else {
        let (unlocked, source, modified, holds) = open_to_read(&args.source, &args.credentials)?;
        let unlocked = Arc::new(unlocked);
        if let Ok(files) = unlocked.files() {
            tell_conditions(&files);
        }
        (Content::ReadOnly(unlocked), source, modified, holds)
    };
    let system = System::in_volume(content.plaintext())?;
    let mut options = MountOptions::new(source.to_string_lossy());
    if let Some(modified) = modified {
        options = options.modified(modified);
    }
    let what = || {
        let access = if args.writes() { "" } else { ", read-only" };
        let shown = args.directory.shown();
        format!("the files are in {shown}{access}; end with 'fve unmount {shown}'")
    };
    if args.mounted_by.is_some() {
        // The mounter makes the private directory, and has the driver mount.
        return server::serve(
            args,
            options,
            |options| content.mount(&args.directory, options),
            what,
        );
    }
    let drivers = drivers::of(system, args.driver)?;
    let private = PrivateDirectory::make(&directory)?;
    let path = private.path().to_owned();
    let task = task(args, &path, directory, system, drivers);
    let rest = path.clone();
    let served = server::serve_with(
        args,
        options,
        |options| content.mount(&path, options),
        what,
        move || task.run().inspect_err(|_| end_rest(&rest)),
    );
    drop(private);
    remove_private(&path);
    served
}

/// Mounts the volume for a server in another process, and then its files. `source` is what the mount table
/// shows.
pub(super) fn mount_for(
    args: &MountArgs,
    server: &apart::Server,
    source: &Path,
) -> Result<(), Failure> {
    check_root()?;
    let directory = shown_on(&args.directory);
    end_earlier(&directory);
    Mount::check_mount_point(&directory)?;
    let private = PrivateDirectory::make(&directory)?;
    let path = private.path();
    let shown = mount_volume_for(args, server, source, path)
        .and_then(|system| {
            let drivers = drivers::of(system, args.driver)?;
            task(args, path, directory, system, drivers).run()
        })
        .and_then(|()| server.ready());
    shown.inspect_err(|_| {
        end_rest(path);
        remove_private(path);
    })
}

/// Mounts the volume on a private directory, and returns the file system in it.
fn mount_volume_for(
    args: &MountArgs,
    server: &apart::Server,
    source: &Path,
    private: &Path,
) -> Result<System, Failure> {
    let options = MountOptions::new(source.to_string_lossy());
    server.hand_over(Unserved::mount(private, &options, args.writes())?)?;
    let volume = File::open(private.join(FILE_NAME))
        .map_err(|error| Error::io("cannot open the volume", error))?;
    System::in_volume(&volume)
}

/// What the drivers are to do with the volume on a private directory.
fn task(
    args: &MountArgs,
    private: &Path,
    directory: PathBuf,
    system: System,
    drivers: Vec<Driver>,
) -> Task {
    Task {
        volume: private.join(FILE_NAME),
        directory,
        read_write: args.writes(),
        access: args.access(),
        no_programs: args.noexec,
        system,
        drivers,
    }
}

fn check_root() -> Result<(), Failure> {
    if geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::Other {
        status: Status::Io,
        what: "only root can have another driver show the files of a volume".to_owned(),
        help: Some(
            "run the command as root; read-only and without --driver, it needs no root".to_owned(),
        ),
    })
}

/// The path of the mount point without links. A directory on which an automounter waits is not looked at.
fn shown_on(directory: &Path) -> PathBuf {
    directory
        .canonicalize()
        .unwrap_or_else(|_| directory.to_owned())
}
