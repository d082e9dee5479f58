//! Key stretching: from a password, PIN or recovery password to a key of 256 bits, by 2^20 rounds of
//! SHA-256 (docs/format.md §4; FIPS 180-4).
//!
//! The rounds depend on each other, so a key takes as long as 2^21 SHA-256 blocks in sequence, whatever
//! the CPU. To try many candidates for the same salt, use [`Lanes`], which stretches several in the
//! time of one.
//!
//! The `sha2` crate hashes one message at a time. The code here adds what it does not offer: several
//! candidates in the lanes of vector registers, and the message schedule of the second block computed
//! ahead, because it depends on no secret.

mod lanes;
mod parallel;
mod schedule;
mod self_test;
mod single;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use lanes::Lanes;

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use self::schedule::INITIAL;
use self::self_test::Single;

use crate::secret::{KIB, Locked, RecoveryKey, StretchedKey, leave_nothing};

/// Number of rounds of SHA-256 (docs/format.md §4.4).
pub const ROUNDS: u64 = 0x10_0000;

/// Length of a round's message in bytes: last hash (32), initial hash (32), salt (16), count (8).
const MESSAGE_LEN: usize = 88;
/// Offset of the count in the message.
const COUNT_OFFSET: usize = 80;

/// How much of the stack is wiped after each operation, in words of 8 bytes: more than it uses, as a
/// test below measures.
const STACK: usize = 16 * KIB;

/// The hash of a secret that the key stretching starts from. As secret as the password: with it, a
/// volume can be unlocked.
pub struct InitialHash(Locked<[u8; 32]>);

impl InitialHash {
    /// That of a password or PIN: SHA-256, applied twice to its UTF-16LE bytes (docs/format.md §4.1).
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

    /// That of a PIN whose SHA-256 is known, as a TPM protector stores it (sealed).
    pub(crate) fn of_hashed(first: &[u8; 32]) -> Self {
        leave_nothing::<STACK, _>(|| Self(Locked::new(Sha256::digest(first).into())))
    }

    /// That of a recovery password: SHA-256, applied once to its 128-bit key (docs/format.md §4.2).
    pub fn of_recovery_key(key: &RecoveryKey) -> Self {
        leave_nothing::<STACK, _>(|| Self(Locked::new(Sha256::digest(key.expose()).into())))
    }

    /// The hash as big-endian words, as SHA-256 uses them.
    fn words(&self) -> Zeroizing<[u32; 8]> {
        let mut words = Zeroizing::new([0; 8]);
        for (word, bytes) in words.iter_mut().zip(self.0.as_chunks().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        words
    }

    /// Stretches it with a protector's salt. This takes about 0.1 s on a CPU with SHA instructions, and
    /// several times as long without.
    pub fn stretch(&self, salt: &[u8; 16]) -> StretchedKey {
        self.stretch_rounds(salt, ROUNDS)
    }

    fn stretch_rounds(&self, salt: &[u8; 16], rounds: u64) -> StretchedKey {
        leave_nothing::<STACK, _>(|| match self_test::single() {
            Single::Crate => self.stretch_by_crate(salt, rounds),
            Single::Portable => single::portable(self, salt, rounds),
            #[cfg(target_arch = "x86_64")]
            Single::Scalar => single::scalar(self, salt, rounds)
                .unwrap_or_else(|| self.stretch_by_crate(salt, rounds)),
        })
    }

    /// Key stretching by the compression function of the `sha2` crate. A round's message fills two
    /// blocks, in which only the last hash and the count change, so both are laid out once, with their
    /// padding.
    fn stretch_by_crate(&self, salt: &[u8; 16], rounds: u64) -> StretchedKey {
        let mut blocks = Zeroizing::new([[0u8; 64]; 2]);
        let message = blocks.as_flattened_mut();
        message[32..64].copy_from_slice(&*self.0);
        message[64..COUNT_OFFSET].copy_from_slice(salt);
        // The padding of SHA-256: a bit of 1, zeros, and the message's length in bits.
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

/// Shows nothing of the hash, which is as secret as the password.
impl std::fmt::Debug for InitialHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InitialHash")
    }
}

/// The key in a final hash state.
fn key_of(state: &[u32]) -> StretchedKey {
    let mut key = Zeroizing::new([0; 32]);
    store(state, &mut *key);
    StretchedKey::from_bytes(&key)
}

/// Writes a hash state as 32 big-endian bytes.
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
    fn reaches_the_intermediate_values_of_the_worked_example() {
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
