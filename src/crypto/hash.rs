//! The hash algorithms of TPM 2.0: of PCR banks, objects and event logs.

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

/// A hash algorithm of TPM 2.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
    /// SM3, 32 bytes. It can be named, but not computed here.
    Sm3,
}

impl HashAlgorithm {
    /// All of them, in the order in which PCR banks are tried (docs/format-tpm.md §2).
    pub const ALL: [Self; 5] = [
        Self::Sha256,
        Self::Sha1,
        Self::Sha384,
        Self::Sha512,
        Self::Sm3,
    ];

    /// The algorithm with this identifier in the TCG algorithm registry.
    pub fn of_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.id() == id)
    }

    /// The algorithm with this stable word, such as `sha256`.
    pub fn by_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.word() == word)
    }

    /// Its identifier in the TCG algorithm registry.
    pub fn id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000B,
            Self::Sha384 => 0x000C,
            Self::Sha512 => 0x000D,
            Self::Sm3 => 0x0012,
        }
    }

    /// Its usual name, such as `SHA-256`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
            Self::Sm3 => "SM3-256",
        }
    }

    /// A stable word for programs, such as `sha256`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sm3 => "sm3_256",
        }
    }

    /// Length of its digests in bytes.
    pub fn digest_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sm3 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The hash of the concatenated parts; `None` for SM3.
    pub fn digest(self, parts: &[&[u8]]) -> Option<Vec<u8>> {
        Some(match self {
            Self::Sha1 => hashed::<Sha1>(parts),
            Self::Sha256 => hashed::<Sha256>(parts),
            Self::Sha384 => hashed::<Sha384>(parts),
            Self::Sha512 => hashed::<Sha512>(parts),
            Self::Sm3 => return None,
        })
    }
}

fn hashed<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = D::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn hashes_as_published() {
        // The separator event: four zero bytes (docs/format-tpm.md §7.2).
        let separator = |hash: HashAlgorithm| hash.digest(&[&[0, 0], &[0, 0]]).unwrap();
        assert_eq!(
            separator(HashAlgorithm::Sha1),
            hex!("9069ca78e7450a285173431b3e52c5c25299e473")
        );
        assert_eq!(
            separator(HashAlgorithm::Sha256),
            hex!("df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119")
        );
    }

    #[test]
    fn lengths_are_those_of_the_digests() {
        for hash in HashAlgorithm::ALL {
            if let Some(digest) = hash.digest(&[b"abc"]) {
                assert_eq!(digest.len(), hash.digest_len());
            }
            assert_eq!(HashAlgorithm::of_id(hash.id()), Some(hash));
            assert_eq!(HashAlgorithm::by_word(hash.word()), Some(hash));
        }
    }
}
