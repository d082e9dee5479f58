//! What the disk held when a volume was read: a change is laid out from that, and must not be
//! written over anything else.
//!
//! Compared are the boot record and the whole regions of the three metadata copies: they decide
//! what opens the volume. The data does not count: protectors do not depend on it.

use std::io;

use crate::error::{Error, Result};
use crate::format::block::{MetadataBlock, REGION_LEN};
use crate::format::boot::{BOOT_RECORD_LEN, BootRecord};
use crate::format::copies::{Copies, MetadataCopy};
use crate::source::{ReadAt, read_uninterrupted};
use crate::volume::Volume;

/// The boot record and the regions of the metadata copies, as they were read.
pub(super) struct Seen {
    boot: Stretch,
    /// In the order of the copies' numbers.
    regions: Vec<Stretch>,
    /// Where the region lies that counts.
    counts: u64,
}

/// Bytes of the volume.
struct Stretch {
    /// What it is, for a person.
    name: String,
    offset: u64,
    len: usize,
    /// Or why they could not be read.
    bytes: io::Result<Vec<u8>>,
}

impl Seen {
    /// Reads what lies on the disk now. What cannot be read is noted as that: a bad sector in one
    /// copy does not keep the protectors from being changed.
    ///
    /// # Errors
    /// [`Error::Stale`] when that is not what `volume` was read from; [`Error::Io`] when so much of
    /// it cannot be read that this is not known; [`Error::Damaged`] when `volume` has no sound
    /// metadata.
    pub(super) fn read(disk: &dyn ReadAt, volume: &Volume) -> Result<Self> {
        let block = volume.metadata()?;
        let stretch = |name: String, offset: u64, len: usize| {
            let bytes = read(disk, offset, len);
            Stretch {
                name,
                offset,
                len,
                bytes,
            }
        };
        let len = usize::try_from(REGION_LEN).unwrap_or(0);
        let seen = Self {
            boot: stretch("the boot record".to_owned(), 0, BOOT_RECORD_LEN),
            regions: (1..)
                .zip(block.copies)
                .map(|(number, offset)| stretch(format!("metadata copy {number}"), offset, len))
                .collect(),
            counts: block.position,
        };
        let boot = seen.boot.bytes.as_deref().map(BootRecord::parse);
        let same_boot = matches!(boot, Ok(Ok(Some(boot))) if boot == *volume.boot_record());
        let copies = seen.copies();
        let counts = copies.sound().first().copied();
        let same_block = counts
            .is_some_and(|now| now.position == block.position && now.bytes() == block.bytes());
        if same_boot && same_block {
            return Ok(seen);
        }
        // What cannot be read may be the same.
        let stretches = std::iter::once(seen.boot).chain(seen.regions);
        let mut unread = stretches.filter_map(|stretch| Some((stretch.name, stretch.bytes.err()?)));
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

    /// Checks that the disk still holds the same.
    ///
    /// # Errors
    /// [`Error::Stale`] when it does not; [`Error::Io`] when that cannot be told.
    pub(super) fn check(&self, disk: &dyn ReadAt) -> Result<()> {
        for stretch in std::iter::once(&self.boot).chain(&self.regions) {
            let now = read(disk, stretch.offset, stretch.len);
            match (&stretch.bytes, now) {
                (Ok(then), Ok(now)) if *then == now => {}
                (Err(_), Err(_)) => {}
                // It turns out to be what a repair would have made of it.
                (Err(_), Ok(now)) if self.good() == Some(&now[..]) => {}
                (_, Ok(_)) => return Err(changed(&stretch.name)),
                (Ok(_), Err(error)) => {
                    let what = format!(
                        "nothing was changed: cannot read {} at {:#x}",
                        stretch.name, stretch.offset
                    );
                    return Err(Error::io(what, error));
                }
            }
        }
        Ok(())
    }

    /// The whole region of the copy that counts.
    pub(super) fn good(&self) -> Option<&[u8]> {
        self.region_at(self.counts)
    }

    /// The region at that place, where it could be read.
    pub(super) fn region_at(&self, offset: u64) -> Option<&[u8]> {
        let mut regions = self.regions.iter();
        let found = regions.find(|stretch| stretch.offset == offset)?;
        found.bytes.as_deref().ok()
    }

    /// The metadata copies that it holds.
    fn copies(&self) -> Copies {
        let numbered = (1..).zip(&self.regions);
        let read = numbered.filter_map(|(number, stretch)| {
            let bytes = stretch.bytes.as_deref().ok()?;
            Some(MetadataCopy {
                number,
                offset: stretch.offset,
                block: MetadataBlock::parse(bytes, stretch.offset).map_err(Into::into),
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
        what: format!("{what} on the disk was changed since the volume was read"),
    }
}
