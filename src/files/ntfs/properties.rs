//! What the attributes `$STANDARD_INFORMATION` and `$FILE_NAME` say about a file.
//!
//! | offset in `$STANDARD_INFORMATION` | field |
//! |---|---|
//! | 0x00, 0x08 | when the file was created; its content changed |
//! | 0x10, 0x18 | its record changed; it was read |
//! | 0x20 | attributes |
//!
//! | offset in `$FILE_NAME` | field |
//! |---|---|
//! | 0x00 | reference to the directory |
//! | 0x41 | kind of the name (2: only a short name) |
//!
//! Source: the documentation of the Linux-NTFS project.

use super::record::Reference;
use crate::files::{Attributes, FileTime, Times};
use crate::format::FormatError;
use crate::format::wire::Fields;

/// The kind of a name that is only a short name.
const DOS: u8 = 2;

/// The times and attributes in the content of `$STANDARD_INFORMATION`.
pub(super) fn standard_information(content: &[u8]) -> Result<(Times, Attributes), FormatError> {
    let fields = Fields::new("standard information", content, 0);
    let time = |at| fields.u64(at).map(|ticks| Some(FileTime(ticks)));
    let times = Times {
        created: time(0)?,
        modified: time(8)?,
        changed: time(0x10)?,
        accessed: time(0x18)?,
    };
    Ok((times, Attributes(fields.u32(0x20)?)))
}

/// The directory of a name, from the content of `$FILE_NAME`, and whether it is only a short name.
pub(super) fn file_name(content: &[u8]) -> Result<(Reference, bool), FormatError> {
    let fields = Fields::new("file name", content, 0);
    let directory = Reference::from_disk(fields.u64(0)?);
    Ok((directory, fields.u8(0x41)? == DOS))
}
