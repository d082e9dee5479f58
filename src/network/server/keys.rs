//! Certificates with their private keys: read from files, looked up by thumbprint.
//!
//! A file is PKCS#12 (`.pfx`), DER, or PEM with certificates, keys or both. Which key belongs to
//! which certificate is not taken from names or order, but tried.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::rsa::{Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
use p12_keystore::error::Error as Pkcs12Error;
use p12_keystore::{KeyStore as Pkcs12, KeyStoreEntry, Pkcs12ImportPolicy};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::network::certificate::{self, Certificate, Doubt, MAX_FILE};
use crate::network::crypto::{Decryptor, open_request, seal_request};
use crate::network::message::{KeyProtector, Thumbprint};
use crate::secret::{NetworkKey, SecretBytes, SecretText};

/// What a key file may be told with.
#[derive(Debug, Default)]
pub struct Files {
    /// Files, and directories whose files are all read.
    pub paths: Vec<PathBuf>,
    /// Tried on every PKCS#12 file, after the empty password.
    pub passwords: Vec<SecretText>,
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
    pub fn read(files: &Files) -> Result<Self> {
        let mut loose = Loose::default();
        for path in expand(&files.paths)? {
            loose.file(&path, &files.passwords)?;
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
        let failed = |error| {
            Error::io(
                format!("cannot read the directory {}", path.display()),
                error,
            )
        };
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
    fn file(&mut self, path: &Path, passwords: &[SecretText]) -> Result<()> {
        let bad = |why: String, help: Option<&str>| Error::BadCredential {
            credential: format!("key file {}", path.display()),
            why,
            help: help.map(str::to_owned),
        };
        let content = read(path)?;
        if content.is_empty() {
            return Err(bad("it is empty".to_owned(), None));
        }
        if content.first() != Some(&0x30) {
            return self.pem(path, &content);
        }
        if let Ok(certificate) = Certificate::from_der(&content) {
            self.certificates.push((path.to_owned(), certificate));
            return Ok(());
        }
        if let Some(key) = AwsLc::from_pkcs8(&content) {
            self.keys.push((path.to_owned(), key));
            return Ok(());
        }
        let store = open_pkcs12(&content, passwords).map_err(|fault| match fault {
            Pkcs12Fault::Password => bad(
                "none of the passwords opens it".to_owned(),
                Some("name the file with its password by --pfx-password-file"),
            ),
            Pkcs12Fault::Other(what) => bad(
                format!(
                    "it is neither a certificate, nor a PKCS#8 key, nor a PKCS#12 file that can be read ({what})"
                ),
                Some("'openssl pkcs12 -in FILE -out FILE.pem -nodes' makes PEM of other PKCS#12 files"),
            ),
        })?;
        self.pkcs12(path, &store)
    }

    fn pem(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        let bad = |why: &str, help: Option<&str>| Error::BadCredential {
            credential: format!("key file {}", path.display()),
            why: why.to_owned(),
            help: help.map(str::to_owned),
        };
        let mut found = 0;
        for block in certificate::pem_blocks(content) {
            let (label, bytes) = block.map_err(|_| bad("its PEM armour is broken", None))?;
            let bytes = Zeroizing::new(bytes);
            found += 1;
            let key = match label.as_str() {
                "CERTIFICATE" => {
                    let certificate = Certificate::from_der(&bytes)
                        .map_err(|error| bad(&error.to_string(), None))?;
                    self.certificates.push((path.to_owned(), certificate));
                    continue;
                }
                "PRIVATE KEY" => AwsLc::from_pkcs8(&bytes),
                "RSA PRIVATE KEY" => AwsLc::from_pkcs8(&pkcs8_of_pkcs1(&bytes)),
                "ENCRYPTED PRIVATE KEY" => {
                    return Err(bad(
                        "its key is encrypted, which is read in PKCS#12 files only",
                        Some(
                            "make a PKCS#12 file of it, or let systemd keep it encrypted (LoadCredentialEncrypted=)",
                        ),
                    ));
                }
                _ => continue,
            };
            let key = key.ok_or_else(|| bad("its key is not an RSA key of 2048 bits", None))?;
            self.keys.push((path.to_owned(), key));
        }
        match found {
            0 => Err(bad("it is neither PEM, nor DER, nor PKCS#12", None)),
            _ => Ok(()),
        }
    }

    /// All chains whose certificate is made for Network Unlock; if none is, the only one.
    fn pkcs12(&mut self, path: &Path, store: &Pkcs12) -> Result<()> {
        let bad = |why: String| Error::bad_credential(format!("key file {}", path.display()), why);
        let mut found = Vec::new();
        let mut others = Vec::new();
        for (_, entry) in store.entries() {
            let KeyStoreEntry::PrivateKeyChain(chain) = entry else {
                continue;
            };
            let Some(first) = chain.certs().first() else {
                continue;
            };
            match Certificate::from_der(first.as_der()) {
                Ok(certificate) => found.push((certificate, chain.key())),
                Err(error) => others.push(error.to_string()),
            }
        }
        if found.len() > 1 {
            let fit = |(certificate, _): &(Certificate, _)| certificate.is_for_network_unlock();
            if !found.iter().any(fit) {
                let list: Vec<_> = found
                    .iter()
                    .map(|(certificate, _)| certificate.thumbprint().to_string())
                    .collect();
                return Err(bad(format!(
                    "it holds several keys, and none of their certificates is made for Network Unlock: {}",
                    list.join(", ")
                )));
            }
            found.retain(fit);
        }
        if found.is_empty() {
            let why = others
                .pop()
                .unwrap_or_else(|| "it holds no private key with a certificate".to_owned());
            return Err(bad(why));
        }
        for (certificate, key) in found {
            let key = AwsLc::from_pkcs8(key.as_der())
                .ok_or_else(|| bad("its key is not an RSA key of 2048 bits".to_owned()))?;
            self.certificates.push((path.to_owned(), certificate));
            self.keys.push((path.to_owned(), key));
        }
        Ok(())
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
                    credential: format!("certificate in {}", file.display()),
                    why: format!(
                        "no private key fits the certificate {}",
                        certificate.thumbprint()
                    ),
                    help: Some("name the file with its key, too".to_owned()),
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
                format!("key file {}", file.display()),
                "no certificate fits its private key",
            )),
            None => Ok(Keys(joined)),
        }
    }
}

