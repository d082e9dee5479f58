//! SOURCE: from a path to the one volume that is meant.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::parse::{parse_bytes, parse_start};
use crate::cli::output::term;
use clap::{Args, ValueHint};
use fve::error::Error;
use fve::repair::{FoundVolume, Scope, scan, written};
use fve::shown::ShowPath;
use fve::source::{
    DeviceHold, ExclusiveFile, Extent, Place, ReadAt, Window, WriteAt, changed_by, is_file_system,
    locate, partition, refuse_mapped,
};
use fve::volume::Volume;

/// Where the volume is.
#[derive(Debug, Clone, Args)]
pub(crate) struct SourceArgs {
    /// Image file or block device: the volume itself, or a whole disk that holds it
    #[arg(value_name = "SOURCE", value_hint = ValueHint::FilePath)]
    pub(crate) source: PathBuf,

    /// The volume begins this many bytes into SOURCE (0x for hexadecimal)
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, conflicts_with = "partition")]
    pub(crate) offset: Option<u64>,

    /// The volume is this partition of SOURCE
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<u32>,

    #[command(flatten)]
    pub(crate) lost: LostArgs,
}

/// A volume that does not begin with a boot record any more.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LostArgs {
    /// Open the volume, read-only, by the metadata copy this many bytes into SOURCE: its first
    /// sector is lost ('fve repair scan' finds the copies)
    #[arg(long, value_name = "OFFSET", value_parser = parse_bytes, conflicts_with_all = ["offset", "partition"])]
    pub(crate) metadata: Option<u64>,

    /// The volume begins this many bytes into SOURCE, or with a minus sign before it, where SOURCE
    /// lacks its first bytes. Without --metadata, its metadata is searched for
    #[arg(long, value_name = "N", value_parser = parse_start, allow_hyphen_values = true, conflicts_with_all = ["offset", "partition"])]
    pub(crate) volume_start: Option<i64>,
}

/// A volume and where it was found.
pub(crate) struct Opened {
    pub(crate) volume: Volume,
    pub(crate) path: PathBuf,
    /// Where the volume begins on the source, in bytes; below zero where that lacks its beginning.
    pub(crate) offset: i64,
    pub(crate) partition: Option<u32>,
    /// Whether the source holds metadata, but nothing that tells where the volume begins.
    pub(crate) piece: bool,
    /// Shown by the mount.
    #[cfg_attr(not(feature = "fuse"), allow(dead_code))]
    pub(crate) modified: Option<SystemTime>,
}

impl Opened {
    /// The volume's place on the source.
    pub(crate) fn extent(&self) -> Extent {
        let there = self.volume.source_size();
        let known = self.volume.declared_size();
        let len = known.map_or(there, |len| len.min(there));
        Extent::of_volume(&self.path, self.offset, len)
    }
}

/// A volume whose plaintext is read, and the hold on its device, or why it cannot be held.
pub(crate) struct OpenedToShow {
    pub(crate) opened: Opened,
    /// Keeps others from mounting or mapping the device meanwhile.
    pub(crate) hold: Result<Option<DeviceHold>, Error>,
}

/// Opens a volume whose plaintext is to be shown. Refuses one that is open as another device: what
/// was written there may be missing from what is read here.
pub(crate) fn open_to_show(args: &SourceArgs) -> Result<OpenedToShow, Failure> {
    let opened = open_quietly(args)?;
    let extent = opened.extent();
    refuse_mapped(&extent)?;
    warn_of_changes(&extent);
    Ok(OpenedToShow {
        hold: DeviceHold::take(&extent),
        opened,
    })
}

/// Opens a volume to look at its metadata.
pub(crate) fn open(args: &SourceArgs) -> Result<Opened, Failure> {
    let opened = open_quietly(args)?;
    warn_of_changes(&opened.extent());
    Ok(opened)
}

fn warn_of_changes(extent: &Extent) {
    if let Some(why) = changed_by(extent) {
        term::note(term::escaped(&format!(
            "warning: {why}: what is read of it may not fit together"
        )));
    }
}

