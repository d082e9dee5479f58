//! What can go wrong, told for two readers: a program matches the variant, a person reads the
//! sentence and the advice.
//!
//! Rules of this page:
//! * Every message says what was found; [`Error::help`] says what to do next.
//! * A failed authentication tag is [`Error::Refused`], never [`Error::Damaged`]: a wrong key and
//!   a damaged box look the same from outside.
//! * What cannot be read is [`Error::Io`], never [`Error::Damaged`]: it may be sound, and a second
//!   try may succeed.
//! * No message ever holds a secret or a digit of one.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::format::protector::ProtectorKind;
use crate::guid::Guid;

/// The result of everything in this library that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong with a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source can be read and holds something else, named in `found`.
    #[error("not a BitLocker volume: {found}")]
    NotBitLocker {
        /// What was found instead.
        found: String,
    },

    /// The source is a disk on which the volume must be chosen.
    #[error("{what}:\n{}", .candidates.join("\n"))]
    Ambiguous {
        /// What stands in the way of choosing.
        what: String,
        /// The possibilities, a line each.
        candidates: Vec<String>,
    },

    /// A BitLocker volume of a kind, state or layout that is not supported, named in `what`.
    #[error("unsupported: {what}")]
    Unsupported {
        /// What it is.
        what: String,
    },

    /// The metadata cannot be trusted; each copy's fault is listed.
    #[error("{what}{}", faults(.copies))]
    Damaged {
        /// What is damaged.
        what: String,
        /// Copy by copy, why not.
        copies: Vec<CopyFault>,
    },

    /// Credentials were tried and none opened the volume.
    #[error("none of the credentials opens the volume{report}")]
    Refused {
        /// Credential by credential and protector by protector, why not.
        report: UnlockReport,
    },

    /// What lies on the disk contradicts what the key proves, so that plaintext made of it could be
    /// wrong: none is shown, whatever was asked for.
    #[error("{what}")]
    Contradicted {
        /// What says what.
        what: String,
        /// What to do about it.
        help: Option<String>,
    },

    /// There was nothing to try: no credential was given that any protector takes.
    #[error("no credential was given that fits; the volume takes: {}", kinds(.takes))]
    NothingToTry {
        /// The kinds of key protector that the volume has; none of a volume without any.
        takes: Vec<ProtectorKind>,
    },

    /// A credential could be read but is not what it should be.
    #[error("{credential}: {why}")]
    BadCredential {
        /// Which credential.
        credential: String,
        /// What is wrong with it; never its content.
        why: String,
        /// What to do about it.
        help: Option<String>,
    },

    /// An address beyond the end of the volume.
    #[error("offset {offset} with {len} bytes lies outside the volume of {size} bytes")]
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
    Uncreatable {
        /// What stands in the way.
        what: String,
        /// What to do about it.
        help: Option<String>,
    },

    /// The volume can be read, but writing to it is not safe.
    #[error("the volume cannot be written to: {0}")]
    Unwritable(Unwritable),

    /// A write into what belongs to BitLocker itself.
    #[error(
        "bytes {offset} to {end} of the volume hold BitLocker's own structures and are never written to"
    )]
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
    Unchangeable {
        /// What stands in the way.
        what: String,
        /// What to do about it.
        help: Option<String>,
    },

    /// The disk does not hold any more what a change was computed from: something else changed the
    /// metadata since it was read, or an earlier change failed in the middle. Nothing was written.
    #[error("nothing was changed: {what}")]
    Stale {
        /// What is different.
        what: String,
    },

    /// An output is not written where it was to be: something is there already.
    #[error("{what}")]
    OutputRefused {
        /// What stands in the way.
        what: String,
        /// What to do about it.
        help: Option<String>,
    },

    /// Something that the system should offer is missing.
    #[error("{what}")]
    Environment {
        /// What is missing.
        what: String,
        /// What to do about it.
        help: Option<String>,
    },

    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's own reason.
        source: io::Error,
    },
}

