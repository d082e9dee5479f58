//! Files with several names: the first is copied, and the others become hard links to that copy.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::directory::FinishedCopy;
use super::report::{Report, lock};

/// Most files that are remembered. Further ones are copied once for each name.
const MAX_FILES: usize = 1 << 18;

/// The files with several names that were copied or are being copied, by their numbers.
#[derive(Debug, Default)]
pub(super) struct HardLinks {
    files: Mutex<HashMap<u64, State>>,
    changed: Condvar,
}

#[derive(Debug)]
enum State {
    /// A thread copies it.
    InWork,
    Copied {
        copy: Arc<Copied>,
        /// How many more names of it may follow.
        left: u32,
    },
}

/// The copy of a file.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) copy: FinishedCopy,
    pub(super) hash: Option<[u8; 32]>,
}

/// What to do with a file.
pub(super) enum Turn<'a> {
    /// Copy it, and tell where the copy is.
    Copy(InWork<'a>),
    /// Make a link to its copy.
    Link(Arc<Copied>),
    /// Copy it, and tell nothing.
    CopyAlone,
}

/// Says that a thread copies a file. Others wait until it is told how that went.
pub(super) struct InWork<'a> {
    all: &'a HardLinks,
    number: u64,
}

impl HardLinks {
    /// What to do with a file that has `names` names. Waits while another thread copies it.
    pub(super) fn turn(&self, number: u64, names: u32, report: &Report) -> Turn<'_> {
        if names < 2 {
            return Turn::CopyAlone;
        }
        let mut files = lock(&self.files);
        loop {
            let is_full = files.len() >= MAX_FILES;
            match files.get_mut(&number) {
                None if is_full => return Turn::CopyAlone,
                None => {
                    files.insert(number, State::InWork);
                    return Turn::Copy(InWork { all: self, number });
                }
                Some(State::Copied { copy, left }) => {
                    let copy = Arc::clone(copy);
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        files.remove(&number);
                    }
                    return Turn::Link(copy);
                }
                Some(State::InWork) if report.is_stopped() => return Turn::CopyAlone,
                Some(State::InWork) => {
                    // With a timeout, because the copy may be stopped while nothing changes here.
                    let pause = Duration::from_millis(100);
                    let waited = self.changed.wait_timeout(files, pause);
                    files = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

impl InWork<'_> {
    /// The file was copied.
    pub(super) fn done(self, copy: FinishedCopy, hash: Option<[u8; 32]>, names: u32) {
        let copied = State::Copied {
            copy: Arc::new(Copied { copy, hash }),
            left: names.saturating_sub(1),
        };
        lock(&self.all.files).insert(self.number, copied);
    }
}

impl Drop for InWork<'_> {
    fn drop(&mut self) {
        let mut files = lock(&self.all.files);
        // It was not copied: the next one tries it again.
        if matches!(files.get(&self.number), Some(State::InWork)) {
            files.remove(&self.number);
        }
        drop(files);
        self.all.changed.notify_all();
    }
}
