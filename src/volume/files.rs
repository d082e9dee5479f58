//! Files inside an unlocked NTFS volume, read without mounting it.

#[cfg(feature = "ntfs")]
use std::io::BufReader;

#[cfg(feature = "ntfs")]
use ntfs::indexes::NtfsFileNameIndex;
#[cfg(feature = "ntfs")]
use ntfs::{Ntfs, NtfsError, NtfsFile, NtfsReadSeek};

use super::Unlocked;
use crate::error::{Error, Result};

/// The whole content of a file, by the names that lead to it from the root directory, in whatever case.
/// Compressed files are not read.
///
/// # Errors
/// [`Error::Io`] when there is no such file, when it has more than `max` bytes, or when the volume holds no NTFS that
/// can be followed; [`Error::Environment`] in a program that was built without the feature `ntfs`.
#[cfg(feature = "ntfs")]
pub fn read_file(volume: &Unlocked, path: &[&str], max: u64) -> Result<Vec<u8>> {
    /// Bytes read at once: a file record and its neighbours.
    const AHEAD: usize = 0x4000;
    let mut reader = BufReader::with_capacity(AHEAD, volume.cursor());
    read(&mut reader, path, max).map_err(|source| {
        Error::io(
            format!("cannot read {} inside the volume", path.join("/")),
            source,
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
fn read(
    reader: &mut BufReader<super::Cursor<'_>>,
    path: &[&str],
    max: u64,
) -> std::io::Result<Vec<u8>> {
    use std::io::{Error, ErrorKind};
    let other = |error: NtfsError| match error {
        NtfsError::Io(error) => error,
        other => Error::other(other.to_string()),
    };
    let mut ntfs = Ntfs::new(reader).map_err(other)?;
    ntfs.read_upcase_table(reader).map_err(other)?;
    let mut file = ntfs.root_directory(reader).map_err(other)?;
    for name in path {
        let found = find(&ntfs, reader, &file, name).map_err(other)?;
        file =
            found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no {name}")))?;
    }
    let item = file
        .data(reader, "")
        .ok_or(ErrorKind::InvalidData)?
        .map_err(other)?;
    let attribute = item.to_attribute().map_err(other)?;
    let mut value = attribute.value(reader).map_err(other)?;
    if value.len() > max {
        return Err(Error::new(
            ErrorKind::InvalidData,
            format!("it has {} bytes", value.len()),
        ));
    }
    let mut content = Vec::new();
    let mut piece = vec![0; 0x1_0000];
    loop {
        match value.read(reader, &mut piece).map_err(other)? {
            0 => return Ok(content),
            read if (content.len() + read) as u64 > max => {
                return Err(ErrorKind::InvalidData.into());
            }
            read => content.extend_from_slice(&piece[..read]),
        }
    }
}

#[cfg(feature = "ntfs")]
fn find<'n>(
    ntfs: &'n Ntfs,
    reader: &mut BufReader<super::Cursor<'_>>,
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
