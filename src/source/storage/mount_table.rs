//! The mount table, proc_pid_mountinfo(5).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A row of it.
#[derive(Debug, Clone)]
pub(in crate::source) struct MountRow {
    pub(super) major: u32,
    pub(super) minor: u32,
    /// Where it is mounted.
    pub(in crate::source) directory: PathBuf,
    /// What it was mounted from, in the words of the file system.
    source: OsString,
    /// Whether the file system itself may be written to; this mount of it may not be all the same.
    pub(in crate::source) writable: bool,
}

impl MountRow {
    pub(super) fn all(table: &Path) -> Vec<Self> {
        // Without the table nobody can be asked.
        let text = std::fs::read(table).unwrap_or_default();
        text.split(|byte| *byte == b'\n')
            .filter_map(Self::parse)
            .collect()
    }

    /// Device number in column 3, mount point in column 5; behind a lone dash the type, the source
    /// and the options of the file system.
    fn parse(row: &[u8]) -> Option<Self> {
        let mut columns = row.split(|byte| *byte == b' ');
        let number = std::str::from_utf8(columns.nth(2)?).ok()?;
        let (major, minor) = number.split_once(':')?;
        let directory = columns.nth(1)?;
        let mut behind = columns.skip_while(|column| *column != b"-").skip(2);
        let source = unescaped(behind.next()?);
        let mut options = behind.next()?.split(|byte| *byte == b',');
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            directory: unescaped(directory).into(),
            source,
            writable: options.any(|option| option == b"rw"),
        })
    }

    /// What it was mounted from, where that is the path of something.
    pub(super) fn source_path(&self) -> Option<&Path> {
        let path = Path::new(&self.source);
        path.is_absolute().then_some(path)
    }
}

/// Text of the kernel's tables with its octal escapes undone.
pub(super) fn unescaped(text: &[u8]) -> OsString {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let code = behind
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let (byte, left) = match code {
            Some(code) => (code, behind.get(3..).unwrap_or_default()),
            None => (*first, behind),
        };
        bytes.push(byte);
        rest = left;
    }
    OsString::from_vec(bytes)
}

/// The first word of a line, with its escapes undone.
pub(super) fn first_word(line: &[u8]) -> OsString {
    let end = line.iter().position(u8::is_ascii_whitespace);
    let word = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
    OsStr::from_bytes(&unescaped(word).into_vec()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_tell_number_place_and_source() {
        let row = br"36 35 8:3 / /mnt/my\040disk ro,nosuid shared:1 - ext4 /dev/sda3 rw,errors=x";
        let row = MountRow::parse(row).unwrap();
        assert_eq!((row.major, row.minor), (8, 3));
        assert_eq!(row.directory, Path::new("/mnt/my disk"));
        assert_eq!(row.source_path(), Some(Path::new("/dev/sda3")));
        assert!(row.writable);
        let row = b"36 35 0:45 / /proc rw - proc proc ro";
        let row = MountRow::parse(row).unwrap();
        assert_eq!(row.source_path(), None);
        assert!(!row.writable);
        assert!(MountRow::parse(b"").is_none());
    }
}
