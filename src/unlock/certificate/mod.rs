//! Unlocks certificate protectors, as for smart cards and data recovery agents, with a private key in a
//! file or on a PKCS#11 token (docs/format-recovery.md §4.5).
//!
//! ```text
//! encrypted key on disk ─ private key (file or token) ─ intermediate key ─ VMK
//! ```
//! **Not proven against Windows.** No volume of Windows was ever published together with its private key.
//! So it is not known which padding Windows uses, nor in which byte order it stores the encrypted key:
//! CryptoAPI returns it least significant byte first, CNG most significant byte first. Both orders are
//! tried with every padding; a result is accepted only if it opens the sealed VMK, whose tag proves it.

#[cfg(all(target_os = "linux", feature = "pkcs11"))]
mod token;
mod uri;

use std::path::Path;

use super::{Answer, Context, Credential, Prompt, open_vmk};
use crate::crypto::rsa_key::{Certificate, KeyFile, KeyFileError, Padding, PrivateKey};
use crate::error::{Error, Failure, Reason, Remedy, Result};
use crate::format::datum::{Body, Datum};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::secret::{IntermediateKey, SecretBytes, SecretText};
use crate::shown::ShowPath;
use base16ct::lower::encode_string as hex;

#[cfg(all(target_os = "linux", feature = "pkcs11"))]
pub(crate) use token::TOKENS;
#[cfg(all(target_os = "linux", feature = "pkcs11"))]
pub use token::TokenKey;
pub use uri::{TokenModule, TokenUri};

const NAME: &str = "certificate";

/// Length of an intermediate key without a datum around it, in bytes.
const BARE_LEN: usize = IntermediateKey::LEN;

/// The credential for certificate protectors: the private keys in a file.
#[derive(Debug)]
pub struct CertificateKey {
    file: KeyFile,
}

impl CertificateKey {
    /// The private keys of a file that was read already.
    ///
    /// # Errors
    /// [`Error::BadCredential`] when the file has no private key.
    pub fn new(file: KeyFile) -> Result<Self> {
        if file.keys.is_empty() {
            return Err(Error::BadCredential {
                credential: NAME.to_owned(),
                why: "the file contains a certificate, but no private key".to_owned(),
                remedy: Some("give the PFX file that Windows exported with the private key".into()),
            });
        }
        Ok(Self { file })
    }

    /// Reads the private keys of a file: PFX, PEM or DER. If the file is encrypted and `password` is
    /// `None`, `prompt` asks for the password; with [`Silent`](super::Silent) that fails.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::BadCredential`] when it has no private key,
    /// or the password is missing or wrong.
    pub fn from_file(
        path: &Path,
        password: Option<&SecretText>,
        prompt: &dyn Prompt,
    ) -> Result<Self> {
        let content = crate::input::read(path, NAME)?;
        let file = match KeyFile::read(content.expose(), password) {
            Err(KeyFileError::TakesPassword) => {
                let typed = prompt.secret(&format!("Password of {}: ", path.shown()));
                let typed = typed.ok_or_else(|| unusable(path, &KeyFileError::TakesPassword))?;
                KeyFile::read(content.expose(), Some(&typed))
            }
            read => read,
        };
        Self::new(file.map_err(|error| unusable(path, &error))?)
    }

    /// The keys that may belong to the protector: all of them if the protector has no public key.
    fn candidates(&self, protector: &KeyProtector) -> Vec<&PrivateKey> {
        let fits = |key: &&PrivateKey| Recipient::of(protector).may_be(&key.public().modulus());
        self.file.keys.iter().filter(fits).collect()
    }
}

impl Credential for CertificateKey {
    fn name(&self) -> &str {
        NAME
    }

    fn try_on(&self, protector: &KeyProtector, _context: &Context<'_>) -> Answer {
        if protector.kind() != ProtectorKind::Certificate {
            return Answer::NotMine;
        }
        let keys = self.candidates(protector);
        if keys.is_empty() {
            return Answer::Failed(other_certificate(protector));
        }
        let mut last = Answer::NotMine;
        for key in keys {
            last = open_with(protector, |padding, encrypted| {
                Ok(key.decrypt(padding, encrypted))
            });
            if matches!(last, Answer::Opened(_)) {
                break;
            }
        }
        last
    }
}

/// The modulus of the public key in a protector, if it has one: identifies the private key.
pub(super) struct Recipient<'a>(Option<&'a [u8]>);

