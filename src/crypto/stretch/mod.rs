//! From what a person types to a 256-bit key: 2^20 rounds of SHA-256 (docs/format.md §4).
//!
//! One key takes as long as 2^21 SHA-256 blocks in a row. Whoever tries many candidates for one
//! salt takes [`Lanes`], which stretch several in the time of one.

mod alone;
mod lanes;
mod proof;
mod schedule;
mod together;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use lanes::Lanes;

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use self::proof::Alone;
use self::schedule::INITIAL;

use crate::secret::{KIB, Locked, RecoveryKey, StretchedKey, leave_nothing};

/// How often SHA-256 is applied.
pub const ROUNDS: u64 = 0x10_0000;

/// Bytes of one round's message: last hash, initial hash, salt, count.
const MESSAGE_LEN: usize = 88;
const COUNT_OFFSET: usize = 80;

/// Words of the stack that are wiped after the work: more than it uses.
const STACK: usize = 16 * KIB;

/// The hash that stands for a secret while it is stretched.
pub struct InitialHash(Locked<[u8; 32]>);

impl InitialHash {
    /// Of a password or PIN: SHA-256 twice over its UTF-16LE bytes (docs/format.md §4.1).
    pub fn of_password(password: &str) -> Self {
        leave_nothing::<STACK, _>(|| {
            let mut first = Sha256::new();
            for unit in password.encode_utf16() {
                first.update(unit.to_le_bytes());
            }
            let first = Zeroizing::new(<[u8; 32]>::from(first.finalize()));
            Self(Locked::new(Sha256::digest(*first).into()))
        })
    }

    /// Of a PIN, of which a protector keeps SHA-256 once.
    pub(crate) fn of_hashed(first: &[u8; 32]) -> Self {
        leave_nothing::<STACK, _>(|| Self(Locked::new(Sha256::digest(first).into())))
    }

    /// Of a recovery password: SHA-256 once over its 128 bits (docs/format.md §4.2).
    pub fn of_recovery_key(key: &RecoveryKey) -> Self {
        leave_nothing::<STACK, _>(|| Self(Locked::new(Sha256::digest(key.expose()).into())))
    }

    /// The same as words.
    fn words(&self) -> Zeroizing<[u32; 8]> {
        let mut words = Zeroizing::new([0; 8]);
        for (word, bytes) in words.iter_mut().zip(self.0.as_chunks().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        words
    }

    /// Stretches it with a protector's salt. Takes about a tenth of a second on a CPU with SHA
    /// instructions.
    pub fn stretch(&self, salt: &[u8; 16]) -> StretchedKey {
        self.stretch_rounds(salt, ROUNDS)
    }

    fn stretch_rounds(&self, salt: &[u8; 16], rounds: u64) -> StretchedKey {
        leave_nothing::<STACK, _>(|| match proof::alone() {
            Alone::Crate => self.stretch_by_crate(salt, rounds),
            Alone::Portable => alone::portable(self, salt, rounds),
            #[cfg(target_arch = "x86_64")]
            Alone::Scalar => alone::scalar(self, salt, rounds)
                .unwrap_or_else(|| self.stretch_by_crate(salt, rounds)),
        })
    }

    /// The message of each round fills two blocks, of which only the last hash and the count
    /// change: both blocks are laid out once, with their padding.
    fn stretch_by_crate(&self, salt: &[u8; 16], rounds: u64) -> StretchedKey {
        let mut blocks = Zeroizing::new([[0u8; 64]; 2]);
        let message = blocks.as_flattened_mut();
        message[32..64].copy_from_slice(&*self.0);
        message[64..COUNT_OFFSET].copy_from_slice(salt);
        message[MESSAGE_LEN] = 0x80;
        message[120..].copy_from_slice(&(8 * MESSAGE_LEN as u64).to_be_bytes());
        let mut state = INITIAL;
        for count in 0..rounds {
            let message = blocks.as_flattened_mut();
            message[COUNT_OFFSET..MESSAGE_LEN].copy_from_slice(&count.to_le_bytes());
            state = INITIAL;
            compress256(&mut state, &*blocks);
            store(&state, blocks.as_flattened_mut());
        }
        let key = key_of(&state);
        state.zeroize();
        key
    }
}

/// Shows nothing of the hash: it stands for the password.
impl std::fmt::Debug for InitialHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InitialHash")
    }
}

/// A hash state as the key that it stands for.
fn key_of(state: &[u32]) -> StretchedKey {
    let mut key = Zeroizing::new([0; 32]);
    store(state, &mut *key);
    StretchedKey::from_bytes(&key)
}

/// Writes a hash state as the 32 bytes that stand for it.
fn store(state: &[u32], out: &mut [u8]) {
    for (word, bytes) in state.iter().zip(out.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    const SALT: [u8; 16] = hex!("8d7637cc5d885d5ff4f748dbc8440d2e");

    #[test]
    fn passes_through_the_worked_examples_intermediate_values() {
        let hash = InitialHash::of_password("anaconda");
        assert_eq!(
            *hash.0,
            hex!("0d6cbf9e5d75af220d7ac3e9f35d05f56952608dd1dacb31774452c489eadc51")
        );
        for (rounds, expected) in [
            (
                1,
                hex!("15d1c63dee153c632b9b9b20db5f35d4d17a0a0908a8c6b83f479ee9a33eacd4"),
            ),
            (
                2,
                hex!("128b221d79b1b49f2440c527bef0b87fd720857b8d69e9686a2aef4ac6672e81"),
            ),
            (
                0x1000,
                hex!("ba2603c5dd0aac672138240e59594271f4512f9f32ca2dd72373d3e107a0f38e"),
            ),
            (
                0x10000,
                hex!("840c51274689443d4fc144c4c763e50fa9be4990a5c8e7177b7ce0d9cc58826c"),
            ),
            (
                0x100000,
                hex!("37554410c6e0df5b4fe096259f4a21b847338d3e8d8d8d8c30012d1447cca957"),
            ),
        ] {
            for key in [
                hash.stretch_rounds(&SALT, rounds),
                hash.stretch_by_crate(&SALT, rounds),
            ] {
                assert_eq!(key.expose(), &expected, "{rounds} rounds");
            }
        }
    }

    #[test]
    fn wipes_more_of_the_stack_than_it_uses() {
        let hashes: Vec<_> = (0..16)
            .map(|_| InitialHash::of_password("anaconda"))
            .collect();
        for lanes in Lanes::ALL {
            let depth = crate::secret::depth::of(|| {
                InitialHash::of_password("anaconda");
                hashes[0].stretch_rounds(&SALT, 9);
                hashes[0].stretch_by_crate(&SALT, 9);
                lanes.stretch_rounds(&hashes, &SALT, 9);
            });
            assert!(depth < STACK * size_of::<u64>(), "{lanes:?}: {depth}");
        }
    }

    #[test]
    fn stretches_recovery_passwords() {
        let key = RecoveryKey::from_bytes(&hex!("be531d7f315abf04a0553557c67932d2"));
        let stretched =
            InitialHash::of_recovery_key(&key).stretch(&hex!("2ba080989af9b50c203aaebd0b40d498"));
        assert_eq!(
            stretched.expose(),
            &hex!("1a39f926dab83e947fa85125b91e556e9ecc2bc5968924e03de234878d1fd4bd")
        );
    }
}
