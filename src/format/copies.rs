//! Three copies of the metadata in, the ones to trust out, with the reasons (docs/format.md §2.6).

use std::fmt;
use std::io;
use std::sync::Arc;

use super::FormatError;
use super::block::MetadataBlock;

/// What was found at the place of one copy.
#[derive(Debug)]
#[non_exhaustive]
pub struct MetadataCopy {
    /// 1, 2 or 3.
    pub number: u8,
    /// Where it should lie, in bytes from the start of the volume.
    pub offset: u64,
    /// The block, or why there is none.
    pub block: Result<MetadataBlock, CopyProblem>,
}

/// Why there is no block to look at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyProblem {
    /// The bytes could not be read.
    #[error("cannot be read: {0}")]
    Unreadable(Arc<io::Error>),
    /// They are no metadata block.
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

impl MetadataCopy {
    /// Why this copy must not be used, if it must not.
    pub fn fault(&self) -> Option<CopyFault> {
        let fault = match &self.block {
            Err(problem) => problem.to_string(),
            Ok(block) if !block.validation.crc_matches => {
                "its CRC-32 does not match its content".to_owned()
            }
            Ok(block) if !block.copies.contains(&self.offset) => format!(
                "it says that the copies lie at {:#x}, {:#x} and {:#x}, but it lies elsewhere",
                block.copies[0], block.copies[1], block.copies[2]
            ),
            Ok(_) => return None,
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

/// The faults, each on a line of its own below the line that they follow.
pub(crate) fn in_lines(faults: &[CopyFault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}

/// All copies of a volume's metadata.
#[derive(Debug)]
pub struct Copies(pub Vec<MetadataCopy>);

impl Copies {
    /// The blocks that may be used, best first: those whose checks hold, in the order of their
    /// numbers; a copy that says the same as one before it is left out.
    pub fn sound(&self) -> Vec<&MetadataBlock> {
        distinct(self.0.iter().filter(|copy| copy.fault().is_none()))
    }

    /// Every block whose structure can be followed, checks or not, best first.
    pub fn readable(&self) -> Vec<&MetadataBlock> {
        let (sound, damaged): (Vec<_>, Vec<_>) =
            self.0.iter().partition(|copy| copy.fault().is_none());
        distinct(sound.into_iter().chain(damaged))
    }

    /// What is wrong with which copy.
    pub fn faults(&self) -> Vec<CopyFault> {
        self.0.iter().filter_map(MetadataCopy::fault).collect()
    }

    /// The error with which reading a copy failed, where one failed for another reason than that
    /// the source ends. An error that is the caller's own is in it as an `Arc<io::Error>`.
    pub fn read_error(&self) -> Option<io::Error> {
        let mut faults = self.faults().into_iter();
        let fault = faults.find(CopyFault::is_read_error)?;
        Some(repeated(&fault.unread?))
    }

    /// Whether copies that are sound say different things: an update was interrupted, or somebody
    /// tampered with them.
    pub fn disagree(&self) -> bool {
        self.sound().len() > 1
    }
}

fn distinct<'a>(copies: impl Iterator<Item = &'a MetadataCopy>) -> Vec<&'a MetadataBlock> {
    let mut blocks: Vec<&MetadataBlock> = Vec::new();
    for block in copies.filter_map(|copy| copy.block.as_ref().ok()) {
        if !blocks.iter().any(|seen| seen.bytes() == block.bytes()) {
            blocks.push(block);
        }
    }
    blocks
}

/// The same error once more: the system's by its number, any other with the first inside.
fn repeated(error: &Arc<io::Error>) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.clone()),
    }
}
