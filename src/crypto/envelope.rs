//! Sealed keys: AES-256-CCM with a 12-byte nonce and a 16-byte tag, no associated data
//! (docs/format.md §4.6; NIST SP 800-38C).

use aes::Aes256;
use ccm::Ccm;
use ccm::KeyInit;
use ccm::aead::AeadInOut;
use ccm::consts::{U12, U16};

use crate::secret::{KIB, SecretBytes, leave_nothing};

type Aes256Ccm = Ccm<Aes256, U16, U12>;

/// Words of the stack that are wiped after the work: more than it uses.
const STACK: usize = 32 * KIB;

/// Opens what was sealed with `key`; `None` when the tag does not match. The tag is compared in
/// constant time, and nothing of the content is seen before it matched.
pub fn open(
    key: &[u8; 32],
    nonce: &[u8; 12],
    tag: &[u8; 16],
    ciphertext: &[u8],
) -> Option<SecretBytes> {
    leave_nothing::<STACK, _>(|| {
        let cipher = Aes256Ccm::new(key.into());
        let mut content = zeroize::Zeroizing::new(ciphertext.to_vec());
        cipher
            .decrypt_inout_detached(nonce.into(), &[], content.as_mut_slice().into(), tag.into())
            .ok()?;
        Some(SecretBytes::new(std::mem::take(&mut *content)))
    })
}

/// Seals `content` with `key`: the ciphertext and its tag. A nonce must never be used twice with
/// the same key.
///
/// `None` when the content is too long for the format's 24-bit length.
pub fn seal(key: &[u8; 32], nonce: &[u8; 12], content: &[u8]) -> Option<(Vec<u8>, [u8; 16])> {
    leave_nothing::<STACK, _>(|| {
        let cipher = Aes256Ccm::new(key.into());
        let mut ciphertext = content.to_vec();
        let tag = cipher
            .encrypt_inout_detached(nonce.into(), &[], ciphertext.as_mut_slice().into())
            .ok()?;
        Some((ciphertext, tag.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    // The recovery password's path of the worked example (docs/format.md §9.4,
    // docs/format-recovery-password.md §1.12).
    const KEY: [u8; 32] = hex!("1a39f926dab83e947fa85125b91e556e9ecc2bc5968924e03de234878d1fd4bd");
    const NONCE: [u8; 12] = hex!("c049ba6f3632d50106000000");
    const TAG: [u8; 16] = hex!("0cf85869dd1a2a024c48d0f6aa00b997");
    const CIPHERTEXT: [u8; 44] = hex!(
        "005e2014c039b7de88e6906efdbe83055dcb5c097dbe3fe86860ef7bae367a13178587cd8cd11af5713d0bb7"
    );
    const CONTENT: [u8; 44] = hex!(
        "2c0000000100000003200000e5862465920b1190605ae29547623fb9c0dbafab073c85634bfb0f8a4b8cf46b"
    );

    #[test]
    fn opens_and_seals_what_windows_sealed() {
        let content = open(&KEY, &NONCE, &TAG, &CIPHERTEXT).unwrap();
        assert_eq!(content.expose(), CONTENT);
        let (ciphertext, tag) = seal(&KEY, &NONCE, &CONTENT).unwrap();
        assert_eq!(ciphertext, CIPHERTEXT);
        assert_eq!(tag, TAG);
    }

    #[test]
    fn wipes_more_of_the_stack_than_it_uses() {
        let depth = crate::secret::depth::of(|| {
            assert!(open(&KEY, &NONCE, &TAG, &CIPHERTEXT).is_some());
            assert!(seal(&KEY, &NONCE, &CONTENT).is_some());
        });
        assert!(depth < STACK * size_of::<u64>(), "{depth}");
    }

    #[test]
    fn refuses_a_wrong_key_tag_nonce_or_ciphertext() {
        let flip = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes[0] ^= 1;
            bytes
        };
        assert!(open(&flip(&KEY).try_into().unwrap(), &NONCE, &TAG, &CIPHERTEXT).is_none());
        assert!(open(&KEY, &flip(&NONCE).try_into().unwrap(), &TAG, &CIPHERTEXT).is_none());
        assert!(open(&KEY, &NONCE, &flip(&TAG).try_into().unwrap(), &CIPHERTEXT).is_none());
        assert!(open(&KEY, &NONCE, &TAG, &flip(&CIPHERTEXT)).is_none());
        assert!(open(&KEY, &NONCE, &TAG, &[]).is_none());
    }
}
