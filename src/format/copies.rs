//! Chooses among the three metadata copies, and says why a copy is not used (docs/format.md §2.6).
//!
//! A copy is sound if it can be read and parsed, its CRC-32 matches, and it was found at one of the
//! offsets that it lists. Soundness needs no key; the sealed SHA-256 is checked after unlocking.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::FormatError;
use super::block::MetadataBlock;

/// One metadata copy, as read from its place on the volume.
#[derive(Debug)]
#[non_exhaustive]
pub struct MetadataCopy {
    /// Its number in the order of the boot record: 1, 2 or 3.
    pub number: u8,
    /// Where it was read, in bytes from the start of the volume.
    pub offset: u64,
    /// The parsed block, or why there is none.
    pub block: Result<MetadataBlock, CopyProblem>,
    /// Where the source ends, if that is inside the region of the copy.
    pub cut_off_at: Option<u64>,
}

/// Why a copy gives no block.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyProblem {
    /// The bytes could not be read.
    #[error("cannot be read: {0}")]
    Unreadable(Arc<io::Error>),
    /// The bytes are not a metadata block.
    #[error(transparent)]
    Malformed(#[from] FormatError),
}

impl From<io::Error> for CopyProblem {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(Arc::new(error))
    }
}

/// Why one metadata copy is not used.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CopyFault {
    /// The copy's number: 1, 2 or 3.
    pub copy: u8,
    /// Where it was read, in bytes from the start of the volume.
    pub offset: u64,
    /// What is wrong with it, for messages.
    pub fault: String,
    /// The source's error, if the copy could not be read. Such a copy may be sound.
    pub unread: Option<Arc<io::Error>>,
    /// Whether the copy could be parsed, so that only its checks fail.
    pub followed: bool,
}

impl CopyFault {
    /// Whether reading failed for a reason other than the end of the source. An image that is cut off
    /// is damaged; a failing disk or network may work the next time.
    pub fn is_read_error(&self) -> bool {
        self.unread
            .as_ref()
            .is_some_and(|error| error.kind() != io::ErrorKind::UnexpectedEof)
    }
}

/// Errors of the source are compared by their kind, because `io::Error` has no comparison.
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

impl MetadataCopy {
    /// Why this copy must not be used; `None` if it is sound.
    pub fn fault(&self) -> Option<CopyFault> {
        let fault = match &self.block {
            Err(problem) => problem.to_string(),
            Ok(block) if !block.validation.crc_matches => {
                "its CRC-32 does not match its content".to_owned()
            }
            Ok(block) if !block.copies.contains(&self.offset) => format!(
                "it lists the copies at {:#x}, {:#x} and {:#x}, but was found elsewhere",
                block.copies[0], block.copies[1], block.copies[2]
            ),
            Ok(_) => return None,
        };
        let fault = match (self.cut_off_at, &self.block) {
            (Some(end), Ok(_) | Err(CopyProblem::Malformed(_))) => {
                format!("it is cut off: the image ends at {end:#x}")
            }
            _ => fault,
        };
        let unread = match &self.block {
            Err(CopyProblem::Unreadable(error)) => Some(error.clone()),
            _ => None,
        };
        Some(CopyFault {
            copy: self.number,
            offset: self.offset,
            fault,
            unread,
            followed: self.block.is_ok(),
        })
    }
}

/// The faults as text, each on its own indented line, to append to a message.
pub(crate) fn in_lines(faults: &[CopyFault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}

/// All metadata copies of a volume, in the order of their numbers.
#[derive(Debug)]
pub struct Copies(pub Vec<MetadataCopy>);

impl Copies {
    /// The blocks of sound copies, in the order of their numbers. Of copies with the same content
    /// only the first is returned.
    pub fn sound(&self) -> Vec<&MetadataBlock> {
        distinct(self.0.iter().filter(|copy| copy.fault().is_none()))
    }

    /// The blocks of all copies that could be parsed: sound ones first, then those whose checks
    /// fail.
    pub fn readable(&self) -> Vec<&MetadataBlock> {
        let (sound, damaged): (Vec<_>, Vec<_>) =
            self.0.iter().partition(|copy| copy.fault().is_none());
        distinct(sound.into_iter().chain(damaged))
    }

    /// The faults of all copies that are not sound.
    pub fn faults(&self) -> Vec<CopyFault> {
        self.0.iter().filter_map(MetadataCopy::fault).collect()
    }

    /// The first error of the source, apart from its end ([`CopyFault::is_read_error`]). An error
    /// without a system error number is wrapped as an `Arc<io::Error>`, so that it can be downcast.
    pub fn read_error(&self) -> Option<io::Error> {
        let mut faults = self.faults().into_iter();
        let fault = faults.find(CopyFault::is_read_error)?;
        Some(repeated(&fault.unread?))
    }

    /// Whether sound copies have different content: an update was interrupted, or they were tampered
    /// with.
    pub fn disagree(&self) -> bool {
        self.sound().len() > 1
    }
}

/// The blocks of these copies, each content once.
fn distinct<'a>(copies: impl Iterator<Item = &'a MetadataCopy>) -> Vec<&'a MetadataBlock> {
    let mut blocks: Vec<&MetadataBlock> = Vec::new();
    for block in copies.filter_map(|copy| copy.block.as_ref().ok()) {
        if !blocks.iter().any(|seen| seen.bytes() == block.bytes()) {
            blocks.push(block);
        }
    }
    blocks
}

/// A second `io::Error` for an error that cannot be cloned: a system error by its number, any other
/// with the first inside.
fn repeated(error: &Arc<io::Error>) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.clone()),
    }
}
