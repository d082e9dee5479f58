//! Exit statuses (docs/command-line.md §4) and how errors map to them.

use std::io::ErrorKind;
use std::process::{ExitCode, ExitStatus};

use fve::error::{CopyFault, Error, Reason, Remedy, UnlockReport, Unwritable};

/// The exit statuses and what they mean.
pub(crate) const EXIT_STATUSES: &[(u8, &str)] = &[
    (0, "done"),
    (1, "failed for any other reason"),
    (2, "wrong command line"),
    (3, "not a BitLocker volume, or an unsupported one"),
    (4, "no credential unlocks the volume"),
    (5, "reading or writing failed"),
    (6, "the metadata is damaged in all copies"),
    (7, "'recovery check': the recovery password is malformed"),
];

/// The exit status of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotBitLocker = 3,
    Refused = 4,
    Io = 5,
    Damaged = 6,
    Malformed = 7,
}

impl Status {
    /// The status of another process of this program that has ended.
    pub(crate) fn of_process(ended: ExitStatus) -> Self {
        match ended.code() {
            Some(0) => Self::Done,
            Some(2) => Self::Usage,
            Some(3) => Self::NotBitLocker,
            Some(4) => Self::Refused,
            Some(5) => Self::Io,
            Some(6) => Self::Damaged,
            Some(7) => Self::Malformed,
            _ => Self::Failed,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

impl From<&Error> for Status {
    fn from(error: &Error) -> Self {
        match error {
            Error::NotBitLocker { .. } | Error::Unsupported { .. } => Self::NotBitLocker,
            Error::Ambiguous { .. }
            | Error::OutputRefused { .. }
            | Error::BadCredential {
                remedy: Some(Remedy::NameTpm),
                ..
            } => Self::Usage,
            Error::Damaged { .. } | Error::Contradicted { .. } => Self::Damaged,
            Error::Refused { report, .. } if only_the_system_refused(report) => Self::Io,
            Error::Refused { .. }
            | Error::NothingToTry { .. }
            | Error::NoSuchProtector { .. }
            | Error::BadCredential { .. } => Self::Refused,
            Error::Unwritable(reason) => reason.into(),
            // A refusal to overwrite.
            Error::Io { source, .. } if source.kind() == ErrorKind::AlreadyExists => Self::Usage,
            Error::OutOfRange { .. }
            | Error::Reserved { .. }
            | Error::Unreadable { .. }
            | Error::Environment { .. }
            | Error::Interrupted
            | Error::Io { .. } => Self::Io,
            // Uncreatable, Unchangeable, Stale, and variants that the library adds later.
            _ => Self::Failed,
        }
    }
}

/// Whether every attempt failed because the operating system refused network access, which is an I/O
/// error.
fn only_the_system_refused(report: &UnlockReport) -> bool {
    let mut attempts = report.attempts.iter();
    !report.attempts.is_empty()
        && attempts.all(|attempt| {
            let failure = attempt.failure.as_ref();
            failure.is_some_and(|failure| failure.reason == Reason::NetworkError)
        })
}

impl From<&Unwritable> for Status {
    fn from(reason: &Unwritable) -> Self {
        match reason {
            Unwritable::DamagedCopies(copies) if copies.iter().any(CopyFault::is_read_error) => {
                Self::Io
            }
            Unwritable::DamagedCopies(_) | Unwritable::DifferingCopies | Unwritable::KeyPackage => {
                Self::Damaged
            }
            Unwritable::SectorKey => Self::Refused,
            Unwritable::CutOff { .. } => Self::Io,
            _ => Self::NotBitLocker,
        }
    }
}
