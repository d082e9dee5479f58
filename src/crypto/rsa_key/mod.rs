//! RSA keys of certificates: reading them from files, encrypting and decrypting (RFC 8017).
//!
//! [`KeyFile`] reads PFX files, and certificates and private keys in PEM or DER. [`PublicKey`]
//! encrypts and [`PrivateKey`] decrypts, with any [`Padding`].
//!
//! Decryption uses blinding, but the `rsa` crate does not promise constant time. Use it for the
//! user's own files, not where an attacker can send ciphertexts and measure the time (a Network
//! Unlock server): [`PrivateKey::to_pkcs8`] hands the key to another library for that. With PKCS#1
//! v1.5, wrong padding is no error but gives unpredictable bytes (implicit rejection), so the caller
//! must verify the result, for example by the tag of a sealed datum.

mod file;
pub(crate) mod pem;

pub use file::{KeyFile, KeyFileError};

use getrandom::SysRng;
use rsa::rand_core::TryCryptoRng;
use rsa::traits::{PaddingScheme, PublicKeyParts};
use rsa::{BoxedUint, Oaep, Pkcs1v15Encrypt};
use sha1::Sha1;
use sha2::Sha256;

use crate::secret::SecretBytes;

/// The padding that extends a message to the length of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Padding {
    /// RSAES-PKCS1-v1_5, which older smart cards support.
    Pkcs1,
    /// RSAES-OAEP with SHA-1, both for the label and for the mask.
    OaepSha1,
    /// RSAES-OAEP with SHA-256, both for the label and for the mask.
    OaepSha256,
}

impl Padding {
    /// All paddings, the most probable first (docs/format-recovery.md §4.5).
    pub const ALL: [Self; 3] = [Self::Pkcs1, Self::OaepSha1, Self::OaepSha256];

    /// Its usual name, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pkcs1 => "PKCS#1 v1.5",
            Self::OaepSha1 => "OAEP with SHA-1",
            Self::OaepSha256 => "OAEP with SHA-256",
        }
    }
}

/// An RSA public key of 1024 to 8192 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(rsa::PublicKey);

impl PublicKey {
    /// The key with this modulus and exponent, both big-endian. `None` if they are no valid key of 1024
    /// to 8192 bits.
    pub fn from_parts(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let number = BoxedUint::from_be_slice_vartime;
        let key = rsa::PublicKey::new(number(modulus), number(exponent));
        key.ok().map(Self)
    }

    /// The key in a certificate's SubjectPublicKeyInfo (RFC 5280), in DER. `None` if it is not RSA or
    /// not valid.
    pub fn from_info(der: &[u8]) -> Option<Self> {
        use pkcs8::DecodePublicKey;
        rsa::PublicKey::from_public_key_der(der).ok().map(Self)
    }

    /// The modulus, big-endian, without leading zeros.
    pub fn modulus(&self) -> Box<[u8]> {
        self.0.n_bytes()
    }

    /// The exponent, big-endian, without leading zeros.
    pub fn exponent(&self) -> Box<[u8]> {
        self.0.e_bytes()
    }

    /// Length of the modulus in bits.
    pub fn bits(&self) -> u32 {
        self.0.n().bit_width()
    }

    /// Encrypts a message. `None` if it is too long for the key, or if the system gives no random
    /// numbers.
    pub fn encrypt(&self, padding: Padding, message: &[u8]) -> Option<Vec<u8>> {
        self.encrypt_from(&mut SysRng, padding, message)
    }

    /// The same with other random numbers, to reproduce published vectors.
    pub(crate) fn encrypt_from(
        &self,
        rng: &mut impl TryCryptoRng,
        padding: Padding,
        message: &[u8],
    ) -> Option<Vec<u8>> {
        let key = &self.0;
        let encrypted = match padding {
            Padding::Pkcs1 => Pkcs1v15Encrypt.encrypt(rng, key, message),
            Padding::OaepSha1 => Oaep::<Sha1>::new().encrypt(rng, key, message),
            Padding::OaepSha256 => Oaep::<Sha256>::new().encrypt(rng, key, message),
        };
        encrypted.ok()
    }
}

/// An RSA private key. Wiped when dropped; `Debug` shows only its length.
pub struct PrivateKey(rsa::PrivateKey);

impl PrivateKey {
    /// The public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.to_public_key())
    }

    /// The key in PKCS#8 (RFC 5958), in DER, for a library that decrypts in constant time. `None` if it
    /// cannot be encoded.
    pub fn to_pkcs8(&self) -> Option<SecretBytes> {
        use pkcs8::EncodePrivateKey;
        let der = self.0.to_pkcs8_der().ok()?;
        Some(SecretBytes::new(der.as_bytes().to_vec()))
    }

    /// Decrypts a message. `None` if its length or (with OAEP) its padding is wrong. With PKCS#1 v1.5,
    /// wrong padding gives unpredictable bytes instead, so verify the result.
    pub fn decrypt(&self, padding: Padding, encrypted: &[u8]) -> Option<SecretBytes> {
        let (rng, key) = (Some(&mut SysRng), &self.0);
        let message = match padding {
            Padding::Pkcs1 => Pkcs1v15Encrypt.decrypt(rng, key, encrypted),
            Padding::OaepSha1 => Oaep::<Sha1>::new().decrypt(rng, key, encrypted),
            Padding::OaepSha256 => Oaep::<Sha256>::new().decrypt(rng, key, encrypted),
        };
        message.ok().map(SecretBytes::new)
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey(RSA, {} bits)", self.public().bits())
    }
}

/// A certificate with an RSA key. Neither its signature nor its validity is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate {
    /// The whole certificate in DER.
    pub der: Vec<u8>,
    /// The SHA-1 of `der`, by which Windows and key protectors identify a certificate.
    pub thumbprint: [u8; 20],
    /// Its subject, as a distinguished name (RFC 4514).
    pub subject: String,
    /// Its public key.
    pub key: PublicKey,
}
