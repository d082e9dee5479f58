//! SOURCE: from a path to the one volume that the user means.
//!
//! Nothing here prints. What the user should know about the source comes back as notes beside the
//! result ([`Noted`]), and the command prints them.

mod plain;

use std::io;
use std::ops::Deref;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::{ArgMatches, Args, FromArgMatches, ValueHint};
use fve::error::{Candidate, Error, Remedy};
use fve::files::Files;
use fve::repair::{self, FoundVolume, Scope, scan, written};
use fve::shown::ShowPath;
use fve::source::{
    DeviceHold, ExclusiveFile, Extent, FileOverlay, MountEntry, Place, ReadAt, Rescued, Window,
    WriteAt, changed_by, first_part, locate, next_part, partition, refuse_mapped,
};
use fve::volume::Volume;

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::parse::{parse_bytes, parse_offset, parse_start};
use crate::cli::options::rescue_map;
use crate::cli::output::term;

/// The section of the help with these options.
const HEADING: &str = "Source";

/// The options that say where the volume is.
#[derive(Debug, Clone, Args)]
pub(crate) struct SourceArgs {
    /// Image file, block device, or address of an NBD server (nbd://HOST, nbd+unix:///?socket=PATH): the
    /// volume itself, or a whole disk that holds it
    #[arg(value_name = "SOURCE", value_hint = ValueHint::FilePath)]
    pub(crate) source: PathBuf,

    /// The volume begins this many bytes into SOURCE (1048576, 0x100000, 1M, or 2048s for sectors of
    /// 512 bytes)
    #[arg(long, value_name = "BYTES", value_parser = parse_offset, conflicts_with = "partition", help_heading = HEADING)]
    pub(crate) offset: Option<u64>,

    /// The volume is this partition of SOURCE
    #[arg(long, value_name = "N", help_heading = HEADING)]
    pub(crate) partition: Option<u32>,

    /// Map file of GNU ddrescue for SOURCE: what it did not rescue is unreadable, whatever SOURCE
    /// holds there
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = HEADING, hide_short_help = true)]
    pub(crate) rescue_map: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) lost: LostArgs,
}

/// The options for a volume whose boot record is lost.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LostArgs {
    /// For a volume whose first sector is lost: use the metadata copy this many bytes into SOURCE
    /// ('fve repair scan' finds the copies); the volume is read-only
    #[arg(long = "metadata-offset", alias = "metadata", value_name = "BYTES", value_parser = parse_bytes, conflicts_with_all = ["offset", "partition"],
        help_heading = HEADING, hide_short_help = true)]
    pub(crate) metadata: Option<u64>,

    /// For a volume whose first sector is lost: the volume begins this many bytes into SOURCE, or
    /// before SOURCE if negative. Without --metadata-offset, fve searches for the metadata
    #[arg(long, value_name = "BYTES", value_parser = parse_start, allow_hyphen_values = true, conflicts_with_all = ["offset", "partition"],
        help_heading = HEADING, hide_short_help = true)]
    pub(crate) volume_start: Option<i64>,
}

/// The options that say where the volume is, for a command that changes it. Those with which SOURCE can
/// only be read are not in the help; an error says why they cannot be used.
#[derive(Debug, Clone)]
pub(crate) struct ChangedSourceArgs(SourceArgs);

impl Deref for ChangedSourceArgs {
    type Target = SourceArgs;

    fn deref(&self) -> &SourceArgs {
        &self.0
    }
}

impl Args for ChangedSourceArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        ["rescue_map", "metadata", "volume_start"]
            .into_iter()
            .fold(SourceArgs::augment_args(command), |command, option| {
                command.mut_arg(option, |option| option.hide(true))
            })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ChangedSourceArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        SourceArgs::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// A value, or why there is none, and notes for the user about how it was found.
#[must_use = "`print_notes` prints the notes and returns the value"]
pub(crate) struct Noted<T> {
    result: Result<T, Failure>,
    notes: Notes,
}

/// Sentences for the user, in the order in which they are printed.
type Notes = Vec<String>;

impl<T> Noted<T> {
    /// The result of `work`, with the notes that it adds. Where it fails, its notes are kept: they
    /// may explain the failure.
    fn of(work: impl FnOnce(&mut Notes) -> Result<T, Failure>) -> Self {
        let mut notes = Notes::new();
        Self {
            result: work(&mut notes),
            notes,
        }
    }

