//! What happened during a copy: failures, things left out, hashes, and the progress bar.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fve::error::Error;
use fve::files::FilePath;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::term;

/// The SHA-256 of each copied file.
pub(super) type Hashes = BTreeMap<PathBuf, [u8; 32]>;

/// What the threads of a copy report.
pub(super) struct Report {
    pub(super) interrupted: Arc<AtomicBool>,
    pub(super) bar: ProgressBar,
    stop: AtomicBool,
    /// Why the copy ended early.
    fatal: Mutex<Option<Failure>>,
    copied: AtomicU64,
    failed: AtomicU64,
    streams: AtomicU64,
    hashes: Mutex<Hashes>,
    pub(super) wants_hashes: bool,
    /// The failures so far, if they are to be in the document.
    faults: Option<Mutex<Vec<Value>>>,
}

impl Report {
    pub(super) fn new(interrupted: Arc<AtomicBool>, wants_hashes: bool, json: bool) -> Self {
        Self {
            interrupted,
            bar: term::progress(0),
            stop: AtomicBool::new(false),
            fatal: Mutex::new(None),
            copied: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            hashes: Mutex::default(),
            wants_hashes,
            faults: json.then(Mutex::default),
        }
    }

    /// Whether the copy is to end now.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.interrupted.load(Ordering::Relaxed)
    }

    /// Reports that something was not copied. The copy goes on.
    pub(super) fn failed(&self, path: &FilePath, why: impl Display) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if let Some(faults) = &self.faults {
            lock(faults).push(json!({ "path": path.to_string(), "message": why.to_string() }));
        }
        self.bar
            .suspend(|| term::say(format_args!("error: cannot copy {path}: {why}")));
    }

    /// Ends the copy: nothing more can be written.
    pub(super) fn stop(&self, why: Failure) {
        lock(&self.fatal).get_or_insert(why);
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Tells the user something that is no failure.
    pub(super) fn note(&self, text: impl Display) {
        self.bar.suspend(|| term::note(text));
    }

    /// Counts a copied file.
    pub(super) fn copied(&self, path: impl FnOnce() -> PathBuf, hash: Option<[u8; 32]>) {
        self.copied.fetch_add(1, Ordering::Relaxed);
        if let Some(hash) = hash {
            lock(&self.hashes).insert(path(), hash);
        }
    }

    /// Counts streams that are not copied.
    pub(super) fn left_out_streams(&self, count: usize) {
        self.streams.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// The hashes of the files that were copied.
    pub(super) fn hashes(&self) -> Hashes {
        std::mem::take(&mut lock(&self.hashes))
    }

    /// Removes the progress bar, and says what was left out.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
        match self.streams.load(Ordering::Relaxed) {
            0 => {}
            1 => term::note("1 named stream was left out: --streams copies it, too"),
            count => term::note(format_args!(
                "{count} named streams were left out: --streams copies them, too"
            )),
        }
    }

    /// The document of the copy; `list` is the file with the hashes.
    pub(super) fn document(&self, list: Option<&Path>) -> Value {
        let faults = self
            .faults
            .as_ref()
            .map(|faults| std::mem::take(&mut *lock(faults)));
        json!({
            "copied": self.copied.load(Ordering::Relaxed),
            "failed": self.failed.load(Ordering::Relaxed),
            "left_out_streams": self.streams.load(Ordering::Relaxed),
            "sha256_file": list.map(|path| path.to_string_lossy()),
            "errors": faults.unwrap_or_default(),
        })
    }

    /// The result of the whole copy.
    pub(super) fn result(self) -> Result<(), Failure> {
        let copied = self.copied.load(Ordering::Relaxed);
        let early = match lock(&self.fatal).take() {
            None if self.interrupted.load(Ordering::Relaxed) => Some(Error::Interrupted.into()),
            fatal => fatal,
        };
        if let Some(early) = early {
            term::note(match copied {
                1 => "1 file was copied before the copy ended".to_owned(),
                _ => format!("{copied} files were copied before the copy ended"),
            });
            return Err(early);
        }
        let files = |count| match count {
            1 => "1 file or directory".to_owned(),
            _ => format!("{count} files or directories"),
        };
        match self.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => Err(Failure::Other {
                status: Status::Io,
                what: format!(
                    "{} could not be copied, for the reasons above; {copied} were copied",
                    files(failed)
                ),
                help: None,
            }),
        }
    }
}

/// Locks even if a thread panicked while it held the lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
