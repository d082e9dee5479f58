//! Opening a volume to show its plaintext to other programs, read-only or for writing.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fve::create::Inside;
use fve::source::{DeviceHold, SharedHold};
use fve::volume::{Unlocked, Volume, Writable, is_hibernated};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source::{
    Opened, OpenedForWriting, OpenedToShow, OpenedWithOverlay, SourceArgs, open_for_writing,
    open_to_show, open_with_overlay,
};
use crate::cli::output::term;

/// Locks that keep other programs from changing the source of a read-only mount.
pub(crate) type Holds = (Option<SharedHold>, Option<DeviceHold>);

/// An unlocked volume, the path of the source, when that was modified, and the locks on it.
pub(crate) type ToRead = (Unlocked, PathBuf, Option<SystemTime>, Holds);

/// Unlocks a volume to mount it read-only. Other programs must not write to the source, mount it or
/// map it meanwhile: the kernel caches the pages of the mount, and would show old content.
pub(crate) fn open_to_read(
    source: &SourceArgs,
    credentials: &CredentialArgs,
) -> Result<ToRead, Failure> {
    let (unlocked, opened, holds) =
        open_to_read_by(source, credentials, |volume| credentials.unlock(volume))?;
    Ok((unlocked, opened.path, opened.modified, holds))
}

/// The same with another way to unlock the volume.
pub(crate) fn open_to_read_by<T>(
    source: &SourceArgs,
    credentials: &CredentialArgs,
    unlock: impl FnOnce(&Volume) -> Result<T, Failure>,
) -> Result<(T, Opened, Holds), Failure> {
    let shared = SharedHold::take(&source.source)?;
    let OpenedToShow { opened, hold } = open_to_show(source)
        .print_notes()
        .map_err(|failure| credentials.name_fitting(failure))?;
    let device = hold?;
    let unlocked = unlock(&opened.volume)?;
    Ok((unlocked, opened, (shared, device)))
}

/// An unlocked volume to write to, the path of the source, and the locks on it.
pub(crate) type ToWrite = (Writable, PathBuf, Holds);

/// Unlocks a volume to write to it, in the source itself or in the file `overlay`. Checks whether it can be
/// written to before it asks for a credential, and by `check` before it makes a file.
pub(crate) fn open_to_write(
    source: &SourceArgs,
    overlay: Option<&Path>,
    credentials: &CredentialArgs,
    check: impl FnOnce(&Writable) -> Result<(), Failure>,
) -> Result<ToWrite, Failure> {
    let Some(file) = overlay else {
        let (unlocked, opened) =
            open_to_write_by(source, credentials, |volume| credentials.unlock(volume))?;
        let writable = unlocked.into_writable().map_err(fve::Error::from)?;
        check(&writable)?;
        return Ok((writable, opened.path, (None, None)));
    };
    let (unlocked, opened, holds) = open_over_by(source, file, credentials, |volume| {
        credentials.unlock(volume)
    })?;
    let writable = unlocked.into_writable().map_err(fve::Error::from)?;
    check(&writable)?;
    opened.overlay.keep()?;
    Ok((writable, opened.opened.path, holds))
}

/// Unlocks a volume to write to the file `overlay`, by `unlock`. If the file is new, it is left only if it is kept.
pub(crate) fn open_over_by<T>(
    source: &SourceArgs,
    overlay: &Path,
    credentials: &CredentialArgs,
    unlock: impl FnOnce(&Volume) -> Result<T, Failure>,
) -> Result<(T, OpenedWithOverlay, Holds), Failure> {
    let shared = SharedHold::take(&source.source)?;
    let (opened, hold) = open_with_overlay(source, overlay)
        .print_notes()
        .map_err(|failure| credentials.name_fitting(failure))?;
    let device = hold?;
    opened.opened.volume.check_writable()?;
    let unlocked = unlock(&opened.opened.volume)?;
    Ok((unlocked, opened, (shared, device)))
}

/// Unlocks a volume to write to the source itself, by `unlock`.
pub(crate) fn open_to_write_by<T>(
    source: &SourceArgs,
    credentials: &CredentialArgs,
    unlock: impl FnOnce(&Volume) -> Result<T, Failure>,
) -> Result<(T, OpenedForWriting), Failure> {
    let opened = open_for_writing(source)
        .print_notes()
        .map_err(|failure| credentials.name_fitting(failure))?;
    opened.volume.check_writable()?;
    let unlocked = unlock(&opened.volume)?;
    Ok((unlocked, opened))
}

/// Checks that the file system in the volume does not use the places of BitLocker's own structures:
/// they read as zeros and cannot be written, so files there would be lost.
pub(crate) fn check_inside(volume: &Writable, allowed: bool) -> Result<(), Failure> {
    let places = volume.reserved();
    let listed = listed(&places);
    match Inside::of(volume, &places)? {
        Inside::Unchecked { why } => warn(&format!(
            "{why}; it was not checked whether files can be where BitLocker's own structures are: \
             bytes {listed}"
        )),
        Inside::Unreserved { name } => warn(&format!(
            "the {name} file system in the volume may put files where BitLocker's own structures are, \
             and those files would be lost: bytes {listed}"
        )),
        Inside::Unknown { found } => warn(&format!(
            "the volume holds {found}; do not use the places of BitLocker's own structures: what is written \
             there is refused or lost: bytes {listed}"
        )),
        Inside::Other { found } if allowed => warn(&format!(
            "the volume holds {found}; what it writes where BitLocker's own structures are is lost: \
             bytes {listed}"
        )),
        Inside::Other { found } => {
            return Err(Failure::Other {
                status: Status::Usage,
                what: format!(
                    "the volume holds {found}, which may write where BitLocker's own structures are; \
                     what it writes there is lost: bytes {listed}"
                ),
                help: Some(
                    "open it read-only, or give --allow-unaware-file-system if it does not use these places"
                        .to_owned(),
                ),
            });
        }
        _ => {}
    }
    if is_hibernated(volume) {
        warn(
            "the Windows in the volume is hibernated (fast startup does that too) and may undo changes \
             that are made now; shut it down with 'shutdown /s /t 0' first",
        );
    }
    Ok(())
}

pub(crate) fn warn(what: &str) {
    term::note(term::escaped(&format!("warning: {what}")));
}

pub(crate) fn listed(places: &[Range<u64>]) -> String {
    let places: Vec<_> = places
        .iter()
        .map(|place| format!("{} to {}", place.start, place.end))
        .collect();
    places.join(", ")
}
