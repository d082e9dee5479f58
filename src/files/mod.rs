//! Files of a file system, read without mounting it: NTFS, exFAT and FAT.
//!
//! [`open`] recognizes the file system in any [`ReadAt`](crate::ReadAt), such as an [`Unlocked`](crate::Unlocked)
//! volume or an image that is not encrypted. Nothing is ever written.
//!
//! What cannot be read correctly is an error of its own ([`FileError`]) and never wrong bytes. The
//! entry of such a file is still listed, with its properties.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use fve::files::{self, FilePath};
//!
//! # fn example(unlocked: fve::Unlocked) -> Result<(), Box<dyn std::error::Error>> {
//! let files = files::open(Arc::new(unlocked))?;
//! let entry = files.find(&FilePath::parse("Windows/notepad.exe"))?;
//! let content = files.open(entry.id, None)?;
//! let mut start = vec![0; content.size().min(512) as usize];
//! content.read_exact_at(0, &mut start)?;
//! # Ok(())
//! # }
//! ```

pub(crate) mod chains;
mod compression;
mod content;
pub(crate) mod exfat;
pub(crate) mod fat;
mod fault;
#[cfg(test)]
pub(crate) mod memory;
mod name;
pub(crate) mod ntfs;
mod open;
mod path;
mod stat;
mod walk;

#[cfg(feature = "testing")]
pub use compression::Compression;
pub use content::Content;
pub use fault::{FileError, Unreadable};
pub use name::{FileName, SafeName};
pub use open::{Files, LinkTarget, Located, open};
pub use path::FilePath;
pub use stat::{
    Attributes, Condition, Entry, FileId, FileKind, FileTime, Link, LinkKind, Properties, Stat,
    Stream, Times,
};
pub use walk::{Visited, Walk, WalkError, Walked};

use std::ops::{ControlFlow, Range};

/// A file system that is read. Each kind implements it in a file or directory of its own, with a row
/// in `open.rs`.
///
/// All methods take a shared reference, and any number of threads may call them at once.
pub trait FileSystem: Send + Sync {
    /// Its kind, label, size and condition.
    fn properties(&self) -> &Properties;

    /// The number of bytes that are not in use.
    ///
    /// # Errors
    /// [`FileError`] when the map of the clusters cannot be read.
    fn free(&self) -> Result<u64, FileError>;

    /// The root directory.
    fn root(&self) -> FileId;

    /// The properties of a file or directory.
    ///
    /// # Errors
    /// [`FileError::NotFound`] when there is none with this number; [`FileError::Damaged`] or
    /// [`FileError::Io`] when its record cannot be read.
    fn stat(&self, file: FileId) -> Result<Stat, FileError>;

    /// The entry with this name in a directory, by the rules of the file system: case does not
    /// matter, but an entry with exactly this name comes before others. NTFS and FAT also find a file
    /// by its short (8.3) name.
    ///
    /// # Errors
    /// [`FileError::NotADirectory`], or why the directory cannot be read.
    fn look_up(&self, directory: FileId, name: &FileName) -> Result<Option<Entry>, FileError>;

    /// Calls `tell` with every entry of a directory, until it returns [`ControlFlow::Break`]. A file
    /// with a long and a short name has one entry. The entries `.` and `..` are left out.
    ///
    /// # Errors
    /// [`FileError::NotADirectory`], or why the directory cannot be read. If a part of it is damaged,
    /// `tell` has been called with the entries of all other parts when this returns.
    fn list(
        &self,
        directory: FileId,
        tell: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), FileError>;

    /// The bytes of the volume that hold the entries of a directory, in the first `clusters` clusters of it
    /// and as far as that can be found out, where nothing else keeps two directories from having the same
    /// entries. Empty if every directory has entries of its own.
    fn places(&self, directory: FileId, clusters: u32) -> Vec<Range<u64>> {
        let _ = (directory, clusters);
        Vec::new()
    }

    /// Where a link leads, as it is stored. A file system without links need not implement this.
    ///
    /// # Errors
    /// [`FileError::NotALink`], or why it cannot be read.
    fn link(&self, file: FileId) -> Result<Link, FileError> {
        self.stat(file)?;
        Err(FileError::NotALink)
    }

    /// The reparse point of a file or directory of NTFS, with its tag and length, as it is stored. `None`
    /// if it has none.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn reparse_point(&self, file: FileId) -> Result<Option<Vec<u8>>, FileError> {
        let _ = file;
        Ok(None)
    }

    /// The named streams of a file or directory; its content without a name is not one of them. A file
    /// system without streams need not implement this.
    ///
    /// # Errors
    /// Why the record of the file cannot be read.
    fn streams(&self, file: FileId) -> Result<Vec<Stream>, FileError> {
        self.stat(file)?;
        Ok(Vec::new())
    }

    /// The content of a file, or of its stream with this name.
    ///
    /// # Errors
    /// [`FileError::NotFound`] when it has no such stream, [`FileError::IsADirectory`] for a directory
    /// without a stream's name, [`FileError::Unreadable`] when the content cannot be read correctly,
    /// or why the record of the file cannot be read.
    fn open(&self, file: FileId, stream: Option<&FileName>) -> Result<Box<dyn Content>, FileError>;
}
