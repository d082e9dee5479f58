//! Stretches many candidates for one salt, several at the same time on one core.

use super::lanes::Lanes;
#[cfg(target_arch = "x86_64")]
use super::wide;
use super::{InitialHash, ROUNDS, STACK, self_test};
use crate::secret::{StretchedKey, leave_nothing};

impl Lanes {
    /// The fastest way on this CPU that passes a self-test. Ways that fail are listed in
    /// [`crypto::faults`](crate::crypto::faults()).
    pub fn best() -> Self {
        self_test::lanes()
    }

    /// Whether this CPU has the instructions that it needs.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return wide::available(self);
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::One;
    }

    /// Stretches `hashes` with a protector's salt. The keys are in the same order. Panics never; on a CPU
    /// without the instructions, candidates are stretched one after another.
    pub fn stretch(self, hashes: &[InitialHash], salt: &[u8; 16]) -> Vec<StretchedKey> {
        self.stretch_rounds(hashes, salt, ROUNDS)
    }

    /// The same with another number of rounds than [`ROUNDS`], for tests and benchmarks.
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
