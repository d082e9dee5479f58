//! The record beside OUT.partial of what has been written, from which `--resume` continues.
//!
//! Keys of the JSON document: `what` (`fve decrypt`), `version` (1), `about` (`volume`, `method`,
//! `size`, `available`, `source_size`, `source_modified`), `written` and `missing`. All bytes
//! before `written` are on the disk, except the ranges in `missing` (each with its first byte and
//! the byte after its last), which could not be read.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fve::output::{self, PARTIAL};
use fve::serve::export::Written;
use fve::shown::ShowPath;
use fve::volume::Unlocked;
use serde::{Deserialize, Serialize};

use crate::cli::options::source::Opened;
use crate::cli::output::json;

const WHAT: &str = "fve decrypt";
const VERSION: u32 = 1;
/// In bytes. A record needs a few hundred bytes, and up to 44 for each range that cannot be read.
const MAX_LEN: u64 = 64 << 20;

/// Identifies the volume and its source. A record with other values belongs to something else, and
/// is not continued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutputIdentity {
    volume: Option<String>,
    method: Option<String>,
    size: u64,
    available: u64,
    source_size: u64,
    /// Modification time of a source file in seconds and nanoseconds; `None` for a device, which
    /// has no meaningful one.
    source_modified: Option<(i64, i64)>,
}

impl OutputIdentity {
    pub(super) fn new(opened: &Opened, source: &Path, unlocked: &Unlocked) -> Self {
        let block = opened.volume.metadata_as_found();
        let file = source.metadata().ok().filter(|meta| meta.is_file());
        Self {
            volume: block.map(|block| format!("{:X}", block.dataset.id)),
            method: unlocked.method().map(|method| method.word.to_owned()),
            size: unlocked.size(),
            available: unlocked.available(),
            source_size: opened.volume.source_size(),
            source_modified: file.map(|meta| (meta.mtime(), meta.mtime_nsec())),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    what: String,
    version: u32,
    about: OutputIdentity,
    written: u64,
    missing: Vec<(u64, u64)>,
}

/// The record file of one output.
pub(super) struct Record {
    path: PathBuf,
    about: OutputIdentity,
}

impl Record {
    /// The record file for an output at `path`. Nothing is read yet.
    pub(super) fn of(path: &Path, about: OutputIdentity) -> Self {
        Self {
            path: Self::path_of(path),
            about,
        }
    }

    /// Path of the record file for an output at `path`.
    pub(super) fn path_of(path: &Path) -> PathBuf {
        output::with_suffix(path, &format!("{PARTIAL}.progress"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file. When this returns, it is on stable storage.
    pub(super) fn save(&self, written: &Written) -> io::Result<()> {
        let document = Document {
            what: WHAT.to_owned(),
            version: VERSION,
            about: self.about.clone(),
            written: written.len,
            missing: written.missing.iter().map(|r| (r.start, r.end)).collect(),
        };
        output::replace(&self.path, json::text(&document).as_bytes())
    }

    /// Reads what has been written; an explanation if the file cannot be used.
    pub(super) fn load(&self) -> Result<Written, String> {
        let path = self.path.shown();
        let mut text = Vec::new();
        File::open(&self.path)
            .and_then(|file| file.take(MAX_LEN).read_to_end(&mut text))
            .map_err(|error| format!("{path} cannot be read: {error}"))?;
        let document: Document = serde_json::from_slice(&text)
            .ok()
            .filter(|document: &Document| document.what == WHAT && document.version == VERSION)
            .ok_or_else(|| {
                format!("{path} is not the progress file of an unfinished decryption")
            })?;
        if document.about != self.about {
            return Err(format!(
                "{path} belongs to another volume, or the source has changed since"
            ));
        }
        let missing: Vec<Range<u64>> = document.missing.iter().map(|&(a, b)| a..b).collect();
        let fits = document.written <= self.about.available
            && missing.iter().all(|range| range.start < range.end)
            && missing.iter().all(|range| range.end <= document.written);
        if !fits {
            return Err(format!("{path} is inconsistent"));
        }
        Ok(Written {
            len: document.written,
            missing,
        })
    }

    /// Removes the file.
    pub(super) fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
