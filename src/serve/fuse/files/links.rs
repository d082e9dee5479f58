//! The text of symbolic links. No text lets Linux leave the mount: a link that leads inside becomes a
//! path relative to its directory, and one that leads outside shows what Windows stores, which is no
//! path of Linux.

use super::names::shown;
use crate::files::{FileError, FileId, FileName, FilePath, Files, LinkTarget};

/// Longest text of a link, without the NUL at its end.
const MAX_TEXT: usize = 4095;

/// The text of a link. `None` if it is longer than Linux allows.
pub(super) fn text(files: &Files, file: FileId) -> Result<Option<Vec<u8>>, FileError> {
    let link = files.link(file)?;
    let text = match depth(files, file)? {
        Some(depth) => inside(depth, &files.target(&placeholders(depth), &link)),
        None => None,
    };
    let text = text.unwrap_or_else(|| stored(&link.target));
    Ok((text.len() <= MAX_TEXT).then_some(text))
}

/// The number of directories around the link. `None` if it is not certain, since the link has several
/// names: the path would lead elsewhere from another directory.
fn depth(files: &Files, file: FileId) -> Result<Option<usize>, FileError> {
    match files.stat(file)?.links {
        0 | 1 => files.depth(file),
        _ => Ok(None),
    }
}

/// Stands for the path of the directory of a link. Names in it do not matter, only how many there are;
/// an empty one occurs in no target.
fn placeholders(depth: usize) -> FilePath {
    FilePath::from_names(vec![FileName::default(); depth])
}

/// The path to a target in the same volume, from a directory `depth` levels below the root directory.
fn inside(depth: usize, target: &LinkTarget) -> Option<Vec<u8>> {
    let LinkTarget::Inside(path) = target else {
        return None;
    };
    let names = path.names();
    let kept = names
        .iter()
        .take_while(|name| name.units().is_empty())
        .count()
        .min(depth);
    let up = depth.checked_sub(kept)?;
    let mut parts: Vec<Vec<u8>> = vec![b"..".to_vec(); up];
    parts.extend(names.iter().skip(kept).map(shown));
    if parts.is_empty() {
        parts.push(b".".to_vec());
    }
    Some(parts.join(&b'/'))
}

/// The target as Windows stores it, as one name that occurs nowhere: with `\` for `/`.
fn stored(target: &FileName) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in target.to_wtf8() {
        match byte {
            b'/' => text.push(b'\\'),
            0 => text.extend_from_slice(b"%00"),
            other => text.push(other),
        }
    }
    if text.iter().all(|byte| *byte == b'.') {
        text.splice(0..0, *b".\\");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stored_text_leads_anywhere() {
        for (target, text) in [
            ("/etc/passwd", r"\etc\passwd"),
            ("../../etc", r"..\..\etc"),
            ("..", r".\.."),
            ("", r".\"),
            ("..\0/etc", r"..%00\etc"),
            (r"\??\D:\x", r"\??\D:\x"),
        ] {
            assert_eq!(stored(&target.into()), text.as_bytes(), "{target:?}");
        }
    }
}
