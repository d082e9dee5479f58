//! Errors of the whole library.
//!
//! A program matches [`Error::kind`], or the variant where it needs the details. A user reads the
//! `Display` text, which is one sentence, and the [`Remedy`], which each front end puts into its own
//! words.
//!
//! Rules for errors:
//! * The message says what was found; [`Error::remedy`] says what the user can do about it.
//! * A failed authentication tag is [`Error::Refused`], never [`Error::Damaged`]: a wrong key and
//!   a damaged ciphertext cannot be told apart.
//! * A failed read is [`Error::Io`], never [`Error::Damaged`]: the data may be sound, and a retry
//!   may succeed.
//! * `Display` leaves out the cause, which [`source`](std::error::Error::source) gives. A text
//!   without access to the cause, such as a log line, uses [`Error::with_causes`].
//! * No message contains a secret or a part of one.

mod candidate;
mod kind;
mod reason;
mod remedy;
mod report;
mod unwritable;

use std::io;

pub use crate::format::copies::CopyFault;
use crate::format::copies::in_lines;
use crate::format::protector::ProtectorKind;
use crate::format::selector::ProtectorSelector;
use crate::guid::Guid;
use crate::shown::WithCauses;

pub use candidate::{Candidate, CandidateState};
pub use kind::ErrorKind;
pub use reason::Reason;
pub use remedy::Remedy;
pub use report::{Attempt, Failure, UnlockReport};
pub use unwritable::Unwritable;

