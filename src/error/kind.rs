//! What went wrong, without the details: for programs that choose what to do next.

use super::{Error, Reason, UnlockReport};

/// What went wrong, without the details.
///
/// [`Error::kind`] gives it, so that a program can decide what to do next by matching one word:
///
/// ```
/// use fve::ErrorKind;
///
/// # fn again(_: &str) {}
/// # let error = fve::Error::io("cannot read disk.img", std::io::ErrorKind::TimedOut.into());
/// match error.kind() {
///     ErrorKind::WrongKey | ErrorKind::NoCredential => again("another credential is needed"),
///     ErrorKind::Unreachable | ErrorKind::Io => again("the source or a service failed: try later"),
///     ErrorKind::Damaged => again("the metadata is damaged"),
///     _ => again("anything else"),
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The source was read and holds no BitLocker volume.
    NotBitLocker,
    /// The source holds several volumes, and none was chosen.
    SeveralVolumes,
    /// A BitLocker volume of a kind, state or layout that is not supported.
    Unsupported,
    /// The metadata is damaged.
    Damaged,
    /// A credential was tried on a key protector that it belongs to, and does not unlock it.
    WrongKey,
    /// No credential was given that belongs to any key protector of the volume.
    NoCredential,
    /// The key protector that was selected does not exist on the volume.
    NoSuchProtector,
    /// A credential is malformed, such as a recovery password with a mistyped block.
    BadCredential,
    /// A device or service that holds the key could not be reached, such as the TPM or a Network
    /// Unlock server, and no other credential was tried. A credential that ends the attempt with
    /// [`Answer::Abort`](crate::unlock::Answer::Abort) gives the kind of its own error instead.
    Unreachable,
    /// Credentials were tried and did not unlock the volume, for reasons that the
    /// [report](UnlockReport) lists. The key may still be right, as after a change of the PCRs.
    Refused,
    /// Parts of the metadata contradict each other, and plaintext could be wrong.
    Contradicted,
    /// An address beyond the end of the volume.
    OutOfRange,
    /// The bytes exist, but their plaintext cannot be known.
    Unreadable,
    /// A new volume cannot be created as requested.
    Uncreatable,
    /// The volume can be read, but writing to it is not safe.
    Unwritable,
    /// The bytes hold BitLocker's own structures, which are never written to.
    Reserved,
    /// The key protectors or the metadata cannot be changed as requested. Nothing was written.
    Unchangeable,
    /// The metadata on disk changed since it was read. Nothing was written.
    Stale,
    /// The operation was interrupted, usually by the user.
    Interrupted,
    /// The output exists already, or must not be written to.
    OutputRefused,
    /// The operating system lacks something that the operation needs.
    Environment,
    /// Reading or writing failed. [`Error::io_error`] gives the cause.
    Io,
}

impl Error {
    /// What went wrong, without the details.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotBitLocker { .. } => ErrorKind::NotBitLocker,
            Self::Ambiguous { .. } => ErrorKind::SeveralVolumes,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Damaged { .. } => ErrorKind::Damaged,
            Self::Refused { report } => of_report(report),
            Self::Contradicted { .. } => ErrorKind::Contradicted,
            Self::NothingToTry { .. } => ErrorKind::NoCredential,
            Self::NoSuchProtector { .. } => ErrorKind::NoSuchProtector,
            Self::BadCredential { .. } => ErrorKind::BadCredential,
            Self::OutOfRange { .. } => ErrorKind::OutOfRange,
            Self::Unreadable { .. } => ErrorKind::Unreadable,
            Self::Uncreatable { .. } => ErrorKind::Uncreatable,
            Self::Unwritable(_) => ErrorKind::Unwritable,
            Self::Reserved { .. } => ErrorKind::Reserved,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Unchangeable { .. } => ErrorKind::Unchangeable,
            Self::Stale { .. } => ErrorKind::Stale,
            Self::OutputRefused { .. } => ErrorKind::OutputRefused,
            Self::Environment { .. } => ErrorKind::Environment,
            Self::Io { .. } => ErrorKind::Io,
        }
    }

    /// The cause of an [`Error::Io`]; `None` for any other error.
    pub fn io_error(&self) -> Option<&std::io::Error> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// One kind for all attempts of a report: a wrong key counts most, since the user can correct it.
fn of_report(report: &UnlockReport) -> ErrorKind {
    let failures = || {
        report
            .attempts
            .iter()
            .filter_map(|one| one.failure.as_ref())
    };
    let all = |is: fn(Reason) -> bool| {
        failures().next().is_some() && failures().all(|failure| is(failure.reason))
    };
    if failures().any(|failure| is_wrong_key(failure.reason)) {
        ErrorKind::WrongKey
    } else if all(is_unreachable) {
        ErrorKind::Unreachable
    } else if all(is_no_match) {
        ErrorKind::NoCredential
    } else {
        ErrorKind::Refused
    }
}

fn is_wrong_key(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::WrongKey | Reason::WrongLength | Reason::WrongPin
    )
}

/// The credential belongs to no key protector that it was tried on.
fn is_no_match(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoSuchProtector
            | Reason::NoPasswordForProtector
            | Reason::OtherVolume
            | Reason::NotAutoUnlocked
            | Reason::OtherCertificate
            | Reason::NoStartupKey
            | Reason::NoPin
            | Reason::NoSidecar
    )
}

/// The device or service that holds the key did not answer.
fn is_unreachable(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::LookupFailed
            | Reason::NoTpm
            | Reason::NoTpmLibrary
            | Reason::NoModule
            | Reason::NoToken
            | Reason::TokenFailed
            | Reason::NoAddress
            | Reason::NoAnswer
            | Reason::NetworkError
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Attempt, Failure};

    fn kind(reasons: &[Reason]) -> ErrorKind {
        let attempt = |reason: &Reason| {
            let failure = Failure::new(*reason, "it failed");
            Attempt::new("credential", None, Some(failure))
        };
        let mut report = UnlockReport::default();
        report.attempts.extend(reasons.iter().map(attempt));
        Error::Refused { report }.kind()
    }

    #[test]
    fn a_wrong_key_counts_more_than_a_service_that_is_down() {
        assert_eq!(
            kind(&[Reason::NoAnswer, Reason::WrongKey]),
            ErrorKind::WrongKey
        );
    }

    #[test]
    fn a_service_is_unreachable_only_where_nothing_else_was_tried() {
        assert_eq!(
            kind(&[Reason::NoAnswer, Reason::NoAddress]),
            ErrorKind::Unreachable
        );
        assert_eq!(
            kind(&[Reason::NoAnswer, Reason::PcrMismatch]),
            ErrorKind::Refused
        );
    }

    #[test]
    fn credentials_of_other_volumes_are_no_wrong_keys() {
        assert_eq!(
            kind(&[Reason::OtherVolume, Reason::NoPasswordForProtector]),
            ErrorKind::NoCredential
        );
        assert_eq!(kind(&[]), ErrorKind::Refused);
    }
}
