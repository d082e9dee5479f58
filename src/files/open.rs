//! Recognizing a file system, and finding files in it by their path.

use std::ops::Deref;
use std::sync::Arc;

use super::fault::FileError;
use super::name::FileName;
use super::path::{FilePath, split_stream};
use super::stat::{Entry, FileId, FileKind, Link, LinkKind};
use super::{FileSystem, exfat, fat, ntfs};
use crate::error::{Error, Remedy, Result};
use crate::source::{ReadAt, describe, known};

/// Opens a file system of one kind: `None` if the source holds another one.
type Probe = fn(&Arc<dyn ReadAt>) -> Result<Option<Arc<dyn FileSystem>>, FileError>;

/// FAT comes last, because its boot sector has the weakest signature.
const PROBES: &[Probe] = &[ntfs::open, exfat::open, fat::open];

/// Most links that are followed on the way to a file, as in the kernel.
const MAX_LINKS: usize = 40;

/// Longest name of a file in these file systems, in UTF-16 units.
const MAX_NAME: usize = 255;

/// Most directories between a file and the root directory.
pub(super) const MAX_DEPTH: usize = 1024;

/// Opens the file system in `source`, which it begins with.
///
/// # Errors
/// [`Error::Unsupported`] when it holds something else, which the error names;
/// [`Error::Io`] when it cannot be read, or is damaged so that no file can be found.
pub fn open(source: Arc<dyn ReadAt>) -> Result<Files> {
    for probe in PROBES {
        let found = probe(&source).map_err(|fault| match fault {
            FileError::Io(error) => Error::io("cannot read the file system", error),
            other => Error::io("cannot open the file system", other.into()),
        })?;
        if let Some(system) = found {
            return Ok(Files { system });
        }
    }
    let format = known(source.as_ref());
    let format = format.map_err(|error| Error::io("cannot read the file system", error))?;
    if let Some(format) = format.filter(|format| format.has_files()) {
        let begins = format.name();
        let fault = FileError::damaged(format!(
            "it begins as {begins}, but what has to follow is not there"
        ));
        return Err(Error::io("cannot open the file system", fault.into()));
    }
    let found = describe(source.as_ref())?;
    Err(Error::Unsupported {
        what: format!(
            "no NTFS, exFAT or FAT file system was found in the volume: it holds {}",
            found.what
        ),
        remedy: Some(Remedy::NoFiles),
    })
}

/// The files of a file system, from [`open`]. It has the methods of [`FileSystem`] and those that work
/// with paths.
#[derive(Clone)]
pub struct Files {
    system: Arc<dyn FileSystem>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Files").field(self.properties()).finish()
    }
}

impl Deref for Files {
    type Target = dyn FileSystem;

    fn deref(&self) -> &Self::Target {
        self.system.as_ref()
    }
}

/// A file that was found by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Located {
    /// The number of the file in its file system.
    pub id: FileId,
    /// What it is.
    pub kind: FileKind,
    /// Its path without links, with the names as the directories spell them.
    pub path: FilePath,
    /// The stream that the path names.
    pub stream: Option<FileName>,
}

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkTarget {
    /// To a path of the same volume, which may or may not exist.
    Inside(FilePath),
    /// To another volume, computer or system; the target as it is stored.
    Outside(FileName),
}

impl Files {
    /// A file system of your own.
    pub fn new(system: Arc<dyn FileSystem>) -> Self {
        Self { system }
    }

    /// Finds a file by its path. Links are followed.
    ///
    /// # Errors
    /// [`FileError::NotFound`], [`FileError::NotADirectory`], [`FileError::TooManyLinks`],
    /// [`FileError::LeadsOutside`], or why a directory cannot be read.
    pub fn find(&self, path: &FilePath) -> Result<Located, FileError> {
        self.find_with(path, true)
    }

    /// The same, but if the path names a link, that is what is found.
    ///
    /// # Errors
    /// Those of [`Files::find`].
    pub fn find_itself(&self, path: &FilePath) -> Result<Located, FileError> {
        self.find_with(path, false)
    }

