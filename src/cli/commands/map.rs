//! `fve map` and `fve unmap`: the decrypted volume as a device of the kernel.
//!
//! Keys of `map --json`: `name`, `device`, `source`, `offset` (bytes in the device below), `below` (that
//! device), `size` (bytes), `read_only`. Keys of `unmap --json`: `name`.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use fve::error::Error;
use fve::guid::Guid;
use fve::serve::mapping::{Mapping, NotRemoved, Table, check_free, check_name, remove};
use fve::shown::ShowPath;
use fve::source::{Devices, Extent, SharedHold, changed_by, device_of, open_to_overwrite};
use fve::volume::{Fvek, Volume};
use rustix::process::geteuid;
use serde_json::json;

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::loop_device::LoopDevice;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::mappable;
use crate::cli::options::plaintext::{check_inside, open_to_read_by, open_to_write_by};
use crate::cli::options::source::SourceArgs;
use crate::cli::output::json::document;
use crate::cli::output::term;
use crate::cli::run::Run;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Have the kernel decrypt a volume, mount its files, and end both:
    fve map /dev/sda3 windows
    mount -t ntfs3 -o ro /dev/mapper/windows /mnt
    umount /mnt
    fve unmap windows
  Write to the volume of a disk image:
    fve map disk.img windows --read-write")]
pub(crate) struct MapArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Name of the new device in /dev/mapper
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: String,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Let the device be written to. No other program may use SOURCE meanwhile
    #[arg(long, conflicts_with = "accept-damaged-metadata")]
    read_write: bool,

    /// With --read-write: write although the file system in the volume may use the places of BitLocker's
    /// own structures; what is written there is lost
    #[arg(long, requires = "read_write")]
    allow_unaware_file_system: bool,

    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Remove the device /dev/mapper/windows:
    fve unmap windows")]
pub(crate) struct UnmapArgs {
    /// Name of the device in /dev/mapper, or its path
    #[arg(value_name = "NAME", value_hint = ValueHint::FilePath, value_parser = parse_name_or_path)]
    name: String,

    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,
}

