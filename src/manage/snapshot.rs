//! A snapshot of the boot record and of the metadata copies, taken when a volume is read. A change is
//! computed from it, and is written only while the disk still holds the same bytes.
//!
//! The snapshot has the boot record and the three whole metadata regions, which decide what unlocks the
//! volume. The encrypted data is not part of it: key protectors do not depend on it.

use std::io;

use crate::error::{Error, Result};
use crate::format::block::{MetadataBlock, REGION_LEN};
use crate::format::boot::{BOOT_RECORD_LEN, BootRecord};
use crate::format::copies::{Copies, MetadataCopy};
use crate::source::{ReadAt, read_uninterrupted};
use crate::volume::Volume;

/// The boot record and the metadata regions, as they were read.
pub(super) struct Snapshot {
    boot: ReadRange,
    /// In the order of the copies' numbers.
    regions: Vec<ReadRange>,
    /// Offset of the first sound copy, in bytes from the start of the volume.
    first_sound: u64,
}

/// A range of the volume, and what was read from it.
struct ReadRange {
    /// For messages: `the boot record`, `metadata copy 2`.
    name: String,
    /// In bytes from the start of the volume.
    offset: u64,
    /// In bytes.
    len: usize,
    /// The bytes, or the error of reading them.
    bytes: io::Result<Vec<u8>>,
}

impl Snapshot {
    /// Takes a snapshot of the disk. A read error becomes part of it: a bad sector in one copy does not
    /// prevent a change.
    ///
    /// # Errors
    /// [`Error::Stale`] when the disk does not hold what `volume` was read from; [`Error::Io`] when
    /// read errors leave that open; [`Error::Damaged`] when `volume` has no sound metadata.
    pub(super) fn read(disk: &dyn ReadAt, volume: &Volume) -> Result<Self> {
        let block = volume.metadata()?;
        let range = |name: String, offset: u64, len: usize| {
            let bytes = read(disk, offset, len);
            ReadRange {
                name,
                offset,
                len,
                bytes,
            }
        };
        let len = usize::try_from(REGION_LEN).unwrap_or(0);
        let snapshot = Self {
            boot: range("the boot record".to_owned(), 0, BOOT_RECORD_LEN),
            regions: (1..)
                .zip(block.copies)
                .map(|(number, offset)| range(format!("metadata copy {number}"), offset, len))
                .collect(),
            first_sound: block.position,
        };
        let boot = snapshot.boot.bytes.as_deref().map(BootRecord::parse);
        let same_boot = matches!(boot, Ok(Ok(Some(boot))) if boot == *volume.boot_record());
        let copies = snapshot.copies();
        let first = copies.sound().first().copied();
        let same_block =
            first.is_some_and(|now| now.position == block.position && now.bytes() == block.bytes());
        if same_boot && same_block {
            return Ok(snapshot);
        }
        // What cannot be read now might be unchanged, so report the read error and not a change.
        let ranges = std::iter::once(snapshot.boot).chain(snapshot.regions);
        let mut unread = ranges.filter_map(|range| Some((range.name, range.bytes.err()?)));
        if let Some((name, error)) = unread.next() {
            return Err(Error::io(format!("cannot read {name}"), error));
        }
        let what = if same_boot {
            "the metadata"
        } else {
            "the boot record"
        };
        Err(changed(what))
    }

    /// Checks that the disk still holds the bytes of the snapshot.
    ///
    /// # Errors
    /// [`Error::Stale`] when it does not; [`Error::Io`] when a read error leaves that open.
    pub(super) fn check(&self, disk: &dyn ReadAt) -> Result<()> {
        for range in std::iter::once(&self.boot).chain(&self.regions) {
            let now = read(disk, range.offset, range.len);
            match (&range.bytes, now) {
                (Ok(then), Ok(now)) if *then == now => {}
                (Err(_), Err(_)) => {}
                // Could not be read before, but has the bytes that a repair would write: as good.
                (Err(_), Ok(now)) if self.good() == Some(&now[..]) => {}
                (_, Ok(_)) => return Err(changed(&range.name)),
                (Ok(_), Err(error)) => {
                    let what = format!(
                        "nothing was changed: cannot read {} at {:#x}",
                        range.name, range.offset
                    );
                    return Err(Error::io(what, error));
                }
            }
        }
        Ok(())
    }

    /// The whole region of the first sound copy.
    pub(super) fn good(&self) -> Option<&[u8]> {
        self.region_at(self.first_sound)
    }

    /// The region at this offset, if it could be read.
    pub(super) fn region_at(&self, offset: u64) -> Option<&[u8]> {
        let mut regions = self.regions.iter();
        let found = regions.find(|range| range.offset == offset)?;
        found.bytes.as_deref().ok()
    }

    /// The metadata copies in the snapshot.
    fn copies(&self) -> Copies {
        let numbered = (1..).zip(&self.regions);
        let read = numbered.filter_map(|(number, range)| {
            let bytes = range.bytes.as_deref().ok()?;
            Some(MetadataCopy {
                number,
                offset: range.offset,
                block: MetadataBlock::parse(bytes, range.offset).map_err(Into::into),
                cut_off_at: None,
            })
        });
        Copies(read.collect())
    }
}

fn read(disk: &dyn ReadAt, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    read_uninterrupted(disk, offset, &mut bytes)?;
    Ok(bytes)
}

fn changed(what: &str) -> Error {
    Error::Stale {
        what: format!("{what} on the disk has changed since the volume was read"),
    }
}
