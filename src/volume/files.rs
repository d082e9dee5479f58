//! Files inside an unlocked NTFS volume, read without mounting it.

use super::Unlocked;
use crate::error::{Error, Result};

#[cfg(feature = "ntfs")]
pub use inside::{FileFault, ReadSeek, with_file};

/// The whole content of a file, by the names that lead to it from the root directory, in whatever
/// case. Compressed files are not read.
///
/// # Errors
/// [`Error::Io`] when there is no such file, when it has more than `max` bytes, or when the volume
/// holds no NTFS that can be followed; [`Error::Environment`] in a program that was built without
/// the feature `ntfs`.
#[cfg(feature = "ntfs")]
pub fn read_file(volume: &Unlocked, path: &[&str], max: u64) -> Result<Vec<u8>> {
    use std::io::Read;
    let read = with_file(volume, path, |file, len| {
        if len > max {
            return Err(FileFault::TooLarge(len));
        }
        let mut content = Vec::new();
        file.take(max)
            .read_to_end(&mut content)
            .map_err(FileFault::Unreadable)?;
        Ok(content)
    });
    read.map_err(|fault| {
        Error::io(
            format!("cannot read {} inside the volume", path.join("/")),
            fault.into(),
        )
    })
}

/// The same in a program that was built without it.
///
/// # Errors
/// [`Error::Environment`], always.
#[cfg(not(feature = "ntfs"))]
pub fn read_file(_volume: &Unlocked, _path: &[&str], _max: u64) -> Result<Vec<u8>> {
    Err(Error::Environment {
        what: "this fve was built without support for files inside NTFS (the feature ntfs)"
            .to_owned(),
        help: None,
    })
}

#[cfg(feature = "ntfs")]
mod inside {
    use std::io::{self, BufReader, Read, Seek};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use ntfs::indexes::NtfsFileNameIndex;
    use ntfs::{Ntfs, NtfsError, NtfsFile};

    use crate::volume::{Cursor, Unlocked};

    /// Bytes read at once: a file record and its neighbours.
    const AHEAD: usize = 0x4000;

    /// A file's content.
    pub trait ReadSeek: Read + Seek {}

    impl<T: Read + Seek> ReadSeek for T {}

    /// Why a file inside a volume cannot be read.
    #[derive(Debug, thiserror::Error)]
    #[non_exhaustive]
    pub enum FileFault {
        /// There is no file of that name.
        #[error("there is none")]
        Absent,
        /// The file system is none, or damaged.
        #[error("the volume holds no NTFS that can be followed: {0}")]
        FileSystem(#[from] NtfsError),
        /// It has more bytes than anybody expects.
        #[error("it has {0} bytes, more than any such file")]
        TooLarge(u64),
        /// The volume cannot be read there.
        #[error(transparent)]
        Unreadable(io::Error),
        /// A content that is not what its name says.
        #[error("{0}")]
        NotOne(String),
        /// A structure that no program should follow.
        #[error("it is damaged in a way that cannot be followed")]
        Unfollowable,
    }

    impl From<FileFault> for io::Error {
        fn from(fault: FileFault) -> Self {
            match fault {
                FileFault::Unreadable(error) => error,
                FileFault::Absent => Self::new(io::ErrorKind::NotFound, fault),
                other => Self::other(other),
            }
        }
    }

    /// Hands a file's content and its length in bytes to `work`.
    ///
    /// # Errors
    /// What keeps the file from being found, and what `work` returns. What lies on a disk must not
    /// end the program, whatever it does to the crates that read it: a panic is an error, too.
    pub fn with_file<T>(
        volume: &Unlocked,
        path: &[&str],
        work: impl FnOnce(&mut dyn ReadSeek, u64) -> Result<T, FileFault>,
    ) -> Result<T, FileFault> {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let mut reader = BufReader::with_capacity(AHEAD, volume.cursor());
            let mut ntfs = Ntfs::new(&mut reader)?;
            ntfs.read_upcase_table(&mut reader)?;
            let mut file = ntfs.root_directory(&mut reader)?;
            for name in path {
                file = find(&ntfs, &mut reader, &file, name)?.ok_or(FileFault::Absent)?;
            }
            let data = file.data(&mut reader, "").ok_or(FileFault::Absent)??;
            let attribute = data.to_attribute()?;
            let value = attribute.value(&mut reader)?;
            let len = value.len();
            work(&mut value.attach(&mut reader), len)
        }));
        done.unwrap_or(Err(FileFault::Unfollowable))
    }

    fn find<'n>(
        ntfs: &'n Ntfs,
        reader: &mut BufReader<Cursor<'_>>,
        directory: &NtfsFile<'n>,
        name: &str,
    ) -> Result<Option<NtfsFile<'n>>, NtfsError> {
        let index = directory.directory_index(reader)?;
        let mut finder = index.finder();
        match NtfsFileNameIndex::find(&mut finder, ntfs, reader, name) {
            Some(entry) => entry?.to_file(ntfs, reader).map(Some),
            None => Ok(None),
        }
    }
}
