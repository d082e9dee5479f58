//! `fve repair`: volumes whose boot record or place is lost, found again. SOURCE is only read.
//!
//! Keys of `repair scan --json`: `searched`, `unreadable` (each with `start`, `end`),
//! `boot_records`, and `volumes`, the likeliest first, each with `volume`, `start`,
//! `start_is_proved`, `other_starts`, `partition`, `boot_record`, `size`, `sector_size`, `state`,
//! `encryption_method`, `description`, `created`, `copies` (each with `copy`, `offset`, `sound`,
//! `next_nonce`, `last_written`, `current`), `piece` (whether only what needs no sector can be told),
//! `arguments` (what opens it; empty where SOURCE alone does), `fault` (why it cannot be opened), and
//! with credentials `opens` (true, or false with `refusal`). `start` is below zero where SOURCE lacks
//! the volume's first bytes, and a guess where `start_is_proved` is false.
//!
//! Keys of `repair rebuild-header --json`: `volume`, `start`, `file`, `size`, `whole`, `proved`.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand, ValueHint};
use serde_json::{Value, json};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source;
use crate::cli::options::source::SourceArgs;
use crate::cli::output::json::{document, failure};
use crate::cli::output::term;
use crate::cli::run::{FailureDocument, Run};
use crate::cli::signals;
use fve::crypto::sector::Method;
use fve::error::Error;
use fve::format::block::MetadataBlock;
use fve::output::PartialFile;
use fve::repair::{FoundBlock, FoundVolume, Scan, Scope, header, scan, written};
use fve::shown::ShowPath;
use fve::source::{Extent, FileSource, Overlay, Place, ReadAt, check_overwrite, locate};
use fve::unlock::Credential;
use fve::volume::{UnlockOptions, Volume};

/// Bytes that are copied at a time.
const PIECE: usize = 1 << 20;

#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    #[command(subcommand)]
    command: RepairCommand,
}

#[derive(Debug, Subcommand)]
enum RepairCommand {
    /// Search SOURCE for volumes, also such whose first sector is lost, and say how to open each
    Scan(ScanArgs),
    /// Write the first sector that a volume lacks to a new file, or a whole copy of the volume
    /// with it
    RebuildHeader(RebuildArgs),
}

#[derive(Debug, Args)]
struct ScanArgs {
    /// Image file or block device
    #[arg(value_name = "SOURCE", value_hint = ValueHint::FilePath)]
    source: PathBuf,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Look first where Windows puts its metadata, and end the search if it is there
    #[arg(long)]
    quick: bool,

    /// Answer with one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RebuildArgs {
    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// New file to write; SOURCE stays as it is
    #[arg(long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    to: PathBuf,

    /// Write all of the volume, still encrypted, and not only its first sector
    #[arg(long)]
    whole: bool,

    /// Answer with one JSON document
    #[arg(long)]
    json: bool,
}

impl RepairArgs {
    pub(crate) fn json(&self) -> bool {
        match &self.command {
            RepairCommand::Scan(args) => args.json,
            RepairCommand::RebuildHeader(args) => args.json,
        }
    }
}

impl Run for RepairArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }

    fn failure_document(&self) -> Option<FailureDocument> {
        self.json().then_some(crate::cli::output::json::failure)
    }
}

fn run(args: &RepairArgs) -> Result<(), Failure> {
    match &args.command {
        RepairCommand::Scan(args) => run_scan(args),
        RepairCommand::RebuildHeader(args) => rebuild(args),
    }
}

/// Volumes that credentials are tried on: each takes the time of stretching a password, and a
/// hostile source may speak of thousands.
const MOST_TRIED: usize = 16;

