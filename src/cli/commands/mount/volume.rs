//! The decrypted volume as a file.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use fve::error::{Error, ErrorKind};
use fve::serve::fuse::{Mount, MountOptions};
use fve::shown::ShowPath;
use fve::source::{MountEntry, ReadAt};
use fve::volume::{Unlocked, Volume, Writable};
use rustix::fs::Access;
use rustix::io::Errno;

use super::{MountArgs, server};
use crate::cli::commands::unmount::is_fve;
use crate::cli::failure::Failure;
use crate::cli::options::plaintext::{
    Holds, check_inside, open_to_read, open_to_write, open_to_write_by,
};
use crate::cli::options::source::absolute;
use crate::cli::output::term;

/// Whether the volume of SOURCE is shown on DIR already.
pub(super) fn is_mounted(args: &MountArgs) -> bool {
    let Ok(directory) = args.directory.canonicalize() else {
        return false;
    };
    let mounted = MountEntry::at(&directory).ok().flatten();
    mounted.is_some_and(|mounted| {
        is_fve(&mounted) && Path::new(&mounted.source) == absolute(&args.source.source)
    })
}

/// Shows the volume until it is unmounted.
pub(super) fn serve(args: &MountArgs) -> Result<(), Failure> {
    args.check_mount_point()?;
    let (volume, options, _holds) = match args.writes() {
        true if args.or_read_only => read_write_if_possible(args)?,
        true => read_write(args)?,
        false => read_only(args)?,
    };
    let start = |options: &MountOptions| volume.mount(&args.directory, options);
    let what = || {
        let directory = args.directory.shown();
        let file = args.directory.join(&args.file_name);
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
    let (unlocked, source, modified, holds) = open_to_read(&args.source, &args.credentials)?;
    let options = args.options(&source, modified);
    Ok((Content::ReadOnly(Arc::new(unlocked)), options, holds))
}

/// Read-only with a warning where [`read_write`] is refused for safety. The credentials are read once only: a
/// secret from a pipe cannot be read again.
fn read_write_if_possible(args: &MountArgs) -> Result<Ready, Failure> {
    let unlock = |volume: &Volume| args.credentials.unlock(volume);
    let (unlocked, opened) = match open_to_write_by(&args.source, &args.credentials, unlock) {
        Err(failure) if cannot_be_written(args, &failure) => {
            let ready = read_only(args)?;
            note_read_only(&failure, "");
            return Ok(ready);
        }
        opened => opened?,
    };
    let content = match unlocked.into_writable() {
        Ok(writable) => match check_inside(&writable, false) {
            Ok(()) => Content::ReadWrite(writable),
            Err(failure @ Failure::Other { .. }) => {
                note_read_only(&failure, TO_WRITE_ANYWAY);
                Content::ReadOnly(writable.into_unlocked())
            }
            Err(other) => return Err(other),
        },
        Err(refusal) => {
            let (unlocked, error) = refusal.into_parts();
            note_read_only(&error.into(), "");
            Content::ReadOnly(Arc::new(unlocked))
        }
    };
    Ok((content, args.options(&opened.path, None), (None, None)))
}

const TO_WRITE_ANYWAY: &str =
    "; 'fve mount --volume --read-write --allow-unaware-file-system' allows writing";

/// Whether the volume can only be read, because of its source or of its own state. This is known before a credential
/// is read.
fn cannot_be_written(args: &MountArgs, failure: &Failure) -> bool {
    let is_only_read =
        |error: &Error| matches!(error.kind(), ErrorKind::Unwritable | ErrorKind::Unsupported);
    matches!(failure, Failure::Volume(error) if is_only_read(error))
        || is_write_protected(&args.source.source).unwrap_or(false)
}

/// Whether the system keeps this user from writing to the file or device.
fn is_write_protected(source: &Path) -> io::Result<bool> {
    let metadata = source.metadata()?;
    if metadata.file_type().is_block_device() {
        let device = metadata.rdev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let flag = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/ro"))?;
        if flag.trim() == "1" {
            return Ok(true);
        }
    }
    let allowed = rustix::fs::access(source, Access::WRITE_OK);
    Ok(matches!(
        allowed,
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS)
    ))
}

fn note_read_only(failure: &Failure, more: &str) {
    let why = failure.message().unwrap_or_default();
    term::note(format_args!(
        "warning: the volume is mounted read-only: {why}{more}"
    ));
}

fn read_write(args: &MountArgs) -> Result<Ready, Failure> {
    let (writable, source, holds) = open_to_write(
        &args.source,
        args.overlay.as_deref(),
        &args.credentials,
        |writable| check_inside(writable, args.allow_unaware_file_system),
    )?;
    let options = args.options(&source, None);
    Ok((Content::ReadWrite(writable), options, holds))
}