impl Error {
    /// An I/O error with the doing that it stopped.
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
            help: None,
        }
    }

    /// A change that is refused, with what to do about it.
    pub fn unchangeable(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Unchangeable {
            what: what.into(),
            help: Some(help.into()),
        }
    }

    /// What a person can do next, where the sentence does not say it yet.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotBitLocker { .. } => Some(
                "name the partition that holds the volume, or give --offset or --partition; 'fve repair scan' finds a volume whose first sector is lost"
                    .to_owned(),
            ),
            Self::Ambiguous { .. } => Some("choose one with --partition N".to_owned()),
            Self::Unsupported { .. } => Some(
                "'fve info' shows all that can be read of it".to_owned(),
            ),
            Self::Damaged { copies, .. } if copies.iter().any(|copy| copy.followed) => Some(
                "--accept-damaged-metadata opens a volume whose checks fail, read-only, if a credential still fits"
                    .to_owned(),
            ),
            // Checks that are not made cannot help where there is nothing to check.
            Self::Damaged { copies, .. } if !copies.is_empty() => Some(
                "'fve metadata restore' puts a backup of the metadata back, --key-package opens the volume with a key package that was saved, and 'fve repair scan' searches for other metadata"
                    .to_owned(),
            ),
            Self::Damaged { .. } => None,
            Self::Refused { report } => report.help(),
            Self::NothingToTry { .. } => Some(
                "give one of the credentials that the volume takes, or run the command on a terminal to be asked"
                    .to_owned(),
            ),
            Self::BadCredential { help, .. }
            | Self::Contradicted { help, .. }
            | Self::Uncreatable { help, .. }
            | Self::Unchangeable { help, .. }
            | Self::OutputRefused { help, .. }
            | Self::Environment { help, .. } => help.clone(),
            Self::Stale { .. } => Some(
                "read the volume again, look at its protectors, and repeat the change if it is still wanted"
                    .to_owned(),
            ),
            Self::Unwritable(reason) => Some(reason.help().to_owned()),
            Self::OutOfRange { .. }
            | Self::Unreadable { .. }
            | Self::Reserved { .. }
            | Self::Interrupted
            | Self::Io { .. } => None,
        }
    }
}

/// Why a volume that can be read must not be written to (docs/format.md §7.6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unwritable {
    /// Some of its sectors are encrypted and some are not.
    #[error(
        "it is part-converted ({status}), and which sectors Windows would encrypt next is not ours to say"
    )]
    PartConverted {
        /// In the words of `manage-bde`.
        status: &'static str,
    },
    /// Some of its chunks are encrypted and some are not.
    #[error("encrypt-on-write is under way, and a write would have to convert what it touches")]
    EncryptOnWrite,
    /// It was made by Windows Vista.
    #[error("it is a volume of Windows Vista, and writing to those was never tried")]
    Vista,
    /// Nothing on it is encrypted.
    #[error("it is decrypted: what is written would stand on the disk in the open")]
    Decrypted,
    /// Not every copy of the metadata can be read and passes its checks.
    #[error("not all copies of its metadata are sound{}", faults(.0))]
    DamagedCopies(Vec<CopyFault>),
    /// The copies of the metadata say different things.
    #[error(
        "the copies of its metadata say different things: an update was interrupted, or they were changed"
    )]
    DifferingCopies,
    /// It was opened with a sector key, which proves nothing of the metadata.
    #[error("it was opened with a sector key, which cannot prove the metadata")]
    SectorKey,
    /// The source holds less than the metadata speaks of.
    #[error("the image is cut off: it holds {present} of the volume's {size} bytes")]
    CutOff {
        /// Bytes that the source holds.
        present: u64,
        /// Bytes of the volume.
        size: u64,
    },
    /// Its map is not made of whole sectors.
    #[error("its areas do not begin and end at whole sectors")]
    Unaligned,
}