    /// Prints the notes, and returns the value.
    pub(crate) fn print_notes(self) -> Result<T, Failure> {
        for note in &self.notes {
            term::note(note);
        }
        self.result
    }
}

/// A volume and where it was found.
pub(crate) struct Opened {
    pub(crate) volume: Volume,
    pub(crate) path: PathBuf,
    /// Where the volume begins, in bytes from the start of the source. Negative where the first
    /// bytes of the volume are missing from the source.
    pub(crate) offset: i64,
    pub(crate) partition: Option<u32>,
    /// Whether the source is only a piece of the volume: it holds metadata, but not the start of the
    /// volume, and nothing tells where that is.
    pub(crate) piece: bool,
    /// Whether the start of the volume is a guess, and before the source wherever it is.
    pub(crate) guessed: bool,
    /// When the source was last written to; the mounted file shows it.
    #[cfg_attr(not(feature = "fuse"), allow(dead_code))]
    pub(crate) modified: Option<SystemTime>,
}

impl Opened {
    /// The byte range of the volume on the source.
    pub(crate) fn extent(&self) -> Extent {
        let present = self.volume.source_size();
        let known = self.volume.declared_size();
        let len = known.map_or(present, |len| len.min(present));
        Extent::of_volume(&self.path, self.offset, len)
    }
}

/// A volume whose plaintext will be read, and a lock on its device, or why it cannot be locked.
pub(crate) struct OpenedToShow {
    pub(crate) opened: Opened,
    /// Keeps other processes from mounting or mapping the device.
    pub(crate) hold: Result<Option<DeviceHold>, Error>,
}

/// Opens a volume whose plaintext will be read. Refuses one that is open as another block device,
/// since data written there may be missing from what is read here, and a source that is only a piece
/// of the volume.
pub(crate) fn open_to_show(args: &SourceArgs) -> Noted<OpenedToShow> {
    Noted::of(|notes| {
        let opened = open_volume(args, notes)?;
        if opened.piece {
            return Err(only_a_piece(&opened.path));
        }
        let extent = opened.extent();
        refuse_mapped(&extent)?;
        note_changes(&extent, notes);
        Ok(OpenedToShow {
            hold: DeviceHold::take(&extent),
            opened,
        })
    })
}

/// What a source holds whose files will be read.
pub(crate) enum Shown {
    /// A BitLocker volume.
    Encrypted(Box<OpenedToShow>),
    /// A file system that is not encrypted.
    Plain(Plain),
}

/// A file system that is not encrypted.
pub(crate) struct Plain {
    pub(crate) files: Files,
    /// The bytes of the file system on the source.
    #[allow(dead_code)]
    pub(crate) extent: Extent,
    /// Keeps other processes from mounting or mapping the device, or why that is not possible.
    #[allow(dead_code)]
    pub(crate) hold: Result<Option<DeviceHold>, Error>,
}

/// Opens a BitLocker volume as [`open_to_show`] does, or, where the source holds none, a file system
/// that is not encrypted and whose files can be read.
pub(crate) fn open_for_files(args: &SourceArgs) -> Noted<Shown> {
    Noted::of(|notes| {
        if args.lost.metadata.is_none() && args.lost.volume_start.is_none() {
            let mut before = Notes::new();
            if let Some(plain) = open_plain(args, &mut before)? {
                notes.extend(before);
                return Ok(Shown::Plain(plain));
            }
        }
        let opened = open_to_show(args);
        notes.extend(opened.notes);
        Ok(Shown::Encrypted(Box::new(opened.result?)))
    })
}

/// The file system that is not encrypted, if the source holds no BitLocker volume.
fn open_plain(args: &SourceArgs, notes: &mut Notes) -> Result<Option<Plain>, Failure> {
    let path = &args.source;
    let disk = open_disk(path, args.rescue_map.as_deref(), notes)?;
    let place = place(args.offset, args.partition);
    if !matches!(
        locate(disk.clone(), place, &Volume::probe),
        Err(Error::NotBitLocker { .. })
    ) {
        return Ok(None);
    }
    let Some((number, window, files)) = plain::find(&disk, place)? else {
        return Ok(None);
    };
    let kind = files.properties().kind;
    notes.push(match number {
        Some(number) => format!(
            "not encrypted: reading the {kind} file system in partition {number} of {}",
            path.shown()
        ),
        None => format!(
            "not encrypted: reading the {kind} file system in {}",
            path.shown()
        ),
    });
    let (present, size) = (window.size(), files.properties().size);
    if present < size {
        notes.push(format!(
            "warning: the image is cut off: it holds {present} of the file system's {size} bytes"
        ));
    }
    let offset = i64::try_from(window.start()).unwrap_or(i64::MAX);
    let extent = Extent::of_volume(path, offset, window.size());
    refuse_mapped(&extent)?;
    note_changes(&extent, notes);
    Ok(Some(Plain {
        files,
        hold: DeviceHold::take(&extent),
        extent,
    }))
}

