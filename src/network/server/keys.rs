//! Certificates with their private keys: read from files, looked up by thumbprint.
//!
//! A file is whatever [`KeyFile`] reads. Which key belongs to which certificate is not taken from
//! names or order, but tried.

use std::collections::BTreeMap;
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

/// What a key file may be told with.
#[derive(Debug, Default)]
pub struct Files {
    /// Files, and directories whose files are all read.
    pub paths: Vec<PathBuf>,
    /// Tried on every file that takes a password, after the empty one.
    pub passwords: Vec<SecretText>,
    /// Take private keys that every user of this computer can read, too.
    pub accept_readable_keys: bool,
}

/// A certificate that can be served.
pub struct Served {
    /// The certificate.
    pub certificate: Certificate,
    /// Its private key.
    pub key: Box<dyn Decryptor>,
    /// Where it was found.
    pub file: PathBuf,
}

/// All certificates that can be served.
#[derive(Default)]
pub struct Keys(BTreeMap<Thumbprint, Served>);

impl Keys {
    /// Reads the files. Every certificate must have its key, and the other way round: what is left
    /// over is more likely a mistake than meant.
    ///
    /// # Errors
    /// [`Error::BadCredential`] for what is no such file, and for a private key that every user of
    /// this computer can read, unless that is accepted; [`Error::Io`] for what cannot be read.
    pub fn read(files: &Files) -> Result<Self> {
        let mut loose = Loose::default();
        for path in expand(&files.paths)? {
            loose.file(&path, &files.passwords)?;
        }
        if !files.accept_readable_keys {
            loose.refuse_readable_keys()?;
        }
        loose.join()
    }

    /// The certificate with this thumbprint.
    pub fn get(&self, thumbprint: &Thumbprint) -> Option<&Served> {
        self.0.get(thumbprint)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Served> {
        self.0.values()
    }

    /// Everything about the certificates that Windows may object to.
    pub fn doubts(&self, now: SystemTime) -> Vec<(&Served, Doubt)> {
        self.iter()
            .flat_map(|served| {
                let doubts = served.certificate.doubts(now);
                doubts.into_iter().map(move |doubt| (served, doubt))
            })
            .collect()
    }
}

/// The certificates in one file, with or without their keys.
pub fn certificates(path: &Path, files: &Files) -> Result<Vec<Certificate>> {
    let mut loose = Loose::default();
    loose.file(path, &files.passwords)?;
    Ok(loose
        .certificates
        .into_iter()
        .map(|(_, certificate)| certificate)
        .collect())
}

/// The files that these paths name; of directories, those whose names do not begin with a dot.
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

/// Certificates and keys as they are found, not yet joined.
#[derive(Default)]
struct Loose {
    certificates: Vec<(PathBuf, Certificate)>,
    keys: Vec<(PathBuf, AwsLc)>,
}

impl Loose {
    /// The certificates of a file and their keys; of several, those that are made for Network
    /// Unlock. Issuers' certificates are left out.
    fn file(&mut self, path: &Path, passwords: &[SecretText]) -> Result<()> {
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
        // What stands beside a key that serves may be for something else.
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
                    "it holds several keys, and none of their certificates is made for Network Unlock: {}",
                    list.join(", ")
                )));
            }
        }
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

    /// Whoever has such a key can ask for the keys of all volumes that were enrolled for it.
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

    /// Gives every certificate its key.
    fn join(self) -> Result<Keys> {
        let mut keys: Vec<_> = self.keys.into_iter().map(Some).collect();
        let mut joined = BTreeMap::new();
        for (file, certificate) in self.certificates {
            if joined.contains_key(&certificate.thumbprint()) {
                continue;
            }
            let fitting = keys
                .iter_mut()
                .find(|key| matches!(key, Some((_, key)) if fits(&certificate, key)));
            let Some((_, key)) = fitting.and_then(Option::take) else {
                return Err(Error::BadCredential {
                    credential: format!("certificate in {}", file.shown()),
                    why: format!(
                        "no private key fits the certificate {}",
                        certificate.thumbprint()
                    ),
                    remedy: Some("name the file with its key, too".into()),
                });
            };
            let served = Served {
                certificate,
                key: Box::new(key),
                file,
            };
            joined.insert(served.certificate.thumbprint(), served);
        }
        // The key of a certificate that came twice is no stranger.
        let stranger = keys
            .iter()
            .flatten()
            .find(|(_, key)| !joined.values().any(|served| fits(&served.certificate, key)));
        match stranger {
            Some((file, _)) => Err(Error::bad_credential(
                format!("key file {}", file.shown()),
                "no certificate fits its private key",
            )),
            None => Ok(Keys(joined)),
        }
    }
}

/// Whether the key opens what is sealed to the certificate.
fn fits(certificate: &Certificate, key: &AwsLc) -> bool {
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

/// What a file holds, with whichever of the passwords opens it.
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
            "none of the passwords opens it".to_owned(),
            Remedy::GiveKeyFilePassword,
        ),
        other => bad(
            other.to_string(),
            "'openssl pkcs12 -in FILE -out FILE.pem -nodes' makes PEM of other PKCS#12 files"
                .into(),
        ),
    })
}

/// A private key in the hands of AWS-LC, which decrypts in constant time.
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
        let mut room = Zeroizing::new([0; SealedRequest::LEN]);
        let content = self.0.decrypt(block, &mut room[..]).ok()?;
        Some(SecretBytes::new(content.to_vec()))
    }
}
