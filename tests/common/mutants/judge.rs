//! Judges what mutants show.

use std::sync::Arc;

use fve::secret::Vmk;
use fve::unlock::Credential;
use fve::unlock::RawVmk;
use fve::unlock::StartupKey;
use fve::unlock::Suspended;
use fve::volume::{UnlockOptions, Volume};

use super::{Mutant, Outcome, Sample};

/// Opens a mutant and looks at what it shows.
pub fn judge(sample: &Sample, mutant: Mutant) -> Outcome {
    let cut = mutant.bytes.len() < sample.bytes.len();
    let stored = Arc::new(mutant.bytes);
    // What the map says counts only on a volume that has one: the metadata is sealed and says so.
    let identifiers = [0xA0..0xB0, 0x1A8..0x1B8];
    let map = mutant.map
        && sample.map
        && identifiers
            .into_iter()
            .all(|at| stored[at.clone()] == sample.bytes[at]);
    let rule = Rule {
        sample,
        stored: &stored,
        map,
    };
    let Ok(volume) = Volume::from_source(stored.clone()) else {
        return Outcome::Refused;
    };
    // What is shown without a key must not stop the program either.
    let _ = (volume.status(), volume.conversion_fault());
    let _ = (volume.protectors().len(), format!("{volume:?}"));
    let mut options = UnlockOptions::default();
    options.accept_damaged_metadata = mutant.accept;
    let credentials = credentials(sample, mutant.by_protector);
    let Ok(unlocked) = volume.unlock(&credentials, &options) else {
        return Outcome::Refused;
    };
    let Ok(len) = usize::try_from(unlocked.available()) else {
        return Outcome::Refused;
    };
    // A volume has no more than its bytes: whatever claims more has to be refused by reading.
    if len > sample.bytes.len() {
        return Outcome::Wrong(format!("{len} bytes of {}", sample.bytes.len()));
    }
    let mut shown = vec![0; len];
    if unlocked.read_exact_at(0, &mut shown).is_err() {
        // Some of it may be there all the same.
        if mutant.accept || mutant.sealed {
            return Outcome::Refused;
        }
        return rule.judge_readable(&unlocked, len);
    }
    if mutant.accept || mutant.sealed {
        return Outcome::NotJudged;
    }
    if shown.len() != sample.plaintext.len() && !cut {
        return Outcome::Wrong(format!(
            "{} bytes instead of {}",
            shown.len(),
            sample.plaintext.len()
        ));
    }
    rule.judge(0, &shown)
}

/// What a mutant may show.
struct Rule<'a> {
    sample: &'a Sample,
    /// Its own bytes.
    stored: &'a [u8],
    /// Whether its map may say that a sector is encrypted, plain or hidden which is not so.
    map: bool,
}

impl Rule<'_> {
    /// Judges what is shown from `offset` on, a multiple of the sector size.
    fn judge(&self, offset: usize, shown: &[u8]) -> Outcome {
        let truth = self.sample.plaintext.get(offset..offset + shown.len());
        if truth.is_some_and(|truth| truth == shown) {
            return Outcome::Same;
        }
        for (number, sector) in shown.chunks(self.sample.sector).enumerate() {
            let at = offset + number * self.sample.sector;
            let truth = self.sample.plaintext.get(at..at + sector.len());
            if truth != Some(sector) && !(self.map && self.is_by_map(at, sector)) {
                return Outcome::Wrong(format!("the sector at {at:#x} was never so"));
            }
        }
        Outcome::ByMap
    }

    /// Whether a sector is shown as it is stored, deciphered, or hidden.
    fn is_by_map(&self, at: usize, shown: &[u8]) -> bool {
        let place = self.sample.place(at);
        let Some(stored) = self.stored.get(place..place + shown.len()) else {
            return false;
        };
        let deciphered = || {
            let mut sector = stored.to_vec();
            if let Some(cipher) = &self.sample.cipher {
                cipher.decrypt(place as u64, &mut sector);
            }
            sector
        };
        shown == stored || shown.iter().all(|byte| *byte == 0) || shown == deciphered()
    }

    /// Reads sector by sector what can be read, and judges that.
    fn judge_readable(&self, unlocked: &fve::Unlocked, len: usize) -> Outcome {
        let mut sector = vec![0; self.sample.sector];
        let mut outcome = Outcome::Refused;
        for at in (0..len).step_by(self.sample.sector) {
            let sector = &mut sector[..self.sample.sector.min(len - at)];
            if unlocked.read_exact_at(at as u64, sector).is_ok() {
                match self.judge(at, sector) {
                    Outcome::Same => {}
                    Outcome::ByMap => outcome = Outcome::ByMap,
                    other => return other,
                }
            }
        }
        outcome
    }
}

fn credentials(sample: &Sample, by_protector: bool) -> Vec<Box<dyn Credential>> {
    if by_protector && let Some(path) = &sample.bek {
        return vec![Box::new(StartupKey::read(path).expect("BEK"))];
    }
    if by_protector && sample.clear_key {
        return vec![Box::new(Suspended)];
    }
    let vmk = sample.vmk.as_ref().map(Vmk::from_bytes);
    vmk.into_iter()
        .map(|vmk| Box::new(RawVmk::new(vmk)) as Box<dyn Credential>)
        .collect()
}