/// Why nothing can be decrypted from a piece of a volume.
fn only_a_piece(path: &Path) -> Failure {
    Failure::Other {
        status: Status::Io,
        what: format!(
            "{} is only a piece of a volume, with its metadata but without its beginning: nothing can be decrypted from it",
            path.shown()
        ),
        help: Some(
            "name the whole volume or an image of it; 'fve info', 'fve unlock' and 'fve recovery hash' can use the piece"
                .to_owned(),
        ),
    }
}

/// Opens a volume of which only the metadata will be read.
pub(crate) fn open(args: &SourceArgs) -> Noted<Opened> {
    Noted::of(|notes| {
        let opened = open_volume(args, notes)?;
        note_changes(&opened.extent(), notes);
        Ok(opened)
    })
}

/// Opens the disk again on which [`open`] found several volumes and said what kind of disk it is.
pub(crate) fn disk_of_several(args: &SourceArgs) -> Noted<Arc<dyn ReadAt>> {
    Noted::of(|notes| {
        let disk = open_disk(&args.source, args.rescue_map.as_deref(), &mut Notes::new())?;
        note_changes(&Extent::whole(&args.source), notes);
        Ok(disk)
    })
}

/// Opens one of these volumes, of which only the metadata will be read.
pub(crate) fn open_candidate(
    args: &SourceArgs,
    disk: &Arc<dyn ReadAt>,
    candidate: &Candidate,
) -> Result<Opened, Failure> {
    let path = &args.source;
    let start = u64::try_from(candidate.offset).unwrap_or(0);
    let len = candidate.len.unwrap_or(u64::MAX);
    let volume = Volume::from_source(Arc::new(Window::new(disk.clone(), start, len)))?;
    log_found(path, start, candidate.partition, &volume);
    Ok(Opened {
        volume,
        offset: candidate.offset,
        partition: candidate.partition,
        piece: false,
        guessed: false,
        path: absolute(path),
        modified: None,
    })
}

/// Warns of a source that another process may be writing to.
fn note_changes(extent: &Extent, notes: &mut Notes) {
    if let Some(why) = changed_by(extent) {
        notes.push(term::escaped(&format!(
            "warning: {why}: data read from it may be inconsistent"
        )));
    }
}

fn open_volume(args: &SourceArgs, notes: &mut Notes) -> Result<Opened, Failure> {
    let path = &args.source;
    let disk = open_disk(path, args.rescue_map.as_deref(), notes)?;
    let opened = |volume, offset, partition, piece| Opened {
        volume,
        offset,
        partition,
        piece,
        guessed: false,
        path: absolute(path),
        modified: path.metadata().and_then(|meta| meta.modified()).ok(),
    };
    if let Some(found) = find_lost(args, &disk, notes)? {
        let volume = found.open(&disk)?;
        let piece = found.is_piece(&disk);
        return Ok(Opened {
            guessed: !found.evidence.is_proof() && found.begins_before_source(),
            ..opened(volume, found.start, found.evidence.partition, piece)
        });
    }
    let place = place(args.offset, args.partition);
    let located = match locate(disk.clone(), place, &Volume::probe) {
        Ok(located) => located,
        Err(error) => {
            let found = piece(&error, place, &disk).ok_or_else(|| not_found(error, args, &disk))?;
            let piece = !found.evidence.is_proof();
            notes.push(start_in_words(&found, piece));
            return Ok(opened(found.open(&disk)?, found.start, None, piece));
        }
    };
    notes.extend(located.note.as_deref().map(term::escaped));
    let offset = i64::try_from(located.start).unwrap_or(i64::MAX);
    let partition = located.partition;
    let volume = Volume::from_source(Arc::new(located.source))?;
    note_next_part(path, &volume, notes);
    log_found(path, located.start, partition, &volume);
    Ok(opened(volume, offset, partition, false))
}

