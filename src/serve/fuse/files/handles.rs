//! Open files and directories. Programs can open any number of them, so what each keeps in memory and can
//! read again is limited for all of them together.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use fuser::FileHandle;

use crate::files::{Content, FileError, FileId, Files};

/// Bytes of memory that those may occupy together that occupy at least [`SMALL`].
const MAX_MEMORY: usize = 64 << 20;
/// What occupies less is not counted: it is not more than the kernel needs for an open file.
const SMALL: usize = 1 << 10;

/// Open files or directories by the number that the kernel knows them by.
#[derive(Debug)]
pub(super) struct Table<T> {
    next: AtomicU64,
    open: RwLock<HashMap<u64, Arc<T>>>,
    recent: Recent<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(1),
            open: RwLock::default(),
            recent: Recent::new(MAX_MEMORY),
        }
    }
}

impl<T: Keeps> Table<T> {
    pub(super) fn add(&self, opened: T) -> FileHandle {
        let opened = Arc::new(opened);
        self.recent.used(&opened);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(number, opened);
        FileHandle(number)
    }

    pub(super) fn get(&self, handle: FileHandle) -> Option<Arc<T>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&handle.0).cloned()
    }

    pub(super) fn remove(&self, handle: FileHandle) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.remove(&handle.0);
    }

    /// Notes that one has read something that it keeps. Others may have to forget theirs.
    pub(super) fn used(&self, opened: &Arc<T>) {
        self.recent.used(opened);
    }
}

/// Keeps something in memory that it can read again.
pub(super) trait Keeps {
    /// How many bytes that is.
    fn memory(&self) -> usize;

    fn forget(&self);
}

/// Those that keep much, the one that was used last at the end, and how many bytes each keeps.
#[derive(Debug)]
struct Recent<T> {
    most: usize,
    kept: Mutex<VecDeque<(Weak<T>, usize)>>,
}

impl<T> Recent<T> {
    fn new(most: usize) -> Self {
        Self {
            most,
            kept: Mutex::default(),
        }
    }
}

impl<T: Keeps> Recent<T> {
    fn used(&self, used: &Arc<T>) {
        let memory = used.memory();
        if memory < SMALL {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(other, _)| {
            other.strong_count() > 0 && !std::ptr::eq(other.as_ptr(), Arc::as_ptr(used))
        });
        kept.push_back((Arc::downgrade(used), memory));
        let mut all: usize = kept.iter().map(|(_, memory)| *memory).sum();
        while all > self.most && kept.len() > 1 {
            let Some((oldest, memory)) = kept.pop_front() else {
                return;
            };
            all -= memory;
            if let Some(oldest) = oldest.upgrade() {
                oldest.forget();
            }
        }
    }
}

/// An open file, which may have to be opened again.
pub(super) struct OpenFile {
    file: FileId,
    content: Mutex<Option<Arc<dyn Content>>>,
}

impl OpenFile {
    pub(super) fn open(files: &Files, file: FileId) -> Result<Self, FileError> {
        let content = files.open(file, None)?;
        Ok(Self {
            file,
            content: Mutex::new(Some(content.into())),
        })
    }

    /// Its content, and whether it had to be opened again.
    pub(super) fn content(&self, files: &Files) -> Result<(Arc<dyn Content>, bool), FileError> {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = content.as_ref() {
            return Ok((Arc::clone(content), false));
        }
        let again: Arc<dyn Content> = files.open(self.file, None)?.into();
        *content = Some(Arc::clone(&again));
        Ok((again, true))
    }
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OpenFile").field(&self.file).finish()
    }
}

impl Keeps for OpenFile {
    fn memory(&self) -> usize {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.as_ref().map_or(0, |content| content.memory())
    }

    fn forget(&self) {
        *self.content.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Large(Mutex<bool>);

    impl Large {
        fn new() -> Arc<Self> {
            Arc::new(Self(Mutex::new(true)))
        }
    }

    impl Keeps for Large {
        fn memory(&self) -> usize {
            1 << 20
        }

        fn forget(&self) {
            *self.0.lock().unwrap() = false;
        }
    }

    #[test]
    fn those_that_were_not_used_lately_forget() {
        let recent = Recent::new(3 << 20);
        let all: Vec<_> = std::iter::repeat_with(Large::new).take(4).collect();
        let kept = || -> Vec<bool> { all.iter().map(|one| *one.0.lock().unwrap()).collect() };
        for one in &all[..3] {
            recent.used(one);
        }
        recent.used(&all[0]);
        assert_eq!(kept(), [true; 4]);
        recent.used(&all[3]);
        assert_eq!(kept(), [true, false, true, true]);
        // What is closed does not count.
        let closed = Large::new();
        recent.used(&closed);
        drop(closed);
        recent.used(&all[0]);
        assert_eq!(kept(), [true, false, false, true]);
        recent.used(&all[3]);
        assert_eq!(kept(), [true, false, false, true]);
    }

    #[test]
    fn a_file_is_opened_again_when_it_is_read() {
        let mut memory = crate::files::memory::Memory::new();
        let file = memory.file(5, "file", b"content");
        let files = memory.files();
        let opened = OpenFile::open(&files, FileId::from_number(file)).unwrap();
        assert!(!opened.content(&files).unwrap().1);
        opened.forget();
        let (content, again) = opened.content(&files).unwrap();
        assert!(again && content.size() == 7);
        assert!(!opened.content(&files).unwrap().1);
    }
}
