//! Extended attributes, with the names that ntfs-3g gives them: the streams of a file as `user.NAME`,
//! and what Windows stores about it as `system.ntfs_…`.
//!
//! | name | bytes |
//! |---|---|
//! | `system.ntfs_attrib` | the attributes of Windows, 4 bytes |
//! | `system.ntfs_crtime` | when the file was created, 8 bytes: 100 ns since 1601 |
//! | `system.ntfs_reparse_data` | the reparse point as it is stored, with its tag and length |
//! | `system.ntfs_times` | created, content changed, read, record changed, 8 bytes each |
//!
//! With `_be` at the end, the numbers are big-endian; otherwise little-endian. The reparse point has no such
//! form.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fuser::Errno;

use super::errno;
use crate::files::{FileError, FileId, FileName, FileTime, Files};

/// Largest value and largest list of names that Linux allows, in bytes.
const MAX: u64 = 65536;

const USER: &[u8] = b"user.";
const SYSTEM: &[u8] = b"system.ntfs_";

/// The value of an attribute.
pub(super) fn value(files: &Files, file: FileId, name: &OsStr) -> Result<Vec<u8>, Errno> {
    let name = name.as_bytes();
    if let Some(stream) = name.strip_prefix(USER) {
        let stream = FileName::from_wtf8(stream).filter(|name| !name.units().is_empty());
        return self::stream(files, file, &stream.ok_or(Errno::ENODATA)?);
    }
    let name = name.strip_prefix(SYSTEM).ok_or(Errno::ENODATA)?;
    if name == b"reparse_data" {
        let point = files.reparse_point(file).map_err(|fault| errno(&fault))?;
        return point.ok_or(Errno::ENODATA);
    }
    let (name, big) = match name.strip_suffix(b"_be") {
        Some(name) => (name, true),
        None => (name, false),
    };
    if !matches!(name, b"attrib" | b"crtime" | b"times") {
        return Err(Errno::ENODATA);
    }
    let stat = files.stat(file).map_err(|fault| errno(&fault))?;
    let times = stat.times;
    let in_order = |time: Option<FileTime>| {
        let ticks = time.unwrap_or_default().0;
        match big {
            true => ticks.to_be_bytes(),
            false => ticks.to_le_bytes(),
        }
    };
    Ok(match name {
        b"attrib" if big => stat.attributes.0.to_be_bytes().to_vec(),
        b"attrib" => stat.attributes.0.to_le_bytes().to_vec(),
        b"crtime" => in_order(times.created).to_vec(),
        _ => [times.created, times.modified, times.accessed, times.changed]
            .map(in_order)
            .concat(),
    })
}

fn stream(files: &Files, file: FileId, name: &FileName) -> Result<Vec<u8>, Errno> {
    let content = files.open(file, Some(name)).map_err(|fault| match fault {
        FileError::NotFound => Errno::ENODATA,
        fault => errno(&fault),
    })?;
    let len = content.size();
    if len > MAX {
        return Err(Errno::E2BIG);
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    content
        .read_exact_at(0, &mut bytes)
        .map_err(|error| errno(&error.into()))?;
    Ok(bytes)
}

/// The names of the streams, each with `user.` before it and NUL after it. Names that Linux cannot
/// have are left out.
pub(super) fn names(files: &Files, file: FileId) -> Result<Vec<u8>, Errno> {
    /// Longest name of an attribute in bytes.
    const MAX_NAME: usize = 255;
    let mut names = Vec::new();
    for stream in files.streams(file).map_err(|fault| errno(&fault))? {
        let name = [USER, &stream.name.to_wtf8()].concat();
        if name.len() <= MAX_NAME && name.len() > USER.len() && !name.contains(&0) {
            names.extend(name);
            names.push(0);
        }
    }
    match names.len() as u64 > MAX {
        true => Err(Errno::E2BIG),
        false => Ok(names),
    }
}
