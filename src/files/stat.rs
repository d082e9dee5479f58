//! Properties of files and file systems.

use super::fault::Unreadable;
use super::name::FileName;
pub use crate::format::time::FileTime;

/// Identifies a file or directory of a file system. It is the same each time the file system is opened,
/// as long as the file system does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct FileId {
    /// NTFS: the number of its file record. exFAT and FAT: where its directory entry is.
    pub number: u64,
    /// NTFS: how often the record was used before, at least 1; 0 stands for any. Otherwise 0.
    pub generation: u16,
}

impl FileId {
    /// The file with this number, whatever its generation.
    pub fn from_number(number: u64) -> Self {
        Self {
            number,
            generation: 0,
        }
    }

    pub(crate) fn new(number: u64, generation: u16) -> Self {
        Self { number, generation }
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// A file with content.
    File,
    /// A directory.
    Directory,
    /// A symbolic link or a junction, see [`FileSystem::link`](super::FileSystem::link).
    Link,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its name in the directory.
    pub name: FileName,
    /// The file that it names.
    pub id: FileId,
    /// What it is, as the entry says; the record of the file ([`Stat::kind`]) decides.
    pub kind: FileKind,
}

impl Entry {
    pub(crate) fn new(name: FileName, id: FileId, kind: FileKind) -> Self {
        Self { name, id, kind }
    }
}

/// The properties of a file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stat {
    /// The number of the file in its file system.
    pub id: FileId,
    /// What it is.
    pub kind: FileKind,
    /// Length of its content in bytes; 0 for directories and links.
    pub len: u64,
    /// Bytes that its content occupies on the volume.
    pub allocated: u64,
    /// Number of its names, without short (8.3) names; at least 1.
    pub links: u32,
    /// When it was created, changed and read.
    pub times: Times,
    /// Its attributes in Windows, such as hidden.
    pub attributes: Attributes,
    /// The tag of its reparse point, if it has one.
    pub reparse_tag: Option<u32>,
    /// Why its content cannot be read, as far as that is known without reading it.
    pub unreadable: Option<Unreadable>,
    /// The directory of its first name, if the file itself says that.
    pub parent: Option<FileId>,
}

/// The times of a file. A time that the file system does not have is `None`. exFAT and FAT store local
/// times; those without a time zone are taken as UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Times {
    /// When it was created.
    pub created: Option<FileTime>,
    /// When its content was last changed.
    pub modified: Option<FileTime>,
    /// When its record was last changed; only NTFS stores it.
    pub changed: Option<FileTime>,
    /// When it was last read.
    pub accessed: Option<FileTime>,
}

/// The attributes of a file, as Windows defines them (\[MS-FSCC\], section 2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Attributes(pub u32);

/// The attributes with their letters in `attrib` and their names.
const ATTRIBUTES: &[(u32, &str)] = &[
    (0x0001, "read-only"),
    (0x0002, "hidden"),
    (0x0004, "system"),
    (0x0010, "directory"),
    (0x0020, "archive"),
    (0x0040, "device"),
    (0x0080, "normal"),
    (0x0100, "temporary"),
    (0x0200, "sparse"),
    (0x0400, "reparse point"),
    (0x0800, "compressed"),
    (0x1000, "offline"),
    (0x2000, "not indexed"),
    (0x4000, "encrypted"),
    (0x8000, "integrity stream"),
    (0x0002_0000, "no scrub data"),
    (0x0004_0000, "recall on open"),
    (0x0008_0000, "pinned"),
    (0x0010_0000, "unpinned"),
    (0x0040_0000, "recall on data access"),
];

impl Attributes {
    /// It must not be written.
    pub const READ_ONLY: Self = Self(0x0001);
    /// It is not shown by default.
    pub const HIDDEN: Self = Self(0x0002);
    /// It belongs to the operating system.
    pub const SYSTEM: Self = Self(0x0004);
    /// It is a directory.
    pub const DIRECTORY: Self = Self(0x0010);
    /// It was changed since the last backup.
    pub const ARCHIVE: Self = Self(0x0020);
    /// Parts of its content are not stored and read as zeros.
    pub const SPARSE: Self = Self(0x0200);
    /// It has a reparse point.
    pub const REPARSE_POINT: Self = Self(0x0400);
    /// Its content is compressed.
    pub const COMPRESSED: Self = Self(0x0800);
    /// Its content, or a part of it, is not on the volume.
    pub const OFFLINE: Self = Self(0x1000);
    /// Its content is encrypted with EFS.
    pub const ENCRYPTED: Self = Self(0x4000);
    /// Nothing of its content is on the volume.
    pub const RECALL_ON_OPEN: Self = Self(0x0004_0000);
    /// Its content, or a part of it, is not on the volume until it is read.
    pub const RECALL_ON_DATA_ACCESS: Self = Self(0x0040_0000);

    /// Whether it has all of the other's attributes.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether it has at least one of the other's attributes.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The names of the attributes that are set, without those that have no name.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        ATTRIBUTES
            .iter()
            .filter(move |(bit, _)| self.0 & bit != 0)
            .map(|(_, name)| *name)
    }
}

/// A named stream of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stream {
    /// Its name, without the colon.
    pub name: FileName,
    /// Length of its content in bytes.
    pub len: u64,
}

impl Stream {
    pub(crate) fn new(name: FileName, len: u64) -> Self {
        Self { name, len }
    }
}

/// What kind of link a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkKind {
    /// A symbolic link of Windows.
    Symbolic,
    /// A junction: a link to a directory of the same computer, or the mount point of another volume.
    Junction,
    /// A symbolic link of the Windows Subsystem for Linux.
    Wsl,
    /// A symbolic link of another Unix system: as Interix and ntfs-3g make them, or the NFS server of
    /// Windows.
    Unix,
}

/// A link as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// What kind it is.
    pub kind: LinkKind,
    /// Where it leads, such as `\??\C:\Users` or `..\other`.
    pub target: FileName,
    /// Whether the target begins at the directory of the link.
    pub is_relative: bool,
}

impl Link {
    pub(crate) fn new(kind: LinkKind, target: FileName, is_relative: bool) -> Self {
        Self {
            kind,
            target,
            is_relative,
        }
    }
}

/// The properties of a file system.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Properties {
    /// Its kind, such as `NTFS`.
    pub kind: &'static str,
    /// The name that its user gave it.
    pub label: Option<String>,
    /// Its serial number.
    pub serial: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes in a sector.
    pub sector_size: u32,
    /// Bytes in a cluster.
    pub cluster_size: u64,
    /// What the user should know before trusting or changing it.
    pub conditions: Vec<Condition>,
}

/// Why a file system may not show what its user saw last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It was not unmounted cleanly.
    Dirty {
        /// How that is known.
        why: String,
    },
    /// The Windows on it is hibernated, or was shut down with fast startup.
    Hibernated,
    /// A structure is damaged that every access needs; others were used instead.
    Damaged {
        /// What is damaged.
        what: String,
    },
}