fn open_quietly(args: &SourceArgs) -> Result<Opened, Failure> {
    let path = &args.source;
    let disk = disk_quietly(path)?;
    let opened = |volume, offset, partition, piece| Opened {
        volume,
        offset,
        partition,
        piece,
        path: absolute(path),
        modified: path.metadata().and_then(|meta| meta.modified()).ok(),
    };
    if let Some(found) = lost(args, &disk)? {
        let volume = found.open(&disk)?;
        let piece = found.is_piece(&disk);
        return Ok(opened(volume, found.start, found.evidence.partition, piece));
    }
    let located = locate(
        disk.clone(),
        place(args.offset, args.partition),
        &Volume::probe,
    )
    .map_err(|error| not_there(error, args, &disk))?;
    if let Some(note) = &located.note {
        term::note(term::escaped(note));
    }
    let offset = i64::try_from(located.start).unwrap_or(i64::MAX);
    let partition = located.partition;
    let volume = Volume::from_source(Arc::new(located.source))?;
    Ok(opened(volume, offset, partition, false))
}

/// What can be done where no volume was found, or its place cannot be read.
fn not_there(error: Error, args: &SourceArgs, disk: &Arc<dyn ReadAt>) -> Failure {
    let found = match &error {
        Error::NotBitLocker { found, .. } => found,
        Error::Io { .. } => {
            return Failure::Other {
                status: Status::Io,
                what: error.with_causes().to_string(),
                help: Some(
                    "check the medium and its connection and try again; if a sector is bad, 'fve repair scan' looks for the volume in what can be read"
                        .to_owned(),
                ),
            };
        }
        _ => return error.into(),
    };
    if let Some(number) = args.partition
        && !has_partition(disk, number)
    {
        return Failure::Other {
            status: Status::Usage,
            what: found.clone(),
            help: None,
        };
    }
    if args.partition.is_none() && args.offset.is_none() && is_file_system(disk) {
        return Failure::Other {
            status: Status::NotBitLocker,
            what: error.with_causes().to_string(),
            help: Some("it is not encrypted: mount it directly".to_owned()),
        };
    }
    error.into()
}

/// Whether the disk has a partition of that number. A table that cannot be read is no reason to say
/// that it has not.
fn has_partition(disk: &Arc<dyn ReadAt>, number: u32) -> bool {
    partition::read(disk.as_ref()).map_or(true, |table| {
        table.is_some_and(|table| {
            let mut partitions = table.partitions.iter();
            partitions.any(|partition| partition.number == number)
        })
    })
}

/// The volume that `--metadata` or `--volume-start` names, where one of them was given.
pub(crate) fn lost(
    args: &SourceArgs,
    disk: &Arc<dyn ReadAt>,
) -> Result<Option<FoundVolume>, Failure> {
    let start = args.lost.volume_start;
    let offset = match (args.lost.metadata, start) {
        (Some(offset), _) => offset,
        (None, Some(start)) => metadata_of(disk, start)?,
        (None, None) => return Ok(None),
    };
    let found = FoundVolume::at(disk, offset, start)?;
    if start.is_none() {
        term::note(place_in_words(&found, disk.as_ref()));
    }
    Ok(Some(found))
}

/// Where the volume begins, as far as that is known.
fn place_in_words(found: &FoundVolume, disk: &dyn ReadAt) -> String {
    match found.start {
        _ if found.is_piece(disk) => {
            "the source is a piece of a volume: where that begins is not known".to_owned()
        }
        0.. => format!("the volume begins at byte {}", found.start),
        _ => format!(
            "the volume begins {} bytes before the source, which lacks them",
            found.missing()
        ),
    }
}

/// Where the best metadata lies of a volume that may begin at `start`, found by searching.
fn metadata_of(disk: &Arc<dyn ReadAt>, start: i64) -> Result<u64, Failure> {
    let scan = scan(disk, Scope::Everything, &|_| {});
    let mut volumes = scan.volumes.iter();
    let fits =
        |volume: &&FoundVolume| volume.start == start || volume.other_starts.contains(&start);
    let best = volumes.find(fits).and_then(FoundVolume::best);
    best.map(|best| best.offset).ok_or_else(|| Failure::Other {
        status: Status::NotBitLocker,
        what: format!(
            "no metadata is on the source of a volume that begins at {}",
            written(start)
        ),
        help: Some("'fve repair scan' shows all metadata that there is".to_owned()),
    })
}