/// The result of everything in this library that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong with a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source can be read and holds something else, named in `found`.
    #[error("not a BitLocker volume: {found}")]
    #[non_exhaustive]
    NotBitLocker {
        /// What was found instead.
        found: String,
    },

    /// The source is a disk on which the volume must be chosen.
    #[error("{what}:{}", candidate::in_lines(.candidates, .notes))]
    #[non_exhaustive]
    Ambiguous {
        /// What stands in the way of choosing.
        what: String,
        /// The places between which nothing decides.
        candidates: Vec<Candidate>,
        /// What is wrong with the partition table, a sentence each.
        notes: Vec<String>,
        /// How to choose.
        remedy: Remedy,
    },

    /// A BitLocker volume of a kind, state or layout that is not supported, named in `what`.
    #[error("unsupported: {what}")]
    #[non_exhaustive]
    Unsupported {
        /// What it is.
        what: String,
    },

    /// The metadata cannot be trusted; each copy's fault is listed.
    #[error("{what}{}", in_lines(.copies))]
    #[non_exhaustive]
    Damaged {
        /// What is damaged.
        what: String,
        /// Copy by copy, why not.
        copies: Vec<CopyFault>,
    },

    /// Credentials were tried and none opened the volume.
    #[error("none of the credentials opens the volume{report}")]
    #[non_exhaustive]
    Refused {
        /// Credential by credential and protector by protector, why not.
        report: UnlockReport,
    },

    /// What lies on the disk contradicts what the key proves, so that plaintext made of it could be
    /// wrong: none is shown, whatever was asked for.
    #[error("{what}")]
    #[non_exhaustive]
    Contradicted {
        /// What says what.
        what: String,
        /// What can be done about it.
        remedy: Option<Remedy>,
    },

    /// There was nothing to try: no credential was given that any protector takes.
    #[error("no credential was given that fits; the volume takes: {}", kinds(.takes))]
    #[non_exhaustive]
    NothingToTry {
        /// The kinds of key protector that the volume has, each once; empty where it has none.
        takes: Vec<ProtectorKind>,
    },

    /// No key protector of the volume is the one that was selected.
    #[error("{}", none_selected(.selector))]
    #[non_exhaustive]
    NoSuchProtector {
        /// The selection, from [`UnlockOptions`](crate::UnlockOptions).
        selector: ProtectorSelector,
        /// The key protectors of the volume, in the order on disk.
        present: Vec<(ProtectorKind, Guid)>,
    },

    /// A credential could be read but is not what it should be.
    #[error("{credential}: {why}")]
    #[non_exhaustive]
    BadCredential {
        /// Which credential.
        credential: String,
        /// What is wrong with it; never its content.
        why: String,
        /// What can be done about it.
        remedy: Option<Remedy>,
    },

    /// An address beyond the end of the volume.
    #[error("offset {offset} with {len} bytes lies outside the volume of {size} bytes")]
    #[non_exhaustive]
    OutOfRange {
        /// First byte asked for.
        offset: u64,
        /// How many bytes were asked for.
        len: u64,
        /// Size of the volume in bytes.
        size: u64,
    },

    /// The bytes at this place exist but cannot be known, so they are not shown.
    #[error("bytes {offset} to {end} of the volume cannot be read: {why}")]
    #[non_exhaustive]
    Unreadable {
        /// First byte, in the volume.
        offset: u64,
        /// Byte after the last.
        end: u64,
        /// Why.
        why: String,
    },

    /// A new volume cannot be made as it was asked for.
    #[error("the volume cannot be made: {what}")]
    #[non_exhaustive]
    Uncreatable {
        /// What stands in the way.
        what: String,
        /// What can be done about it.
        remedy: Option<Remedy>,
    },

    /// The volume can be read, but writing to it is not safe.
    #[error("the volume cannot be written to: {0}")]
    Unwritable(Unwritable),

    /// A write into what belongs to BitLocker itself.
    #[error(
        "bytes {offset} to {end} of the volume hold BitLocker's own structures and are never written to"
    )]
    #[non_exhaustive]
    Reserved {
        /// First such byte, in the volume.
        offset: u64,
        /// Byte after the last.
        end: u64,
    },

    /// Somebody ended the work before it was done.
    #[error("interrupted")]
    Interrupted,
    /// A volume's protectors or metadata cannot be changed as asked; nothing was written.
    #[error("nothing was changed: {what}")]
    #[non_exhaustive]
    Unchangeable {
        /// What stands in the way.
        what: String,
        /// What can be done about it.
        remedy: Option<Remedy>,
    },

    /// The disk does not hold any more what a change was computed from: something else changed the
    /// metadata since it was read, or an earlier change failed in the middle. Nothing was written.
    #[error("nothing was changed: {what}")]
    #[non_exhaustive]
    Stale {
        /// What is different.
        what: String,
    },

    /// An output is not written where it was to be: something is there already.
    #[error("{what}")]
    #[non_exhaustive]
    OutputRefused {
        /// What stands in the way.
        what: String,
        /// What can be done about it.
        remedy: Option<Remedy>,
    },

    /// Something that the system should offer is missing.
    #[error("{what}")]
    #[non_exhaustive]
    Environment {
        /// What is missing.
        what: String,
        /// What can be done about it.
        remedy: Option<Remedy>,
    },

    /// Reading or writing failed.
    #[error("{what}")]
    #[non_exhaustive]
    Io {
        /// Which operation failed, such as `cannot read disk.img`.
        what: String,
        /// The cause, from the operating system or from the caller's own source of bytes.
        source: io::Error,
    },
}

/// For traits of the standard library, such as [`io::Read`]. What the system said stays as it is; an
/// address beyond the end of the volume is [`io::ErrorKind::UnexpectedEof`], and any other error is
/// inside the new one.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io { source, .. } => source,
            Error::OutOfRange { .. } => io::ErrorKind::UnexpectedEof.into(),
            Error::Reserved { .. } => Self::new(io::ErrorKind::ReadOnlyFilesystem, error),
            other => Self::other(other),
        }
    }
}

