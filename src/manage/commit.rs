//! Writes a prepared change, one metadata copy after the other, so that an interruption at any point
//! leaves two copies intact (docs/format.md §7.3, steps 1 and 9).

use std::io;

use super::edit::{Prepared, raw};
use super::snapshot::Snapshot;
use super::{Change, Managed, Report};
use crate::error::{Error, Result};
use crate::format::block::REGION_LEN;
use crate::volume::{MasterKey, UnlockOptions, Volume};

/// The order of writing. The first copy is written last: it is the one that Windows reads first, so its
/// write is what makes the change take effect.
const ORDER: [u8; 3] = [3, 2, 1];

/// Where a metadata copy is.
pub(super) struct CopyPlace {
    /// 1, 2 or 3.
    pub(super) number: u8,
    /// In bytes from the start of the volume.
    offset: u64,
}

/// Why a change failed, and which metadata counts on the disk now.
pub(super) struct CommitFailure {
    pub(super) error: Error,
    pub(super) on_disk: OnDisk,
}

/// The metadata that counts after a change failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnDisk {
    /// That from before the change: no copy of the new metadata was written.
    Unchanged,
    /// That from before the change, in the first copy. Copies 2 and 3 may already be the new ones.
    Old,
    /// The write that decides between the two failed, and it is not known how far it got.
    OldOrNew,
    /// That of the change: it was written, but could not be checked.
    New,
}

impl From<Error> for CommitFailure {
    /// For the steps before the first copy of the new metadata is written.
    fn from(error: Error) -> Self {
        Self {
            error,
            on_disk: OnDisk::Unchanged,
        }
    }
}

impl Managed {
    /// Makes the change. When it returns, all three metadata copies are on stable storage, and were
    /// read back and unlocked.
    ///
    /// # Errors
    /// [`Error::Unchangeable`] when the change is not allowed or not possible, and [`Error::Stale`]
    /// when the disk no longer holds what was read: nothing is written then. [`Error::Io`] when
    /// reading or writing fails; it says which protectors unlock the volume. After a failure in the
    /// middle, further changes are refused until [`Managed::reload`] has succeeded.
    pub fn commit(&mut self, change: &Change) -> Result<Report> {
        self.try_commit(change).map_err(|failure| failure.error)
    }

    /// As [`Managed::commit`]; the error also says which metadata counts on the disk now.
    pub(super) fn try_commit(&mut self, change: &Change) -> Result<Report, CommitFailure> {
        let prepared = self.prepare(change)?;
        // Preparing may have taken long: a TPM seals slowly, and a credential may ask the user.
        self.check_current()?;
        let places = self.places()?;
        let good = self.snapshot.good();
        let differing = self.differing()?;
        // Stays set when anything fails from the first write on: what is on the disk is then known
        // only after reading it again.
        self.unfinished = true;
        if let Some(good) = good {
            self.repair(&differing, good)?;
        }
        for place in &places {
            write(self, place, &prepared.region).map_err(|error| CommitFailure {
                error: interrupted(place, error),
                on_disk: match place.number {
                    1 => OnDisk::OldOrNew,
                    _ => OnDisk::Old,
                },
            })?;
        }
        let (volume, key) = self.read_back(&prepared).map_err(unread)?;
        self.snapshot = Snapshot::read(self.target.as_ref(), &volume).map_err(unread)?;
        self.volume = volume;
        self.key = key;
        self.unfinished = false;
        Ok(prepared.report)
    }

    /// Reads what was written, and unlocks it with the VMK that it was sealed with.
    fn read_back(&self, prepared: &Prepared) -> Result<(Volume, MasterKey)> {
        let volume = Volume::from_source(self.target.clone())?;
        if let Some(error) = volume.copies().read_error() {
            return Err(Error::io("cannot read all copies of the metadata", error));
        }
        let key = volume.unlock_master_key(&[raw(&prepared.vmk)], &UnlockOptions::default())?;
        if !key.is_proved() || volume.copies().disagree() || !volume.copies().faults().is_empty() {
            return Err(Error::Damaged {
                what: "the metadata does not read back as it was written".to_owned(),
                copies: volume.copies().faults(),
            });
        }
        Ok((volume, key))
    }

    /// Overwrites the copies that differ from the first sound one with it.
    ///
    /// # Errors
    /// [`Error::Io`] when writing fails.
    fn repair(&self, differing: &[CopyPlace], good: &[u8]) -> Result<()> {
        for place in differing {
            write(self, place, good).map_err(|error| {
                Error::io(
                    format!(
                        "metadata copy {} is damaged or outdated and cannot be written; the volume is unchanged",
                        place.number
                    ),
                    error,
                )
            })?;
        }
        Ok(())
    }

    /// The copies that are not equal, byte for byte, to the first sound one. One that could not be read
    /// counts as different: a disk may replace a bad sector when it is written.
    pub(super) fn differing(&self) -> Result<Vec<CopyPlace>> {
        let good = self.snapshot.good();
        let mut places = self.places()?;
        places.retain(|place| self.snapshot.region_at(place.offset) != good);
        Ok(places)
    }

    /// Where the copies are, in the order of writing.
    fn places(&self) -> Result<Vec<CopyPlace>> {
        let copies = self.block()?.copies;
        let numbered: Vec<_> = (1..).zip(copies).collect();
        Ok(ORDER
            .iter()
            .filter_map(|number| numbered.iter().find(|(other, _)| other == number))
            .map(|(number, offset)| CopyPlace {
                number: *number,
                offset: *offset,
            })
            .collect())
    }

    fn read_region(&self, offset: u64) -> io::Result<Vec<u8>> {
        let mut region = vec![0; usize::try_from(REGION_LEN).unwrap_or(0)];
        self.target.read_exact_at(offset, &mut region)?;
        Ok(region)
    }
}

/// Writes a copy, flushes it, and checks that it reads back as written.
fn write(volume: &Managed, place: &CopyPlace, region: &[u8]) -> io::Result<()> {
    volume.target.write_all_at(place.offset, region)?;
    volume.target.flush()?;
    if volume.read_region(place.offset)? == region {
        return Ok(());
    }
    Err(io::Error::other(
        "the copy does not read back as it was written",
    ))
}

/// The error for a write that failed in the middle of a change, with what unlocks the volume now.
fn interrupted(place: &CopyPlace, error: io::Error) -> Error {
    let state = match place.number {
        1 => "the volume unlocks with its new protectors or with its old ones",
        _ => "the volume still unlocks with its old protectors",
    };
    Error::io(
        format!(
            "the change is not complete: metadata copy {} cannot be written; {state}; repeat the change once the cause is fixed",
            place.number
        ),
        error,
    )
}

/// The error when all copies were written and flushed, but could not be read again.
fn unread(error: Error) -> CommitFailure {
    match error {
        Error::Io { what, source } => CommitFailure {
            error: Error::io(
                format!(
                    "the change was written, but cannot be read back, so it is not known to be complete; the volume unlocks with its new protectors: {what}"
                ),
                source,
            ),
            on_disk: OnDisk::New,
        },
        other => CommitFailure {
            error: other,
            on_disk: OnDisk::OldOrNew,
        },
    }
}
