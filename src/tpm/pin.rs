//! From a PIN to what the TPM wants to see, and to the key under it (docs/format-tpm.md §3.2).
//!
//! The PIN works twice: stretched, it opens what the TPM releases; hashed once more with a label
//! that lies on the disk, it is the password that makes the TPM release it.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::crypto::stretch::InitialHash;
use crate::secret::{PinHash, SecretText, StretchedKey, TpmPassword};

/// What Windows writes as the label: its name and three zero bytes. Read it from the disk; this is
/// for protectors that are made here.
pub const LABEL: [u8; 20] = *b"BitLockerAuthData\0\0\0";

/// A PIN, hashed once, as a protector keeps a backup of it.
#[derive(Debug)]
pub struct Pin(PinHash);

impl Pin {
    /// A PIN as a person types it: digits, or any text where enhanced PINs are allowed.
    pub fn new(text: &SecretText) -> Self {
        let mut hash = Sha256::new();
        for unit in text.expose().encode_utf16() {
            hash.update(unit.to_le_bytes());
        }
        let hash = Zeroizing::new(<[u8; 32]>::from(hash.finalize()));
        Self(PinHash::from_bytes(&hash))
    }

    /// A PIN from the backup that a protector keeps of it.
    pub fn of_backup(hash: PinHash) -> Self {
        Self(hash)
    }

    /// The same once more.
    pub fn again(&self) -> Self {
        Self(PinHash::from_bytes(self.0.expose()))
    }

    /// What a protector keeps a backup of.
    pub fn hash(&self) -> &PinHash {
        &self.0
    }

    /// The key that opens what the TPM releases. Takes as long as a password.
    pub fn stretch(&self, salt: &[u8; 16]) -> StretchedKey {
        InitialHash::of_hashed(self.0.expose()).stretch(salt)
    }
}

/// The TPM's password for a stretched PIN and the label on disk: 20 bytes, as TPM 1.2 had them.
pub fn tpm_password(stretched: &StretchedKey, label: &[u8]) -> TpmPassword {
    let mut hash = Sha256::new();
    hash.update(stretched.expose());
    hash.update(label);
    let once = Zeroizing::new(<[u8; 32]>::from(hash.finalize()));
    let twice = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(*once)));
    let mut password = Zeroizing::new([0; TpmPassword::LEN]);
    password.copy_from_slice(&twice[..TpmPassword::LEN]);
    TpmPassword::from_bytes(&password)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    /// Windows' own TPM2_Create and TPM2_Unseal, captured (docs/format-tpm.md §9).
    #[test]
    fn gives_the_passwords_that_windows_gave_its_tpms() {
        for (pin, salt, stretched, password) in [
            (
                "87654321",
                hex!("f9339faeb3ccb8a21155389bf0bd7581"),
                hex!("01c6223f6c8650bf972539a61afbbe4c4b453bfcc6932b8a8897d6f4c3296e0b"),
                hex!("ad329264272d4c8ca3d94aca7bf0669460949577"),
            ),
            (
                "67851922",
                hex!("c36496f98842c6fd9841de2ea743d5cf"),
                hex!("112a35c30dca7f30306d6a55e05d93719c7db79345520d6c7116c16e29616db2"),
                hex!("0308d4bf7fd6718aeb56b3d2a31de1fdc2843ac9"),
            ),
            (
                "87654321",
                hex!("a21b9bcd87b0a1d5352f67dec4ab8198"),
                hex!("2d16e711fcab8dbac96f7c30827ae46a360bbcef31a917fc2f67a17236061a18"),
                hex!("4f34a8b8f53404e95f25e6a9a4692130d1286ca5"),
            ),
        ] {
            let key = Pin::new(&SecretText::new(pin.to_owned())).stretch(&salt);
            assert_eq!(key.expose(), &stretched);
            assert_eq!(tpm_password(&key, &LABEL).expose(), &password);
        }
    }

    #[test]
    fn a_backup_is_the_pin_hashed_once() {
        let pin = Pin::new(&SecretText::new("87654321".into()));
        assert_eq!(
            pin.hash().expose(),
            &hex!("03379254ebed98ca1ee0a629e9b6ad82fd42b07b70b78acba1c0a9ebae303b89")
        );
    }
}