impl Unwritable {
    fn help(&self) -> &'static str {
        match self {
            Self::PartConverted { .. } | Self::EncryptOnWrite => {
                "let Windows finish the conversion, or mount it read-only (without --read-write)"
            }
            Self::DamagedCopies(copies) if copies.iter().any(CopyFault::is_read_error) => {
                "check the medium and its connection, then try again, or mount it read-only (without --read-write)"
            }
            Self::DamagedCopies(_) | Self::DifferingCopies => {
                "have the copies repaired, or mount it read-only (without --read-write)"
            }
            Self::SectorKey => {
                "give a credential that leads to the volume master key, or mount it read-only (without --read-write)"
            }
            Self::Vista | Self::Decrypted | Self::CutOff { .. } | Self::Unaligned => {
                "mount it read-only (without --read-write)"
            }
        }
    }
}

/// Why one metadata copy is not used.
#[derive(Debug, Clone)]
pub struct CopyFault {
    /// 1, 2 or 3.
    pub copy: u8,
    /// Where it lies, in bytes from the start of the volume.
    pub offset: u64,
    /// What is wrong with it.
    pub fault: String,
    /// The source's own error, where the copy could not be read: it may be sound all the same.
    pub unread: Option<Arc<io::Error>>,
    /// Whether its structure can be followed all the same, so that only its checks fail.
    pub followed: bool,
}

impl CopyFault {
    /// Whether reading failed for another reason than that the source ends.
    pub fn is_read_error(&self) -> bool {
        self.unread
            .as_ref()
            .is_some_and(|error| error.kind() != io::ErrorKind::UnexpectedEof)
    }
}

/// Errors of the source are compared by their kind.
impl PartialEq for CopyFault {
    fn eq(&self, other: &Self) -> bool {
        let kind = |fault: &Self| fault.unread.as_ref().map(|error| error.kind());
        (self.copy, self.offset, &self.fault, kind(self))
            == (other.copy, other.offset, &other.fault, kind(other))
    }
}

impl Eq for CopyFault {}

impl fmt::Display for CopyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "copy {} at {:#x}: {}",
            self.copy, self.offset, self.fault
        )
    }
}

fn kinds(takes: &[ProtectorKind]) -> String {
    if takes.is_empty() {
        return "nothing: it has no key protector".to_owned();
    }
    let names: Vec<_> = takes.iter().map(|kind| kind.name()).collect();
    names.join(", ")
}

fn faults(copies: &[CopyFault]) -> String {
    copies.iter().map(|fault| format!("\n  {fault}")).collect()
}

/// Every credential that was offered, every protector it met, and what came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnlockReport {
    /// In the order in which they were made.
    pub attempts: Vec<Attempt>,
    /// Advice that the attempts alone do not give.
    pub hint: Option<String>,
}

impl UnlockReport {
    fn help(&self) -> Option<String> {
        self.hint.clone().or_else(|| {
            self.attempts
                .iter()
                .find_map(|attempt| attempt.failure.as_ref()?.help.clone())
        })
    }
}

impl fmt::Display for UnlockReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.attempts
            .iter()
            .try_for_each(|attempt| write!(f, "\n  {attempt}"))
    }
}

/// One credential tried on one protector (or on the volume as a whole).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What kind of credential it was.
    pub credential: String,
    /// The protector it was tried on, if there was one.
    pub protector: Option<Guid>,
    /// Why it did not open; nothing when it did.
    pub failure: Option<Failure>,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.credential)?;
        if let Some(id) = &self.protector {
            write!(f, " on protector {id:X}")?;
        }
        match &self.failure {
            Some(failure) => write!(f, ": {}", failure.message),
            None => f.write_str(": opened"),
        }
    }
}

/// Why a credential did not open a protector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A stable word for programs, such as `wrong-key`.
    pub reason: &'static str,
    /// The same for a person.
    pub message: String,
    /// What to try next.
    pub help: Option<String>,
}

impl Failure {
    /// A failure with its stable word and its sentence.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            help: None,
        }
    }

    /// The same with advice.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
