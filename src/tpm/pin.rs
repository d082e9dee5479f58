//! Derives two values from a PIN: the password for the TPM, and the key that decrypts what the TPM
//! releases (docs/format-tpm.md §3.2).
//!
//! The stretched PIN is the key. Hashed again, together with a label from the metadata, it is the
//! password without which the TPM releases nothing.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::crypto::stretch::InitialHash;
use crate::secret::{PinHash, SecretText, StretchedKey, TpmPassword};

/// The label that Windows writes: 17 characters and three zero bytes. Use it for new protectors; for
/// existing ones, the label in the metadata counts.
pub const LABEL: [u8; 20] = *b"BitLockerAuthData\0\0\0";

/// A PIN, as its SHA-256. The metadata keeps a backup of this hash, sealed with the VMK.
#[derive(Debug)]
pub struct Pin(PinHash);

impl Pin {
    /// A PIN as it is typed: digits, or any text where enhanced PINs are allowed.
    pub fn new(text: &SecretText) -> Self {
        let mut hash = Sha256::new();
        for unit in text.expose().encode_utf16() {
            hash.update(unit.to_le_bytes());
        }
        let hash = Zeroizing::new(<[u8; 32]>::from(hash.finalize()));
        Self(PinHash::from_bytes(&hash))
    }

    /// A PIN from the backup of its hash.
    pub fn of_backup(hash: PinHash) -> Self {
        Self(hash)
    }

    /// A copy. Not `Clone`, so that every copy of a secret can be found.
    pub fn duplicate(&self) -> Self {
        Self(PinHash::from_bytes(self.0.expose()))
    }

    /// SHA-256 of the PIN in UTF-16LE.
    pub fn hash(&self) -> &PinHash {
        &self.0
    }

    /// The key that decrypts what the TPM releases. Stretching takes about as long as for a password.
    pub fn stretch(&self, salt: &[u8; 16]) -> StretchedKey {
        InitialHash::of_hashed(self.0.expose()).stretch(salt)
    }
}

/// The password for the TPM: the first 20 bytes (the length that TPM 1.2 used) of the double SHA-256
/// of the stretched PIN and the label.
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

    /// From captured TPM2_Create and TPM2_Unseal commands of Windows (docs/format-tpm.md §9).
    #[test]
    fn computes_the_passwords_that_windows_sent_to_its_tpms() {
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
    fn keeps_the_sha_256_of_a_pin_in_utf_16() {
        let pin = Pin::new(&SecretText::new("87654321".into()));
        assert_eq!(
            pin.hash().expose(),
            &hex!("03379254ebed98ca1ee0a629e9b6ad82fd42b07b70b78acba1c0a9ebae303b89")
        );
    }
}
