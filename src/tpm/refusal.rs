//! Why a TPM protector did not open, in words that help. The reasons are stable: scripts must not
//! loop on a PIN.

use super::policy::{LOCK, Pcrs, Policy};
use super::unsealer::{Lockout, TpmError};
use crate::error::{Failure, Reason, Remedy};
use crate::format::FormatError;
use crate::format::tpm_blob::SealedObject;

const OTHERWISE: &str = "use another protector, such as the recovery password";

/// A refusal of the TPM there.
pub(crate) fn of(error: &TpmError, place: &str) -> Failure {
    let (reason, remedy) = match error {
        TpmError::NoTpm { .. } => (Reason::NoTpm, Remedy::ChooseTpm),
        TpmError::NoSrk => (Reason::NoSrk, Remedy::RecreateStorageRootKey),
        TpmError::OtherSrk { .. } => (Reason::OtherSrk, Remedy::CompareStorageRootKey),
        TpmError::OtherTpm => (Reason::OtherTpm, OTHERWISE.into()),
        TpmError::NoBank(_) | TpmError::PcrMismatch => (Reason::PcrMismatch, Remedy::ExplainPcrs),
        TpmError::WrongPin => (
            Reason::WrongPin,
            "every wrong PIN counts towards the TPM's lockout".into(),
        ),
        TpmError::Locked => (Reason::Lockout, OTHERWISE.into()),
        TpmError::Other { .. } => (Reason::TpmError, OTHERWISE.into()),
    };
    let message = match error {
        TpmError::NoTpm { .. } => error.to_string(),
        _ => format!("{error} ({place})"),
    };
    Failure::new(reason, message).with_remedy(remedy)
}

/// The PCRs are not those that the object was sealed to.
pub(crate) fn pcrs(object: &SealedObject, policy: &Policy, values: &Pcrs) -> Failure {
    let list = list(&object.pcrs());
    let (what, remedy) = if policy.only_lock_is_closed(object, values) {
        (
            format!(
                "of the PCRs it was sealed to ({list}), all are right but PCR {LOCK}, BitLocker's lock, which something extended in this boot"
            ),
            "boot without a unified kernel image, or without systemd's measured boot phases: they extend PCR 11".into(),
        )
    } else {
        (
            format!(
                "the TPM's PCRs {list} are not those that it was sealed to: another boot loader, other firmware or other settings were started"
            ),
            Remedy::ExplainPcrMismatch,
        )
    };
    Failure::new(Reason::PcrMismatch, what).with_remedy(remedy)
}

/// The TPM took the PIN for a wrong one, and counted it.
pub(crate) fn wrong_pin(lockout: Option<&Lockout>) -> Failure {
    let mut message = "wrong PIN".to_owned();
    if let Some(lockout) = lockout {
        message = format!("{message}; {}", tries_left(lockout));
    }
    Failure::new(Reason::WrongPin, message).with_remedy(
        "every wrong PIN counts towards the TPM's lockout; it is not tried again by itself",
    )
}

/// The TPM takes no PIN for now.
pub(crate) fn locked(lockout: &Lockout) -> Failure {
    Failure::new(
        Reason::Lockout,
        format!(
            "the TPM is locked after {} wrong PINs: it refuses the right one, too",
            lockout.failures
        ),
    )
    .with_remedy(format!(
        "{}; until then {OTHERWISE}",
        forgiveness(lockout.interval)
    ))
}

/// How many wrong PINs are left, for a person who is about to give one.
pub fn tries_left(lockout: &Lockout) -> String {
    format!(
        "the TPM counts {} wrong PINs of {} that lock it; {}",
        lockout.failures,
        lockout.max_failures,
        forgiveness(lockout.interval)
    )
}

/// Nothing reproduces the object's policy.
pub(crate) fn no_policy() -> Failure {
    Failure::new(
        Reason::UnknownPolicy,
        "the sealed object's policy does not follow from what lies beside it: it is damaged, or a newer Windows uses another; the TPM was not asked",
    )
    .with_remedy(OTHERWISE)
}

/// The blob is not one of a TPM 2.0.
pub(crate) fn unreadable(fault: &FormatError) -> Failure {
    Failure::new(
        Reason::UnsupportedTpmBlob,
        format!("sealed to a TPM 1.2, or in an unknown form ({fault})"),
    )
    .with_remedy(OTHERWISE)
}

/// PCRs for a message: `7, 11`.
pub(crate) fn list(pcrs: &[u8]) -> String {
    let words: Vec<_> = pcrs.iter().map(u8::to_string).collect();
    words.join(", ")
}

/// How a count of wrong PINs falls again.
pub(crate) fn forgiveness(interval: u32) -> String {
    match interval {
        0 => "it forgives none by itself".to_owned(),
        _ => format!("it forgives one every {}", duration(interval)),
    }
}

/// Seconds as people say them.
fn duration(seconds: u32) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3600),
    }
}
