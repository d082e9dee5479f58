//! The checkpoint of a search for a recovery password, from which a later run continues.
//!
//! The file contains no digit of the password. It has the shape of the pattern (which digits are
//! known), and 16 bits of a salted hash of the pattern, so that a pattern with a different digit is
//! detected in 65535 of 65536 cases. For someone who finds the file, these 16 bits reduce the 128
//! bits of the password to 112.
//!
//! Keys of the JSON document: `what` (`fve recovery search`), `version` (1), `volume`,
//! `protectors`, `way`, `shape`, `candidates`, `salt`, `check`, `next`.

use std::path::{Path, PathBuf};

use fve::error::Error;
use fve::secret::SecretText;
use fve::shown::ShowPath;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;

const WHAT: &str = "fve recovery search";
/// Must be increased whenever the order in which candidates are tried changes: `next` is a number
/// in that order.
const VERSION: u32 = 1;
/// In bytes. More than any checkpoint needs: a few hundred bytes, and 36 for each key protector.
const MAX_LEN: u64 = 1 << 16;

/// Identifies a search. A checkpoint with other values belongs to another search, and is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SearchIdentity {
    /// Identifier of the volume.
    pub(crate) volume: String,
    /// Identifiers of the key protectors that are tried.
    pub(crate) protectors: Vec<String>,
    /// How candidates are made: `pattern`, `near`, `any-order`.
    pub(crate) way: String,
    /// Which digits are known and which are not, as
    /// [`PasswordCheck::shape`](fve::recovery_password::PasswordCheck::shape) writes it.
    pub(crate) shape: String,
    /// Number of candidates, in decimal.
    pub(crate) candidates: String,
}

#[derive(Serialize, Deserialize)]
struct Document {
    what: String,
    version: u32,
    #[serde(flatten)]
    about: SearchIdentity,
    salt: [u8; 16],
    check: [u8; 2],
    next: u64,
}

/// An open checkpoint.
pub(crate) struct Checkpoint {
    path: PathBuf,
    document: Document,
}

impl Checkpoint {
    /// Opens the checkpoint at `path`, or creates one for a search that starts at the first
    /// candidate.
    pub(crate) fn open(
        path: &Path,
        about: SearchIdentity,
        pattern: &SecretText,
    ) -> Result<Self, Failure> {
        let fail = |error| Error::io(format!("cannot read {}", path.shown()), error);
        match path.metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut salt = [0; 16];
                getrandom::fill(&mut salt).map_err(|error| fail(std::io::Error::other(error)))?;
                let document = Document {
                    what: WHAT.to_owned(),
                    version: VERSION,
                    about,
                    check: check(&salt, pattern),
                    salt,
                    next: 0,
                };
                let checkpoint = Self {
                    path: path.to_owned(),
                    document,
                };
                // Write it now: a path that cannot be written must be found before hours of
                // searching.
                checkpoint.write()?;
                return Ok(checkpoint);
            }
            Err(error) => return Err(fail(error).into()),
            Ok(meta) if meta.len() > MAX_LEN => {
                return Err(not_this(path, "is not a checkpoint of a search"));
            }
            Ok(_) => {}
        }
        let text = std::fs::read(path).map_err(fail)?;
        let document: Document = serde_json::from_slice(&text)
            .ok()
            .filter(|document: &Document| document.what == WHAT)
            .ok_or_else(|| not_this(path, "is not a checkpoint of a search"))?;
        let same = document.version == VERSION
            && document.about == about
            && document.check == check(&document.salt, pattern);
        if !same {
            return Err(not_this(path, "is the checkpoint of another search"));
        }
        Ok(Self {
            path: path.to_owned(),
            document,
        })
    }

    /// Number of the next candidate to try.
    pub(crate) fn next(&self) -> u64 {
        self.document.next
    }

    /// Records that all candidates before `next` have been tried.
    pub(crate) fn save(&mut self, next: u64) -> Result<(), Failure> {
        self.document.next = next;
        self.write()
    }

    /// Removes the file, because the search is complete.
    pub(crate) fn remove(self) {
        let _ = std::fs::remove_file(self.path);
    }

    /// Replaces the file atomically, so that there is always a complete one.
    fn write(&self) -> Result<(), Failure> {
        let fail = |error| {
            let what = format!("cannot save the checkpoint to {}", self.path.shown());
            Error::io(what, error)
        };
        let text = crate::cli::output::json::text(&self.document);
        Ok(fve::output::replace(&self.path, text.as_bytes()).map_err(fail)?)
    }
}

fn not_this(path: &Path, why: &str) -> Failure {
    Failure::Other {
        status: Status::Usage,
        what: format!("{} {why}", path.shown()),
        help: Some("name a file that does not exist yet".to_owned()),
    }
}

/// The first 16 bits of a salted hash of the pattern: enough to detect another pattern, too few to
/// find the digits.
fn check(salt: &[u8; 16], pattern: &SecretText) -> [u8; 2] {
    let mut hash = Sha256::new();
    hash.update(salt);
    hash.update(pattern.expose());
    let [first, second, ..] = <[u8; 32]>::from(hash.finalize());
    [first, second]
}
