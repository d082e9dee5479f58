//! The names that a mount shows.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::files::{Entry, FileError, FileId, FileName, Files};

/// Longest name in bytes: 255 UTF-16 units, in up to four bytes each. The kernel allows 1024. An escaped
/// name has at most three bytes for each unit.
pub(super) const MAX_NAME: usize = 1020;

/// The name in the mount: as it is, if Linux allows that and it is not what another name becomes, and
/// otherwise escaped as by [`FileName::to_safe`]. No two names of a directory are shown as the same.
pub(super) fn shown(name: &FileName) -> Vec<u8> {
    let bytes = name.to_escaped();
    match bytes.len() <= MAX_NAME {
        true => bytes,
        // No file system has a name that is so long.
        false => name.to_safe().bytes,
    }
}

/// The entry of a directory that the mount shows under this name; an entry with another case if there
/// is none.
pub(super) fn find(
    files: &Files,
    directory: FileId,
    name: &OsStr,
) -> Result<Option<Entry>, FileError> {
    match FileName::from_escaped(name.as_bytes()) {
        Some(name) => files.look_up(directory, &name),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_does_not_allow_is_escaped() {
        for name in ["a/b", "a/%2F", "..", ".", "\0", "", "100%/"] {
            let bytes = shown(&name.into());
            assert!(!bytes.is_empty() && !bytes.contains(&b'/') && !bytes.contains(&0));
            assert!(bytes != b"." && bytes != b"..");
        }
        assert_eq!(shown(&"100%".into()), b"100%");
        let long = "\u{20ac}".repeat(255);
        assert_eq!(shown(&long.as_str().into()), long.as_bytes());
        let slashes = "/".repeat(255);
        assert_eq!(shown(&slashes.as_str().into()), b"%2F".repeat(255));
        assert!(shown(&"/".repeat(2000).as_str().into()).len() <= MAX_NAME);
    }
}
