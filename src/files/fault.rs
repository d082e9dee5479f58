//! Why a file cannot be read.

use std::io;

use crate::format::FormatError;

/// Why a file, a directory or the content of a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// There is no such file or stream.
    #[error("there is no such file")]
    NotFound,
    /// A name on the path is that of a file that is no directory.
    #[error("it is not a directory")]
    NotADirectory,
    /// A directory has no content of its own.
    #[error("it is a directory")]
    IsADirectory,
    /// It is not a link.
    #[error("it is not a link")]
    NotALink,
    /// The path has more links than are followed.
    #[error("too many links: more than {limit} on the way")]
    TooManyLinks {
        /// Most links that are followed.
        limit: usize,
    },
    /// A link leads out of the volume.
    #[error("the link leads out of the volume, to {target}")]
    LeadsOutside {
        /// Where it leads, as the file system stores it.
        target: String,
    },
    /// The content is longer than the caller allows.
    #[error("it has {len} bytes, and at most {max} are read")]
    TooLarge {
        /// Its length in bytes.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// The content is stored in a way that is not supported. Its entry and its properties can be read.
    #[error("{0}")]
    Unreadable(Unreadable),
    /// The structures of the file system that describe the file are damaged.
    #[error("the file system is damaged: {what}")]
    Damaged {
        /// What is damaged, and where.
        what: String,
    },
    /// The volume could not be read.
    #[error("the volume cannot be read")]
    Io(#[source] io::Error),
}

/// A way of storing content that is not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Encrypted by Windows (EFS), with a key of a user.
    #[error("it is encrypted with EFS, and only its user's Windows can decrypt it")]
    Efs,
    /// In the cloud: the file is a placeholder.
    #[error(
        "its content is in the cloud (reparse tag {tag:#010x}), and the volume has only a placeholder"
    )]
    Cloud {
        /// The reparse tag.
        tag: u32,
    },
    /// Deduplicated by Windows Server: the content is in a chunk store.
    #[error("it is deduplicated by Windows Server, which is not supported")]
    Deduplicated,
    /// A reparse point whose content is not known to be what the file contains.
    #[error("it is a reparse point of an unknown kind ({tag:#010x})")]
    Reparse {
        /// The reparse tag.
        tag: u32,
    },
    /// Compressed in a way that is not known.
    #[error("it is compressed in an unknown way ({what})")]
    Compression {
        /// The format as it is stored.
        what: String,
    },
}

impl FileError {
    /// An error for damaged structures.
    pub(crate) fn damaged(what: impl std::fmt::Display) -> Self {
        Self::Damaged {
            what: what.to_string(),
        }
    }
}

impl From<FormatError> for FileError {
    fn from(fault: FormatError) -> Self {
        Self::damaged(fault)
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        let kind = match &error {
            FileError::Io(_) => {
                let FileError::Io(error) = error else {
                    return Self::other("the volume cannot be read");
                };
                return error;
            }
            FileError::NotFound => io::ErrorKind::NotFound,
            FileError::NotADirectory => io::ErrorKind::NotADirectory,
            FileError::IsADirectory => io::ErrorKind::IsADirectory,
            FileError::Unreadable(_) => io::ErrorKind::Unsupported,
            FileError::Damaged { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}
