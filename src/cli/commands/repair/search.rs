//! Volumes searched for on a disk, and credentials tried on them.

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

/// Where one JSON document is to be all that standard output gets, it gets one now.
pub(super) fn tell_interrupted(json: bool) {
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

pub(super) fn nothing_found(scan: &Scan, told: bool) -> Failure {
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
    if told {
        term::note(format_args!("error: {what}"));
        return Failure::Silent(status);
    }
    Failure::Other {
        status,
        what,
        help: Some("no credential unlocks a volume without its metadata: search the other disks, or use a key package".to_owned()),
    }
}

/// Finds by its plaintext where a volume begins, if nothing else proves it.
pub(super) fn settle(
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
pub(super) fn try_all(
    volume: &Volume,
    args: &CredentialArgs,
    credentials: &[Box<dyn Credential>],
) -> Result<Result<Accepted, Error>, Failure> {
    let pieced = args.with_key_package(volume)?;
    let volume = pieced.as_ref().unwrap_or(volume);
    let allowed = args.options()?;
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
pub(super) enum Accepted {
    Sound,
    Damaged,
}