fn parse_name(text: &str) -> Result<String, String> {
    if text.contains('/') {
        return Err("it is a path, and NAME is the name of a device in /dev/mapper".to_owned());
    }
    check_name(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

fn parse_name_or_path(text: &str) -> Result<String, String> {
    if let Some(number) = text.strip_prefix("/dev/dm-") {
        let about = format!("/sys/block/dm-{number}/dm/name");
        let name = std::fs::read_to_string(about);
        return name.map_or_else(
            |_| Err("there is no such device".to_owned()),
            |name| parse_name(name.trim_end()),
        );
    }
    parse_name(text.strip_prefix("/dev/mapper/").unwrap_or(text))
}

impl Run for MapArgs {
    fn run(&self) -> Result<(), Failure> {
        map(self)
    }
}

impl Run for UnmapArgs {
    fn run(&self) -> Result<(), Failure> {
        unmap(self)
    }
}

/// What is mapped.
struct Found {
    table: Table,
    fvek: Option<Fvek>,
    volume: Option<Guid>,
    place: Place,
}

/// Where the volume is.
struct Place {
    extent: Extent,
    /// The device with the volume; `None` if it is in a file.
    device: Option<PathBuf>,
    /// Where the volume begins on the device or in the file.
    offset: u64,
}

impl Place {
    fn of(source: &Path, offset: u64, size: u64) -> Self {
        let extent = Extent::part(source, offset, size);
        match device_of(&extent) {
            Some((device, offset)) => Self {
                extent,
                device: Some(device),
                offset,
            },
            None => Self {
                extent,
                device: None,
                offset,
            },
        }
    }
}

fn map(args: &MapArgs) -> Result<(), Failure> {
    check_root()?;
    mappable::check_source(&args.source)?;
    check_free(&args.name)?;
    let before = state_of(&args.source.source)?;
    let found = unlock(args)?;
    let place = &found.place;
    let (below, attached) = match &place.device {
        Some(device) => (device.clone(), None),
        None => {
            let device = attach(&place.extent.path, !args.read_write, before)?;
            (device.path().to_owned(), Some(device))
        }
    };
    let mapping = Mapping::new(&args.name, &found.table, &below)
        .volume(found.volume)
        .fvek(found.fvek.as_ref())
        .writable(args.read_write);
    let device = mapping
        .make()
        .map_err(|error| explain(error, &place.extent))?;
    // The mapping keeps it attached.
    drop(attached);
    if args.json {
        return term::print(&document(&json!({
            "name": args.name,
            "device": device.to_string_lossy(),
            "source": place.extent.path.to_string_lossy(),
            "below": below.to_string_lossy(),
            "offset": place.offset,
            "size": found.table.size(),
            "read_only": !args.read_write,
        })));
    }
    let access = if args.read_write { "" } else { ", read-only" };
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
    if !args.read_write {
        let ((unlocked, fvek), opened, _holds) = open_to_read_by(source, credentials, |volume| {
            credentials.unlock_keeping_fvek(volume)
        })?;
        let start = mappable::start_of(&opened)?;
        let place = Place::of(&opened.path, start, unlocked.size());
        return Ok(Found {
            table: Table::of(&unlocked, place.offset)?,
            fvek,
            volume: identifier(&opened.volume),
            place,
        });
    }
    let ((unlocked, fvek), opened) = open_to_write_by(source, credentials, |volume| {
        credentials.unlock_keeping_fvek(volume)
    })?;
    let place = Place::of(&opened.path, opened.offset, unlocked.size());
    let writable = unlocked.into_writable().map_err(Error::from)?;
    check_inside(&writable, args.allow_unaware_file_system)?;
    Ok(Found {
        table: Table::of_writable(&writable, place.offset)?,
        fvek,
        volume: identifier(&opened.volume),
        place,
    })
}

fn identifier(volume: &Volume) -> Option<Guid> {
    volume.metadata_as_found().map(|block| block.dataset.id)
}

/// What shows that a file is the same and was not changed: its device and inode number, its size, and the
/// times of its last changes.
type State = (u64, u64, u64, [i64; 4]);

fn state_of(path: &Path) -> Result<State, Failure> {
    let found = path.metadata();
    let found = found.map_err(|error| Error::io(format!("cannot open {}", path.shown()), error))?;
    Ok(state(&found))
}

fn state(of: &Metadata) -> State {
    let times = [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()];
    (of.dev(), of.ino(), of.size(), times)
}

/// Attaches a loop device to an image that was in this state before it was unlocked. The lock on the image lasts as
/// long as the loop device, which keeps the file open, so other programs that respect locks see that it is in use.
fn attach(image: &Path, read_only: bool, before: State) -> Result<LoopDevice, Failure> {
    let fail = |what: &str, error| Error::io(format!("cannot {what} {}", image.shown()), error);
    let file = match read_only {
        false => open_to_overwrite(image, &[], 0)?,
        true => match SharedHold::take(image)? {
            Some(hold) => hold.into_file(),
            // Its file system has no locks.
            None => File::open(image).map_err(|error| fail("open", error))?,
        },
    };
    let now = file.metadata().map_err(|error| fail("read", error))?;
    if state(&now) != before {
        return Err(Error::environment(format!(
            "{} was changed while it was unlocked",
            image.shown()
        ))
        .with_remedy("find out which program changes it, and run the command again")
        .into());
    }
    let attached = LoopDevice::attach(&file, read_only);
    Ok(attached.map_err(|error| fail("attach a loop device to", error))?)
}

/// Says what uses the device if that is why it cannot be mapped.
fn explain(error: Error, extent: &Extent) -> Failure {
    let busy = |source: &io::Error| source.kind() == io::ErrorKind::ResourceBusy;
    match error {
        Error::Io { what, source, .. } if busy(&source) => match changed_by(extent) {
            Some(user) => Error::environment(format!("{what}: {user}")).into(),
            None => Error::io(what, source).into(),
        },
        other => other.into(),
    }
}

fn unmap(args: &UnmapArgs) -> Result<(), Failure> {
    check_root()?;
    remove(&args.name).map_err(|error| match error {
        NotRemoved::Failed(error) => error.into(),
        NotRemoved::InUse(path) => in_use(&path),
        NotRemoved::Missing(_) => not_meant(&error, "'fve list' shows which volumes are mapped"),
        _ => not_meant(&error, "remove it with the program that made it"),
    })?;
    match args.json {
        true => term::print(&document(&json!({ "name": args.name }))),
        false => Ok(()),
    }
}

/// The failure for a name that is not that of a mapping of a volume.
fn not_meant(error: &NotRemoved, help: &str) -> Failure {
    Failure::Other {
        status: Status::Usage,
        what: error.to_string(),
        help: Some(help.to_owned()),
    }
}

/// The failure for a mapping that is in use: by what, as far as the system says.
fn in_use(path: &Path) -> Failure {
    let devices = Devices::new();
    let disks = devices.disks().unwrap_or_default();
    let mapped = disks.iter().find(|disk| disk.path() == path);
    let uses: Vec<_> = mapped
        .map(|disk| devices.uses(disk, 0..u64::MAX))
        .unwrap_or_default()
        .iter()
        .map(|found| found.description())
        .collect();
    match uses.is_empty() {
        true => Failure::Other {
            status: Status::Io,
            what: format!(
                "cannot remove the mapping {}: a program uses it",
                path.shown()
            ),
            help: Some(format!("'fuser -v {}' names the programs", path.shown())),
        },
        false => Failure::Other {
            status: Status::Io,
            what: format!("cannot remove the mapping: {}", uses.join("; ")),
            help: Some("end that first".to_owned()),
        },
    }
}

fn check_root() -> Result<(), Failure> {
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
