//! Volumes whose boot record is lost, or whose place is (recovery page, section 3.3): metadata
//! found by searching the whole source, and what it tells of the volume around it.
//!
//! [`scan`] reads the source and gives a [`Scan`]: every volume that some block of metadata speaks
//! of, the likeliest first. [`starts_of`] does the same for a single block.
//! [`Volume::open_by_metadata`](crate::volume::Volume::open_by_metadata) opens one of them, and
//! [`header`] makes the boot record that it lacks. Nothing here writes to the source.
//!
//! A block does not say where it lies, only where in the volume the three copies do: so there are
//! three places where the volume may begin, and other copies, boot records, partitions and the size
//! of the source tell which ([`Evidence`]).

mod header;
mod scan;
mod starts;
mod volumes;

pub use header::header;
pub use scan::{Scan, Scope, scan};
#[cfg(feature = "cli")]
pub(crate) use starts::written;
pub use starts::{Evidence, Start, starts_of};
pub use volumes::{FoundBlock, FoundVolume};

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::block::{MetadataBlock, REGION_LEN};
use crate::source::ReadAt;
use crate::volume::read_what_is_there;

/// The metadata block at `offset` of a source, its own place still to be found: positions in it
/// count from the start of the source.
///
/// # Errors
/// [`Error::NotBitLocker`] when there is none, [`Error::Io`] when it cannot be read.
pub fn block_at(source: &Arc<dyn ReadAt>, offset: u64) -> Result<MetadataBlock> {
    let len = usize::try_from(REGION_LEN).unwrap_or(0);
    let bytes = read_what_is_there(source, offset, len)
        .map_err(|error| Error::io(format!("cannot read the metadata at {offset:#x}"), error))?;
    MetadataBlock::parse(&bytes, offset).map_err(|fault| Error::NotBitLocker {
        found: fault.to_string(),
    })
}
