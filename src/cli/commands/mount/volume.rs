//! The decrypted volume as a file.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use fve::create::Inside;
use fve::serve::fuse::{FILE_NAME, Mount, MountOptions};
use fve::shown::ShowPath;
use fve::source::{DeviceHold, ReadAt, SharedHold};
use fve::volume::{Unlocked, Writable, is_hibernated};

use super::{MountArgs, server};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::source;
use crate::cli::output::term;

/// Locks that keep other programs from changing the source of a read-only mount.
type Holds = (Option<SharedHold>, Option<DeviceHold>);

/// Shows the volume until it is unmounted.
pub(super) fn serve(args: &MountArgs) -> Result<(), Failure> {
    args.check_mount_point()?;
    let (volume, options, _holds) = if args.read_write {
        read_write(args)?
    } else {
        read_only(args)?
    };
    let start = |options: &MountOptions| volume.mount(&args.directory, options);
    let what = || {
        let directory = args.directory.shown();
        let file = args.directory.join(FILE_NAME);
        format!(
            "the decrypted volume is {}; end with 'fve unmount {directory}'",
            file.shown()
        )
    };
    server::serve(args, options, start, what)
}

/// An unlocked volume, what to mount it with, and the locks on its source.
type Ready = (Content, MountOptions, Holds);

pub(super) enum Content {
    ReadOnly(Arc<Unlocked>),
    ReadWrite(Writable),
}

impl Content {
    pub(super) fn plaintext(&self) -> &dyn ReadAt {
        match self {
            Self::ReadOnly(volume) => volume.as_ref(),
            Self::ReadWrite(volume) => volume,
        }
    }

    pub(super) fn mount(self, directory: &Path, options: &MountOptions) -> Result<Mount, Failure> {
        Ok(match self {
            Self::ReadOnly(volume) => Mount::new(volume, directory, options)?,
            Self::ReadWrite(volume) => Mount::read_write(Arc::new(volume), directory, options)?,
        })
    }
}

fn read_only(args: &MountArgs) -> Result<Ready, Failure> {
    let (unlocked, source, modified, holds) = open_to_read(args)?;
    let options = args.options(&source, modified);
    Ok((Content::ReadOnly(Arc::new(unlocked)), options, holds))
}

fn read_write(args: &MountArgs) -> Result<Ready, Failure> {
    let (writable, source) = open_to_write(args)?;
    check_inside(&writable, args.allow_unaware_file_system)?;
    let options = args.options(&source, None);
    Ok((Content::ReadWrite(writable), options, (None, None)))
}

/// An unlocked volume, the path of the source, when that was modified, and the locks on it.
type ToRead = (Unlocked, PathBuf, Option<SystemTime>, Holds);

/// Unlocks a volume to mount it read-only. Other programs must not write to the source, mount it or
/// map it meanwhile: the kernel caches the pages of the mount, and would show old content.
pub(super) fn open_to_read(args: &MountArgs) -> Result<ToRead, Failure> {
    let shared = SharedHold::take(&args.source.source)?;
    let source::OpenedToShow { opened, hold } = source::open_to_show(&args.source)
        .print_notes()
        .map_err(|failure| args.credentials.name_fitting(failure))?;
    let device = hold?;
    let unlocked = args.credentials.unlock(&opened.volume)?;
    Ok((unlocked, opened.path, opened.modified, (shared, device)))
}

/// Unlocks a volume to write to it, and returns the path of the source. Checks whether it can be written
/// to before it asks for a credential.
pub(super) fn open_to_write(args: &MountArgs) -> Result<(Writable, PathBuf), Failure> {
    let opened = source::open_for_writing(&args.source)
        .print_notes()
        .map_err(|failure| args.credentials.name_fitting(failure))?;
    opened.volume.check_writable()?;
    let writable = args
        .credentials
        .unlock(&opened.volume)?
        .into_writable()
        .map_err(fve::Error::from)?;
    Ok((writable, opened.path))
}

/// Checks that the file system in the volume does not use the places of BitLocker's own structures:
/// they read as zeros and cannot be written, so files there would be lost.
fn check_inside(volume: &Writable, allowed: bool) -> Result<(), Failure> {
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
            "the volume holds {found}; do not use the places of BitLocker's own structures, which \
             read as zeros and cannot be written: bytes {listed}"
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
                    "mount it read-only, or give --allow-unaware-file-system if it does not use these places"
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

pub(super) fn warn(what: &str) {
    term::note(term::escaped(&format!("warning: {what}")));
}

pub(super) fn listed(places: &[Range<u64>]) -> String {
    let places: Vec<_> = places
        .iter()
        .map(|place| format!("{} to {}", place.start, place.end))
        .collect();
    places.join(", ")
}
