//! Writing: one copy after the other, so that whatever stops it, two are whole (format page,
//! section 7.3, steps 1 and 9).

use std::io;

use super::edit::raw;
use super::{Change, Managed, Report};
use crate::error::{Error, Result};
use crate::format::block::REGION_LEN;
use crate::volume::{UnlockOptions, Volume};

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
    /// [`Error::Unchangeable`] when it must not or cannot be done: nothing is written then.
    /// [`Error::Io`] when writing fails, which says what the volume opens with.
    pub fn commit(&mut self, change: &Change) -> Result<Report> {
        let prepared = self.prepare(change)?;
        self.repair()?;
        for place in self.places()? {
            let write = write(self, &place, &prepared.region);
            write.map_err(|error| interrupted(&place, error))?;
        }
        let volume = Volume::open(self.target.clone())?;
        let key = volume.unlock_master_key(&[raw(&prepared.vmk)], &UnlockOptions::default())?;
        if !key.is_proved() || volume.copies().disagree() || !volume.copies().faults().is_empty() {
            return Err(Error::Damaged {
                what: "the metadata that was written does not read back as it should".to_owned(),
                copies: volume.copies().faults(),
            });
        }
        self.volume = volume;
        self.key = key;
        Ok(prepared.report)
    }

    /// Makes the copies that differ from the one that counts equal to it. The numbers of those.
    ///
    /// # Errors
    /// [`Error::Io`] when reading or writing fails.
    pub fn repair(&self) -> Result<Vec<u8>> {
        let good = self.good_region()?;
        let differing = self.differing()?;
        for place in &differing {
            write(self, place, &good).map_err(|error| {
                Error::io(
                    format!(
                        "metadata copy {} is damaged or stale and cannot be written; the volume is as it was",
                        place.number
                    ),
                    error,
                )
            })?;
        }
        Ok(differing.into_iter().map(|place| place.number).collect())
    }

    /// The copies that are not, byte for byte, the one that counts.
    pub(super) fn differing(&self) -> Result<Vec<Place>> {
        let good = self.good_region()?;
        let mut places = self.places()?;
        // What cannot be read differs; writing may heal it.
        places.retain(|place| self.read_region(place.offset).ok().as_deref() != Some(&good[..]));
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

    /// The whole region of the copy that counts.
    fn good_region(&self) -> Result<Vec<u8>> {
        let position = self.block()?.position;
        self.read_region(position)
            .map_err(|error| Error::io(format!("cannot read the metadata at {position:#x}"), error))
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
