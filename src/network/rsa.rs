//! The public half of RSAES-PKCS1-v1_5 (RFC 8017, section 7.2), which clients need.
//!
//! The private half, where timing matters most, is the server's and lies with a library made for it
//! (`server::keys`).

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U64, U2048};
use x509_cert::der::asn1::{BitStringRef, UintRef};
use x509_cert::der::{Decode, Reader, SliceReader};
use zeroize::Zeroizing;

/// Bytes of a modulus: the packets have room for no other size.
pub(super) const LEN: usize = 256;

/// An RSA public key of 2048 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    modulus: Odd<U2048>,
    exponent: u64,
}

impl PublicKey {
    /// The key in the content of a certificate's subjectPublicKey: RSAPublicKey (RFC 8017, A.1.1).
    pub(super) fn of_bits(bits: BitStringRef<'_>) -> Result<Self, BadKey> {
        let bytes = bits.as_bytes().ok_or(BadKey::Encoding)?;
        let mut reader = SliceReader::new(bytes).map_err(|_| BadKey::Encoding)?;
        let (modulus, exponent) = reader
            .sequence(|inner| Ok((UintRef::decode(inner)?, UintRef::decode(inner)?)))
            .map_err(|_: x509_cert::der::Error| BadKey::Encoding)?;
        Self::of_numbers(modulus.as_bytes(), exponent.as_bytes())
    }

    /// The key of these numbers, big-endian, without leading zeros.
    fn of_numbers(modulus: &[u8], exponent: &[u8]) -> Result<Self, BadKey> {
        let bits = modulus.len() * 8
            - modulus
                .first()
                .map_or(0, |byte| byte.leading_zeros() as usize);
        if bits != LEN * 8 {
            return Err(BadKey::Size(bits));
        }
        let modulus = U2048::from_be_slice(modulus);
        let modulus = Odd::new(modulus).into_option().ok_or(BadKey::EvenModulus)?;
        let mut padded = [0; 8];
        let start = 8_usize
            .checked_sub(exponent.len())
            .ok_or(BadKey::Exponent)?;
        padded[start..].copy_from_slice(exponent);
        let exponent = u64::from_be_bytes(padded);
        if exponent < 3 || exponent % 2 == 0 {
            return Err(BadKey::Exponent);
        }
        Ok(Self { modulus, exponent })
    }

    /// The public exponent; nearly always 65537.
    pub fn exponent(&self) -> u64 {
        self.exponent
    }

    /// The modulus, big-endian.
    pub fn modulus(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes.copy_from_slice(self.modulus.to_be_bytes().as_ref());
        bytes
    }

    /// Encrypts with this padding string, whose bytes must not be zero.
    pub(super) fn encrypt<const CONTENT: usize, const PADDING: usize>(
        &self,
        content: &[u8; CONTENT],
        padding: &[u8; PADDING],
    ) -> [u8; LEN] {
        const { assert!(CONTENT + PADDING + 3 == LEN) };
        let mut block = Zeroizing::new([0; LEN]);
        block[1] = 2;
        block[2..2 + PADDING].copy_from_slice(padding);
        block[LEN - CONTENT..].copy_from_slice(content);
        // The block begins with a zero byte and the modulus does not: it is smaller.
        let parameters = FixedMontyParams::new(self.modulus);
        let number = Zeroizing::new(U2048::from_be_slice(&block[..]));
        let form = Zeroizing::new(FixedMontyForm::new(&number, &parameters));
        let power = form.pow(&U64::from_u64(self.exponent)).retrieve();
        let mut bytes = [0; LEN];
        bytes.copy_from_slice(power.to_be_bytes().as_ref());
        bytes
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey(RSA, 2048 bits)")
    }
}

/// Why a key does not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadKey {
    /// Another kind of key.
    #[error("its key is not an RSA key")]
    NotRsa,
    /// It cannot be read.
    #[error("its RSA key is not encoded as such")]
    Encoding,
    /// The packets have room for 2048 bits and nothing else.
    #[error(
        "its RSA key has {0} bits, and the messages of Network Unlock have room for exactly 2048"
    )]
    Size(usize),
    /// No modulus is even.
    #[error("its RSA modulus is even")]
    EvenModulus,
    /// The exponent is even, less than 3, or absurdly large.
    #[error("its RSA exponent is not one")]
    Exponent,
}
