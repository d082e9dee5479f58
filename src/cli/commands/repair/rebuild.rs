//! `fve repair rebuild-header`: writes the first sector of a volume, or a copy of the volume that
//! has it, to a new file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use fve::error::Error;
use fve::output::PartialFile;
use fve::repair::{FoundVolume, Scope, header};
use fve::shown::ShowPath;
use fve::source::{Extent, FileSource, MemoryOverlay, ReadAt, check_overwrite};
use fve::unlock::Credential;
use fve::volume::{UnlockOptions, Volume};

use super::args::RebuildArgs;
use super::json::rebuilt_json;
use super::search::{not_found, print_interruption, search, settle_start};
use super::text::rebuilt_text;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source;
use crate::cli::output::term;
use crate::cli::signals;

/// Size of the copy buffer in bytes.
const BUFFER_LEN: usize = 1 << 20;

pub(super) fn run(args: &RebuildArgs) -> Result<(), Failure> {
    // Create the file first: the search may take hours, and must not end with a file that cannot be
    // created.
    let output = PartialFile::create(args.output(), false)?;
    let partial = output.partial().to_owned();
    let json = args.json;
    signals::exit_on_signal(move || {
        let _ = std::fs::remove_file(&partial);
        print_interruption(json);
    });
    let disk =
        source::disk(&args.source.source, args.source.rescue_map.as_deref()).print_notes()?;
    let credentials = args.credentials.read_given()?;
    let mut found = match source::lost(&args.source, &disk).print_notes()? {
        Some(mut found) => {
            // Only the position that the options name, or else the most likely one.
            found.other_starts.clear();
            found
        }
        None => only_volume(&disk, &args.credentials, &credentials)?,
    };
    if found.begins_before_source() {
        return Err(begins_before_source());
    }
    settle_start(&disk, &mut found, &args.credentials, &credentials)?;
    if !found.evidence.is_proof() {
        return Err(place_not_proved());
    }
    let header = header(&found)?;
    let (bytes, _) = found.window(&disk)?;
    let mut whole = MemoryOverlay::new(bytes);
    whole
        .write(0, &header)
        .map_err(|error| Error::io("cannot prepare the copy", error))?;
    let whole = Arc::new(whole);
    // Check before writing that the result opens as a volume.
    let volume = Volume::from_source(whole.clone())?;
    let proved = prove(args, &volume, &credentials)?;
    let size = match (args.whole, found.size) {
        (true, Some(size)) => size.min(whole.size()),
        (true, None) => whole.size(),
        (false, _) => header.len() as u64,
    };
    let source = Extent::of_volume(&args.source.source, found.start, whole.size());
    check_overwrite(args.output(), &[source], size)?;
    fill_copy(output.file(), args.output(), whole.as_ref(), size)?;
    if args.whole {
        // Read the copy back: this checks what was written, not what was meant to be written.
        Volume::from_source(Arc::new(FileSource::open(output.partial())?))?.metadata()?;
    }
    output.finish()?;
    term::print(&match args.json {
        true => rebuilt_json(args, &found, size, proved),
        false => rebuilt_text(args, &found, size),
    })
}

/// Whether a credential unlocks the volume and proves its metadata. Without credentials, nothing is
/// proved.
fn prove(
    args: &RebuildArgs,
    volume: &Volume,
    credentials: &[Box<dyn Credential>],
) -> Result<bool, Failure> {
    if credentials.is_empty() {
        term::note("the metadata cannot be verified without a credential");
        return Ok(false);
    }
    let with_package = args.credentials.with_key_package(volume)?;
    let volume = with_package.as_ref().unwrap_or(volume);
    let unlocked = volume.unlock(credentials, &UnlockOptions::default())?;
    Ok(unlocked.is_proved())
}

fn begins_before_source() -> Failure {
    Failure::Other {
        status: Status::NotBitLocker,
        what: "the source lacks the beginning of the volume, so a first sector cannot be put there"
            .to_owned(),
        help: Some("'fve repair scan' shows what can be used of the volume".to_owned()),
    }
}

fn place_not_proved() -> Failure {
    Failure::Other {
        status: Status::Usage,
        what: "the start of the volume is not certain".to_owned(),
        help: Some(
            "give a credential, so that each possible start can be tested; 'fve repair scan' lists them"
                .to_owned(),
        ),
    }
}

/// Searches the disk for the only volume on it; an error if there are several.
fn only_volume(
    disk: &Arc<dyn ReadAt>,
    args: &CredentialArgs,
    credentials: &[Box<dyn Credential>],
) -> Result<FoundVolume, Failure> {
    let mut scan = search(disk, Scope::Everything);
    let mut volumes = std::mem::take(&mut scan.volumes);
    match (volumes.pop(), volumes.len()) {
        (None, _) => Err(not_found(&scan, false)),
        (Some(mut only), 0) => {
            settle_start(disk, &mut only, args, credentials)?;
            Ok(only)
        }
        (Some(_), others) => Err(Failure::Other {
            status: Status::Usage,
            what: format!("found metadata of {} volumes", others + 1),
            help: Some(
                "'fve repair scan' lists them; choose one with --metadata-offset and --volume-start"
                    .to_owned(),
            ),
        }),
    }
}

/// Copies the first `size` bytes to a file, which gets holes where they are zeros.
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
    let mut buffer = vec![0; BUFFER_LEN];
    let mut at = 0;
    while at < size {
        let len = usize::try_from(size - at)
            .unwrap_or(BUFFER_LEN)
            .min(BUFFER_LEN);
        let chunk = &mut buffer[..len];
        from.read_exact_at(at, chunk)
            .map_err(|error| Error::io(format!("cannot read the volume at {at:#x}"), error))?;
        if chunk.iter().any(|byte| *byte != 0) {
            file.write_all_at(chunk, at).map_err(cannot_write)?;
        }
        at += len as u64;
        progress(len as u64);
    }
    Ok(())
}
