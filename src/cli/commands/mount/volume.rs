//! The decrypted volume as a file.

use std::path::Path;
use std::sync::Arc;

use fve::serve::fuse::{FILE_NAME, Mount, MountOptions};
use fve::shown::ShowPath;
use fve::source::ReadAt;
use fve::volume::{Unlocked, Writable};

use super::{MountArgs, server};
use crate::cli::failure::Failure;
use crate::cli::options::plaintext::{Holds, check_inside, open_to_read, open_to_write};

/// Shows the volume until it is unmounted.
pub(super) fn serve(args: &MountArgs) -> Result<(), Failure> {
    args.check_mount_point()?;
    let (volume, options, _holds) = if args.writes() {
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
    let (unlocked, source, modified, holds) = open_to_read(&args.source, &args.credentials)?;
    let options = args.options(&source, modified);
    Ok((Content::ReadOnly(Arc::new(unlocked)), options, holds))
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
