//! Writing: one copy after the other, so that whatever stops it, two are whole
//! (docs/format.md §7.3, steps 1 and 9).

use std::io;

use super::edit::{Prepared, raw};
use super::seen::Seen;
use super::{Change, Managed, Report};
use crate::error::{Error, Result};
use crate::format::block::REGION_LEN;
use crate::volume::{MasterKey, UnlockOptions, Volume};

/// The order of writing. The first copy comes last: it is the one that counts, and Windows starts
/// from it.
const ORDER: [u8; 3] = [3, 2, 1];

/// A copy's place, and what is to stand there.
pub(super) struct Place {
    pub(super) number: u8,
    offset: u64,
}

impl Managed {
    /// Makes the change. When it returns, all three copies are on stable storage, read back and
    /// opened.
    ///
    /// # Errors
    /// [`Error::Unchangeable`] when it must not or cannot be done, and [`Error::Stale`] when the
    /// disk does not hold any more what was read: nothing is written then. [`Error::Io`] when
    /// reading or writing fails, which says what the volume opens with. When something was written
    /// before the failure, further changes are refused until [`Managed::reload`] has succeeded.
    pub fn commit(&mut self, change: &Change) -> Result<Report> {
        let prepared = self.prepare(change)?;
        // To prepare may have taken long: somebody may have been asked, or a TPM.
        self.check_current()?;
        let places = self.places()?;
        let good = self.seen.good();
        let differing = self.differing()?;
        // From the first write on, until all is read back.
        self.unfinished = true;
        if let Some(good) = good {
            self.repair(&differing, good)?;
        }
        for place in &places {
            let write = write(self, place, &prepared.region);
            write.map_err(|error| interrupted(place, error))?;
        }
        let (volume, key) = self.read_back(&prepared).map_err(unread)?;
        self.seen = Seen::read(self.target.as_ref(), &volume).map_err(unread)?;
        self.volume = volume;
        self.key = key;
        self.unfinished = false;
        Ok(prepared.report)
    }

    /// Opens what was written with the master key that it was sealed with.
    fn read_back(&self, prepared: &Prepared) -> Result<(Volume, MasterKey)> {
        let volume = Volume::from_source(self.target.clone())?;
        if let Some(error) = volume.copies().read_error() {
            return Err(Error::io("cannot read all copies of the metadata", error));
        }
        let key = volume.unlock_master_key(&[raw(&prepared.vmk)], &UnlockOptions::default())?;
        if !key.is_proved() || volume.copies().disagree() || !volume.copies().faults().is_empty() {
            return Err(Error::Damaged {
                what: "the metadata that was written does not read back as it should".to_owned(),
                copies: volume.copies().faults(),
            });
        }
        Ok((volume, key))
    }

    /// Writes the region that counts over the copies that differ from it.
    ///
    /// # Errors
    /// [`Error::Io`] when writing fails.
    fn repair(&self, differing: &[Place], good: &[u8]) -> Result<()> {
        for place in differing {
            write(self, place, good).map_err(|error| {
                Error::io(
                    format!(
                        "metadata copy {} is damaged or stale and cannot be written; the volume is as it was",
                        place.number
                    ),
                    error,
                )
            })?;
        }
        Ok(())
    }

    /// The copies that are not, byte for byte, the one that counts. What could not be read differs;
    /// writing may heal it.
    pub(super) fn differing(&self) -> Result<Vec<Place>> {
        let good = self.seen.good();
        let mut places = self.places()?;
        places.retain(|place| self.seen.region_at(place.offset) != good);
        Ok(places)
    }

    fn places(&self) -> Result<Vec<Place>> {
        let copies = self.block()?.copies;
        let numbered: Vec<_> = (1..).zip(copies).collect();
        Ok(ORDER
            .iter()
            .filter_map(|number| numbered.iter().find(|(other, _)| other == number))
            .map(|(number, offset)| Place {
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

/// Writes a copy, and returns when it is on stable storage and reads back.
fn write(volume: &Managed, place: &Place, region: &[u8]) -> io::Result<()> {
    volume.target.write_all_at(place.offset, region)?;
    volume.target.flush()?;
    if volume.read_region(place.offset)? == region {
        return Ok(());
    }
    Err(io::Error::other("it does not read back as it was written"))
}

/// What a person has to know when writing stopped in the middle.
fn interrupted(place: &Place, error: io::Error) -> Error {
    let state = match place.number {
        1 => "the volume opens with its new protectors or with its old ones",
        _ => "the volume still opens with its old protectors",
    };
    Error::io(
        format!(
            "the change is not complete: metadata copy {} cannot be written; {state}; repeat the change when the cause is gone",
            place.number
        ),
        error,
    )
}

/// All copies were written and flushed; only the look at them failed.
fn unread(error: Error) -> Error {
    match error {
        Error::Io { what, source } => Error::io(
            format!(
                "the change was written, but cannot be read back, so it is not known to be complete; the volume opens with its new protectors: {what}"
            ),
            source,
        ),
        other => other,
    }
}