/// Whether the key opens what is sealed to the certificate.
fn fits(certificate: &Certificate, key: &AwsLc) -> bool {
    let network = NetworkKey::from_bytes(&[0xA5; NetworkKey::LEN]);
    let Ok((sealed, session)) = seal_request(certificate.key(), &network) else {
        return false;
    };
    open_request(key, &sealed).is_some_and(|keys| {
        keys.network.expose() == network.expose() && keys.session.expose() == session.expose()
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
    let mut content = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE)
        .read_to_end(&mut content)
        .map_err(failed)?;
    Ok(content)
}

enum Pkcs12Fault {
    Password,
    Other(String),
}

fn open_pkcs12(content: &[u8], passwords: &[SecretText]) -> Result<Pkcs12, Pkcs12Fault> {
    let given = passwords.iter().map(SecretText::expose);
    let mut fault = Pkcs12Fault::Password;
    for password in std::iter::once("").chain(given) {
        match Pkcs12::from_pkcs12(content, password, Pkcs12ImportPolicy::Relaxed) {
            Ok(store) => return Ok(store),
            Err(Pkcs12Error::MacError(_)) => {}
            Err(other) => fault = Pkcs12Fault::Other(other.to_string()),
        }
    }
    Err(fault)
}

/// A PKCS#1 key in the PKCS#8 form that the library takes (RFC 5958).
fn pkcs8_of_pkcs1(key: &[u8]) -> Zeroizing<Vec<u8>> {
    // Version 0, and the algorithm rsaEncryption with its NULL.
    const HEAD: &[u8] = &[
        2, 1, 0, 0x30, 13, 6, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1, 5, 0,
    ];
    // Both lengths in two bytes, as keys of 2048 bits take it; others are refused anyhow.
    let long = |tag: u8, len: usize| [tag, 0x82, (len >> 8) as u8, len as u8];
    let mut der = Zeroizing::new(Vec::with_capacity(key.len() + 32));
    der.extend(long(0x30, HEAD.len() + 4 + key.len()));
    der.extend(HEAD);
    der.extend(long(4, key.len()));
    der.extend(key);
    der
}

/// A private key in the hands of AWS-LC, which decrypts in constant time.
struct AwsLc(Pkcs1PrivateDecryptingKey);

impl AwsLc {
    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let key = PrivateDecryptingKey::from_pkcs8(der).ok()?;
        if key.key_size_bytes() != KeyProtector::LEN {
            return None;
        }
        Pkcs1PrivateDecryptingKey::new(key).ok().map(Self)
    }
}

impl Decryptor for AwsLc {
    fn decrypt(&self, block: &[u8; KeyProtector::LEN]) -> Option<SecretBytes> {
        let mut room = Zeroizing::new([0; KeyProtector::LEN]);
        let content = self.0.decrypt(block, &mut room[..]).ok()?;
        Some(SecretBytes::new(content.to_vec()))
    }
}
