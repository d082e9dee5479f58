//! Reading a directory piece by piece.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use super::handles::Keeps;
use crate::files::{Entry, FileError, FileId, Files};

/// Most entries that are kept in memory for an open directory.
const MAX_ENTRIES: usize = 1 << 15;
/// Most UTF-16 units in the names that are kept.
const MAX_UNITS: usize = 1 << 21;

/// An open directory, without the files of the file system itself. The kernel asks for a few entries at
/// a time, by the position of the first; a part of the directory is kept, so that it need not be read
/// again each time.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) directory: FileId,
    part: Mutex<Part>,
}

/// Some consecutive entries of a directory.
#[derive(Debug, Default)]
struct Part {
    /// The position of the first entry.
    first: usize,
    entries: Vec<Entry>,
    /// UTF-16 units in their names.
    units: usize,
    /// The end of the directory follows the entries: whether it was read without a fault.
    end: Option<Result<(), FileError>>,
}

impl Listing {
    pub(super) fn new(directory: FileId) -> Self {
        Self {
            directory,
            part: Mutex::default(),
        }
    }

    /// Calls `tell` with the entries from this position on and the position after each, until it
    /// returns [`ControlFlow::Break`].
    ///
    /// # Errors
    /// Why the directory, or a part of it, cannot be read. `tell` has then not been called; it is
    /// called with the entries before the missing ones for positions before them.
    pub(super) fn from(
        &self,
        files: &Files,
        position: usize,
        tell: &mut dyn FnMut(&Entry, usize) -> ControlFlow<()>,
    ) -> Result<(), FileError> {
        let mut part = self.part.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = position;
        loop {
            let held = next
                .checked_sub(part.first)
                .is_some_and(|at| at < part.entries.len() || part.is_end(at));
            if !held {
                *part = Part::read(files, self.directory, next)?;
            }
            let skipped = next.saturating_sub(part.first);
            for entry in part.entries.iter().skip(skipped) {
                next = next.saturating_add(1);
                if tell(entry, next).is_break() {
                    return Ok(());
                }
            }
            match part.end.take() {
                // After the last entry.
                Some(Ok(())) => {
                    part.end = Some(Ok(()));
                    return Ok(());
                }
                Some(Err(fault)) if next == position => {
                    return Err(fault);
                }
                Some(fault) => {
                    part.end = Some(fault);
                    return Ok(());
                }
                None => {}
            }
        }
    }
}

impl Keeps for Listing {
    fn memory(&self) -> usize {
        let part = self.part.lock().unwrap_or_else(PoisonError::into_inner);
        part.entries.capacity() * size_of::<Entry>() + part.units * size_of::<u16>()
    }

    fn forget(&self) {
        *self.part.lock().unwrap_or_else(PoisonError::into_inner) = Part::default();
    }
}

impl Part {
    /// Whether this is the position after the last entry of the directory.
    fn is_end(&self, at: usize) -> bool {
        self.end.is_some() && at >= self.entries.len()
    }

    /// Reads a part that begins at `first`.
    ///
    /// # Errors
    /// If the directory cannot be read at all.
    fn read(files: &Files, directory: FileId, first: usize) -> Result<Self, FileError> {
        let mut part = Self {
            first,
            ..Self::default()
        };
        let mut skip = first;
        let mut is_full = false;
        let listed = files.list(directory, &mut |entry| {
            if files.is_internal(&entry) {
                return ControlFlow::Continue(());
            }
            if let Some(less) = skip.checked_sub(1) {
                skip = less;
                return ControlFlow::Continue(());
            }
            if part.entries.len() >= MAX_ENTRIES || part.units >= MAX_UNITS {
                is_full = true;
                return ControlFlow::Break(());
            }
            part.units = entry.name.units().len().saturating_add(part.units);
            part.entries.push(entry);
            ControlFlow::Continue(())
        });
        match listed {
            _ if is_full => {}
            Err(fault) if part.entries.is_empty() => return Err(fault),
            listed => part.end = Some(listed),
        }
        Ok(part)
    }
}