fn run_scan(args: &ScanArgs) -> Result<(), Failure> {
    let json = args.json;
    signals::end_when_told(move || tell_interrupted(json));
    let disk = source::disk(&args.source)?;
    let scope = match args.quick {
        true => Scope::LikelyPlacesFirst,
        false => Scope::Everything,
    };
    let mut scan = search(&disk, scope);
    let credentials = args.credentials.read_given()?;
    if !credentials.is_empty() {
        for volume in scan.volumes.iter_mut().take(MOST_TRIED) {
            settle(&disk, volume, &args.credentials, &credentials)?;
        }
        if scan.volumes.len() > MOST_TRIED {
            term::note(format_args!(
                "the credentials are tried on the first {MOST_TRIED} of {} volumes",
                scan.volumes.len()
            ));
        }
    }
    let found: Vec<_> = (0..)
        .zip(&scan.volumes)
        .map(|(number, volume)| {
            let tried = if number < MOST_TRIED {
                &credentials[..]
            } else {
                &[]
            };
            Looked::at(&disk, volume, args, tried)
        })
        .collect::<Result<_, _>>()?;
    if args.json {
        term::print(&scan_json(&scan, &found))?;
    } else {
        term::print(&scan_text(args, &scan, &found))?;
    }
    if scan.volumes.is_empty() {
        return Err(nothing_found(&scan, args.json));
    }
    Ok(())
}

/// Where one JSON document is to be all that standard output gets, it gets one now.
fn tell_interrupted(json: bool) {
    if json {
        let _ = term::print(&failure(&Error::Interrupted.into()));
    }
}

fn search(disk: &Arc<dyn ReadAt>, scope: Scope) -> Scan {
    let bar = term::progress(disk.size());
    let scan = scan(disk, scope, &|done| bar.inc(done));
    bar.finish_and_clear();
    for range in &scan.unreadable {
        term::note(format_args!(
            "warning: bytes {} to {} cannot be read",
            range.start, range.end
        ));
    }
    scan
}

fn nothing_found(scan: &Scan, told: bool) -> Failure {
    let (status, what) = match scan.boot_records.first() {
        Some(record) => (
            Status::Damaged,
            format!("the boot record of a volume lies at byte {record}, but none of its metadata"),
        ),
        None => (
            Status::NotBitLocker,
            "no metadata of a BitLocker volume is on the source".to_owned(),
        ),
    };
    if told {
        term::note(format_args!("error: {what}"));
        return Failure::Silent(status);
    }
    Failure::Other {
        status,
        what,
        help: Some("without metadata no key opens a volume".to_owned()),
    }
}

/// Finds by its plaintext where a volume begins, if nothing else proves it.
fn settle(
    disk: &Arc<dyn ReadAt>,
    found: &mut FoundVolume,
    args: &CredentialArgs,
    credentials: &[Box<dyn Credential>],
) -> Result<(), Failure> {
    if found.evidence.is_proof() {
        return Ok(());
    }
    let first = found.start;
    let others = found.other_starts.clone();
    for start in std::iter::once(first).chain(others.iter().copied()) {
        found.start = start;
        let Ok(volume) = found.open(disk) else {
            continue;
        };
        if try_all(&volume, args, credentials)?.is_ok() {
            found.begins_at(start);
            return Ok(());
        }
    }
    found.start = first;
    Ok(())
}

/// Whether the credentials open the volume and show its first sector, and whether it took leave to
/// open damaged metadata.
fn try_all(
    volume: &Volume,
    args: &CredentialArgs,
    credentials: &[Box<dyn Credential>],
) -> Result<Result<Accepted, Error>, Failure> {
    let pieced = args.with_key_package(volume)?;
    let volume = pieced.as_ref().unwrap_or(volume);
    let allowed = args.options();
    let mut strict = allowed.clone();
    strict.accept_damaged_metadata = false;
    let result = volume.unlock(credentials, &strict);
    if result.is_err() && allowed.accept_damaged_metadata {
        let result = volume.unlock(credentials, &allowed);
        return Ok(result.map(|_| Accepted::Damaged));
    }
    Ok(result.map(|_| Accepted::Sound))
}

