//! Places where a BitLocker volume begins or may begin.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::format::protector::ProtectorKind;
use crate::guid::Guid;
use crate::shown::WithCauses;

/// A place on a disk where a BitLocker volume begins, or may begin.
///
/// [`Disk::volumes`](crate::Disk::volumes) lists them, and
/// [`Error::Ambiguous`](super::Error::Ambiguous) holds those between which nothing decides.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Candidate {
    /// Number of the partition, if the place is one.
    pub partition: Option<u32>,
    /// First byte of the volume, from the start of the source. Negative if the source lacks the
    /// first bytes of the volume, as a piece of a disk does.
    pub offset: i64,
    /// Size in bytes of the partition or source, if it limits the volume.
    pub len: Option<u64>,
    /// What is known of the volume.
    pub state: CandidateState,
}

/// What is known, without a key, of a volume that begins at a place.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CandidateState {
    /// Its metadata can be read.
    #[non_exhaustive]
    Identified {
        /// The identifier of the volume.
        volume: Guid,
        /// Its key protectors.
        protectors: Vec<(ProtectorKind, Guid)>,
    },
    /// It has a BitLocker boot record, but no copy of its metadata can be read.
    UnreadableMetadata,
    /// It has a BitLocker boot record of a kind that is not known.
    UnknownKind,
    /// The first sector cannot be read, so that a volume may begin there.
    Unreadable(Arc<io::Error>),
}

impl Candidate {
    /// A volume in a partition of `len` bytes from `offset` on.
    pub fn in_partition(number: u32, offset: u64, len: u64, state: CandidateState) -> Self {
        Self {
            partition: Some(number),
            offset: i64::try_from(offset).unwrap_or(i64::MAX),
            len: Some(len),
            state,
        }
    }

    /// A volume that fills a source of `len` bytes.
    pub fn whole_source(len: u64, state: CandidateState) -> Self {
        Self {
            partition: None,
            offset: 0,
            len: Some(len),
            state,
        }
    }

    /// A volume that may begin at `offset` bytes.
    pub fn start(offset: i64, identifier: Guid) -> Self {
        Self {
            partition: None,
            offset,
            len: None,
            state: CandidateState::identified(identifier, Vec::new()),
        }
    }

    /// The identifier of the volume, if its metadata can be read.
    pub fn identifier(&self) -> Option<Guid> {
        match self.state {
            CandidateState::Identified { volume, .. } => Some(volume),
            _ => None,
        }
    }

    /// The kinds and identifiers of its key protectors, if its metadata can be read.
    pub fn protectors(&self) -> &[(ProtectorKind, Guid)] {
        match &self.state {
            CandidateState::Identified { protectors, .. } => protectors,
            _ => &[],
        }
    }

    /// Why the first sector cannot be read.
    pub fn read_error(&self) -> Option<&io::Error> {
        match &self.state {
            CandidateState::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}

/// One line, such as `partition 2: 40.0 GiB (42949672960 bytes at 1048576), volume 6BD1…: Password
/// 1F2E3D4C`, with the beginning of the identifier of each key protector; or only the place where the
/// size is not known.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(len) = self.len else {
            let sign = if self.offset < 0 { "-" } else { "" };
            return write!(f, "{sign}{:#x}", self.offset.unsigned_abs());
        };
        if let Some(number) = self.partition {
            write!(f, "partition {number}: ")?;
        }
        write!(
            f,
            "{} ({len} bytes at {}), {}",
            in_units(len),
            self.offset,
            self.state
        )?;
        let protectors = self.protectors();
        for (number, (kind, id)) in protectors.iter().take(MAX_NAMED).enumerate() {
            let before = if number == 0 { ": " } else { ", " };
            write!(f, "{before}{} {}", kind.name(), id.short())?;
        }
        match protectors.len().saturating_sub(MAX_NAMED) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

/// Key protectors that a line about a volume names: more than any volume seen has.
const MAX_NAMED: usize = 8;

impl CandidateState {
    /// A volume whose metadata can be read, with its key protectors.
    pub fn identified(volume: Guid, protectors: Vec<(ProtectorKind, Guid)>) -> Self {
        Self::Identified { volume, protectors }
    }
}

impl fmt::Display for CandidateState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identified { volume, .. } => write!(f, "volume {volume:X}"),
            Self::UnreadableMetadata => f.write_str("volume with unreadable metadata"),
            Self::UnknownKind => f.write_str("of an unknown kind"),
            Self::Unreadable(error) => {
                write!(f, "which cannot be read: {}", WithCauses(error.as_ref()))
            }
        }
    }
}

/// The lines of a message about a choice: a line break before each.
pub(super) fn in_lines(candidates: &[Candidate], notes: &[String]) -> String {
    let candidates = candidates.iter().map(ToString::to_string);
    let lines = candidates.chain(notes.iter().cloned());
    lines.map(|line| format!("\n  {line}")).collect()
}

/// A size in the largest unit that leaves it at 1 or more.
fn in_units(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut size = bytes as f64;
    let mut text = format!("{bytes} bytes");
    for unit in UNITS {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        text = format!("{size:.1} {unit}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_place_and_the_volume() {
        let id = Guid::from_disk([7; 16]);
        let found = CandidateState::identified(id, vec![(ProtectorKind::Password, id)]);
        let candidate = Candidate::in_partition(2, 1 << 20, 3 << 29, found.clone());
        let expected = format!(
            "partition 2: 1.5 GiB (1610612736 bytes at 1048576), volume {id:X}: Password 07070707"
        );
        assert_eq!(candidate.to_string(), expected);
        assert_eq!(candidate.identifier(), Some(id));
        let candidate = Candidate::whole_source(1000, found);
        let expected = format!("1000 bytes (1000 bytes at 0), volume {id:X}: Password 07070707");
        assert_eq!(candidate.to_string(), expected);
        assert_eq!(Candidate::start(-512, id).to_string(), "-0x200");
        let failed = Arc::new(io::Error::other("no answer"));
        let state = CandidateState::Unreadable(failed);
        let candidate = Candidate::in_partition(1, 0, 4096, state);
        assert!(
            candidate
                .to_string()
                .ends_with("which cannot be read: no answer")
        );
        assert!(candidate.read_error().is_some());
    }
}
