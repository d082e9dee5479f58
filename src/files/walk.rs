//! Everything in a directory and below it.

use std::collections::{BTreeMap, HashSet};
use std::ops::{Bound, ControlFlow, Range};

use super::fault::FileError;
use super::open::{Files, MAX_DEPTH};
use super::path::FilePath;
use super::stat::{Entry, FileId, FileKind};

/// A walk through a directory and all that is below it, from [`Files::walk`]: each directory comes
/// before what it contains.
///
/// An error does not end the walk. A directory that was [visited](Visited) before, which only a damaged
/// file system has, is an error and is not entered again, so the walk always ends.
#[derive(Debug)]
pub struct Walk<'a> {
    files: &'a Files,
    /// The directories that the walk is in.
    levels: Vec<Level>,
    /// The directory to enter next.
    next: Option<(FileId, FilePath)>,
    visited: Visited,
}

/// The directories that were entered. On a damaged file system, a directory can be in itself or in two
/// directories, and two directories can have the same entries: without a limit, a few of these would be a
/// tree without end.
#[derive(Debug, Default)]
pub struct Visited {
    numbers: HashSet<u64>,
    /// The ends of the ranges of bytes with their entries, by the starts. They do not overlap.
    places: BTreeMap<u64, u64>,
}

impl Visited {
    /// Notes that a directory is entered.
    ///
    /// # Errors
    /// [`FileError::Damaged`] if it was entered before, or has entries of another directory that was.
    pub fn enter(&mut self, files: &Files, directory: FileId) -> Result<(), FileError> {
        if !self.numbers.insert(directory.number) {
            return Err(FileError::damaged(
                "the directory is in itself, or in two directories",
            ));
        }
        // In growing parts, and what was found is noted even if the rest is that of another directory: so no
        // byte costs time again, however many directories lead to it.
        let (mut noted, mut clusters) = (0, 1u32);
        loop {
            let places = files.places(directory, clusters);
            let mut known: u64 = noted;
            noted = 0;
            for place in places {
                let len = place.end.saturating_sub(place.start);
                noted = len.saturating_add(noted);
                let start = place.start.saturating_add(known.min(len));
                known = known.saturating_sub(len);
                if start < place.end && !self.note(start..place.end) {
                    return Err(FileError::damaged(
                        "the directory has the entries of another directory",
                    ));
                }
            }
            let asked = u64::from(clusters).saturating_mul(files.properties().cluster_size);
            if noted < asked || clusters == u32::MAX {
                return Ok(());
            }
            clusters = clusters.saturating_mul(16);
        }
    }

    /// Notes the bytes of a range up to the first that was noted before. True if there is none.
    fn note(&mut self, place: Range<u64>) -> bool {
        let before = (Bound::Unbounded, Bound::Included(place.start));
        let last = self.places.range(before).next_back();
        if last.is_some_and(|(_, end)| *end > place.start) {
            return false;
        }
        let next = self.places.range(place.clone()).next();
        let end = next.map_or(place.end, |(start, _)| *start);
        self.places.insert(place.start, end);
        end == place.end
    }
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
        let mut visited = Visited::default();
        // It is the first one.
        let _ = visited.enter(self, directory);
        Walk {
            files: self,
            levels: Vec::new(),
            next: Some((directory, path)),
            visited,
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
                    let entered = match depth >= MAX_DEPTH {
                        true => Err(FileError::damaged("directories are nested too deeply")),
                        false => self.visited.enter(self.files, entry.id),
                    };
                    if let Err(fault) = entered {
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
