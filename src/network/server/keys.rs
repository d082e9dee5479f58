//! The certificates that the server answers for, with their private keys, read from files.
//!
//! [`KeyFile`] lists the file formats. A certificate and its key may be in different files: a key is
//! matched by decrypting what was encrypted to the certificate, not by file names or order.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::rsa::{Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
use zeroize::Zeroizing;

use crate::crypto::rsa_key::{KeyFile, KeyFileError};
use crate::error::{Error, Remedy, Result};
use crate::network::certificate::{Certificate, Doubt, MAX_FILE};
use crate::network::crypto::{Decryptor, open_request, seal_request};
use crate::network::message::{SealedRequest, Thumbprint};
use crate::secret::others_can_read;
use crate::secret::{NetworkKey, SecretBytes, SecretText};
use crate::shown::ShowPath;

/// Files with certificates and private keys, and how to read them.
#[derive(Debug, Default)]
pub struct KeyFiles {
    paths: Vec<PathBuf>,
    passwords: Vec<SecretText>,
    accept_readable_keys: bool,
}

impl KeyFiles {
    /// These files. Of a directory, every file whose name does not begin with a dot is read.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            ..Self::default()
        }
    }

    /// Passwords to try on every encrypted file, after the empty password.
    pub fn passwords(mut self, passwords: Vec<SecretText>) -> Self {
        self.passwords = passwords;
        self
    }

    /// Whether to accept private keys in files that every user of this computer can read. Default:
    /// no.
    pub fn accept_readable_keys(mut self, accept: bool) -> Self {
        self.accept_readable_keys = accept;
        self
    }
}

/// A certificate that the server answers for.
#[non_exhaustive]
pub struct ServedCertificate {
    /// The certificate that clients name in their requests.
    pub certificate: Certificate,
    /// Its private key.
    pub key: Box<dyn Decryptor>,
    /// The file that the certificate was read from.
    pub file: PathBuf,
}

/// Without the private key.
impl fmt::Debug for ServedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedCertificate")
            .field("certificate", &self.certificate)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// All certificates that the server answers for, by thumbprint.
#[derive(Debug, Default)]
pub struct ServedCertificates(BTreeMap<Thumbprint, ServedCertificate>);

impl ServedCertificates {
    /// Reads the files. A certificate without its key, or a key without its certificate, is an
    /// error: a file was probably forgotten.
    ///
    /// # Errors
    /// [`Error::BadCredential`] for a file that is not a key file, for an unmatched certificate or
    /// key, and for a private key that every user of this computer can read, unless that is
    /// accepted; [`Error::Io`] for a file that cannot be read.
    pub fn read(files: &KeyFiles) -> Result<Self> {
        let mut unmatched = Unmatched::default();
        for path in expand(&files.paths)? {
            unmatched.add_file(&path, &files.passwords)?;
        }
        if !files.accept_readable_keys {
            unmatched.refuse_readable_keys()?;
        }
        unmatched.match_keys()
    }

    /// The certificate with this thumbprint.
    pub fn get(&self, thumbprint: &Thumbprint) -> Option<&ServedCertificate> {
        self.0.get(thumbprint)
    }

    /// All certificates, in the order of their thumbprints.
    pub fn iter(&self) -> impl Iterator<Item = &ServedCertificate> {
        self.0.values()
    }

    /// What Windows may object to at time `now`, for each certificate.
    pub fn doubts(&self, now: SystemTime) -> Vec<(&ServedCertificate, Doubt)> {
        self.iter()
            .flat_map(|served| {
                let doubts = served.certificate.doubts(now);
                doubts.into_iter().map(move |doubt| (served, doubt))
            })
            .collect()
    }
}

