//! Sealed keys: AES-256-CCM (NIST SP 800-38C) with a nonce of 12 bytes, a tag of 16 bytes and no
//! associated data (docs/format.md §4.6).

use aes::Aes256;
use ccm::Ccm;
use ccm::KeyInit;
use ccm::aead::AeadInOut;
use ccm::consts::{U12, U16};

use crate::secret::{KIB, SecretBytes, leave_nothing};

/// A nonce of 12 bytes leaves 3 for the length of the message.
type Aes256Ccm = Ccm<Aes256, U16, U12>;

/// How much of the stack is wiped after each operation, in words of 8 bytes: more than it uses, as a
/// test below measures.
const STACK: usize = 32 * KIB;

/// Decrypts `ciphertext` with `key`. `None` if the tag does not match: the key is wrong or the data was
/// changed. The tag is compared in constant time, and no plaintext is returned unless it matches.
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

/// Encrypts `content` with `key`, and returns the ciphertext and the tag. `None` if the content has
/// 2^24 bytes or more, for which CCM with this nonce has no length field.
///
/// Never use a nonce twice with the same key: that reveals the XOR of the two contents and makes
/// forged tags possible. BitLocker's counter is in
/// [`Dataset::next_nonce`](crate::format::block::Dataset).
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

    // The VMK, sealed with the stretched key of a recovery password, of the worked example (docs/format.md §9.4,
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
