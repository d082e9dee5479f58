//! Opening files in a directory on macOS and Windows, by path.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::Entry;

/// A directory, in which files are opened by name.
#[derive(Debug)]
pub(in crate::source::container) struct Folder(PathBuf);

impl Folder {
    /// Names a directory.
    pub(in crate::source::container) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(path.to_owned()))
    }

    /// The regular file of this name, which is one name and no path.
    pub(in crate::source::container) fn entry(&self, name: &OsStr) -> io::Result<Entry> {
        let path = self.0.join(name);
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Entry::Absent),
            Err(error) => Err(error),
            Ok(meta) if meta.is_symlink() => Ok(Entry::Link),
            Ok(meta) if meta.is_file() => Ok(Entry::File(File::open(path)?)),
            Ok(_) => Ok(Entry::Other),
        }
    }

    /// Size in bytes of the regular file of this name; `None` if there is none. A link is not
    /// followed.
    pub(in crate::source::container) fn file_size(&self, name: &OsStr) -> Option<u64> {
        let meta = self.0.join(name).symlink_metadata().ok();
        meta.filter(Metadata::is_file).map(|meta| meta.len())
    }
}
