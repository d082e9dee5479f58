//! Everything in a directory and below it.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::fault::FileError;
use super::open::{Files, MAX_DEPTH};
use super::path::FilePath;
use super::stat::{Entry, FileId, FileKind};

/// A walk through a directory and all that is below it, from [`Files::walk`]: each directory comes
/// before what it contains.
///
/// An error does not end the walk. A directory that was visited before, which only a damaged file
/// system has, is an error and is not entered again, so the walk always ends.
#[derive(Debug)]
pub struct Walk<'a> {
    files: &'a Files,
    /// The directories that the walk is in.
    levels: Vec<Level>,
    /// The directory to enter next.
    next: Option<(FileId, FilePath)>,
    visited: HashSet<u64>,
}

/// A directory that the walk is in.
#[derive(Debug)]
struct Level {
    path: FilePath,
    /// Its entries that are left, the next one last.
    entries: Vec<Entry>,
    /// Why a part of it could not be read.
    fault: Option<FileError>,
}

/// An entry that a [`Walk`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Walked {
    /// From the root directory on.
    pub path: FilePath,
    /// The name, number and kind of the file.
    pub entry: Entry,
}

/// Why a directory, or a part of it, is missing in a walk.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the directory {path}")]
#[non_exhaustive]
pub struct WalkError {
    /// The directory with the missing entries.
    pub path: FilePath,
    /// Why its entries, or some of them, cannot be read.
    #[source]
    pub fault: FileError,
}

impl Files {
    /// Walks through everything in a directory, which has the path `path`. Links are not followed.
    pub fn walk(&self, directory: FileId, path: FilePath) -> Walk<'_> {
        Walk {
            files: self,
            levels: Vec::new(),
            next: Some((directory, path)),
            visited: HashSet::from([directory.number]),
        }
    }
}

impl Walk<'_> {
    /// Does not enter the directory that was returned last.
    pub fn skip_directory(&mut self) {
        self.next = None;
    }

    fn enter(&mut self, directory: FileId, path: FilePath) {
        let mut entries = Vec::new();
        let listed = self.files.list(directory, &mut |entry| {
            entries.push(entry);
            ControlFlow::Continue(())
        });
        entries.reverse();
        self.levels.push(Level {
            path,
            entries,
            fault: listed.err(),
        });
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Walked, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((directory, path)) = self.next.take() {
            self.enter(directory, path);
        }
        loop {
            let depth = self.levels.len();
            let level = self.levels.last_mut()?;
            if let Some(entry) = level.entries.pop() {
                let path = level.path.join(entry.name.clone());
                if entry.kind == FileKind::Directory {
                    let what = if depth >= MAX_DEPTH {
                        Some("directories are nested too deeply")
                    } else if !self.visited.insert(entry.id.number) {
                        Some("the directory is in itself, or in two directories")
                    } else {
                        None
                    };
                    if let Some(what) = what {
                        let fault = FileError::damaged(what);
                        return Some(Err(WalkError { path, fault }));
                    }
                    self.next = Some((entry.id, path.clone()));
                }
                return Some(Ok(Walked { path, entry }));
            }
            let level = self.levels.pop()?;
            if let Some(fault) = level.fault {
                let path = level.path;
                return Some(Err(WalkError { path, fault }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::*;

    #[test]
    fn a_walk_visits_each_directory_once_and_ends() {
        let mut memory = Memory::new();
        let first = memory.directory(5, "a");
        memory.file(first, "file", b"");
        let second = memory.directory(first, "b");
        memory.file(5, "c", b"");
        // Damage: a directory that is in itself, and the root directory as an entry.
        memory.name(second, "again", first);
        memory.name(second, "root", 5);
        let files = memory.files();
        let shown: Vec<_> = files
            .walk(files.root(), FilePath::root())
            .map(|found| match found {
                Ok(found) => found.path.to_string(),
                Err(error) => format!("error: {}", error.path),
            })
            .collect();
        let expected = [
            "/a",
            "/a/b",
            "error: /a/b/again",
            "error: /a/b/root",
            "/a/file",
            "/c",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_directory_can_be_skipped() {
        let mut memory = Memory::new();
        let first = memory.directory(5, "a");
        memory.file(first, "file", b"");
        memory.file(5, "c", b"");
        let files = memory.files();
        let mut walk = files.walk(files.root(), FilePath::root());
        let mut shown = Vec::new();
        while let Some(found) = walk.next() {
            shown.push(found.unwrap().path.to_string());
            walk.skip_directory();
        }
        assert_eq!(shown, ["/a", "/c"]);
    }
}