/// What metadata opened a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepted {
    Sound,
    Damaged,
}

/// A volume that was found, and what came of opening it.
struct Looked<'a> {
    found: &'a FoundVolume,
    volume: Result<Volume, Error>,
    /// Whether the credentials open it; nothing without credentials.
    opens: Option<Result<Accepted, Error>>,
    /// Whether only what needs no sector can be told of it.
    piece: bool,
    arguments: String,
}

impl<'a> Looked<'a> {
    fn at(
        disk: &Arc<dyn ReadAt>,
        found: &'a FoundVolume,
        args: &ScanArgs,
        credentials: &[Box<dyn Credential>],
    ) -> Result<Self, Failure> {
        let whole = healthy(disk, found);
        let arguments = match &whole {
            Some((_, arguments)) => arguments.clone(),
            None => {
                let offset = found.best().map_or(0, |best| best.offset);
                match found.evidence.is_proof() || !found.is_piece(disk) {
                    true => format!(
                        "--metadata {offset:#x} --volume-start {}",
                        written(found.start)
                    ),
                    false => format!("--metadata {offset:#x}"),
                }
            }
        };
        let volume = match whole {
            Some((volume, _)) => Ok(volume),
            None => found.open(disk),
        };
        let piece = found.is_piece(disk);
        let opens = match &volume {
            Ok(volume) if piece && !credentials.is_empty() => Some(
                volume
                    .unlock_master_key(credentials, &args.credentials.options())
                    .map(|key| match key.is_proved() {
                        true => Accepted::Sound,
                        false => Accepted::Damaged,
                    }),
            ),
            Ok(volume) if !credentials.is_empty() => {
                Some(try_all(volume, &args.credentials, credentials)?)
            }
            _ => None,
        };
        let accepted = matches!(opens, Some(Ok(Accepted::Damaged)));
        let arguments = match accepted {
            true => format!("{arguments} --accept-damaged-metadata"),
            false => arguments,
        };
        Ok(Self {
            found,
            volume,
            opens,
            piece,
            arguments: arguments.trim_start().to_owned(),
        })
    }

    fn block(&self) -> Option<&MetadataBlock> {
        self.found.best().map(|best| &best.block)
    }

    fn method(&self) -> Option<&'static str> {
        let method = Method::by_code(self.block()?.dataset.method)?;
        Some(method.name)
    }

    fn state(&self) -> Option<&'static str> {
        let volume = self.volume.as_ref().ok()?;
        Some(volume.status().conversion.name())
    }
}

/// A volume that opens as any does, and what takes its place in the command line: nothing where
/// SOURCE alone is enough.
fn healthy(disk: &Arc<dyn ReadAt>, found: &FoundVolume) -> Option<(Volume, String)> {
    if !found.evidence.boot_record {
        return None;
    }
    let (window, _) = found.window(disk).ok()?;
    let volume = Volume::from_source(window).ok()?;
    let sound = volume.metadata().ok()?;
    if sound.dataset.id != found.id {
        return None;
    }
    let located = locate(disk.clone(), Place::Auto, &Volume::probe).ok();
    let found_alone = located.is_some_and(|located| {
        i64::try_from(located.start).is_ok_and(|start| start == found.start)
    });
    let arguments = match (found_alone, found.evidence.partition) {
        (true, _) => String::new(),
        (false, Some(number)) => format!("--partition {number}"),
        (false, None) => format!("--offset {}", found.start),
    };
    Some((volume, arguments))
}

/// Which copy a block is, from 1; nothing where the volume's place is a guess.
fn number_of(found: &FoundBlock, volume: &FoundVolume) -> Option<u8> {
    let proved = volume.evidence.is_proof().then_some(volume.start)?;
    let inside = u64::try_from(i128::from(found.offset) - i128::from(proved)).ok()?;
    let mut copies = (1..).zip(found.block.copies);
    copies.find_map(|(number, copy)| (copy == inside).then_some(number))
}

