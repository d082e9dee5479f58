//! Whether a driver may write to the file system in a volume, in the condition that it is in.

use fve::create::Inside;
use fve::volume::{Writable, is_hibernated};

use super::super::volume::{listed, warn};
use super::system::System;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;

/// Refuses an NTFS file system that Windows has not finished with: ntfs-3g and the kernel would show it
/// read-only without a word. Warns where files may be lost.
pub(super) fn check(volume: &Writable) -> Result<(), Failure> {
    let system = System::in_volume(volume)?;
    if is_hibernated(volume) {
        return Err(refused(
            "the Windows in the volume is hibernated (fast startup does that at every shutdown), and would undo or damage what is written now"
                .to_owned(),
            "start it and shut it down completely with 'shutdown /s /t 0', or turn fast startup off",
        ));
    }
    let places = volume.reserved();
    match Inside::of(volume, &places)? {
        Inside::Unchecked { why } if system == System::Ntfs => Err(refused(
            format!("{why}; it is not mounted for writing"),
            "start Windows and shut it down completely with 'shutdown /s /t 0', or check the file system there with chkdsk",
        )),
        Inside::Unchecked { why } => {
            warn(&why);
            Ok(())
        }
        Inside::Unreserved { name } => {
            warn(&format!(
                "the {name} file system in the volume may put files where BitLocker's own structures \
                 are, and those files would be lost: bytes {}",
                listed(&places)
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn refused(what: String, way: &str) -> Failure {
    Failure::Other {
        status: Status::Io,
        what,
        help: Some(format!(
            "{way}; or mount it read-only, without --read-write"
        )),
    }
}
