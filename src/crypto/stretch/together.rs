//! Many candidates for one salt, side by side on one core.

use super::lanes::Lanes;
#[cfg(target_arch = "x86_64")]
use super::wide;
use super::{InitialHash, ROUNDS, STACK, proof};
use crate::secret::{StretchedKey, leave_nothing};

impl Lanes {
    /// The fastest that this CPU can go, of those that give the right answer to a known question;
    /// those that do not are told of in [`crypto::faults`](crate::crypto::faults()).
    pub fn best() -> Self {
        proof::lanes()
    }

    /// Whether this CPU has what it takes.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return wide::available(self);
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::One;
    }

    /// The keys of `hashes` with a protector's salt, in the same order.
    pub fn stretch(self, hashes: &[InitialHash], salt: &[u8; 16]) -> Vec<StretchedKey> {
        self.stretch_rounds(hashes, salt, ROUNDS)
    }

    /// The same after any number of rounds; keys take [`ROUNDS`].
    pub fn stretch_rounds(
        self,
        hashes: &[InitialHash],
        salt: &[u8; 16],
        rounds: u64,
    ) -> Vec<StretchedKey> {
        #[cfg(target_arch = "x86_64")]
        if let Some(kernel) = wide::Kernel::of(self) {
            let groups = hashes.chunks(self.width());
            return groups
                .flat_map(|group| match group {
                    [one] => vec![one.stretch_rounds(salt, rounds)],
                    _ => leave_nothing::<STACK, _>(|| kernel.stretch(group, salt, rounds)),
                })
                .collect();
        }
        let each = hashes.iter();
        each.map(|hash| hash.stretch_rounds(salt, rounds)).collect()
    }
}
