//! RSA keys of certificates: read from files, and what is encrypted with them (RFC 8017).
//!
//! [`KeyFile`] reads the files that people have: PFX, and PEM or DER of certificates and private
//! keys. [`PublicKey`] encrypts, [`PrivateKey`] decrypts, each with any [`Padding`].
//!
//! Decryption is meant for a person's own files: it blinds, but does not try to hide from somebody
//! who measures it. With PKCS#1 v1.5 a wrong padding is not told apart: it gives bytes that mean
//! nothing (implicit rejection), so what comes out has to prove itself.

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

/// How a short message is made as long as the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Padding {
    /// RSAES-PKCS1-v1_5, as CryptoAPI's smart cards of the time take it.
    Pkcs1,
    /// RSAES-OAEP with SHA-1, for the label and the mask.
    OaepSha1,
    /// RSAES-OAEP with SHA-256, for the label and the mask.
    OaepSha256,
}

impl Padding {
    /// All of them, likeliest first (docs/format-recovery.md §4.5).
    pub const ALL: [Self; 3] = [Self::Pkcs1, Self::OaepSha1, Self::OaepSha256];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pkcs1 => "PKCS#1 v1.5",
            Self::OaepSha1 => "OAEP with SHA-1",
            Self::OaepSha256 => "OAEP with SHA-256",
        }
    }
}

/// The public half of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(rsa::PublicKey);

impl PublicKey {
    /// A key of these numbers, big-endian; `None` where they make none of 1024 to 8192 bits.
    pub fn from_parts(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let number = BoxedUint::from_be_slice_vartime;
        let key = rsa::PublicKey::new(number(modulus), number(exponent));
        key.ok().map(Self)
    }

    /// The key in a certificate's SubjectPublicKeyInfo (RFC 5280), in DER.
    pub fn from_info(der: &[u8]) -> Option<Self> {
        use pkcs8::DecodePublicKey;
        rsa::PublicKey::from_public_key_der(der).ok().map(Self)
    }

    /// The modulus, big-endian, without leading zeros.
    pub fn modulus(&self) -> Box<[u8]> {
        self.0.n_bytes()
    }

    /// The exponent, likewise.
    pub fn exponent(&self) -> Box<[u8]> {
        self.0.e_bytes()
    }

    /// Length of the modulus in bits.
    pub fn bits(&self) -> u32 {
        self.0.n().bit_width()
    }

    /// Encrypts a message; `None` when it is too long for the key, or when the system gives no
    /// random numbers.
    pub fn encrypt(&self, padding: Padding, message: &[u8]) -> Option<Vec<u8>> {
        self.encrypt_from(&mut SysRng, padding, message)
    }

    /// The same with random numbers from elsewhere, as published vectors take it.
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

/// A private key. Wiped when dropped.
pub struct PrivateKey(rsa::PrivateKey);

impl PrivateKey {
    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.to_public_key())
    }

    /// The key in PKCS#8 (RFC 5958), in DER: for a library that decrypts where timing matters.
    pub fn to_pkcs8(&self) -> Option<SecretBytes> {
        use pkcs8::EncodePrivateKey;
        let der = self.0.to_pkcs8_der().ok()?;
        Some(SecretBytes::new(der.as_bytes().to_vec()))
    }

    /// Decrypts a message; `None` when it was not encrypted so, as far as that can be told.
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

/// A certificate: only what tells whose key it is. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate {
    /// All of it, as it was stored.
    pub der: Vec<u8>,
    /// SHA-1 of the whole certificate: what Windows knows it by.
    pub thumbprint: [u8; 20],
    /// Whose it is, as the certificate says.
    pub subject: String,
    /// Its key.
    pub key: PublicKey,
}
