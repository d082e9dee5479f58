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

/// The result of an operation of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source was read, and holds no BitLocker volume.
    #[error("not a BitLocker volume: {found}")]
    #[non_exhaustive]
    NotBitLocker {
        /// What it holds instead.
        found: String,
        /// What the user can do about it.
        remedy: Option<Remedy>,
    },

    /// The source holds several volumes, and the caller must choose one.
    #[error("{what}:{}", candidate::in_lines(.candidates, .notes))]
    #[non_exhaustive]
    Ambiguous {
        /// Why no volume was chosen, in one sentence.
        what: String,
        /// The volumes to choose from.
        candidates: Vec<Candidate>,
        /// Defects of the partition table, one sentence each.
        notes: Box<[String]>,
        /// How to choose.
        remedy: Remedy,
    },

    /// A BitLocker volume of a kind, state or layout that is not supported, named in `what`.
    #[error("unsupported: {what}")]
    #[non_exhaustive]
    Unsupported {
        /// What is not supported.
        what: String,
        /// What the user can do about it.
        remedy: Option<Remedy>,
    },

    /// No copy of the metadata can be trusted.
    #[error("{what}{}", in_lines(.copies))]
    #[non_exhaustive]
    Damaged {
        /// What is damaged.
        what: String,
        /// What is wrong with each metadata copy.
        copies: Vec<CopyFault>,
    },

    /// Credentials were tried, and none unlocked the volume.
    #[error("none of the credentials unlocks the volume{report}")]
    #[non_exhaustive]
    Refused {
        /// For each credential and key protector, why it failed.
        report: UnlockReport,
    },

    /// Data on the disk contradicts what the key proves. Plaintext could be wrong, so none is
    /// returned, whatever the options.
    #[error("{what}")]
    #[non_exhaustive]
    Contradicted {
        /// The contradiction.
        what: String,
        /// What the user can do about it.
        remedy: Option<Remedy>,
    },

    /// No credential was given that any key protector accepts, so nothing was tried.
    #[error("no matching credential was given; the volume accepts: {}", kinds(.accepts))]
    #[non_exhaustive]
    NothingToTry {
        /// The kinds of key protector that the volume has, each once; empty where it has none.
        accepts: Vec<ProtectorKind>,
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

    /// A credential was read, but is malformed or unsuitable.
    #[error("{credential}: {why}")]
    #[non_exhaustive]
    BadCredential {
        /// Name of the credential, such as `recovery password`.
        credential: String,
        /// What is wrong with it, without any part of the secret.
        why: String,
        /// What the user can do about it.
        remedy: Option<Remedy>,
    },

    /// An address beyond the end of the volume.
    #[error("{len} bytes at offset {offset} are outside the volume, which has {size} bytes")]
    #[non_exhaustive]
    OutOfRange {
        /// First requested byte, from the start of the volume.
        offset: u64,
        /// Number of requested bytes.
        len: u64,
        /// Size of the volume in bytes.
        size: u64,
    },

    /// The bytes exist, but their plaintext cannot be known, so none is returned.
    #[error("bytes {offset} to {end} of the volume cannot be read: {why}")]
    #[non_exhaustive]
    Unreadable {
        /// First such byte, from the start of the volume.
        offset: u64,
        /// The byte after the last one.
        end: u64,
        /// The reason.
        why: String,
    },

    /// A new volume cannot be created as requested.
    #[error("the volume cannot be created: {what}")]
    #[non_exhaustive]
    Uncreatable {
        /// The reason.
        what: String,
        /// What the user can do about it.
        remedy: Option<Remedy>,
    },

    /// The volume can be read, but writing to it is not safe.
    #[error("the volume cannot be written to: {0}")]
    Unwritable(Unwritable),

    /// A write to BitLocker's own structures.
    #[error(
        "bytes {offset} to {end} of the volume contain BitLocker's own structures, which are never written to"
    )]
    #[non_exhaustive]
    Reserved {
        /// First such byte, from the start of the volume.
        offset: u64,
        /// The byte after the last one.
        end: u64,
    },

    /// The operation was interrupted, usually by the user.
    #[error("interrupted")]
    Interrupted,

    /// The key protectors or the metadata cannot be changed as requested. Nothing was written.
    #[error("nothing was changed: {what}")]
    #[non_exhaustive]
    Unchangeable {
        /// The reason.
        what: String,
        /// What the user can do about it.
        remedy: Option<Remedy>,
    },

    /// The metadata on the disk is no longer what the change was computed from: another process
    /// changed it, or an earlier change failed halfway. Nothing was written.
    #[error("nothing was changed: {what}")]
    #[non_exhaustive]
    Stale {
        /// What differs.
        what: String,
    },

    /// The output cannot be written to this path, usually because a file is there already.
    #[error("{what}")]
    #[non_exhaustive]
    OutputRefused {
        /// The reason.
        what: String,
        /// What the user can do about it.
        remedy: Option<Remedy>,
    },

    /// The operating system lacks something that the operation needs.
    #[error("{what}")]
    #[non_exhaustive]
    Environment {
        /// What is missing.
        what: String,
        /// What the user can do about it.
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

/// For implementations of standard traits such as [`io::Read`]. The cause of an [`Error::Io`] is
/// returned as it was; an address beyond the end of the volume becomes
/// [`io::ErrorKind::UnexpectedEof`]; any other error is wrapped.
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

    /// A malformed or unsuitable credential, without a remedy.
    pub fn bad_credential(credential: impl Into<String>, why: impl Into<String>) -> Self {
        Self::BadCredential {
            credential: credential.into(),
            why: why.into(),
            remedy: None,
        }
    }

    /// A source that holds no volume, and what it holds. The remedy, which can be replaced, is to name
    /// the volume.
    pub fn not_bitlocker(found: impl Into<String>) -> Self {
        Self::NotBitLocker {
            found: found.into(),
            remedy: Some(Remedy::NameVolume),
        }
    }

    /// A volume of a kind, state or layout that is not supported. The remedy, which can be replaced,
    /// is to look at its metadata.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported {
            what: what.into(),
            remedy: Some(Remedy::ShowVolume),
        }
    }

    /// Something that the operating system lacks, without a remedy.
    pub fn environment(what: impl Into<String>) -> Self {
        Self::Environment {
            what: what.into(),
            remedy: None,
        }
    }

    /// A change that is refused, with a remedy.
    pub fn unchangeable(what: impl Into<String>, remedy: impl Into<Remedy>) -> Self {
        Self::Unchangeable {
            what: what.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// What the user can do about it, if anything.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Ambiguous { remedy, .. } => Some(remedy.clone()),
            Self::Damaged { copies, .. } if copies.iter().any(|copy| copy.followed) => {
                Some(Remedy::AcceptDamagedMetadata)
            }
            // Leaving out the checks does not help where the structure itself is destroyed.
            Self::Damaged { copies, .. } if !copies.is_empty() => Some(Remedy::RestoreMetadata),
            Self::Damaged { .. } => None,
            Self::Refused { report } => report.first_remedy().cloned(),
            Self::NothingToTry { .. } => Some(Remedy::GiveCredential),
            Self::NoSuchProtector { present, .. } => Some(one_of(present)),
            Self::NotBitLocker { remedy, .. }
            | Self::Unsupported { remedy, .. }
            | Self::BadCredential { remedy, .. }
            | Self::Contradicted { remedy, .. }
            | Self::Uncreatable { remedy, .. }
            | Self::Unchangeable { remedy, .. }
            | Self::OutputRefused { remedy, .. }
            | Self::Environment { remedy, .. } => remedy.clone(),
            Self::Stale { .. } => {
                Some("read the volume again, and repeat the change if it is still needed".into())
            }
            Self::Unwritable(reason) => Some(reason.remedy()),
            Self::OutOfRange { .. }
            | Self::Unreadable { .. }
            | Self::Reserved { .. }
            | Self::Interrupted
            | Self::Io { .. } => None,
        }
    }

    /// The same error with a remedy. Has no effect on variants whose remedy is fixed.
    #[must_use]
    pub fn with_remedy(mut self, advice: impl Into<Remedy>) -> Self {
        if let Self::NotBitLocker { remedy, .. }
        | Self::Unsupported { remedy, .. }
        | Self::BadCredential { remedy, .. }
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

fn kinds(accepts: &[ProtectorKind]) -> String {
    if accepts.is_empty() {
        return "nothing, since it has no key protector".to_owned();
    }
    let names: Vec<_> = accepts.iter().map(|kind| kind.name()).collect();
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