/// The bytes of SOURCE, read-only, with what a person should know about them.
pub(crate) fn disk(path: &Path) -> Result<Arc<dyn ReadAt>, Failure> {
    let disk = disk_quietly(path)?;
    warn_of_changes(&Extent::whole(path));
    Ok(disk)
}

fn disk_quietly(path: &Path) -> Result<Arc<dyn ReadAt>, Failure> {
    let (disk, container) = fve::source::open(path).map_err(not_opened)?;
    if let Some(name) = container {
        term::note(format_args!(
            "{} holds a disk image of the kind {name}",
            path.shown()
        ));
    }
    Ok(disk)
}

/// No command shows more of a container that is not read.
fn not_opened(error: Error) -> Failure {
    match error {
        Error::Unsupported { .. } => Failure::Other {
            status: Status::NotBitLocker,
            what: error.with_causes().to_string(),
            help: None,
        },
        other => other.into(),
    }
}

/// A volume that will be written to: nobody else holds its source.
pub(crate) struct OpenedForWriting {
    pub(crate) volume: Volume,
    /// The volume's bytes, to be written.
    pub(crate) target: Arc<dyn WriteAt>,
    #[allow(dead_code)]
    pub(crate) path: PathBuf,
}

/// Opens the source exclusively, for commands that change the volume. Disk-image containers are
/// only read.
pub(crate) fn open_for_writing(args: &SourceArgs) -> Result<OpenedForWriting, Failure> {
    refuse_lost(args)?;
    let path = &args.source;
    let (_, container) = fve::source::open(path).map_err(not_opened)?;
    if let Some(name) = container {
        let what = format!(
            "{} holds a disk image of the kind {name}, which can only be read",
            path.shown()
        );
        return Err(Error::unsupported(what).into());
    }
    let disk = Arc::new(ExclusiveFile::open(path)?);
    locate_for_writing(args, disk)
}

/// What was found by searching is looked at, and never written to.
fn refuse_lost(args: &SourceArgs) -> Result<(), Failure> {
    if args.lost.metadata.is_none() && args.lost.volume_start.is_none() {
        return Ok(());
    }
    Err(Failure::Other {
        status: Status::Usage,
        what: "a volume that is opened by --metadata or --volume-start is only read".to_owned(),
        help: Some(
            "'fve repair rebuild-header --whole' makes a copy that can be written to".to_owned(),
        ),
    })
}

/// The same stretch of a source on which no volume can be found any more: `size` bytes from where
/// `args` say.
pub(crate) fn open_lost_for_writing(
    args: &SourceArgs,
    size: u64,
) -> Result<Arc<dyn WriteAt>, Failure> {
    let disk = ExclusiveFile::open(&args.source)?;
    let start = args.offset.unwrap_or(0);
    let fits = start
        .checked_add(size)
        .is_some_and(|end| end <= disk.size());
    if args.partition.is_some() || !fits || (args.offset.is_none() && size != disk.size()) {
        return Err(Failure::usage(format!(
            "no volume is found on {}, and it does not have the size of the one that is looked for; say where that begins with --offset BYTES",
            args.source.shown()
        )));
    }
    Ok(Arc::new(Window::new(Arc::new(disk), start, size)))
}

fn locate_for_writing(
    args: &SourceArgs,
    disk: Arc<ExclusiveFile>,
) -> Result<OpenedForWriting, Failure> {
    let path = &args.source;
    let located = locate(
        disk.clone(),
        place(args.offset, args.partition),
        &Volume::probe,
    )
    .map_err(|error| {
        let disk: Arc<dyn ReadAt> = disk.clone();
        not_there(error, args, &disk)
    })?;
    if let Some(note) = &located.note {
        term::note(term::escaped(note));
    }
    let size = located.source.size();
    let target: Arc<dyn WriteAt> = Arc::new(Window::new(disk, located.start, size));
    Ok(OpenedForWriting {
        volume: Volume::from_exclusive(target.clone())?,
        target,
        path: absolute(path),
    })
}

fn place(offset: Option<u64>, partition: Option<u32>) -> Place {
    match (offset, partition) {
        (Some(offset), _) => Place::Offset(offset),
        (None, Some(number)) => Place::Partition(number),
        (None, None) => Place::Auto,
    }
}

/// The path as another process would have to name it.
fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
