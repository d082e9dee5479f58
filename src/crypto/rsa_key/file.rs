//! Files with keys and certificates: PFX (PKCS#12, RFC 7292); certificates (RFC 5280) and private
//! keys in PKCS#8 (RFC 5958, encrypted by RFC 8018) and PKCS#1 (RFC 8017), either one of them in DER
//! or any number in PEM (RFC 7468).
//!
//! The crate that reads PFX files, `p12-keystore`, makes copies of the private key that it does not
//! wipe.

use p12_keystore::Pkcs12Archive;
use pkcs8::der::{Decode, Encode};
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use pkcs8::{DecodePrivateKey, EncryptedPrivateKeyInfoRef};
use rsa::pkcs1::DecodeRsaPrivateKey;
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use super::{Certificate, PrivateKey, PublicKey, pem};
use crate::secret::SecretText;

/// DER tag of a SEQUENCE (X.690).
const SEQUENCE: u8 = 0x30;
/// DER tag of an INTEGER.
const INTEGER: u8 = 0x02;
/// The object identifier of scrypt (RFC 7914, section 7) in DER.
const SCRYPT: [u8; 11] = [
    0x06, 0x09, 0x2B, 0x06, 0x01, 0x04, 0x01, 0xDA, 0x47, 0x04, 0x0B,
];
/// Most rounds of PBKDF2 that a file may ask for: they take some seconds. Programs write up to a
/// million.
const MAX_ITERATIONS: u32 = 10_000_000;
/// Most memory that a file may ask for with scrypt, in bytes. OpenSSL's default needs 16 MiB.
const MAX_SCRYPT_MEMORY: u64 = 64 << 20;
/// Highest parallelization parameter of scrypt. OpenSSL writes 1.
const MAX_SCRYPT_PARALLEL: u16 = 16;

/// The private keys and certificates of a file.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct KeyFile {
    /// The private keys.
    pub keys: Vec<PrivateKey>,
    /// The certificates with an RSA key, including those of issuers.
    pub certificates: Vec<Certificate>,
    /// Whether the file has certificates with other keys than RSA, which is fine for issuers.
    has_others: bool,
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file is encrypted, and no password was given.
    #[error("it is encrypted and needs a password")]
    TakesPassword,
    /// The password is wrong.
    #[error("the password is wrong")]
    WrongPassword,
    /// The file has a form or a key that is not supported, which the text names.
    #[error("it contains {0}, which is not supported")]
    Unsupported(String),
    /// The file contains neither certificates nor private keys.
    #[error("it contains neither a certificate nor a private key in PFX, PEM or DER")]
    Nothing,
}

impl KeyFile {
    /// Reads the content of a file. Without a password, the empty one is tried.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn read(content: &[u8], password: Option<&SecretText>) -> Result<Self, KeyFileError> {
        let mut file = Self::default();
        let mut blocks = pem::blocks(content).peekable();
        if blocks.peek().is_none() {
            file.read_der(content, password)?;
        }
        for block in blocks {
            file.read_pem(block, password)?;
        }
        match file.keys.is_empty() && file.certificates.is_empty() {
            true if file.has_others => Err(KeyFileError::Unsupported(
                "a certificate whose key is not RSA".to_owned(),
            )),
            true => Err(KeyFileError::Nothing),
            false => Ok(file),
        }
    }

    /// The first of [`own_certificates`](Self::own_certificates).
    pub fn own_certificate(&self) -> Option<&Certificate> {
        self.own_certificates().next()
    }

    /// The certificates that belong to private keys in this file, without those of issuers. If the
    /// file has no private key, all certificates.
    pub fn own_certificates(&self) -> impl Iterator<Item = &Certificate> {
        let publics: Vec<_> = self.keys.iter().map(PrivateKey::public).collect();
        self.certificates
            .iter()
            .filter(move |certificate| publics.is_empty() || publics.contains(&certificate.key))
    }

    fn read_pem(
        &mut self,
        block: &[u8],
        password: Option<&SecretText>,
    ) -> Result<(), KeyFileError> {
        let legacy = || {
            KeyFileError::Unsupported(
                "a private key encrypted in OpenSSL's old form (convert it: openssl pkcs8 -topk8)"
                    .to_owned(),
            )
        };
        let (label, der) = match pkcs8::der::pem::decode_vec(block) {
            Ok((label, der)) => (label, Zeroizing::new(der)),
            Err(_) if pem::find(block, b"Proc-Type:").is_some() => return Err(legacy()),
            Err(fault) => {
                return Err(KeyFileError::Unsupported(format!(
                    "PEM that is damaged ({fault})"
                )));
            }
        };
        match label {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
                self.add_certificate(&der)
            }
            "PRIVATE KEY" | "RSA PRIVATE KEY" => self.add_key(&der),
            "ENCRYPTED PRIVATE KEY" => self.add_encrypted_key(&der, password),
            "EC PRIVATE KEY" | "DSA PRIVATE KEY" => Err(not_rsa()),
            // Certificate requests, parameters and public keys are not needed.
            _ => Ok(()),
        }
    }

    /// The four forms differ in the first value of their outer SEQUENCE: PFX has version 3, an
    /// unencrypted key version 0 or 1, an encrypted key and a certificate another SEQUENCE.
    fn read_der(&mut self, der: &[u8], password: Option<&SecretText>) -> Result<(), KeyFileError> {
        match first_inside(der) {
            Some([INTEGER, 1, 3]) => self.add_pfx(der, password),
            Some([INTEGER, 1, 0 | 1]) => self.add_key(der),
            Some([SEQUENCE, ..]) if EncryptedPrivateKeyInfoRef::from_der(der).is_ok() => {
                self.add_encrypted_key(der, password)
            }
            Some([SEQUENCE, ..]) => self.add_certificate(der),
            _ => Err(KeyFileError::Nothing),
        }
    }

    fn add_certificate(&mut self, der: &[u8]) -> Result<(), KeyFileError> {
        match certificate(der)? {
            Some(certificate) => self.certificates.push(certificate),
            None => self.has_others = true,
        }
        Ok(())
    }

    /// Adds a private key in PKCS#8 or PKCS#1.
    fn add_key(&mut self, der: &[u8]) -> Result<(), KeyFileError> {
        let key = rsa::PrivateKey::from_pkcs8_der(der)
            .ok()
            .or_else(|| rsa::PrivateKey::from_pkcs1_der(der).ok())
            .ok_or_else(not_rsa)?;
        self.keys.push(PrivateKey(key));
        Ok(())
    }

    fn add_encrypted_key(
        &mut self,
        der: &[u8],
        password: Option<&SecretText>,
    ) -> Result<(), KeyFileError> {
        let info = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|fault| {
            KeyFileError::Unsupported(format!("a damaged private key ({fault})"))
        })?;
        if costs_too_much(&info.encryption_algorithm) {
            return Err(too_costly());
        }
        let text = password.map_or("", SecretText::expose);
        match info.decrypt(text) {
            Ok(key) => self.add_key(key.as_bytes()),
            Err(pkcs8::Error::EncryptedPrivateKey(fault)) if !is_wrong_password(&fault) => {
                Err(KeyFileError::Unsupported(format!(
                    "a private key encrypted in another way ({fault})"
                )))
            }
            // With a wrong password, the padding is correct by chance once in 256 times, and the
            // result is no key.
            Err(_) => Err(refused(password)),
        }
    }

    fn add_pfx(&mut self, der: &[u8], password: Option<&SecretText>) -> Result<(), KeyFileError> {
        use p12_keystore::error::Error;
        // The crate limits the rounds of PBKDF2 and of the older schemes, but not scrypt.
        if der.windows(SCRYPT.len()).any(|bytes| bytes == SCRYPT) {
            return Err(KeyFileError::Unsupported(
                "a PFX that is encrypted by scrypt".to_owned(),
            ));
        }
        let text = password.map_or("", SecretText::expose);
        let archive = Pkcs12Archive::from_pkcs12(der, text).map_err(|error| match error {
            Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => refused(password),
            Error::InvalidPrivateKey => not_rsa(),
            other => {
                KeyFileError::Unsupported(format!("PFX of another form, or damaged ({other})"))
            }
        })?;
        for bag in &archive.certs {
            self.add_certificate(bag.cert.as_der())?;
        }
        archive
            .keys
            .iter()
            .try_for_each(|bag| self.add_key(bag.key.as_der()))
    }
}