/// Whether two blocks say the same.
fn is_current(found: &FoundBlock, volume: &FoundVolume) -> bool {
    let best = volume.best();
    best.is_some_and(|best| best.block.bytes() == found.block.bytes())
}

fn scan_text(args: &ScanArgs, scan: &Scan, found: &[Looked<'_>]) -> String {
    let mut text = String::new();
    for (number, looked) in (1..).zip(found) {
        let volume = looked.found;
        let _ = writeln!(text, "{number}. volume {:X}", volume.id);
        write_place(&mut text, looked);
        let facts = [
            looked.method().map(str::to_owned),
            looked.state().map(str::to_owned),
            volume.size.map(term::human_size),
        ];
        let facts: Vec<_> = facts.into_iter().flatten().collect();
        let _ = writeln!(text, "   {}", facts.join(", "));
        if let Some(block) = looked.block() {
            let description = term::escaped(block.description().unwrap_or("no description"));
            let _ = writeln!(
                text,
                "   {description}; turned on {}",
                block.dataset.created
            );
        }
        for found in &volume.blocks {
            write_copy(&mut text, found, volume);
        }
        match (&looked.volume, &looked.opens) {
            (Err(error), _) => {
                let _ = writeln!(text, "   cannot be opened: {error}");
            }
            (Ok(_), Some(Ok(_))) if looked.piece => {
                text.push_str("   the credentials fit, but nothing of the volume can be shown\n");
            }
            (Ok(_), Some(Ok(_))) => text.push_str("   the credentials open it\n"),
            (Ok(_), Some(Err(error))) => {
                let _ = writeln!(text, "   the credentials do not open it: {error}");
            }
            (Ok(_), None) => {}
        }
        if looked.volume.is_ok() {
            let path = args.source.shown();
            let command = match looked.piece {
                true => format!("fve info {path} {}", looked.arguments),
                false => format!("fve mount {path} DIR {}", looked.arguments),
            };
            let _ = writeln!(text, "   {}", command.trim_end());
        }
    }
    for record in &scan.boot_records {
        let used = found
            .iter()
            .any(|looked| u64::try_from(looked.found.start).is_ok_and(|start| start == *record));
        if !used {
            let _ = writeln!(
                text,
                "a boot record at byte {record} belongs to none of these volumes"
            );
        }
    }
    text
}

fn write_place(text: &mut String, looked: &Looked<'_>) {
    let volume = looked.found;
    if looked.piece {
        text.push_str(
            "   a piece of the volume, with metadata but without its first sector; where the volume begins is not known\n",
        );
        return;
    }
    if !volume.evidence.is_proof() {
        let places = std::iter::once(volume.start).chain(volume.other_starts.iter().copied());
        let places: Vec<_> = places.map(|place| place.to_string()).collect();
        let _ = writeln!(
            text,
            "   nothing proves where it begins; it may be byte {}; a credential tells",
            places.join(" or ")
        );
        return;
    }
    let evidence = &volume.evidence;
    let partition = evidence
        .partition
        .map(|number| format!(", partition {number}"))
        .unwrap_or_default();
    let record = match evidence.boot_record {
        true => "its boot record is there",
        false => "its boot record is lost",
    };
    let begins = match volume.missing() {
        0 => format!("begins at byte {}", volume.start),
        missing => format!(
            "begins {missing} bytes before the source, which lacks them (byte {})",
            volume.start
        ),
    };
    let _ = writeln!(text, "   {begins}{partition}; {record}");
}

fn write_copy(text: &mut String, found: &FoundBlock, volume: &FoundVolume) {
    let number = number_of(found, volume);
    let number = number.map(|number| format!(" copy {number}"));
    let soundness = match (found.is_sound(), is_current(found, volume)) {
        (false, _) => "damaged",
        (true, true) => "sound",
        (true, false) => "sound, but not what counts: an older state",
    };
    let written = found
        .block
        .last_written()
        .map(|time| format!("; written {time}"))
        .unwrap_or_default();
    let _ = writeln!(
        text,
        "   metadata{} at byte {:#x}: {soundness}{written}",
        number.unwrap_or_default(),
        found.offset
    );
}

fn scan_json(scan: &Scan, found: &[Looked<'_>]) -> String {
    let unreadable: Vec<_> = scan
        .unreadable
        .iter()
        .map(|range| json!({ "start": range.start, "end": range.end }))
        .collect();
    let volumes: Vec<_> = found.iter().map(volume_json).collect();
    document(&json!({
        "searched": scan.searched,
        "unreadable": unreadable,
        "boot_records": scan.boot_records,
        "volumes": volumes,
    }))
}

fn volume_json(looked: &Looked<'_>) -> Value {
    let volume = looked.found;
    let copies: Vec<_> = volume
        .blocks
        .iter()
        .map(|found| {
            json!({
                "copy": number_of(found, volume),
                "offset": found.offset,
                "sound": found.is_sound(),
                "next_nonce": found.block.dataset.next_nonce,
                "last_written": found.block.last_written().map(|time| time.to_string()),
                "current": is_current(found, volume),
            })
        })
        .collect();
    let block = looked.block();
    let mut answer = json!({
        "volume": format!("{:X}", volume.id),
        "start": volume.start,
        "start_is_proved": volume.evidence.is_proof(),
        "other_starts": volume.other_starts,
        "partition": volume.evidence.partition,
        "boot_record": volume.evidence.boot_record,
        "size": volume.size,
        "sector_size": block.and_then(MetadataBlock::sector_size),
        "state": looked.state(),
        "encryption_method": looked.method(),
        "description": block.and_then(MetadataBlock::description),
        "created": block.map(|block| block.dataset.created.to_string()),
        "copies": copies,
        "piece": looked.piece,
        "arguments": looked.arguments,
        "fault": looked.volume.as_ref().err().map(Error::to_string),
    });
    if let Some(opens) = &looked.opens {
        answer["opens"] = json!(opens.is_ok());
        answer["refusal"] = json!(opens.as_ref().err().map(Error::to_string));
    }
    answer
}

fn rebuild(args: &RebuildArgs) -> Result<(), Failure> {
    // Made before a search that may take hours.
    let output = PartialFile::create(&args.to, false)?;
    let partial = output.partial().to_owned();
    let json = args.json;
    signals::end_when_told(move || {
        let _ = std::fs::remove_file(&partial);
        tell_interrupted(json);
    });
    let disk = source::disk(&args.source.source)?;
    let credentials = args.credentials.read_given()?;
    let mut found = match source::lost(&args.source, &disk)? {
        Some(mut found) => {
            // Only the place that was given, or that most speaks for.
            found.other_starts.clear();
            found
        }
        None => only_volume(&disk, &args.credentials, &credentials)?,
    };
    settle(&disk, &mut found, &args.credentials, &credentials)?;
    if !found.evidence.is_proof() {
        return Err(place_not_proved());
    }
    let header = header(&found)?;
    let (bytes, _) = found.window(&disk)?;
    let mut whole = Overlay::new(bytes);
    whole
        .write(0, &header)
        .map_err(|error| Error::io("cannot lay out the copy", error))?;
    let whole = Arc::new(whole);
    // Nothing is written that would not open.
    let volume = Volume::from_source(whole.clone())?;
    let proved = prove(args, &volume, &credentials)?;
    let size = match (args.whole, found.size) {
        (true, Some(size)) => size.min(whole.size()),
        (true, None) => whole.size(),
        (false, _) => header.len() as u64,
    };
    let source = Extent::of_volume(&args.source.source, found.start, whole.size());
    check_overwrite(&args.to, &[source], size)?;
    fill_copy(output.file(), &args.to, whole.as_ref(), size)?;
    if args.whole {
        // What is on the disk, not what was meant to be.
        Volume::from_source(Arc::new(FileSource::open(output.partial())?))?.metadata()?;
    }
    output.finish()?;
    tell_rebuilt(args, &found, size, proved)
}

/// With a credential, whether it opens the volume and proves its metadata.
fn prove(
    args: &RebuildArgs,
    volume: &Volume,
    credentials: &[Box<dyn Credential>],
) -> Result<bool, Failure> {
    if credentials.is_empty() {
        term::note("without a credential nothing proves the metadata");
        return Ok(false);
    }
    let pieced = args.credentials.with_key_package(volume)?;
    let volume = pieced.as_ref().unwrap_or(volume);
    let unlocked = volume.unlock(credentials, &UnlockOptions::default())?;
    Ok(unlocked.is_proved())
}

fn place_not_proved() -> Failure {
    Failure::Other {
        status: Status::Usage,
        what: "nothing proves where the volume begins".to_owned(),
        help: Some(
            "give a credential: what it decrypts tells the place; 'fve repair scan' shows the places"
                .to_owned(),
        ),
    }
}

/// The one volume that is found by searching.
fn only_volume(
    disk: &Arc<dyn ReadAt>,
    args: &CredentialArgs,
    credentials: &[Box<dyn Credential>],
) -> Result<FoundVolume, Failure> {
    let mut scan = search(disk, Scope::Everything);
    let mut volumes = std::mem::take(&mut scan.volumes);
    match (volumes.pop(), volumes.len()) {
        (None, _) => Err(nothing_found(&scan, false)),
        (Some(mut only), 0) => {
            settle(disk, &mut only, args, credentials)?;
            Ok(only)
        }
        (Some(_), others) => Err(Failure::Other {
            status: Status::Usage,
            what: format!("there is metadata of {} volumes", others + 1),
            help: Some(
                "'fve repair scan' lists them; choose one with --metadata and --volume-start"
                    .to_owned(),
            ),
        }),
    }
}

/// Writes the first `size` bytes to a file, with holes for zeros.
fn fill_copy(file: &File, path: &Path, from: &dyn ReadAt, size: u64) -> Result<(), Failure> {
    let fail = |error| Error::io(format!("cannot write {}", path.shown()), error);
    let bar = term::progress(size);
    let written =
        copy(file, from, size, &|done| bar.inc(done)).and_then(|()| file.sync_all().map_err(fail));
    bar.finish_and_clear();
    Ok(written?)
}

fn copy(file: &File, from: &dyn ReadAt, size: u64, progress: &dyn Fn(u64)) -> Result<(), Error> {
    let cannot_write = |error| Error::io("cannot write the copy", error);
    file.set_len(size).map_err(cannot_write)?;
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        let len = usize::try_from(size - at).unwrap_or(PIECE).min(PIECE);
        let piece = &mut piece[..len];
        from.read_exact_at(at, piece)
            .map_err(|error| Error::io(format!("cannot read the volume at {at:#x}"), error))?;
        if piece.iter().any(|byte| *byte != 0) {
            file.write_all_at(piece, at).map_err(cannot_write)?;
        }
        at += len as u64;
        progress(len as u64);
    }
    Ok(())
}

fn tell_rebuilt(
    args: &RebuildArgs,
    found: &FoundVolume,
    size: u64,
    proved: bool,
) -> Result<(), Failure> {
    if args.json {
        return term::print(&document(&json!({
            "volume": format!("{:X}", found.id),
            "start": found.start,
            "file": args.to.to_string_lossy().into_owned(),
            "size": size,
            "whole": args.whole,
            "proved": proved,
        })));
    }
    let path = args.to.shown();
    let text = match args.whole {
        true => format!("volume {:X} is in {path}, {size} bytes\n", found.id),
        false => format!(
            "the first {size} bytes of volume {:X} are in {path}; they belong at byte {} of a copy of the source\n",
            found.id, found.start
        ),
    };
    term::print(&text)
}
