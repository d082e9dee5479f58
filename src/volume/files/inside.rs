//! Finding a file and reading its content, with the crate `ntfs`.
//!
//! The crate allocates as much memory as sizes on the disk say, follows an index that leads back to
//! itself without end, and returns the clusters of compressed and encrypted files as their content.
//! So the sizes are checked before the crate uses them, the bytes that it reads are limited, and
//! files whose clusters are not their content are refused.

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

/// Size of the read buffer in bytes: a file record and its neighbors.
const AHEAD: usize = 0x4000;
/// Limit on the size of a file record in bytes. Windows makes records of 1024 and 4096.
const MAX_FILE_RECORD: u32 = 0x1_0000;
/// Limit on the size of an index record in bytes. Windows makes records of 4096 or of a cluster.
const MAX_INDEX_RECORD: u32 = 0x1_0000;
/// Limit on the bytes that are read to find a file: four thousand buffers ([`AHEAD`]). The deepest
/// path of a sound system volume needs some dozens.
const MAX_SEARCH: u64 = 64 << 20;
/// Limit on the bytes that are read for the content of a file, as a multiple of its length. It is more
/// than 1 because scattered clusters are read together with their neighbors.
const CONTENT_FACTOR: u64 = 8;
/// Limit on the size of a file in bytes. So the highest two bytes of the field are zeros, which
/// [`initialized_size`] relies on.
const MAX_SIZE: u64 = 1 << 48;
/// Offset of the initialized size in the header of a non-resident attribute.
const INITIALIZED_SIZE: u64 = 0x38;
/// Bytes in a sector of a record. NTFS replaces the last two bytes of each by an update sequence
/// number, and stores the original bytes in the head of the record.
const SECTOR: u64 = 512;
/// Reparse tag of a file whose content Windows stores compressed in another stream ("Compact OS").
const WOF: u32 = 0x8000_0017;

type Reader<'v> = BufReader<Bounded<Cursor<&'v Unlocked>>>;

/// The content of a file.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// Why a file inside a volume cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileFault {
    /// There is no file of that name.
    #[error("no such file")]
    Absent,
    /// The volume has no NTFS, or a damaged one.
    #[error("{}", ntfs_words(.0))]
    FileSystem(NtfsError),
    /// It has more bytes than the caller allows.
    #[error("it has {0} bytes, which is too large for such a file")]
    TooLarge(u64),
    /// Reading the volume failed.
    #[error(transparent)]
    Unreadable(io::Error),
    /// Its content is not of the kind that its name says.
    #[error("{0}")]
    NotOne(String),
    /// NTFS stores it compressed (LZNT1).
    #[error("it is compressed by NTFS, and compressed files are not read")]
    Compressed,
    /// Windows stores it compressed in another stream.
    #[error("it is compressed by Windows (Compact OS), and such files are not read")]
    CompactOs,
    /// Windows stores it encrypted (EFS).
    #[error("it is encrypted by Windows (EFS), and such files are not read")]
    Encrypted,
    /// It is a reparse point, such as a link, of another kind. The number is its tag.
    #[error("it is a reparse point (tag {0:#010x}), which is not followed")]
    ReparsePoint(u32),
    /// A structure leads back to itself, or has a size that is too large to be true.
    #[error("its structures on the disk are damaged")]
    Unfollowable,
}

// By hand: the attribute `from` would make it the source too, and the message names it already.
impl From<NtfsError> for FileFault {
    fn from(error: NtfsError) -> Self {
        match error {
            NtfsError::Io(error) => Self::Unreadable(error),
            other => Self::FileSystem(other),
        }
    }
}

/// The crate's own words have lists of bytes and names of its types.
fn ntfs_words(error: &NtfsError) -> &'static str {
    match error {
        NtfsError::InvalidTwoByteSignature { .. }
        | NtfsError::InvalidMftLcn
        | NtfsError::InvalidRecordSizeInfo { .. }
        | NtfsError::InvalidSectorsPerCluster { .. } => {
            "the volume has no readable NTFS file system"
        }
        _ => "the structures of its NTFS file system are damaged there",
    }
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

/// Calls `work` with the content of a file and its length in bytes.
///
/// # Errors
/// Why the file cannot be found or read, and the errors of `work`. A panic of the crate `ntfs` on
/// hostile structures becomes an error, so that no disk can end the program.
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
    let initialized = initialized_size(&attribute, reader)?;
    let value = attribute.value(reader)?;
    let len = value.len();
    if len > MAX_SIZE {
        return Err(FileFault::TooLarge(len));
    }
    let allowed = len.saturating_mul(CONTENT_FACTOR);
    reader.get_mut().extend(allowed);
    let mut content = Content::new(value.attach(reader), initialized.unwrap_or(len), len);
    work(&mut content, len)
}

/// Refuses reparse points, and indexes whose records are too large.
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

/// The initialized size of an attribute: how many of its bytes were ever written. `None` for a
/// resident attribute, all of whose bytes are in the file record.
fn initialized_size(
    attribute: &NtfsAttribute<'_, '_>,
    reader: &mut Reader<'_>,
) -> Result<Option<u64>, FileFault> {
    if attribute.is_resident() {
        return Ok(None);
    }
    let position = attribute.position().value();
    let position = position.ok_or(FileFault::Unfollowable)?.get();
    let at = position.saturating_add(INITIALIZED_SIZE);
    let mut size = [0; 8];
    reader
        .seek(SeekFrom::Start(at))
        .and_then(|_| reader.read_exact(&mut size))
        .map_err(FileFault::Unreadable)?;
    let size = u64::from_le_bytes(size);
    // The last two bytes of a sector are not the original ones. Records begin at sectors and
    // attributes at multiples of eight bytes, so that these can only be the highest two of the field.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_file_system_are_in_plain_words() {
        let fault = FileFault::from(NtfsError::Io(io::ErrorKind::UnexpectedEof.into()));
        assert_eq!(fault.to_string(), "unexpected end of file");
        let fault = FileFault::from(NtfsError::InvalidUpcaseTableSize {
            expected: 2,
            actual: 1,
        });
        assert_eq!(
            fault.to_string(),
            "the structures of its NTFS file system are damaged there"
        );
        let fault = FileFault::from(NtfsError::InvalidMftLcn);
        assert!(fault.to_string().contains("no readable NTFS"));
    }
}
