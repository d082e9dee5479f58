//! The sidecar file, which the client needs besides the volume: requests, each with the session key that
//! decrypts its reply (docs/format-network-unlock.md §9).
//!
//! A request contains the network key, which is unknown while the volume is locked. So requests are
//! made in advance, and each is sent once. Anyone who can read the file, and can reach the server or
//! has recorded an exchange, can obtain the volume's external key.
//!
//! A sidecar is a JSON document that only its owner may read:
//!
//! | key | value |
//! |---|---|
//! | `fve_network_unlock` | version of the format: 1 |
//! | `mode` | `network`: the network key is the protector's external key |
//! | `volume`, `protector` | the identifiers (GUIDs) of the volume and of the key protector |
//! | `certificate` | the server's certificate, DER in hexadecimal |
//! | `requests` | a list of `key_protector` (256 bytes) and `session_key` (32 bytes) in hexadecimal, and `state`: `unused` or `sent` |

use std::fmt::Write;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::{Error, Remedy, Result};
use crate::guid::Guid;
use crate::network::certificate::Certificate;
use crate::network::crypto::seal_request;
use crate::network::{Request, SealedRequest};
use crate::secret::{NetworkKey, SecretBytes, SessionKey};
use crate::shown::ShowPath;
use crate::unlock::raw_key::from_hex;

/// The directory of sidecars, unless another path is given.
pub const DIRECTORY: &str = "/etc/fve/network";

/// How many unused requests a full stock has. More than one, so that the volume can still be unlocked
/// after a start that lost power before the stock was refilled. The number is a choice of this library.
pub const STOCK: usize = 4;

/// The version of the format, and the only mode that it has.
const VERSION: u32 = 1;
const MODE: &str = "network";
/// The longest certificate, in bytes. With a key of 2048 bits it has 1 to 2 KiB.
const MAX_CERTIFICATE: usize = 16 * 1024;
/// The greatest number of requests that is read; a file has [`STOCK`].
const MAX_REQUESTS: usize = 256;

const NAME: &str = "Network Unlock";

/// The content of a sidecar file: the requests of a volume that were not sent yet, and those that were.
#[derive(Debug)]
pub struct Sidecar {
    volume: Guid,
    protector: Guid,
    certificate: Certificate,
    requests: Vec<StockedRequest>,
}

/// A request of the file, with its session key.
#[derive(Debug)]
struct StockedRequest {
    key_protector: SealedRequest,
    session_key: SessionKey,
    sent: bool,
}

/// A request that was taken from the file to be sent.
#[derive(Debug)]
#[non_exhaustive]
pub struct TakenRequest {
    /// The request, ready to be sent.
    pub request: Request,
    /// The key that decrypts its reply.
    pub session_key: SessionKey,
    /// Whether it was sent before, because no unused request was left.
    pub sent_before: bool,
}

#[derive(Deserialize)]
struct Document<'a> {
    fve_network_unlock: u32,
    mode: &'a str,
    volume: &'a str,
    protector: &'a str,
    certificate: &'a str,
    #[serde(borrow)]
    requests: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    key_protector: &'a str,
    session_key: &'a str,
    state: &'a str,
}

impl Sidecar {
    /// The content of a new sidecar file, with [`STOCK`] requests.
    ///
    /// # Errors
    /// [`Error::Environment`] if the operating system provides no random numbers.
    pub fn new(
        volume: Guid,
        protector: Guid,
        certificate: Certificate,
        key: &NetworkKey,
    ) -> Result<Self> {
        let mut sidecar = Self {
            volume,
            protector,
            certificate,
            requests: Vec::new(),
        };
        sidecar.refill(key)?;
        Ok(sidecar)
    }

    /// The name of a volume's file in [`DIRECTORY`].
    pub fn file_name(volume: Guid) -> String {
        format!("{volume:X}.nkp")
    }

    /// The identifier of the volume.
    pub fn volume(&self) -> Guid {
        self.volume
    }

    /// The identifier of the external-key protector that the network unlocks.
    pub fn protector(&self) -> Guid {
        self.protector
    }

    /// The server's certificate, with which the requests were encrypted.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// How many requests were never sent.
    pub fn unused(&self) -> usize {
        self.requests.iter().filter(|one| !one.sent).count()
    }

    /// Marks the next request as sent and returns it. If all were sent, the one that was sent longest
    /// ago: otherwise, after a few attempts without an answer, the volume could never be unlocked
    /// again. `None` if the stock is empty.
    pub fn take(&mut self) -> Option<TakenRequest> {
        let thumbprint = self.certificate.thumbprint();
        let next = self.requests.iter().position(|one| !one.sent).unwrap_or(0);
        if next >= self.requests.len() {
            return None;
        }
        // Moved to the end, so that the request that was sent longest ago comes first.
        let mut taken = self.requests.remove(next);
        let sent_before = std::mem::replace(&mut taken.sent, true);
        let out = TakenRequest {
            request: Request {
                thumbprint,
                key_protector: taken.key_protector.clone(),
            },
            session_key: SessionKey::from_bytes(taken.session_key.expose()),
            sent_before,
        };
        self.requests.push(taken);
        Some(out)
    }