impl<'a> Recipient<'a> {
    pub(super) fn of(protector: &'a KeyProtector) -> Self {
        let key = protector.public_key();
        Self(key.map(|key| without_zeros(&key.modulus)))
    }

    /// Whether a key with this modulus is the right one, or may be if the protector has no public key.
    pub(super) fn may_be(&self, modulus: &[u8]) -> bool {
        self.0.is_none_or(|own| own == without_zeros(modulus))
    }
}

/// A number without leading zeros: encoders differ in whether they write one.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Opens the protector with a function that decrypts bytes under a padding. The function returns `None`
/// if the bytes are not valid under that padding; an error ends the attempt.
pub(super) fn open_with(
    protector: &KeyProtector,
    mut decrypt: impl FnMut(Padding, &[u8]) -> Result<Option<SecretBytes>, Failure>,
) -> Answer {
    let Some(encrypted) = protector.wrapped_key() else {
        return Answer::Failed(Failure::new(
            Reason::DamagedProtector,
            "the protector has no key encrypted with a certificate",
        ));
    };
    let reversed: Vec<u8> = encrypted.iter().rev().copied().collect();
    for bytes in [encrypted, &reversed] {
        for padding in Padding::ALL {
            let message = match decrypt(padding, bytes) {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(failure) => return Answer::Failed(failure),
            };
            let Some(key) = intermediate_key(&message) else {
                continue;
            };
            if let Answer::Opened(vmk) = open_vmk(protector, key.expose()) {
                let order = if bytes == encrypted { "most" } else { "least" };
                tracing::info!(
                    "the key was padded with {}, {order} significant byte first",
                    padding.name()
                );
                return Answer::Opened(vmk);
            }
        }
    }
    Answer::Failed(
        Failure::new(
            Reason::UnknownPadding,
            "the private key belongs to the protector, but the decrypted key does not open it under any known padding",
        )
        .with_remedy("use another protector, such as the recovery password, and report this: no volume of Windows was available to test it"),
    )
}

/// The key in a decrypted message, which is the bare key or a KEY datum of any type.
fn intermediate_key(message: &SecretBytes) -> Option<IntermediateKey> {
    if message.len() == BARE_LEN {
        return IntermediateKey::from_slice(message.expose());
    }
    let datum = Datum::parse_one(message.expose()).ok()?;
    match datum.body {
        Body::Key(key) => IntermediateKey::from_slice(key.data.expose()),
        _ => None,
    }
}

/// The failure when none of the given private keys belongs to the protector's certificate.
pub(super) fn other_certificate(protector: &KeyProtector) -> Failure {
    let which = match protector.certificate() {
        Some(certificate) => format!(
            "it needs that of the certificate with the thumbprint {}",
            hex(&certificate.thumbprint)
        ),
        None => "it does not name its certificate".to_owned(),
    };
    Failure::new(
        Reason::OtherCertificate,
        format!("none of the private keys belongs to this protector; {which}"),
    )
    .with_remedy(Remedy::ShowCertificates)
}

/// Reads a certificate for a new protector. Of several in a file, it is the one whose private key is also
/// there, or else the first.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::BadCredential`] when it has no certificate.
pub fn read_certificate(path: &Path) -> Result<Certificate> {
    let content = crate::input::read(path, NAME)?;
    let bad = |why: String| Error::BadCredential {
        credential: "new certificate".to_owned(),
        why: format!("{}: {why}", path.shown()),
        remedy: Some(
            "give the certificate alone, as PEM or DER: the private key is not needed".into(),
        ),
    };
    let file = KeyFile::read(content.expose(), None).map_err(|error| bad(error.to_string()))?;
    file.own_certificate()
        .cloned()
        .ok_or_else(|| bad("it contains no certificate with an RSA key".to_owned()))
}

/// The error for a key file that cannot be used.
fn unusable(path: &Path, error: &KeyFileError) -> Error {
    let remedy = match error {
        KeyFileError::TakesPassword => Remedy::GiveCertificatePassword,
        KeyFileError::WrongPassword => {
            "give the password that was chosen when the file was exported".into()
        }
        _ => "give a PFX file from Windows or a PEM file from OpenSSL".into(),
    };
    Error::BadCredential {
        credential: NAME.to_owned(),
        why: format!("{}: {error}", path.shown()),
        remedy: Some(remedy),
    }
}
