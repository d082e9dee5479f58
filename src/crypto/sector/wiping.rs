//! Wipes round keys from the stack and from vector registers after each call of a cipher.
//!
//! A kernel uses more vectors than a CPU has registers, so the compiler stores round keys on the stack
//! of the calling thread. They would stay there until something overwrites them, and could end in a
//! core dump or in swap. Wiping the part of the stack that a call used takes nanoseconds; the call
//! takes microseconds.

use super::SectorCipher;
use crate::secret::{KIB, leave_nothing};

/// How much of the stack is wiped after XTS by a kernel of this crate, in words of 8 bytes: what it
/// uses, and a signal frame, into which Linux saves registers when a signal arrives. A test below
/// measures all three.
pub(super) const KERNEL_STACK: usize = 16 * KIB;
/// The same for ciphers that keep some sectors or their tweaks on the stack.
pub(super) const SECTORS_STACK: usize = 40 * KIB;
/// The same for ciphers with a diffuser, which keep up to sixteen sectors on the stack.
pub(super) const DIFFUSER_STACK: usize = 96 * KIB;

struct Wiping<const WORDS: usize>(Box<dyn SectorCipher>);

/// The same cipher, which wipes `WORDS` words of the stack after each call.
pub(super) fn wiping<const WORDS: usize>(cipher: Box<dyn SectorCipher>) -> Box<dyn SectorCipher> {
    Box::new(Wiping::<WORDS>(cipher))
}

impl<const WORDS: usize> SectorCipher for Wiping<WORDS> {
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

    /// Size of the signal frame that Linux writes to the stack on a CPU with AVX-512, in bytes.
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