    /// Replaces the requests that were sent with new ones.
    ///
    /// # Errors
    /// [`Error::Environment`] if the operating system provides no random numbers.
    pub fn refill(&mut self, key: &NetworkKey) -> Result<()> {
        self.requests.retain(|one| !one.sent);
        while self.requests.len() < STOCK {
            let made = seal_request(&self.certificate, key);
            let (key_protector, session_key) = made.map_err(|_| Error::Environment {
                what: "the operating system provides no random numbers".to_owned(),
                remedy: None,
            })?;
            self.requests.push(StockedRequest {
                key_protector,
                session_key,
                sent: false,
            });
        }
        Ok(())
    }

    /// Parses the content of a file.
    ///
    /// # Errors
    /// [`Error::BadCredential`] with the reason why it cannot be used.
    pub fn parse(content: &[u8]) -> Result<Self> {
        Self::read(content).map_err(|why| Error::BadCredential {
            credential: NAME.to_owned(),
            why: format!("the sidecar cannot be used: {why}"),
            remedy: Some(Remedy::ReplaceNetworkProtector),
        })
    }

    fn read(content: &[u8]) -> Result<Self, String> {
        // Without the message of the JSON parser, which could quote a session key.
        let document: Document<'_> = serde_json::from_slice(content)
            .map_err(|error| format!("line {} is malformed", error.line()))?;
        if document.fve_network_unlock != VERSION || document.mode != MODE {
            return Err(format!(
                "unknown format {} with mode {}",
                document.fve_network_unlock, document.mode
            ));
        }
        let id = |text: &str| {
            let id: Result<Guid, _> = text.parse();
            id.map_err(|_| "an identifier is malformed".to_owned())
        };
        let hex = |text: &str| from_hex(text.as_bytes()).ok_or("hexadecimal digits are malformed");
        if document.certificate.len() > 2 * MAX_CERTIFICATE {
            return Err("its certificate is too long".to_owned());
        }
        if document.requests.len() > MAX_REQUESTS {
            return Err("it holds too many requests".to_owned());
        }
        let certificate = Certificate::from_der(hex(document.certificate)?.expose())
            .map_err(|error| format!("its certificate: {error}"))?;
        let mut requests = Vec::with_capacity(document.requests.len());
        for entry in &document.requests {
            let key_protector = hex(entry.key_protector)?;
            let key_protector = key_protector
                .expose()
                .try_into()
                .map(SealedRequest::from_bytes);
            let session_key = SessionKey::from_slice(hex(entry.session_key)?.expose());
            let (Ok(key_protector), Some(session_key)) = (key_protector, session_key) else {
                return Err("a request has a wrong length".to_owned());
            };
            requests.push(StockedRequest {
                key_protector,
                session_key,
                sent: match entry.state {
                    "unused" => false,
                    "sent" => true,
                    _ => return Err("a request has an unknown state".to_owned()),
                },
            });
        }
        Ok(Self {
            volume: id(document.volume)?,
            protector: id(document.protector)?,
            certificate,
            requests,
        })
    }

    /// The content of the file.
    pub fn encode(&self) -> SecretBytes {
        // Large enough from the start: a string that grows leaves copies of the keys in memory.
        let capacity = 1024 + 2 * self.certificate.der().len() + self.requests.len() * 1024;
        let mut text = Zeroizing::new(String::with_capacity(capacity));
        // Writing to a string cannot fail; nothing in it needs escapes.
        let _ = write!(
            text,
            "{{\n  \"fve_network_unlock\": {VERSION},\n  \"mode\": \"{MODE}\",\n  \"volume\": \"{:X}\",\n  \"protector\": \"{:X}\",\n  \"certificate\": \"",
            self.volume, self.protector
        );
        put_hex(&mut text, self.certificate.der());
        text.push_str("\",\n  \"requests\": [");
        for (number, one) in self.requests.iter().enumerate() {
            text.push_str(if number == 0 { "\n" } else { ",\n" });
            text.push_str("    { \"key_protector\": \"");
            put_hex(&mut text, one.key_protector.as_bytes());
            text.push_str("\",\n      \"session_key\": \"");
            put_hex(&mut text, one.session_key.expose());
            let state = if one.sent { "sent" } else { "unused" };
            let _ = write!(text, "\", \"state\": \"{state}\" }}");
        }
        text.push_str("\n  ]\n}\n");
        SecretBytes::new(text.as_bytes().to_vec())
    }
}