/// Names a file that may hold the rest of a volume that is cut off. Other split images were joined
/// when they were opened: only those whose names leave no doubt.
fn note_next_part(path: &Path, volume: &Volume, notes: &mut Notes) {
    let present = volume.source_size();
    let size = volume.declared_size();
    if size.is_some_and(|size| size > present)
        && let Some(next) = next_part(path)
    {
        notes.push(format!(
            "if {} is the next part of a split image, join the parts first: cat {} {} ... > IMAGE",
            next.shown(),
            path.shown(),
            next.shown()
        ));
    }
}

/// The volume of which a source without a boot record holds a piece.
fn piece(error: &Error, place: Place, disk: &Arc<dyn ReadAt>) -> Option<FoundVolume> {
    let may_be_piece = matches!((error, place), (Error::NotBitLocker { .. }, Place::Auto));
    may_be_piece.then(|| repair::piece(disk)).flatten()
}

/// Logs which volume was found, and what of its metadata can be used.
fn log_found(path: &Path, start: u64, partition: Option<u32>, volume: &Volume) {
    match partition {
        Some(number) => tracing::info!(
            "{}: the volume is partition {number}, at byte {start}",
            path.shown()
        ),
        None => tracing::info!("{}: the volume begins at byte {start}", path.shown()),
    }
    let record = volume.boot_record();
    let places: Vec<_> = record
        .metadata_offsets
        .iter()
        .map(|at| format!("{at:#x}"))
        .collect();
    tracing::info!(
        "the boot record says: sectors of {} bytes, metadata at {}",
        record.bytes_per_sector,
        places.join(", ")
    );
    for copy in &volume.copies().0 {
        match copy.fault() {
            Some(fault) => tracing::info!("{fault}"),
            None => tracing::info!(
                "metadata copy {} at {:#x} is good",
                copy.number,
                copy.offset
            ),
        }
    }
    if let Some(block) = volume.metadata_as_found() {
        tracing::info!("the metadata copy at {:#x} is used", block.position);
    }
    for protector in volume.protectors() {
        tracing::info!(
            "the volume has the key protector {:X}: {}",
            protector.id,
            protector.kind().name()
        );
    }
}

/// A failure to find the volume, with help that fits what the source holds.
fn not_found(error: Error, args: &SourceArgs, disk: &Arc<dyn ReadAt>) -> Failure {
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
        let no_table = partition::read(disk.as_ref()).is_ok_and(|table| table.is_none());
        return Failure::Other {
            status: Status::Usage,
            what: found.clone(),
            help: no_table
                .then(|| "leave out --partition to look for a volume that fills SOURCE".to_owned()),
        };
    }
    if let Some(Remedy::AttachWithQemu { file: None }) = error.remedy() {
        let file = Some(args.source.clone());
        return error.with_remedy(Remedy::AttachWithQemu { file }).into();
    }
    if args.partition.is_none()
        && args.offset.is_none()
        && let Some(file) = first_part(&args.source)
    {
        return error.with_remedy(Remedy::NameFirstPart { file }).into();
    }
    error.into()
}

/// A failure to open a file, with help if the system denies access to it.
pub(crate) fn not_opened(error: Error, path: &Path) -> Failure {
    match &error {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Failure::Other {
                status: Status::Io,
                what: error.with_causes().to_string(),
                help: denied_help(path),
            }
        }
        _ => error.into(),
    }
}

fn denied_help(path: &Path) -> Option<String> {
    // Only the user who mounted it may enter a FUSE mount, unless it was mounted for others.
    let mount = MountEntry::holding(path).ok().flatten();
    let closed = mount.filter(|mount| {
        let denied = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        mount.kind.to_string_lossy().starts_with("fuse")
            && mount.directory.metadata().is_err_and(denied)
    });
    if let Some(mount) = closed {
        return Some(format!(
            "{} is a FUSE mount of another user, which even root cannot enter: run the command as that user, or have it mounted with -o allow_other",
            mount.directory.shown()
        ));
    }
    let is_device = path
        .metadata()
        .is_ok_and(|meta| meta.file_type().is_block_device());
    Some(
        match is_device {
            true => "run the command as root, or as a member of the group 'disk'",
            false => "run the command as root, or as a user who may read the file",
        }
        .to_owned(),
    )
}

/// Whether the disk has a partition of that number; true where its partition table cannot be read.
fn has_partition(disk: &Arc<dyn ReadAt>, number: u32) -> bool {
    partition::read(disk.as_ref()).map_or(true, |table| {
        table.is_some_and(|table| {
            let mut partitions = table.partitions.iter();
            partitions.any(|partition| partition.number == number)
        })
    })
}

