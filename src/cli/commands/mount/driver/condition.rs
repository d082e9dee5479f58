//! Whether a driver may write to the file system in a volume, in the condition that it is in.

use fve::create::Inside;
use fve::files::Condition;
use fve::volume::Writable;

use super::system::System;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::plaintext::{listed, warn};

/// How to have Windows finish its work, for NTFS.
const LET_WINDOWS: &str = "start Windows and shut it down completely with 'shutdown /s /t 0', or check the file system there with chkdsk";

/// Refuses a file system that was not unmounted cleanly or is damaged: what is written then can destroy
/// what is there. Drivers would write all the same, or show it read-only without a word. Warns where
/// files may be lost.
pub(super) fn check(volume: &Writable) -> Result<(), Failure> {
    let system = System::in_volume(volume)?;
    let name = system.name();
    let conditions = volume.conditions();
    // A hibernated Windows has not unmounted its file system either: that is the better reason.
    if conditions.contains(&Condition::Hibernated) {
        return Err(refused(
            "the Windows in the volume is hibernated (fast startup does that at every shutdown), and would undo or damage what is written now"
                .to_owned(),
            "start it and shut it down completely with 'shutdown /s /t 0', or turn fast startup off",
        ));
    }
    let why = conditions.iter().find_map(|condition| match condition {
        Condition::Dirty { why } => Some(format!("was not unmounted cleanly: {why}")),
        Condition::Damaged { what } => Some(format!("is damaged: {what}")),
        _ => None,
    });
    if let Some(why) = why {
        return Err(not_sound(system, format!("the {name} file system {why}")));
    }
    let places = volume.reserved();
    match Inside::of(volume, &places)? {
        Inside::Unchecked { why } if system == System::Ntfs => Err(not_sound(system, why)),
        Inside::Unchecked { why } => {
            warn(&format!(
                "{why}; it was not checked whether files can be where BitLocker's own structures are: \
                 bytes {}",
                listed(&places)
            ));
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

/// The failure for a file system that has to be checked first.
fn not_sound(system: System, why: String) -> Failure {
    let way = match system.checker() {
        None => LET_WINDOWS.to_owned(),
        Some(checker) => format!(
            "check the file system with chkdsk in Windows, or with '{checker}' on the file that 'fve mount --volume --read-write' shows"
        ),
    };
    refused(format!("{why}; it is not mounted for writing"), &way)
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
