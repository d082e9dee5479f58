//! Where a search for a recovery password stands, in a file from which it goes on later.
//!
//! The file holds nothing of the password: what is known of it only as a shape, and two bytes of a
//! salted hash that tell a pattern in which another digit was typed (65535 times of 65536). They
//! take 16 of its 128 bits from whoever finds the file.
//!
//! Keys of the JSON document: `what` (`fve recovery search`), `version` (1), `volume`,
//! `protectors`, `way`, `shape`, `candidates`, `salt`, `check`, `next`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use fve::error::Error;
use fve::secret::SecretText;
use fve::shown::ShowPath;

const WHAT: &str = "fve recovery search";
/// Counts changes of the order in which candidates are tried.
const VERSION: u32 = 1;
/// More than any checkpoint has: some hundred bytes, and 36 for each protector.
const MAX_LEN: u64 = 1 << 16;

/// What a search is about; a file of another one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// The volume's identifier.
    pub(crate) volume: String,
    /// The protectors that are tried.
    pub(crate) protectors: Vec<String>,
    /// How candidates are made: `pattern`, `near`, `any-order`.
    pub(crate) way: String,
    /// What is known of each digit and what is not.
    pub(crate) shape: String,
    /// How many candidates there are, in decimal.
    pub(crate) candidates: String,
}

#[derive(Serialize, Deserialize)]
struct Document {
    what: String,
    version: u32,
    #[serde(flatten)]
    about: About,
    salt: [u8; 16],
    check: [u8; 2],
    next: u64,
}

/// A checkpoint file.
pub(crate) struct Checkpoint {
    path: PathBuf,
    document: Document,
}

impl Checkpoint {
    /// The checkpoint in a file; of a search that begins, where there is no such file yet.
    pub(crate) fn open(path: &Path, about: About, pattern: &SecretText) -> Result<Self, Failure> {
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
                // Found out now that it cannot be written, not in the middle of the night.
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

    /// The first candidate that is still to be tried.
    pub(crate) fn next(&self) -> u64 {
        self.document.next
    }

    /// Saves that all candidates before `next` were tried.
    pub(crate) fn save(&mut self, next: u64) -> Result<(), Failure> {
        self.document.next = next;
        self.write()
    }

    /// The search is over.
    pub(crate) fn remove(self) {
        let _ = std::fs::remove_file(self.path);
    }

    /// Puts a new file in the place of the old one, so that there is always a whole one.
    fn write(&self) -> Result<(), Failure> {
        let fail = |error| {
            let what = format!("cannot save the checkpoint to {}", self.path.shown());
            Error::io(what, error)
        };
        let text = crate::cli::output::json::document(&self.document);
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

/// Tells patterns apart, and nothing more of them than 16 bits.
fn check(salt: &[u8; 16], pattern: &SecretText) -> [u8; 2] {
    let mut hash = Sha256::new();
    hash.update(salt);
    hash.update(pattern.expose());
    let [first, second, ..] = <[u8; 32]>::from(hash.finalize());
    [first, second]
}
