//! Searches a disk for volumes, and tries credentials on them.

use std::sync::Arc;

use fve::error::Error;
use fve::repair::{FoundVolume, Scan, Scope, scan};
use fve::source::ReadAt;
use fve::unlock::Credential;
use fve::volume::Volume;

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::output::{json, term};

/// With `--json`, standard output must get exactly one document, also after a signal.
pub(super) fn print_interruption(json: bool) {
    if json {
        let _ = term::print(&json::failure(&Error::Interrupted.into()));
    }
}

pub(super) fn search(disk: &Arc<dyn ReadAt>, scope: Scope) -> Scan {
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

pub(super) fn not_found(scan: &Scan, json: bool) -> Failure {
    let (status, what) = match scan.boot_records.first() {
        Some(record) => (
            Status::Damaged,
            format!("found the boot record of a volume at byte {record}, but no metadata"),
        ),
        None => (
            Status::NotBitLocker,
            "found no metadata of a BitLocker volume on the source".to_owned(),
        ),
    };
    if json {
        term::say(format_args!("error: {what}"));
        return Failure::Silent(status);
    }
    Failure::Other {
        status,
        what,
        help: Some("no credential unlocks a volume without its metadata: search the other disks, or use a key package".to_owned()),
    }
}

/// Settles where a volume starts if nothing on the disk proves it: at the right start, a credential
/// decrypts plausible plaintext.
pub(super) fn settle_start(
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

/// Tries to unlock the volume and decrypt its first sector: first strictly, then, if the options
/// allow it, with damaged metadata.
pub(super) fn try_all(
    volume: &Volume,
    args: &CredentialArgs,
    credentials: &[Box<dyn Credential>],
) -> Result<Result<MetadataState, Error>, Failure> {
    let with_package = args.with_key_package(volume)?;
    let volume = with_package.as_ref().unwrap_or(volume);
    let allowed = args.options()?;
    // Try strictly first, to know whether damaged metadata had to be accepted.
    let mut strict = allowed.clone();
    strict.accept_damaged_metadata = false;
    let result = volume.unlock(credentials, &strict);
    if result.is_err() && allowed.accept_damaged_metadata {
        let result = volume.unlock(credentials, &allowed);
        return Ok(result.map(|_| MetadataState::Damaged));
    }
    Ok(result.map(|_| MetadataState::Sound))
}

/// State of the metadata with which a volume was unlocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetadataState {
    Sound,
    Damaged,
}