/// Whether deriving the key from the password needs more time or memory than the limits above.
fn costs_too_much(scheme: &EncryptionScheme) -> bool {
    let EncryptionScheme::Pbes2(parameters) = scheme else {
        // PBES1: the crate reads the number of rounds as 16 bits.
        return false;
    };
    match &parameters.kdf {
        Kdf::Pbkdf2(pbkdf2) => pbkdf2.iteration_count > MAX_ITERATIONS,
        Kdf::Scrypt(scrypt) => {
            let blocks = u64::from(scrypt.block_size).saturating_mul(128);
            blocks.saturating_mul(scrypt.cost_parameter) > MAX_SCRYPT_MEMORY
                || scrypt.parallelization > MAX_SCRYPT_PARALLEL
        }
        _ => true,
    }
}

fn too_costly() -> KeyFileError {
    KeyFileError::Unsupported(format!(
        "a private key whose encryption needs more than {MAX_ITERATIONS} rounds of PBKDF2, or scrypt with more than {} MiB of memory or a parallelization above {MAX_SCRYPT_PARALLEL}",
        MAX_SCRYPT_MEMORY >> 20
    ))
}

fn not_rsa() -> KeyFileError {
    KeyFileError::Unsupported("a private key that is damaged or not RSA".to_owned())
}

fn refused(password: Option<&SecretText>) -> KeyFileError {
    match password {
        Some(_) => KeyFileError::WrongPassword,
        None => KeyFileError::TakesPassword,
    }
}

fn is_wrong_password(fault: &pkcs8::pkcs5::Error) -> bool {
    matches!(fault, pkcs8::pkcs5::Error::DecryptFailed)
}

/// The certificate, or `None` if its key is not RSA.
fn certificate(der: &[u8]) -> Result<Option<Certificate>, KeyFileError> {
    let damaged = |fault: pkcs8::der::Error| {
        KeyFileError::Unsupported(format!("a damaged certificate ({fault})"))
    };
    let parsed = x509_cert::Certificate::from_der(der).map_err(damaged)?;
    let info = parsed.tbs_certificate().subject_public_key_info();
    let info = info.to_der().map_err(damaged)?;
    Ok(PublicKey::from_info(&info).map(|key| Certificate {
        der: der.to_vec(),
        thumbprint: Sha1::digest(der).into(),
        subject: parsed.tbs_certificate().subject().to_string(),
        key,
    }))
}

/// The first three bytes of the content, if `der` is a SEQUENCE.
fn first_inside(der: &[u8]) -> Option<&[u8]> {
    let (&[tag, len], rest) = der.split_first_chunk()?;
    // Of a content longer than 127 bytes, the length follows in as many bytes as the low bits say.
    let more = if len & 0x80 == 0 {
        0
    } else {
        usize::from(len & 0x7F)
    };
    (tag == SEQUENCE)
        .then(|| rest.get(more..)?.get(..3))
        .flatten()
}
