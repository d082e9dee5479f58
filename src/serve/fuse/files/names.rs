//! The names that a mount shows.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

use crate::files::{Entry, FileError, FileId, FileName, Files};

/// Longest name in bytes: 255 UTF-16 units, in up to four bytes each. The kernel allows 1024.
pub(super) const MAX_NAME: usize = 1020;

/// Names of at least this length may have been cut by [`FileName::to_safe`].
const MAY_BE_CUT: usize = 240;

/// The name in the mount: as it is, if Linux allows that, and otherwise [`FileName::to_safe`].
pub(super) fn shown(name: &FileName) -> Vec<u8> {
    let plain = name.to_wtf8();
    let is_allowed = !plain.is_empty()
        && plain.len() <= MAX_NAME
        && plain != b"."
        && plain != b".."
        && !plain.contains(&b'/')
        && !plain.contains(&0);
    match is_allowed {
        true => plain,
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
    if let Some(plain) = FileName::from_os_str(name)
        && let Some(entry) = files.look_up(directory, &plain)?
    {
        return Ok(Some(entry));
    }
    let bytes = name.as_bytes();
    if !bytes.contains(&b'%') {
        return match may_be_cut(bytes) {
            true => search(files, directory, bytes),
            false => Ok(None),
        };
    }
    if let Some(plain) = FileName::from_wtf8(&unescaped(bytes))
        && shown(&plain) == bytes
        && let Some(entry) = files.look_up(directory, &plain)?
        && shown(&entry.name) == bytes
    {
        return Ok(Some(entry));
    }
    match may_be_cut(bytes) {
        true => search(files, directory, bytes),
        false => Ok(None),
    }
}

/// The inverse of what [`FileName::to_safe`] does to single bytes.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let (byte, left) = match rest.get(..3) {
            Some(b"%2F") => (b'/', rest.get(3..)),
            Some(b"%00") => (0, rest.get(3..)),
            Some(b"%25") => (b'%', rest.get(3..)),
            Some(b"%2E") => (b'.', rest.get(3..)),
            _ => (*first, Some(after)),
        };
        plain.push(byte);
        rest = left.unwrap_or_default();
    }
    match plain.as_slice() {
        // The empty name.
        b"%" => Vec::new(),
        _ => plain,
    }
}

/// Whether a name ends as those do that [`FileName::to_safe`] cut.
fn may_be_cut(bytes: &[u8]) -> bool {
    bytes.len() >= MAY_BE_CUT
        && bytes
            .rsplit(|byte| *byte == b'~')
            .next()
            .is_some_and(|end| end.len() == 8 && end.iter().all(u8::is_ascii_hexdigit))
}

/// Looks at all entries of a directory.
fn search(files: &Files, directory: FileId, bytes: &[u8]) -> Result<Option<Entry>, FileError> {
    let mut found = None;
    let listed = files.list(directory, &mut |entry| {
        if shown(&entry.name) == bytes {
            found = Some(entry);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    match found {
        Some(entry) => Ok(Some(entry)),
        None => listed.map(|()| None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_does_not_allow_is_escaped_and_found_again() {
        for name in ["a/b", "a/%2F", "..", ".", "\0", "", "100%/"] {
            let name = FileName::from(name);
            let bytes = shown(&name);
            assert!(!bytes.is_empty() && !bytes.contains(&b'/') && !bytes.contains(&0));
            assert!(bytes != b"." && bytes != b"..");
            assert_eq!(unescaped(&bytes), name.to_wtf8());
        }
        assert_eq!(shown(&"100%".into()), b"100%");
        let long = "\u{20ac}".repeat(255);
        assert_eq!(shown(&long.as_str().into()), long.as_bytes());
        assert!(may_be_cut(&shown(&format!("/{long}").as_str().into())));
    }
}