/// The certificates in the file at `path`, whether or not their private keys are in it. Of `files`,
/// only the passwords are used.
///
/// # Errors
/// [`Error::BadCredential`] for a file that is not a key file; [`Error::Io`] if it cannot be read.
pub fn read_certificates(path: &Path, files: &KeyFiles) -> Result<Vec<Certificate>> {
    let mut unmatched = Unmatched::default();
    unmatched.add_file(path, &files.passwords)?;
    Ok(unmatched
        .certificates
        .into_iter()
        .map(|(_, certificate)| certificate)
        .collect())
}

/// The files that these paths name. A directory stands for the files in it, sorted by name, without
/// those whose names begin with a dot.
fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let failed =
            |error| Error::io(format!("cannot read the directory {}", path.shown()), error);
        let mut inside = Vec::new();
        for entry in path.read_dir().map_err(failed)? {
            let entry = entry.map_err(failed)?.path();
            let hidden = entry
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if entry.is_file() && !hidden {
                inside.push(entry);
            }
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

/// Certificates and keys that are not matched yet, each with its file.
#[derive(Default)]
struct Unmatched {
    certificates: Vec<(PathBuf, Certificate)>,
    keys: Vec<(PathBuf, AwsLc)>,
}

impl Unmatched {
    /// Adds the certificates of a file and their keys. If there are several, only those that were
    /// made for Network Unlock. Issuers' certificates are left out.
    fn add_file(&mut self, path: &Path, passwords: &[SecretText]) -> Result<()> {
        let bad = |why: String| Error::bad_credential(format!("key file {}", path.shown()), why);
        let content = read(path)?;
        if content.is_empty() {
            return Err(bad("it is empty".to_owned()));
        }
        let file = open(path, &content, passwords)?;
        let mut keys: Vec<_> = file.keys.iter().collect();
        let (mut certificates, mut faults) = (Vec::new(), Vec::new());
        for own in file.own_certificates() {
            match Certificate::from_der(&own.der) {
                Ok(certificate) => certificates.push(certificate),
                Err(fault) => faults.push(fault),
            }
        }
        // An unusable certificate is an error only if it is the file's purpose: no other one is
        // usable, or there is only one key. Otherwise it may be for another service.
        if let Some(fault) = faults.pop()
            && (certificates.is_empty() || keys.len() == 1)
        {
            return Err(bad(fault.to_string()));
        }
        if keys.len() > 1 && certificates.len() > 1 {
            let list: Vec<_> = certificates
                .iter()
                .map(|certificate| certificate.thumbprint().to_string())
                .collect();
            certificates.retain(Certificate::is_for_network_unlock);
            if certificates.is_empty() {
                return Err(bad(format!(
                    "it holds several keys, and none of their certificates was made for Network Unlock: {}",
                    list.join(", ")
                )));
            }
        }
        // Keys of certificates that were left out are left out, too.
        if file.own_certificates().count() > certificates.len() {
            keys.retain(|key| {
                let public = key.public();
                certificates.iter().any(|one| *one.key() == public)
            });
        }
        for key in keys {
            let der = key.to_pkcs8();
            let key = der.and_then(|der| AwsLc::from_pkcs8(der.expose()));
            let key =
                key.ok_or_else(|| bad("its key is not an RSA key of 2048 bits".to_owned()))?;
            self.keys.push((path.to_owned(), key));
        }
        let found = certificates.into_iter();
        self.certificates
            .extend(found.map(|certificate| (path.to_owned(), certificate)));
        Ok(())
    }

    /// Refuses key files that every user of this computer can read: with a private key, the key of
    /// every volume that was enrolled for it can be obtained.
    fn refuse_readable_keys(&self) -> Result<()> {
        match self.keys.iter().find(|(path, _)| others_can_read(path)) {
            Some((path, _)) => Err(Error::BadCredential {
                credential: format!("key file {}", path.shown()),
                why: "every user of this computer can read its private key".to_owned(),
                remedy: Some(format!("run 'chmod 600 {}'", path.shown()).into()),
            }),
            None => Ok(()),
        }
    }

    /// Finds the key of every certificate.
    fn match_keys(self) -> Result<ServedCertificates> {
        let mut keys: Vec<_> = self.keys.into_iter().map(Some).collect();
        let mut matched = BTreeMap::new();
        for (file, certificate) in self.certificates {
            if matched.contains_key(&certificate.thumbprint()) {
                continue;
            }
            let key = keys
                .iter_mut()
                .find(|key| matches!(key, Some((_, key)) if is_key_of(key, &certificate)));
            let Some((_, key)) = key.and_then(Option::take) else {
                return Err(Error::BadCredential {
                    credential: format!("certificate in {}", file.shown()),
                    why: format!(
                        "no private key matches the certificate {}",
                        certificate.thumbprint()
                    ),
                    remedy: Some("name the file with its private key, too".into()),
                });
            };
            let served = ServedCertificate {
                certificate,
                key: Box::new(key),
                file,
            };
            matched.insert(served.certificate.thumbprint(), served);
        }
        // A key that is left over because its certificate was read twice is not an error.
        let unmatched = keys.iter().flatten().find(|(_, key)| {
            !matched
                .values()
                .any(|served: &ServedCertificate| is_key_of(key, &served.certificate))
        });
        match unmatched {
            Some((file, _)) => Err(Error::bad_credential(
                format!("key file {}", file.shown()),
                "no certificate matches its private key",
            )),
            None => Ok(ServedCertificates(matched)),
        }
    }
}

/// Whether the key decrypts what is encrypted to the certificate.
fn is_key_of(key: &AwsLc, certificate: &Certificate) -> bool {
    let network = NetworkKey::from_bytes(&[0xA5; NetworkKey::LEN]);
    let Ok((sealed, session)) = seal_request(certificate, &network) else {
        return false;
    };
    open_request(key, &sealed).is_some_and(|keys| {
        keys.network.expose() == network.expose() && keys.session.expose() == session.expose()
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |error| Error::io(format!("cannot read {}", path.shown()), error);
    let mut content = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE)
        .read_to_end(&mut content)
        .map_err(failed)?;
    Ok(content)
}

/// The content of a key file, decrypted with the first password that fits.
fn open(path: &Path, content: &[u8], passwords: &[SecretText]) -> Result<KeyFile> {
    let bad = |why: String, remedy: Remedy| Error::BadCredential {
        credential: format!("key file {}", path.shown()),
        why,
        remedy: Some(remedy),
    };
    let mut read = KeyFile::read(content, None);
    for password in passwords {
        match read {
            Err(KeyFileError::TakesPassword | KeyFileError::WrongPassword) => {
                read = KeyFile::read(content, Some(password));
            }
            _ => break,
        }
    }
    read.map_err(|fault| match fault {
        KeyFileError::TakesPassword | KeyFileError::WrongPassword => bad(
            "none of the passwords decrypts it".to_owned(),
            Remedy::GiveKeyFilePassword,
        ),
        other => bad(
            other.to_string(),
            "for PKCS#12 files of another kind, run 'openssl pkcs12 -in FILE -out FILE.pem -nodes'"
                .into(),
        ),
    })
}

/// A private key for AWS-LC, which decrypts in constant time.
struct AwsLc(Pkcs1PrivateDecryptingKey);

impl AwsLc {
    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let key = PrivateDecryptingKey::from_pkcs8(der).ok()?;
        if key.key_size_bytes() != SealedRequest::LEN {
            return None;
        }
        Pkcs1PrivateDecryptingKey::new(key).ok().map(Self)
    }
}

impl Decryptor for AwsLc {
    fn decrypt(&self, block: &[u8; SealedRequest::LEN]) -> Option<SecretBytes> {
        let mut buffer = Zeroizing::new([0; SealedRequest::LEN]);
        let content = self.0.decrypt(block, &mut buffer[..]).ok()?;
        Some(SecretBytes::new(content.to_vec()))
    }
}
