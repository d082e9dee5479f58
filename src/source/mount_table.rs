//! The mount table of this process: `/proc/self/mountinfo`, proc_pid_mountinfo(5).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The mount table of this process.
const OWN_TABLE: &str = "/proc/self/mountinfo";

/// How often a table is read, at most.
const TRIES: usize = 10;

/// Reads a mount table. The kernel returns it in pieces, and leaves out or repeats rows if something is
/// mounted or unmounted between two of them; so the table is read until it is the same twice.
fn read(table: &Path) -> io::Result<Vec<u8>> {
    let mut last = std::fs::read(table)?;
    for _ in 1..TRIES {
        let next = std::fs::read(table)?;
        if next == last {
            break;
        }
        last = next;
    }
    Ok(last)
}

/// One mount: a row of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountEntry {
    /// Major and minor device number of the file system.
    pub device: (u32, u32),
    /// The mount point.
    pub directory: PathBuf,
    /// Type of the file system, such as `ext4` or `fuse.fve`.
    pub kind: OsString,
    /// What was mounted. The file system chooses this text, which need not be a path.
    pub source: OsString,
    /// Whether the file system can be written to. A mount of it can still be read-only.
    pub writable: bool,
    /// The user who mounted it, if it is a FUSE file system.
    pub user: Option<u32>,
}

impl MountEntry {
    /// The mount that is visible at `directory`, an absolute path without links. `None` if nothing
    /// is mounted there. This sends no request to the file system, whose server may not answer.
    ///
    /// # Errors
    /// The system's reason if the mount table cannot be read.
    pub fn at(directory: &Path) -> io::Result<Option<Self>> {
        // Later mounts on the same directory hide earlier ones.
        Ok(Self::list()?
            .into_iter()
            .rfind(|entry| entry.directory == directory))
    }

    /// The mount of a file system of this type at `directory`, an absolute path without links, also if something else
    /// is mounted over it.
    ///
    /// # Errors
    /// As [`MountEntry::at`].
    pub fn of_kind_at(directory: &Path, kind: &str) -> io::Result<Option<Self>> {
        Ok(Self::list()?
            .into_iter()
            .rfind(|entry| entry.directory == directory && entry.kind == kind))
    }

    /// A mount of the same file system in the mount table of now: on the same directory, or else anywhere. `None` if it
    /// is not mounted any more.
    ///
    /// A later file system with the same device number is not taken for it, unless it also has the same
    /// type, source and user.
    ///
    /// # Errors
    /// As [`MountEntry::at`].
    pub fn again(&self) -> io::Result<Option<Self>> {
        let is_same = |entry: &Self| {
            entry.device == self.device
                && entry.kind == self.kind
                && entry.source == self.source
                && entry.user == self.user
        };
        let mut same: Vec<_> = Self::list()?.into_iter().filter(is_same).collect();
        let first = same
            .iter()
            .position(|entry| entry.directory == self.directory);
        Ok(match first {
            Some(first) => Some(same.swap_remove(first)),
            None => same.pop(),
        })
    }

    /// The mount that holds `path`, by the names of its directories alone: links are not followed, and
    /// no request is sent to a file system.
    ///
    /// # Errors
    /// As [`MountEntry::at`].
    pub fn holding(path: &Path) -> io::Result<Option<Self>> {
        let path = std::path::absolute(path)?;
        let table = read(Path::new(OWN_TABLE))?;
        // Of several mounts on a directory, the last one counts.
        Ok(Self::all_in(&table)
            .into_iter()
            .filter(|entry| path.starts_with(&entry.directory))
            .max_by_key(|entry| entry.directory.components().count()))
    }

    /// All mounts that this process can see, in the order in which they were made.
    ///
    /// # Errors
    /// As [`MountEntry::at`].
    pub fn list() -> io::Result<Vec<Self>> {
        Ok(Self::all_in(&read(Path::new(OWN_TABLE))?))
    }

