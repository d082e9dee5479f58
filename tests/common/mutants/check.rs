//! Checks what a mutant shows.

use std::sync::Arc;

use fve::secret::Vmk;
use fve::unlock::Credential;
use fve::unlock::RawVmk;
use fve::unlock::StartupKey;
use fve::unlock::Suspended;
use fve::volume::{UnlockOptions, Volume};

use super::{Mutant, Outcome, Sample};

/// Opens a mutant and compares what it shows with the original volume.
pub fn check(sample: &Sample, mutant: Mutant) -> Outcome {
    let truncated = mutant.bytes.len() < sample.bytes.len();
    let stored = Arc::new(mutant.bytes);
    // A changed map matters only on a volume that has one: the authenticated metadata says so.
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
    // Functions that need no key must not panic either.
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
    // No volume can be larger than its image.
    if len > sample.bytes.len() {
        return Outcome::Wrong(format!("{len} bytes of {}", sample.bytes.len()));
    }
    let mut shown = vec![0; len];
    if unlocked.read_exact_at(0, &mut shown).is_err() {
        // Single sectors may still be readable.
        if mutant.accept || mutant.authenticated {
            return Outcome::Refused;
        }
        return rule.check_readable(&unlocked, len);
    }
    if mutant.accept || mutant.authenticated {
        return Outcome::NotChecked;
    }
    if shown.len() != sample.plaintext.len() && !truncated {
        return Outcome::Wrong(format!(
            "{} bytes instead of {}",
            shown.len(),
            sample.plaintext.len()
        ));
    }
    rule.check(0, &shown)
}

/// What a mutant is allowed to show.
struct Rule<'a> {
    sample: &'a Sample,
    /// The bytes of the mutant.
    stored: &'a [u8],
    /// Whether its map may be wrong about which sectors are encrypted, plaintext or hidden.
    map: bool,
}

impl Rule<'_> {
    /// Checks the bytes shown from `offset` on, a multiple of the sector size.
    fn check(&self, offset: usize, shown: &[u8]) -> Outcome {
        let expected = self.sample.plaintext.get(offset..offset + shown.len());
        if expected.is_some_and(|expected| expected == shown) {
            return Outcome::Same;
        }
        for (number, sector) in shown.chunks(self.sample.sector).enumerate() {
            let at = offset + number * self.sample.sector;
            let expected = self.sample.plaintext.get(at..at + sector.len());
            if expected != Some(sector) && !(self.map && self.is_by_map(at, sector)) {
                return Outcome::Wrong(format!("the sector at {at:#x} never had this content"));
            }
        }
        Outcome::ByMap
    }

    /// Whether a sector is shown as stored, decrypted, or as zeros.
    fn is_by_map(&self, at: usize, shown: &[u8]) -> bool {
        let position = self.sample.position_of(at);
        let Some(stored) = self.stored.get(position..position + shown.len()) else {
            return false;
        };
        let decrypted = || {
            let mut sector = stored.to_vec();
            if let Some(cipher) = &self.sample.cipher {
                cipher.decrypt(position as u64, &mut sector);
            }
            sector
        };
        shown == stored || shown.iter().all(|byte| *byte == 0) || shown == decrypted()
    }

    /// Checks the sectors that can be read.
    fn check_readable(&self, unlocked: &fve::Unlocked, len: usize) -> Outcome {
        let mut sector = vec![0; self.sample.sector];
        let mut outcome = Outcome::Refused;
        for at in (0..len).step_by(self.sample.sector) {
            let sector = &mut sector[..self.sample.sector.min(len - at)];
            if unlocked.read_exact_at(at as u64, sector).is_ok() {
                match self.check(at, sector) {
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
