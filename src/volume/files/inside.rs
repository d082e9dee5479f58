//! Finding a file and its content, by the crate `ntfs`.
//!
//! The crate takes sizes from the disk as they are, does not end where an index leads back to
//! itself, and hands out a file's clusters whatever they mean. So the sizes that it allocates by
//! are checked before it meets them, all that it reads is counted, and a content that does not lie
//! in the clusters as it is gets refused by name.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ntfs::indexes::NtfsFileNameIndex;
use ntfs::structured_values::NtfsIndexRoot;
use ntfs::{
    Ntfs, NtfsAttribute, NtfsAttributeFlags, NtfsAttributeType, NtfsError, NtfsFile, NtfsReadSeek,
};

use super::bounded::Bounded;
use super::content::Content;
use crate::source::Cursor;
use crate::volume::Unlocked;

/// Bytes read at once: a file record and its neighbours.
const AHEAD: usize = 0x4000;
/// Largest file record, in bytes. Windows makes records of 1024 and 4096.
const MAX_FILE_RECORD: u32 = 0x1_0000;
/// Largest record of an index, in bytes. Windows makes records of 4096, or of a cluster.
const MAX_INDEX_RECORD: u32 = 0x1_0000;
/// Most bytes that are read to find a file: four thousand times [`AHEAD`], where the deepest path
/// of a sound system volume takes some dozens.
const MAX_SEARCH: u64 = 64 << 20;
/// So many times a file's length may be read for its content: clusters far from each other are
/// read with their neighbours.
const CONTENT_FACTOR: u64 = 8;
/// Largest size of a file, in bytes, that is read: the two bytes above are not needed.
const MAX_SIZE: u64 = 1 << 48;
/// Where the initialised size stands in the header of a non-resident attribute.
const INITIALISED_SIZE: u64 = 0x38;
/// Every sector of a record ends in two bytes that are kept elsewhere.
const SECTOR: u64 = 512;
/// The tag of a file that Windows keeps compressed in another stream ("Compact OS").
const WOF: u32 = 0x8000_0017;

type Reader<'v> = BufReader<Bounded<Cursor<&'v Unlocked>>>;

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
    /// A content that NTFS keeps compressed (LZNT1).
    #[error("it is compressed by NTFS, and compressed files are not read")]
    Compressed,
    /// A content that Windows keeps compressed in another stream.
    #[error("it is compressed by Windows (Compact OS), and such files are not read")]
    CompactOs,
    /// A content that Windows keeps encrypted (EFS).
    #[error("it is encrypted by Windows (EFS), and such files are not read")]
    Encrypted,
    /// The name leads elsewhere, in a way that the tag tells.
    #[error("it is a reparse point (tag {0:#010x}), which is not followed")]
    ReparsePoint(u32),
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
    let bounded = Bounded::new(volume.cursor(), MAX_SEARCH);
    let mut reader = BufReader::with_capacity(AHEAD, bounded);
    let done = catch_unwind(AssertUnwindSafe(|| follow(&mut reader, path, work)));
    if reader.get_ref().is_exhausted() {
        return Err(FileFault::Unfollowable);
    }
    done.unwrap_or(Err(FileFault::Unfollowable))
}

fn follow<T>(
    reader: &mut Reader<'_>,
    path: &[&str],
    work: impl FnOnce(&mut dyn ReadSeek, u64) -> Result<T, FileFault>,
) -> Result<T, FileFault> {
    let mut ntfs = Ntfs::new(reader)?;
    if ntfs.file_record_size() > MAX_FILE_RECORD {
        return Err(FileFault::Unfollowable);
    }
    ntfs.read_upcase_table(reader)?;
    let mut file = ntfs.root_directory(reader)?;
    for name in path {
        check(&file, reader)?;
        file = find(&ntfs, reader, &file, name)?.ok_or(FileFault::Absent)?;
    }
    check(&file, reader)?;
    let data = file.data(reader, "").ok_or(FileFault::Absent)??;
    let attribute = data.to_attribute()?;
    let flags = attribute.flags();
    if flags.contains(NtfsAttributeFlags::COMPRESSED) {
        return Err(FileFault::Compressed);
    }
    if flags.contains(NtfsAttributeFlags::ENCRYPTED) {
        return Err(FileFault::Encrypted);
    }
    let initialised = initialised_size(&attribute, reader)?;
    let value = attribute.value(reader)?;
    let len = value.len();
    if len > MAX_SIZE {
        return Err(FileFault::TooLarge(len));
    }
    let allowed = len.saturating_mul(CONTENT_FACTOR);
    reader.get_mut().extend(allowed);
    let mut content = Content::new(value.attach(reader), initialised.unwrap_or(len), len);
    work(&mut content, len)
}

/// Refuses what is another thing than its name says, and indexes whose records nobody should make
/// room for.
fn check(file: &NtfsFile<'_>, reader: &mut Reader<'_>) -> Result<(), FileFault> {
    let mut attributes = file.attributes();
    while let Some(item) = attributes.next(reader) {
        let item = item?;
        let attribute = item.to_attribute()?;
        match attribute.ty()? {
            NtfsAttributeType::ReparsePoint => {
                let mut tag = [0; 4];
                attribute.value(reader)?.read_exact(reader, &mut tag)?;
                return Err(match u32::from_le_bytes(tag) {
                    WOF => FileFault::CompactOs,
                    other => FileFault::ReparsePoint(other),
                });
            }
            NtfsAttributeType::IndexRoot => {
                let root = attribute.resident_structured_value::<NtfsIndexRoot<'_>>()?;
                if root.index_record_size() > MAX_INDEX_RECORD {
                    return Err(FileFault::Unfollowable);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// How many bytes of an attribute were ever written; nothing where it lies in the file record, whole.
fn initialised_size(
    attribute: &NtfsAttribute<'_, '_>,
    reader: &mut Reader<'_>,
) -> Result<Option<u64>, FileFault> {
    if attribute.is_resident() {
        return Ok(None);
    }
    let position = attribute.position().value();
    let position = position.ok_or(FileFault::Unfollowable)?.get();
    let at = position.saturating_add(INITIALISED_SIZE);
    let mut size = [0; 8];
    reader
        .seek(SeekFrom::Start(at))
        .and_then(|_| reader.read_exact(&mut size))
        .map_err(FileFault::Unreadable)?;
    let size = u64::from_le_bytes(size);
    // The last two bytes of a sector of a record are not those of the field. Records begin on
    // sectors and attributes on multiples of eight bytes, so that they are its highest ones.
    match at % SECTOR {
        504 => Ok(Some(size % MAX_SIZE)),
        at if at % 8 == 0 => Ok(Some(size)),
        _ => Err(FileFault::Unfollowable),
    }
}

fn find<'n>(
    ntfs: &'n Ntfs,
    reader: &mut Reader<'_>,
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