/// The volume that `--metadata-offset` or `--volume-start` names; `None` where neither is given.
pub(crate) fn lost(args: &SourceArgs, disk: &Arc<dyn ReadAt>) -> Noted<Option<FoundVolume>> {
    Noted::of(|notes| find_lost(args, disk, notes))
}

fn find_lost(
    args: &SourceArgs,
    disk: &Arc<dyn ReadAt>,
    notes: &mut Notes,
) -> Result<Option<FoundVolume>, Failure> {
    let start = args.lost.volume_start;
    let offset = match (args.lost.metadata, start) {
        (Some(offset), _) => offset,
        (None, Some(start)) => metadata_of(disk, start)?,
        (None, None) => return Ok(None),
    };
    let found = FoundVolume::at(disk, offset, start)?;
    if start.is_none() {
        notes.push(start_in_words(&found, found.is_piece(disk)));
    }
    Ok(Some(found))
}

/// Where the volume begins, as far as it is known.
fn start_in_words(found: &FoundVolume, is_piece: bool) -> String {
    match found.start {
        _ if is_piece => {
            "the source is a piece of a volume, and it is not known where the volume begins"
                .to_owned()
        }
        0.. => format!("the volume begins at byte {}", found.start),
        _ => format!(
            "the volume begins {} bytes before the source; these bytes are missing",
            found.missing()
        ),
    }
}

/// Searches for the best metadata block of a volume that may begin at `start`. Returns its offset
/// on the source, in bytes.
fn metadata_of(disk: &Arc<dyn ReadAt>, start: i64) -> Result<u64, Failure> {
    let scan = scan(disk, Scope::Everything, &|_| {});
    let mut volumes = scan.volumes.iter();
    let fits =
        |volume: &&FoundVolume| volume.start == start || volume.other_starts.contains(&start);
    let best = volumes.find(fits).and_then(FoundVolume::best);
    best.map(|best| best.offset).ok_or_else(|| Failure::Other {
        status: Status::NotBitLocker,
        what: format!(
            "the source holds no metadata of a volume that begins at {}",
            written(start)
        ),
        help: Some("'fve repair scan' lists all metadata on the source".to_owned()),
    })
}

/// Opens SOURCE as a whole, read-only.
pub(crate) fn disk(path: &Path, rescue_map: Option<&Path>) -> Noted<Arc<dyn ReadAt>> {
    Noted::of(|notes| {
        let disk = open_disk(path, rescue_map, notes)?;
        note_changes(&Extent::whole(path), notes);
        Ok(disk)
    })
}

fn open_disk(
    path: &Path,
    rescue_map: Option<&Path>,
    notes: &mut Notes,
) -> Result<Arc<dyn ReadAt>, Failure> {
    let (disk, container) = fve::source::open(path).map_err(|error| not_opened(error, path))?;
    tracing::info!(
        "{}: {} with {} bytes",
        path.shown(),
        container.map_or(
            "no container, a raw image or a device".to_owned(),
            |name| format!("a disk image of the kind {name}")
        ),
        disk.size()
    );
    if let Some(name) = container {
        notes.push(format!(
            "{} holds a disk image of the kind {name}",
            path.shown()
        ));
    }
    let Some(map) = rescue_map else {
        return Ok(disk);
    };
    let map = rescue_map::read(map)?;
    notes.extend(rescue_map::note(&map, disk.size()));
    Ok(Arc::new(Rescued::new(disk, map)))
}

/// A volume that will be written to, on a source that no other process has open.
pub(crate) struct OpenedForWriting {
    pub(crate) volume: Volume,
    /// The bytes of the volume, where writes go.
    pub(crate) target: Arc<dyn WriteAt>,
    #[allow(dead_code)]
    pub(crate) path: PathBuf,
    /// Where the volume begins, in bytes from the start of the source.
    #[allow(dead_code)]
    pub(crate) offset: u64,
    /// The byte range of the volume on the source.
    extent: Extent,
}

/// Opens the source exclusively, for commands that change the volume. Refuses disk-image containers,
/// which can only be read.
pub(crate) fn open_for_writing(args: &SourceArgs) -> Noted<OpenedForWriting> {
    Noted::of(|notes| open_exclusively(args, notes))
}

