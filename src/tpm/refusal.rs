//! Messages about why a TPM protector did not unlock the volume, and what to do. The [`Reason`]s are
//! stable, so that a script can tell a wrong PIN, which it must not repeat, from the rest.

use super::policy::{LOCK, Pcrs, Policy};
use super::unsealer::{Lockout, TpmError};
use crate::error::{Failure, Reason, Remedy};
use crate::format::FormatError;
use crate::format::tpm_blob::SealedObject;

const OTHERWISE: &str = "use another protector, such as the recovery password";

/// The failure for an error of the TPM at `place`.
pub(crate) fn of(error: &TpmError, place: &str) -> Failure {
    let message = match error {
        TpmError::NoTpm { .. } | TpmError::NoLibrary { .. } => error.to_string(),
        _ => format!("{error} ({place})"),
    };
    Failure::new(error.reason(), message).with_remedy(error.remedy())
}

/// The failure for PCR values other than those that the object was sealed to.
pub(crate) fn pcrs(object: &SealedObject, policy: &Policy, values: &Pcrs) -> Failure {
    let pcrs = object.pcrs();
    let list = list(&pcrs);
    let (what, remedy) = if policy.only_lock_is_closed(object, values) {
        (
            format!(
                "of the PCRs {list}, only PCR {LOCK} differs: it is BitLocker's lock, and something extended it in this boot"
            ),
            "boot without a unified kernel image, or without systemd's measured boot phases: they extend PCR 11".into(),
        )
    } else {
        (
            format!(
                "{} from the value that the key was sealed to: this boot used another boot loader, firmware or settings",
                match pcrs.len() {
                    1 => format!("the TPM's PCR {list} differs"),
                    _ => format!("at least one of the TPM's PCRs {list} differs"),
                }
            ),
            Remedy::ExplainPcrMismatch,
        )
    };
    Failure::new(Reason::PcrMismatch, what).with_remedy(remedy)
}

/// The failure for a PIN that the TPM refused and counted.
pub(crate) fn wrong_pin(lockout: Option<&Lockout>) -> Failure {
    let mut message = "wrong PIN".to_owned();
    if let Some(lockout) = lockout {
        message = format!("{message}; {}", tries_left(lockout));
    }
    Failure::new(Reason::WrongPin, message)
        .with_remedy("check the PIN: every wrong one counts towards the TPM's lockout")
}

/// The failure for a key protector that was not tried after a wrong PIN for another one.
pub(crate) fn pin_not_tried() -> Failure {
    Failure::new(
        Reason::PinNotTried,
        "not tried: the PIN was wrong for another key protector, and the TPM would count it again",
    )
}

/// The failure for a TPM that is locked.
pub(crate) fn locked(lockout: &Lockout) -> Failure {
    Failure::new(
        Reason::Lockout,
        format!(
            "the TPM is locked after {} wrong PINs and refuses even the right one",
            lockout.failures
        ),
    )
    .with_remedy(format!(
        "{}; until then {OTHERWISE}",
        forgiveness(lockout.interval)
    ))
}

/// A sentence for a user who is about to enter a PIN: how many wrong ones were counted.
pub fn tries_left(lockout: &Lockout) -> String {
    format!(
        "{} of {} wrong PINs used; {}",
        lockout.failures,
        lockout.max_failures,
        forgiveness(lockout.interval)
    )
}

/// The failure for an object whose policy is not known.
pub(crate) fn no_policy() -> Failure {
    Failure::new(
        Reason::UnknownPolicy,
        "the policy of the sealed object is unknown: the object is damaged, or from a newer Windows; the TPM was not used",
    )
    .with_remedy(OTHERWISE)
}

/// The failure for a protector without an object of a TPM 2.0.
pub(crate) fn unreadable(fault: &FormatError) -> Failure {
    Failure::new(
        Reason::UnsupportedTpmBlob,
        format!("sealed to a TPM 1.2, or in an unknown form ({fault})"),
    )
    .with_remedy(OTHERWISE)
}

/// PCR numbers for a message: `7, 11`.
pub(crate) fn list(pcrs: &[u8]) -> String {
    let words: Vec<_> = pcrs.iter().map(u8::to_string).collect();
    words.join(", ")
}

/// After how long the TPM forgives a wrong PIN.
pub(crate) fn forgiveness(interval: u32) -> String {
    match interval {
        0 => "none is forgiven with time".to_owned(),
        _ => format!("one is forgiven every {}", duration(interval)),
    }
}

/// Seconds in the largest unit that fits.
fn duration(seconds: u32) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3600),
    }
}
