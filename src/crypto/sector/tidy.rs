//! Ciphers that leave no round key behind: not on the stack of the thread that called them, not in
//! vector registers.
//!
//! A kernel needs more vectors than a CPU has registers, so the compiler sets round keys aside on
//! the stack. What a call used of it is wiped when the call ends: some nanoseconds for what takes
//! microseconds.

use super::SectorCipher;
use crate::secret::{KIB, leave_nothing};

/// Words of the stack that XTS by a kernel of ours uses, and room for the frame of a signal.
pub(super) const KERNEL_STACK: usize = 16 * KIB;
/// The same where some sectors or their tweaks lie on the stack.
pub(super) const SECTORS_STACK: usize = 40 * KIB;
/// The same where sectors go through the diffusers, up to sixteen at once.
pub(super) const DIFFUSER_STACK: usize = 96 * KIB;

struct Tidy<const WORDS: usize>(Box<dyn SectorCipher>);

/// The same cipher, which wipes so many words of the stack after each call.
pub(super) fn tidy<const WORDS: usize>(cipher: Box<dyn SectorCipher>) -> Box<dyn SectorCipher> {
    Box::new(Tidy::<WORDS>(cipher))
}

impl<const WORDS: usize> SectorCipher for Tidy<WORDS> {
    fn decrypt(&self, address: u64, run: &mut [u8]) {
        leave_nothing::<WORDS, _>(|| self.0.decrypt(address, run));
    }

    fn encrypt(&self, address: u64, run: &mut [u8]) {
        leave_nothing::<WORDS, _>(|| self.0.encrypt(address, run));
    }
}

#[cfg(test)]
mod tests {
    use crate::crypto::sector::{Diffuser, Engine, Engines, METHODS};
    use crate::secret::{SecretBytes, depth};

    /// What the kernel writes on the stack when a signal arrives, with AVX-512.
    const SIGNAL_FRAME: usize = 3584;

    #[test]
    fn wipes_more_of_the_stack_than_a_cipher_uses() {
        for method in METHODS {
            for aes in Engine::ALL {
                let mut deepest = 0;
                for diffuser in Diffuser::ALL {
                    for sector_size in [512, 1024, 2048, 4096] {
                        let engines = Engines { aes, diffuser };
                        let key = SecretBytes::new(vec![7; method.key_len]);
                        let Some(cipher) = method.cipher_with(engines, &key, sector_size) else {
                            continue;
                        };
                        let mut run = vec![0; sector_size as usize * 99];
                        let used = depth::of(|| {
                            cipher.encrypt(0, &mut run);
                            cipher.decrypt(0, &mut run);
                        });
                        deepest = deepest.max(used);
                    }
                }
                let wiped = match method.code {
                    0x8000 | 0x8001 => super::DIFFUSER_STACK,
                    0x8004 | 0x8005 if aes != Engine::Batch => super::KERNEL_STACK,
                    _ => super::SECTORS_STACK,
                };
                let wiped = wiped * size_of::<u64>();
                assert!(
                    deepest + SIGNAL_FRAME < wiped,
                    "{method:?} {aes:?}: {deepest}"
                );
            }
        }
    }
}