    /// The mount with this number, which the kernel gives it.
    pub(super) fn numbered(number: u64) -> Option<Self> {
        let table = read(Path::new(OWN_TABLE)).ok()?;
        let number = number.to_string();
        let mut rows = table.split(|byte| *byte == b'\n');
        let row =
            rows.find(|row| row.split(|byte| *byte == b' ').next() == Some(number.as_bytes()));
        row.and_then(Self::parse)
    }

    /// All rows of the table in this file; none if it cannot be read.
    pub(super) fn all(table: &Path) -> Vec<Self> {
        Self::all_in(&read(table).unwrap_or_default())
    }

    fn all_in(table: &[u8]) -> Vec<Self> {
        table
            .split(|byte| *byte == b'\n')
            .filter_map(Self::parse)
            .collect()
    }

    /// The mount's own number is in column 1, the device number in column 3, the mount point in column 5. Any
    /// number of optional columns ends at a lone dash; after it come the type, the source and the options of the file system.
    fn parse(row: &[u8]) -> Option<Self> {
        let mut columns = row.split(|byte| *byte == b' ');
        let number = std::str::from_utf8(columns.nth(2)?).ok()?;
        let (major, minor) = number.split_once(':')?;
        let directory = columns.nth(1)?;
        let mut rest = columns.skip_while(|column| *column != b"-").skip(1);
        let kind = unescape(rest.next()?);
        let source = unescape(rest.next()?);
        let mut options = rest.next()?.split(|byte| *byte == b',');
        let user = options.clone().find_map(|option| {
            let number = option.strip_prefix(b"user_id=")?;
            std::str::from_utf8(number).ok()?.parse().ok()
        });
        Some(Self {
            device: (major.parse().ok()?, minor.parse().ok()?),
            directory: unescape(directory).into(),
            kind,
            source,
            writable: options.any(|option| option == b"rw"),
            user,
        })
    }

    /// The source, if it is the absolute path of a device or file.
    pub(super) fn source_path(&self) -> Option<&Path> {
        let path = Path::new(&self.source);
        path.is_absolute().then_some(path)
    }
}

/// Decodes the octal escapes (`\040` for a space) in which the kernel's tables write special bytes.
pub(super) fn unescape(text: &[u8]) -> OsString {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let (byte, left) = match code {
            Some(code) => (code, after.get(3..).unwrap_or_default()),
            None => (*first, after),
        };
        bytes.push(byte);
        rest = left;
    }
    OsString::from_vec(bytes)
}

/// The first word of a line of such a table, decoded.
pub(super) fn first_word(line: &[u8]) -> OsString {
    let end = line.iter().position(u8::is_ascii_whitespace);
    let word = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
    OsStr::from_bytes(&unescape(word).into_vec()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_that_holds_a_path_need_not_know_the_path() {
        let holding = |path: &str| MountEntry::holding(Path::new(path)).unwrap().unwrap();
        let found = holding("/proc/there/is/no/such/file");
        assert_eq!(
            (found.kind, found.directory),
            ("proc".into(), "/proc".into())
        );
        assert_eq!(holding("/").directory, Path::new("/"));
    }

    #[test]
    fn reads_the_columns_of_a_row() {
        let row = br"36 35 8:3 / /mnt/my\040disk ro,nosuid shared:1 - ext4 /dev/sda3 rw,errors=x";
        let entry = MountEntry::parse(row).unwrap();
        assert_eq!(entry.device, (8, 3));
        assert_eq!(entry.directory, Path::new("/mnt/my disk"));
        assert_eq!(entry.kind, "ext4");
        assert_eq!(entry.source_path(), Some(Path::new("/dev/sda3")));
        assert!(entry.writable);
        let row = b"36 35 0:45 / /proc rw - proc proc ro";
        let entry = MountEntry::parse(row).unwrap();
        assert_eq!(entry.source_path(), None);
        assert!(!entry.writable);
        assert_eq!(entry.user, None);
        let row = b"36 35 0:45 / /m rw - fuse.fve /disk ro,user_id=1000,group_id=5";
        assert_eq!(MountEntry::parse(row).unwrap().user, Some(1000));
        assert!(MountEntry::parse(b"").is_none());
    }
}