    fn find_with(&self, path: &FilePath, follow_last: bool) -> Result<Located, FileError> {
        let mut links = 0;
        let mut found = Found {
            at: vec![(self.root(), FileKind::Directory, FileName::default())],
            stream: None,
        };
        // The names that are left, the next one last.
        let mut names: Vec<FileName> = path.names().iter().rev().cloned().collect();
        while let Some(name) = names.pop() {
            let (directory, kind, _) = found.last()?;
            if kind != FileKind::Directory {
                return Err(FileError::NotADirectory);
            }
            let mut is_last = names.is_empty();
            let entry = match self.look_up_longest(directory, &name, &mut names)? {
                Some(entry) => {
                    is_last = names.is_empty();
                    entry
                }
                None => {
                    let split = is_last.then(|| split_stream(&name)).flatten();
                    let (file, stream) = split.ok_or(FileError::NotFound)?;
                    found.stream = stream;
                    if file.units().is_empty() {
                        break;
                    }
                    self.look_up(directory, &file)?.ok_or(FileError::NotFound)?
                }
            };
            if entry.kind == FileKind::Link && (follow_last || !is_last) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(FileError::TooManyLinks { limit: MAX_LINKS });
                }
                let link = self.link(entry.id)?;
                match self.target(&found.path(), &link) {
                    LinkTarget::Inside(target) => {
                        found.at.truncate(1);
                        names.extend(target.names().iter().rev().cloned());
                        continue;
                    }
                    LinkTarget::Outside(target) => {
                        return Err(FileError::LeadsOutside {
                            target: target.to_string(),
                        });
                    }
                }
            }
            if found.at.len() > MAX_DEPTH {
                return Err(FileError::damaged("directories are nested too deeply"));
            }
            found.at.push((entry.id, entry.kind, entry.name));
        }
        let (id, kind, _) = found.last()?;
        Ok(Located {
            id,
            kind,
            path: found.path(),
            stream: found.stream,
        })
    }

    /// Looks up a name. Programs of Linux can make names with `\` in them, so if there is no such name, it is
    /// joined with those that follow it, which are then taken from `names`.
    fn look_up_longest(
        &self,
        directory: FileId,
        name: &FileName,
        names: &mut Vec<FileName>,
    ) -> Result<Option<Entry>, FileError> {
        if let Some(entry) = self.look_up(directory, name)? {
            return Ok(Some(entry));
        }
        let mut joined = name.units().to_vec();
        for (left, next) in names.iter().enumerate().rev() {
            joined.push(u16::from(b'\\'));
            joined.extend_from_slice(next.units());
            if joined.len() > MAX_NAME {
                break;
            }
            let name = FileName::from_units(joined.clone());
            if let Some(entry) = self.look_up(directory, &name)? {
                names.truncate(left);
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Whether an entry is a file of the file system itself, such as `$MFT` of NTFS, which ordinary
    /// listings leave out.
    pub fn is_internal(&self, entry: &Entry) -> bool {
        /// The first file records of NTFS are its own; the root directory is one of them.
        const RESERVED_RECORDS: u64 = 24;
        self.properties().kind == "NTFS"
            && entry.id.number < RESERVED_RECORDS
            && entry.id.number != self.root().number
    }

    /// Where a link leads that is in the directory with the path `directory`.
    ///
    /// A link with a drive letter is taken to lead to this volume if its target exists here: the volume
    /// does not say which letter it has.
    pub fn target(&self, directory: &FilePath, link: &Link) -> LinkTarget {
        let outside = || LinkTarget::Outside(link.target.clone());
        let text = link.target.to_text_lossy();
        let separators: &[u8] = match link.kind {
            LinkKind::Wsl | LinkKind::Unix => b"/",
            _ => b"/\\",
        };
        let below = || {
            relative(directory, &link.target, separators).map_or_else(outside, LinkTarget::Inside)
        };
        if matches!(link.kind, LinkKind::Wsl | LinkKind::Unix) {
            return match text.starts_with('/') {
                true => outside(),
                false => below(),
            };
        }
        let plain = [r"\??\", r"\\?\", r"\\.\"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix));
        if link.is_relative {
            if text.starts_with(r"\\") {
                return outside();
            }
            if text.starts_with(['\\', '/']) {
                return LinkTarget::Inside(FilePath::from_name(&link.target));
            }
            return below();
        }
        let rest = plain.unwrap_or(&text);
        let has_drive =
            matches!(rest.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
        if !has_drive {
            return outside();
        }
        let skipped = text.encode_utf16().count() - rest.encode_utf16().count();
        let units = link.target.units().get(skipped..).unwrap_or_default();
        let path = FilePath::from_name(&FileName::from_units(units));
        match self.exists(&path) {
            true => LinkTarget::Inside(path),
            false => outside(),
        }
    }

    /// Whether all names of the path exist, up to the first link.
    fn exists(&self, path: &FilePath) -> bool {
        let mut at = self.root();
        for name in path.names() {
            match self.look_up(at, name) {
                Ok(Some(entry)) if entry.kind == FileKind::Link => return true,
                Ok(Some(entry)) => at = entry.id,
                _ => return false,
            }
        }
        true
    }

    /// Where a link leads as the text of a Linux symbolic link, in WTF-8: a path relative to the
    /// directory of the link that does not leave the root directory. `depth` is the number of
    /// directories from the root to the link: 0 if it is in the root directory.
    pub fn relative_target(target: &FilePath, depth: usize) -> Vec<u8> {
        let mut text = b"../".repeat(depth);
        let names: Vec<_> = target.names().iter().map(FileName::to_wtf8).collect();
        text.extend(names.join(&b'/'));
        if names.is_empty() {
            match text.pop() {
                Some(_) => {}
                None => text.push(b'.'),
            }
        }
        text
    }

    /// The number of directories between the root directory and a file, from the directories that files
    /// name as theirs. `None` if the file system does not store them.
    ///
    /// # Errors
    /// Why a record cannot be read, or [`FileError::Damaged`] if the directories form a loop.
    pub fn depth(&self, file: FileId) -> Result<Option<usize>, FileError> {
        let mut at = file;
        for depth in 0..MAX_DEPTH {
            let Some(parent) = self.stat(at)?.parent else {
                return Ok(None);
            };
            if parent.number == self.root().number {
                return Ok(Some(depth));
            }
            at = parent;
        }
        Err(FileError::damaged("directories are nested in a loop"))
    }

    /// The whole content of a file of at most `max` bytes. Links are followed.
    ///
    /// # Errors
    /// Those of [`Files::find`] and [`FileSystem::open`]; [`FileError::TooLarge`].
    pub fn read(&self, path: &FilePath, max: u64) -> Result<Vec<u8>, FileError> {
        let found = self.find(path)?;
        let content = self.open(found.id, found.stream.as_ref())?;
        let len = content.size();
        let fits = usize::try_from(len).ok().filter(|_| len <= max);
        let mut bytes = vec![0; fits.ok_or(FileError::TooLarge { len, max })?];
        content.read_exact_at(0, &mut bytes)?;
        Ok(bytes)
    }
}

/// What was found so far.
struct Found {
    /// From the root directory on.
    at: Vec<(FileId, FileKind, FileName)>,
    stream: Option<FileName>,
}

impl Found {
    fn last(&self) -> Result<(FileId, FileKind, FileName), FileError> {
        self.at.last().cloned().ok_or(FileError::NotFound)
    }

    fn path(&self) -> FilePath {
        let names = self.at.iter().skip(1).map(|(_, _, name)| name.clone());
        FilePath::from_names(names.collect())
    }
}

/// A path that begins at `directory`, with one of these characters between names. `None` if it leaves the
/// root directory.
fn relative(directory: &FilePath, text: &FileName, separators: &[u8]) -> Option<FilePath> {
    let mut names = directory.names().to_vec();
    let is_separator =
        |unit: &u16| u8::try_from(*unit).is_ok_and(|byte| separators.contains(&byte));
    for part in text.units().split(is_separator) {
        match String::from_utf16_lossy(part).as_str() {
            "" | "." => {}
            ".." => drop(names.pop()?),
            _ => names.push(FileName::from_units(part)),
        }
    }
    Some(FilePath::from_names(names))
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::*;

    /// `/Users/user/notes`, and links.
    fn tree() -> Files {
        let mut memory = Memory::new();
        let users = memory.directory(5, "Users");
        let user = memory.directory(users, "user");
        memory.file(user, "notes", b"text");
        memory.file(user, "a:b", b"colon");
        memory.add_link(5, "Documents and Settings", r"\??\C:\Users", false);
        memory.add_link(user, "up", r"..\..\Users", true);
        memory.add_link(user, "far up", r"..\..\..\x", true);
        memory.add_link(user, "rooted", r"\Users\user\notes", true);
        memory.add_link(user, "server", r"\??\UNC\server\share", false);
        memory.add_link(user, "other drive", r"\??\E:\nowhere", false);
        memory.add_link(user, "wsl", "/etc/passwd", false);
        memory.add_link(user, "loop", "loop/", true);
        memory.files()
    }

    #[test]
    fn a_path_is_found_whatever_its_case_and_through_links() {
        let files = tree();
        for path in [
            r"C:\users\USER\Notes",
            "/Users/user/notes",
            "/Documents and Settings/user/notes",
            "/Users/user/up/user/rooted",
        ] {
            let found = files.find(&FilePath::parse(path)).unwrap();
            assert_eq!(found.path.to_string(), "/Users/user/notes", "{path}");
            assert_eq!(files.read(&FilePath::parse(path), 4).unwrap(), b"text");
        }
        let link = FilePath::parse("/documents AND settings");
        assert_eq!(files.find_itself(&link).unwrap().kind, FileKind::Link);
        assert_eq!(files.find(&link).unwrap().path.to_string(), "/Users");
    }

    #[test]
    fn a_stream_is_split_off_if_no_file_has_the_whole_name() {
        let files = tree();
        let find = |path: &str| files.find(&FilePath::parse(path)).unwrap();
        assert_eq!(find("/Users/user/a:b").stream, None);
        assert_eq!(find("/Users/user/notes:b").stream, Some("b".into()));
        assert_eq!(find("/Users/user/notes::$DATA").stream, None);
        assert_eq!(find(":b").path, FilePath::root());
    }

    #[test]
    fn a_name_may_have_a_backslash_in_it() {
        let mut memory = Memory::new();
        let users = memory.directory(5, "Users");
        memory.file(users, r"a\b\c", b"text");
        let directory = memory.directory(users, r"d\e");
        memory.file(directory, "f", b"below");
        let files = memory.files();
        let read = |path: &str| files.read(&FilePath::parse(path), 8).ok();
        assert_eq!(read(r"Users\d\e\f"), Some(b"below".to_vec()));
        assert_eq!(read(r"/Users/d\e/f"), Some(b"below".to_vec()));
        assert_eq!(read(r"/Users/d\e"), None);
        assert_eq!(read(r"/Users/a\b\c"), Some(b"text".to_vec()));
        assert_eq!(read(r"/Users/a\b"), None);
    }

    #[test]
    fn a_link_out_of_the_volume_is_not_followed() {
        let files = tree();
        for name in ["far up", "server", "other drive", "wsl"] {
            let path = FilePath::parse("/Users/user").join(name.into());
            let error = files.find(&path).unwrap_err();
            assert!(
                matches!(error, FileError::LeadsOutside { .. }),
                "{name}: {error}"
            );
        }
        let error = files
            .find(&FilePath::parse("/Users/user/loop"))
            .unwrap_err();
        assert!(matches!(error, FileError::TooManyLinks { .. }), "{error}");
    }

    #[test]
    fn a_backslash_is_part_of_a_name_in_links_of_unix() {
        let files = tree();
        let target = |kind, text: &str| {
            let link = Link::new(kind, text.into(), true);
            match files.target(&FilePath::parse("/Users"), &link) {
                LinkTarget::Inside(path) => path.names().len(),
                LinkTarget::Outside(_) => 0,
            }
        };
        assert_eq!(target(LinkKind::Symbolic, r"a\b"), 3);
        assert_eq!(target(LinkKind::Wsl, r"a\b"), 2);
        assert_eq!(target(LinkKind::Unix, r"../a\b/c"), 2);
        assert_eq!(target(LinkKind::Unix, "../../a"), 0);
        assert_eq!(target(LinkKind::Unix, "/a"), 0);
    }

    #[test]
    fn what_is_missing_or_not_a_directory_has_its_own_error() {
        let files = tree();
        let find = |path: &str| files.find(&FilePath::parse(path)).unwrap_err();
        assert!(matches!(find("/Users/none"), FileError::NotFound));
        assert!(matches!(
            find("/Users/user/notes/x"),
            FileError::NotADirectory
        ));
        let large = files.read(&FilePath::parse("/Users/user/notes"), 3);
        assert!(matches!(large, Err(FileError::TooLarge { len: 4, max: 3 })));
    }

    #[test]
    fn the_text_of_a_linux_link_stays_inside() {
        let text = |target: &str, depth| {
            let text = Files::relative_target(&FilePath::parse(target), depth);
            String::from_utf8(text).unwrap()
        };
        assert_eq!(text("/Users", 0), "Users");
        assert_eq!(text("/Users/user", 2), "../../Users/user");
        assert_eq!(text("/", 2), "../..");
        assert_eq!(text("/", 0), ".");
        let files = tree();
        let notes = files.find(&FilePath::parse("/Users/user/notes")).unwrap();
        assert_eq!(files.depth(notes.id).unwrap(), Some(2));
    }
}