fn put_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
}

/// The file of a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarFile(PathBuf);

impl SidecarFile {
    /// The one at that path; in a directory, the one that is named after the volume.
    pub fn at(path: &Path, volume: Guid) -> Self {
        if path.is_dir() {
            return Self(path.join(Sidecar::file_name(volume)));
        }
        Self(path.to_owned())
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether it exists.
    pub fn exists(&self) -> bool {
        self.0.exists()
    }

    /// Reads it.
    ///
    /// # Errors
    /// As [`Sidecar::parse`]; [`Error::Io`] if it cannot be read.
    pub fn load(&self) -> Result<Sidecar> {
        Sidecar::parse(crate::input::read(&self.0, NAME)?.expose())
    }

    /// Reads, changes and replaces the file while holding a lock. After a power failure, the file has
    /// either its old or its new content. When this returns, the new content is on stable storage.
    ///
    /// # Errors
    /// As [`SidecarFile::load`]; [`Error::Io`] if it cannot be written.
    pub fn change<T>(&self, change: impl FnOnce(&mut Sidecar) -> Result<T>) -> Result<T> {
        let fail = |source| {
            let what = format!("cannot write the sidecar {}", self.0.shown());
            Error::io(what, source)
        };
        let directory = self.directory().map_err(fail)?;
        rustix::fs::flock(&directory, FlockOperation::LockExclusive)
            .map_err(|errno| fail(errno.into()))?;
        let mut sidecar = self.load()?;
        let out = change(&mut sidecar)?;
        crate::output::replace(&self.0, sidecar.encode().expose()).map_err(fail)?;
        Ok(out)
    }

    fn directory(&self) -> io::Result<File> {
        match self.0.parent() {
            Some(parent) if parent != Path::new("") => File::open(parent),
            _ => File::open("."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &[u8] = include_bytes!("../../../tests/network/test.cer");

    fn sidecar() -> Sidecar {
        let certificate = Certificate::parse(CERTIFICATE).unwrap();
        let id = |byte| Guid::from_disk([byte; 16]);
        let key = NetworkKey::from_bytes(&[7; 32]);
        Sidecar::new(id(1), id(2), certificate, &key).unwrap()
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let mut one = sidecar();
        one.take().unwrap();
        let again = Sidecar::parse(one.encode().expose()).unwrap();
        assert_eq!(again.encode().expose(), one.encode().expose());
        assert_eq!(
            (again.volume(), again.protector()),
            (one.volume(), one.protector())
        );
        assert_eq!(again.unused(), STOCK - 1);
    }

    #[test]
    fn takes_every_request_once_before_any_twice() {
        let mut one = sidecar();
        let blocks: Vec<_> = (0..STOCK)
            .map(|_| one.take().unwrap())
            .map(|taken| (taken.sent_before, taken.request.key_protector))
            .collect();
        assert!(blocks.iter().all(|(sent_before, _)| !sent_before));
        for (number, (_, block)) in blocks.iter().enumerate() {
            assert!(blocks[..number].iter().all(|(_, other)| other != block));
        }
        let again = one.take().unwrap();
        assert!(again.sent_before && again.request.key_protector == blocks[0].1);
        one.refill(&NetworkKey::from_bytes(&[7; 32])).unwrap();
        assert_eq!(one.unused(), STOCK);
        assert!(!one.take().unwrap().sent_before);
    }

    #[test]
    fn refuses_damaged_content_without_quoting_it() {
        let good = String::from_utf8(sidecar().encode().expose().to_vec()).unwrap();
        for (from, to) in [
            ("\"fve_network_unlock\": 1", "\"fve_network_unlock\": 2"),
            ("\"mode\": \"network\"", "\"mode\": \"network+tpm\""),
            ("\"state\": \"unused\"", "\"state\": \"fresh\""),
            ("\"session_key\": \"", "\"session_key\": \"00"),
            ("\"key_protector\": \"", "\"key_protector\": \"zz"),
            ("\"volume\": \"", "\"volume\": \"x"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(Sidecar::parse(bad.as_bytes()).is_err(), "{from}");
        }
        for cut in (0..good.len() - 2).step_by(97) {
            let error = Sidecar::parse(&good.as_bytes()[..cut]).unwrap_err();
            assert!(error.to_string().len() < 120, "{error}");
        }
    }

    #[test]
    fn replaces_the_file_in_one_step_and_keeps_it_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = SidecarFile::at(directory.path(), Guid::from_disk([1; 16]));
        assert!(!file.exists());
        std::fs::write(file.path(), sidecar().encode().expose()).unwrap();
        file.change(|sidecar| Ok(sidecar.take().map(drop))).unwrap();
        assert_eq!(file.load().unwrap().unused(), STOCK - 1);
        let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
