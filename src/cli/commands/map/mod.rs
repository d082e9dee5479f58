//! `fve map`: the decrypted volume as a device of the kernel.
//!
//! Keys of `map --json`: `name`, `device`, `source`, `offset` (bytes in the device below), `below` (that
//! device), `overlay` (file with the changes, or null), `size` (bytes), `read_only`.

mod below;

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, ValueHint};
use fve::error::Error;
use fve::guid::Guid;
use fve::serve::mapping::{Mapping, Overlay, Table, check_free, check_name};
use fve::shown::ShowPath;
use fve::source::{Extent, ReadAt};
use fve::volume::{Fvek, Volume};
use rustix::process::geteuid;
use serde_json::json;

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::mappable;
use crate::cli::options::plaintext::{
    check_inside, open_over_by, open_to_read_by, open_to_write_by,
};
use crate::cli::options::source::{OpenedWithOverlay, SourceArgs};
use crate::cli::output::json::document;
use crate::cli::output::term;
use crate::cli::run::Run;
use below::{Below, Changes, Place, explain, state_of};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("writing").multiple(true), after_help = "\
Examples:
  Have the kernel decrypt a volume, mount its files, and end both:
    fve map /dev/sda3 windows
    mount -t ntfs3 -o ro /dev/mapper/windows /mnt
    umount /mnt
    fve unmap windows
  Write to the volume of a disk image:
    fve map disk.img windows --read-write
  The same, with all changes in another file:
    fve map disk.img windows --overlay changes.cow")]
pub(crate) struct MapArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Name of the new device in /dev/mapper
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: String,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Let the device be written to. No other program may use SOURCE meanwhile
    #[arg(long, group = "writing", conflicts_with = "accept-damaged-metadata")]
    read_write: bool,

    /// Like --read-write, but changes go to FILE, encrypted, and SOURCE stays as it is. With the same FILE
    /// again, the changes are there again. When the disk with FILE is full, the device fails
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "writing", conflicts_with = "accept-damaged-metadata")]
    overlay: Option<PathBuf>,

    /// With --read-write: write although the file system in the volume may use the places of BitLocker's
    /// own structures; what is written there is lost
    #[arg(long, requires = "writing")]
    allow_unaware_file_system: bool,

    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn parse_name(text: &str) -> Result<String, String> {
    if text.contains('/') {
        return Err("it is a path, and NAME is the name of a device in /dev/mapper".to_owned());
    }
    check_name(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

impl MapArgs {
    /// Whether the device can be written to.
    fn writes(&self) -> bool {
        self.read_write || self.overlay.is_some()
    }
}

impl Run for MapArgs {
    fn run(&self) -> Result<(), Failure> {
        map(self)
    }
}

/// What is mapped.
struct Found {
    table: Table,
    fvek: Option<Fvek>,
    volume: Option<Guid>,
    place: Place,
    /// Where changes go, if not to the source.
    changes: Option<Changes>,
}

fn map(args: &MapArgs) -> Result<(), Failure> {
    check_root()?;
    mappable::check_source(&args.source)?;
    check_free(&args.name)?;
    if args.overlay.is_some() {
        Overlay::check_free(&args.name)?;
    }
    let before = state_of(&args.source.source)?;
    let found = unlock(args)?;
    let place = &found.place;
    let source = &place.extent.path;
    let below = match &found.changes {
        Some(changes) => Below::over(&args.name, source, changes, before)?,
        None => Below::of(place, !args.read_write, before)?,
    };
    let below_path = below.path.clone();
    let mapping = Mapping::new(&args.name, &found.table, &below_path)
        .volume(found.volume)
        .fvek(found.fvek.as_ref())
        .writable(args.writes());
    let device = mapping
        .make()
        .map_err(|error| explain(error, &place.extent, "end that first"))?;
    below.keep();
    if args.json {
        return term::print(&document(&json!({
            "name": args.name,
            "device": device.to_string_lossy(),
            "source": source.to_string_lossy(),
            "below": below_path.to_string_lossy(),
            "overlay": args.overlay.as_deref().map(Path::to_string_lossy),
            "offset": place.offset,
            "size": found.table.size(),
            "read_only": !args.writes(),
        })));
    }
    let access = if args.writes() { "" } else { ", read-only" };
    term::note(format_args!(
        "the decrypted volume is {}{access}; end with 'fve unmap {}'",
        device.shown(),
        args.name
    ));
    Ok(())
}

/// Unlocks the volume, and checks whether it may be written to if that is asked for. The locks on the
/// source end with this: dm-crypt claims a device for itself.
fn unlock(args: &MapArgs) -> Result<Found, Failure> {
    let (source, credentials) = (&args.source, &args.credentials);
    let unlock = |volume: &Volume| credentials.unlock_keeping_fvek(volume);
    if let Some(file) = &args.overlay {
        let ((unlocked, fvek), opened, _holds) = open_over_by(source, file, credentials, unlock)?;
        let OpenedWithOverlay { opened, overlay } = opened;
        let writable = unlocked.into_writable().map_err(Error::from)?;
        check_inside(&writable, args.allow_unaware_file_system)?;
        overlay.keep()?;
        overlay.make_room()?;
        let changes = Changes {
            file: overlay.file()?,
            path: file.clone(),
            size: overlay.size(),
            chunk: overlay.chunk_size(),
        };
        return Ok(Found {
            table: Table::of_writable(&writable, opened.offset)?,
            fvek,
            volume: identifier(&opened.volume),
            // The kernel sees the changes of the whole source.
            place: Place {
                extent: Extent::whole(&opened.path),
                device: None,
                _open: None,
                offset: opened.offset,
            },
            changes: Some(changes),
        });
    }
    if !args.read_write {
        let ((unlocked, fvek), opened, _holds) = open_to_read_by(source, credentials, unlock)?;
        let start = mappable::start_of(&opened)?;
        let place = Place::of(&opened.path, start, unlocked.size());
        return Ok(Found {
            table: Table::of(&unlocked, place.offset)?,
            fvek,
            volume: identifier(&opened.volume),
            place,
            changes: None,
        });
    }
    let ((unlocked, fvek), opened) = open_to_write_by(source, credentials, unlock)?;
    let place = Place::of(&opened.path, opened.offset, unlocked.size());
    let writable = unlocked.into_writable().map_err(Error::from)?;
    check_inside(&writable, args.allow_unaware_file_system)?;
    Ok(Found {
        table: Table::of_writable(&writable, place.offset)?,
        fvek,
        volume: identifier(&opened.volume),
        place,
        changes: None,
    })
}

fn identifier(volume: &Volume) -> Option<Guid> {
    volume.metadata_as_found().map(|block| block.dataset.id)
}

pub(super) fn check_root() -> Result<(), Failure> {
    match geteuid().is_root() {
        true => Ok(()),
        false => Err(Failure::Other {
            status: Status::Io,
            what: "only root can use the kernel's device-mapper".to_owned(),
            help: Some(
                "run the command as root; 'fve mount --volume' and 'fve serve nbd' need no root"
                    .to_owned(),
            ),
        }),
    }
}
