//! Files of keys and certificates: PFX (PKCS#12, RFC 7292), certificates (RFC 5280), private keys
//! in PKCS#8 (RFC 5958; encrypted as of RFC 8018) and PKCS#1 (RFC 8017), the last four in DER or,
//! any number of them, in PEM (RFC 7468).
//!
//! The crate that opens PFX files keeps copies of the key that it does not wipe.

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

/// Tags of the values at the start of the four kinds of DER (X.690).
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
/// The identifier of scrypt (RFC 7914, section 7), as DER.
const SCRYPT: [u8; 11] = [
    0x06, 0x09, 0x2B, 0x06, 0x01, 0x04, 0x01, 0xDA, 0x47, 0x04, 0x0B,
];
/// Most rounds of PBKDF2: some seconds. Programs write up to a million.
const MAX_ITERATIONS: u32 = 10_000_000;
/// Most memory that scrypt may take, in bytes; OpenSSL takes 16 MiB.
const MAX_SCRYPT_MEMORY: u64 = 64 << 20;
/// Most lanes of scrypt; OpenSSL writes 1.
const MAX_SCRYPT_PARALLEL: u16 = 16;

/// What a file holds.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct KeyFile {
    /// Private keys.
    pub keys: Vec<PrivateKey>,
    /// Certificates, those of issuers among them.
    pub certificates: Vec<Certificate>,
    /// Whether there were certificates whose key is not RSA: those of issuers may be.
    has_others: bool,
}

/// Why a file is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It is encrypted, and no password was given.
    #[error("it takes a password")]
    TakesPassword,
    /// The password does not open it.
    #[error("the password does not open it")]
    WrongPassword,
    /// It is of a kind that is not supported.
    #[error("it holds {0}, which is not supported")]
    Unsupported(String),
    /// It holds none of what is looked for.
    #[error("it holds neither a certificate nor a private key in PFX, PEM or DER")]
    Nothing,
}

impl KeyFile {
    /// Reads a file's content. An empty password is tried where none is given.
    ///
    /// # Errors
    /// It holds nothing, or nothing that can be read with that password.
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

    /// The certificate of a private key in this file; the first certificate where there is no key.
    pub fn own_certificate(&self) -> Option<&Certificate> {
        self.own_certificates().next()
    }

    /// The certificates of the private keys in this file, and not those of their issuers; all
    /// where there is no key.
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
            // Requests, parameters, public keys: beside what is wanted.
            _ => Ok(()),
        }
    }

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

    /// PKCS#8 or PKCS#1.
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
            // Garbage that happens to be padded well is no key either.
            Err(_) => Err(refused(password)),
        }
    }

    fn add_pfx(&mut self, der: &[u8], password: Option<&SecretText>) -> Result<(), KeyFileError> {
        use p12_keystore::error::Error;
        // The crate bounds PBKDF2 and the older ways, and not this one.
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

/// Whether making the key from the password takes more time or memory than a file may ask for.
fn costs_too_much(scheme: &EncryptionScheme) -> bool {
    let EncryptionScheme::Pbes2(parameters) = scheme else {
        // PKCS#5 counts in two bytes there.
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
        "a private key whose password takes more than {MAX_ITERATIONS} rounds of PBKDF2, or scrypt with more than {} MiB or {MAX_SCRYPT_PARALLEL} lanes",
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

/// A certificate of an RSA key; `None` where its key is of another kind.
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

/// The first three bytes inside the sequence that `der` is.
fn first_inside(der: &[u8]) -> Option<&[u8]> {
    let (&[tag, len], rest) = der.split_first_chunk()?;
    // More than 127 bytes: their count follows, in as many bytes as this one says.
    let more = if len & 0x80 == 0 {
        0
    } else {
        usize::from(len & 0x7F)
    };
    (tag == SEQUENCE)
        .then(|| rest.get(more..)?.get(..3))
        .flatten()
}