fn open_exclusively(args: &SourceArgs, notes: &mut Notes) -> Result<OpenedForWriting, Failure> {
    refuse_unwritable(args)?;
    let path = &args.source;
    let (disk, is_locked) =
        fve::source::open_exclusive(path).map_err(|error| not_opened(error, path))?;
    if !is_locked {
        notes.push(format!(
            "warning: {} has no locks: make sure that no other computer or program writes to it",
            path.shown()
        ));
    }
    locate_for_writing(args, disk, notes)
}

/// A volume that will be written to, while its source is only read.
pub(crate) struct OpenedWithOverlay {
    pub(crate) opened: OpenedForWriting,
    /// Where the changes go.
    pub(crate) overlay: Arc<FileOverlay>,
}

/// Opens the source for reading, and for changes that go to `file`. Also returns what keeps other processes from mounting or
/// mapping the device, or why that is not possible.
pub(crate) fn open_with_overlay(
    args: &SourceArgs,
    file: &Path,
) -> Noted<(OpenedWithOverlay, Result<Option<DeviceHold>, Error>)> {
    Noted::of(|notes| {
        refuse_unwritable(args)?;
        let path = &args.source;
        let disk = open_disk(path, None, notes)?;
        let overlay = Arc::new(FileOverlay::open(file, disk, path)?);
        let opened = locate_for_writing(args, overlay.clone(), notes)?;
        refuse_mapped(&opened.extent)?;
        note_changes(&opened.extent, notes);
        if overlay.was_given_up() {
            notes.push(format!(
                "warning: when the volume was mapped, the kernel could not write to {} or could not read {}; the last \
                 changes can be missing, as after a power failure",
                file.shown(),
                path.shown()
            ));
        }
        notes.push(match overlay.changed() {
            0 => format!(
                "changes go to {}; {} stays as it is",
                file.shown(),
                path.shown()
            ),
            changed => format!(
                "changes go to {}, which holds {changed} changed bytes already; {} stays as it is",
                file.shown(),
                path.shown()
            ),
        });
        let hold = DeviceHold::take(&opened.extent);
        Ok((OpenedWithOverlay { opened, overlay }, hold))
    })
}

/// Refuses options with which nothing can be written: the start of a volume that is named by its metadata may
/// be wrong, and a write could destroy other data.
fn refuse_unwritable(args: &SourceArgs) -> Result<(), Failure> {
    if args.rescue_map.is_some() {
        return Err(Failure::usage(
            "with --rescue-map, SOURCE can only be read: changes could go where its content is lost",
        ));
    }
    if args.lost.metadata.is_none() && args.lost.volume_start.is_none() {
        return Ok(());
    }
    Err(Failure::Other {
        status: Status::Usage,
        what: "a volume opened by --metadata-offset or --volume-start can only be read".to_owned(),
        help: Some(
            "make a copy that can be written to: 'fve repair rebuild-header --whole'".to_owned(),
        ),
    })
}

/// Opens a source on which no volume is found any more: `size` bytes from the offset that `args`
/// give.
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
            "no volume was found on {}, and its size differs from that of the volume in the backup; give the start of the volume with --offset BYTES",
            args.source.shown()
        )));
    }
    Ok(Arc::new(Window::new(Arc::new(disk), start, size)))
}

fn locate_for_writing(
    args: &SourceArgs,
    disk: Arc<dyn WriteAt>,
    notes: &mut Notes,
) -> Result<OpenedForWriting, Failure> {
    let path = &args.source;
    let located = locate(
        disk.clone(),
        place(args.offset, args.partition),
        &Volume::probe,
    )
    .map_err(|error| {
        let disk: Arc<dyn ReadAt> = disk.clone();
        not_found(error, args, &disk)
    })?;
    notes.extend(located.note.as_deref().map(term::escaped));
    let size = located.source.size();
    let target: Arc<dyn WriteAt> = Arc::new(Window::new(disk, located.start, size));
    let volume = Volume::from_exclusive(target.clone())?;
    log_found(path, located.start, located.partition, &volume);
    let offset = i64::try_from(located.start).unwrap_or(i64::MAX);
    Ok(OpenedForWriting {
        volume,
        target,
        extent: Extent::of_volume(absolute(path), offset, size),
        path: absolute(path),
        offset: located.start,
    })
}

fn place(offset: Option<u64>, partition: Option<u32>) -> Place {
    match (offset, partition) {
        (Some(offset), _) => Place::Offset(offset),
        (None, Some(number)) => Place::Partition(number),
        (None, None) => Place::Auto,
    }
}

/// The absolute path, by which any other process can name the file.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