impl Error {
    /// The error and all its causes in one line, each once: `cannot read disk.img: Input/output
    /// error`. For texts that end where the cause would be lost, such as a message or a log line.
    pub fn with_causes(&self) -> WithCauses<'_> {
        WithCauses(self)
    }

    /// An I/O error, with the operation that failed, such as `cannot read disk.img`.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }

    /// A credential that is not what it should be.
    pub fn bad_credential(credential: impl Into<String>, why: impl Into<String>) -> Self {
        Self::BadCredential {
            credential: credential.into(),
            why: why.into(),
            remedy: None,
        }
    }

    /// A volume of a kind, state or layout that is not supported.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }

    /// Something that the system should offer, and that is missing.
    pub fn environment(what: impl Into<String>) -> Self {
        Self::Environment {
            what: what.into(),
            remedy: None,
        }
    }

    /// A change that is refused, with what can be done about it.
    pub fn unchangeable(what: impl Into<String>, remedy: impl Into<Remedy>) -> Self {
        Self::Unchangeable {
            what: what.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// What can be done about it, where anything can.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::NotBitLocker { .. } => Some(Remedy::NameVolume),
            Self::Ambiguous { remedy, .. } => Some(remedy.clone()),
            Self::Unsupported { .. } => Some(Remedy::ShowVolume),
            Self::Damaged { copies, .. } if copies.iter().any(|copy| copy.followed) => {
                Some(Remedy::AcceptDamagedMetadata)
            }
            // Checks that are not made cannot help where there is nothing to check.
            Self::Damaged { copies, .. } if !copies.is_empty() => Some(Remedy::RestoreMetadata),
            Self::Damaged { .. } => None,
            Self::Refused { report } => report.first_remedy().cloned(),
            Self::NothingToTry { .. } => Some(Remedy::GiveCredential),
            Self::NoSuchProtector { present, .. } => Some(one_of(present)),
            Self::BadCredential { remedy, .. }
            | Self::Contradicted { remedy, .. }
            | Self::Uncreatable { remedy, .. }
            | Self::Unchangeable { remedy, .. }
            | Self::OutputRefused { remedy, .. }
            | Self::Environment { remedy, .. } => remedy.clone(),
            Self::Stale { .. } => Some(
                "read the volume again, look at its protectors, and repeat the change if it is still wanted"
                    .into(),
            ),
            Self::Unwritable(reason) => Some(reason.remedy()),
            Self::OutOfRange { .. }
            | Self::Unreadable { .. }
            | Self::Reserved { .. }
            | Self::Interrupted
            | Self::Io { .. } => None,
        }
    }

    /// The same error with what can be done about it; unchanged where its kind says that already.
    #[must_use]
    pub fn with_remedy(mut self, advice: impl Into<Remedy>) -> Self {
        if let Self::BadCredential { remedy, .. }
        | Self::Contradicted { remedy, .. }
        | Self::Uncreatable { remedy, .. }
        | Self::Unchangeable { remedy, .. }
        | Self::OutputRefused { remedy, .. }
        | Self::Environment { remedy, .. } = &mut self
        {
            *remedy = Some(advice.into());
        }
        self
    }
}

fn kinds(takes: &[ProtectorKind]) -> String {
    if takes.is_empty() {
        return "nothing: it has no key protector".to_owned();
    }
    let names: Vec<_> = takes.iter().map(|kind| kind.name()).collect();
    names.join(", ")
}

fn none_selected(selector: &ProtectorSelector) -> String {
    match selector {
        ProtectorSelector::Kind(kind) => format!("no key protector is of the kind {}", kind.name()),
        id => format!("no key protector has the ID {id}"),
    }
}

fn one_of(present: &[(ProtectorKind, Guid)]) -> Remedy {
    if present.is_empty() {
        return "the volume has no key protector".into();
    }
    let names = present
        .iter()
        .map(|(kind, id)| format!("{} {id:X}", kind.name()));
    format!("choose one of: {}", names.collect::<Vec<_>>().join(", ")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_every_cause_once() {
        let cause = io::Error::other("the cable is unplugged");
        let error = Error::io("cannot read disk.img", cause);
        assert_eq!(error.to_string(), "cannot read disk.img");
        let outer = io::Error::from(Error::io("cannot open it", error.into()));
        assert_eq!(outer.to_string(), "the cable is unplugged");
        let error = Error::io("cannot read disk.img", outer);
        assert_eq!(
            error.with_causes().to_string(),
            "cannot read disk.img: the cable is unplugged"
        );
    }
}
