//! Exit statuses (`spec/cli.md`) and how errors map to them.

use std::process::ExitCode;

use crate::error::{Error, Unwritable};

/// What the process ends with.
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

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

impl From<&Error> for Status {
    fn from(error: &Error) -> Self {
        match error {
            Error::NotBitLocker { .. } | Error::Unsupported { .. } => Self::NotBitLocker,
            Error::Ambiguous { .. } => Self::Usage,
            Error::Uncreatable { .. } | Error::Interrupted => Self::Failed,
            Error::Damaged { .. } => Self::Damaged,
            Error::Refused { .. } | Error::NothingToTry { .. } | Error::BadCredential { .. } => {
                Self::Refused
            }
            Error::Unwritable(reason) => reason.into(),
            Error::Unchangeable { .. } => Self::Failed,
            Error::OutOfRange { .. }
            | Error::Reserved { .. }
            | Error::Unreadable { .. }
            | Error::Environment { .. }
            | Error::Io { .. } => Self::Io,
        }
    }
}

impl From<&Unwritable> for Status {
    fn from(reason: &Unwritable) -> Self {
        match reason {
            Unwritable::DamagedCopies(_) | Unwritable::DifferingCopies => Self::Damaged,
            Unwritable::SectorKey => Self::Refused,
            Unwritable::CutOff { .. } => Self::Io,
            _ => Self::NotBitLocker,
        }
    }
}
