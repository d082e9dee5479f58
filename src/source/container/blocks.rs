//! Helpers of the container readers: reading block by block, and the numbers in headers.

use std::io;

use byteorder::{BigEndian, ByteOrder, LittleEndian};

use super::damaged;
use crate::source::ReadAt;

/// Fills `buf` with the bytes of a disk of `size` bytes from `offset` on. `read_block` gets an offset
/// and a buffer, fills the beginning of the buffer up to the end of a block, and returns how many
/// bytes it filled.
pub(super) fn read_in_blocks(
    size: u64,
    offset: u64,
    buf: &mut [u8],
    read_block: impl Fn(u64, &mut [u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let end = offset.checked_add(buf.len() as u64);
    if end.is_none_or(|end| end > size) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (mut offset, mut rest) = (offset, buf);
    while !rest.is_empty() {
        let done = read_block(offset, rest)?;
        offset = offset.saturating_add(done as u64);
        rest = match rest.get_mut(done..) {
            Some(rest) if done > 0 => rest,
            // Without progress the loop would not end.
            _ => return Err(damaged("a block without content")),
        };
    }
    Ok(())
}

/// The beginning of `buf`, at most `limit` bytes.
pub(super) fn at_most(buf: &mut [u8], limit: u64) -> &mut [u8] {
    let len = usize::try_from(limit).unwrap_or(usize::MAX).min(buf.len());
    buf.get_mut(..len).unwrap_or_default()
}

/// Where the bytes of a block are stored.
pub(super) enum Stored {
    /// Not stored: they are zeros.
    Zeros,
    /// In the file, from this offset on.
    At(u64),
}

/// Fills at most `limit` bytes of `buf` from where they are stored.
pub(super) fn fill(
    file: &dyn ReadAt,
    stored: Stored,
    limit: u64,
    buf: &mut [u8],
) -> io::Result<usize> {
    let buf = at_most(buf, limit);
    match stored {
        Stored::Zeros => buf.fill(0),
        Stored::At(offset) => file.read_exact_at(offset, buf)?,
    }
    Ok(buf.len())
}

/// `LEN` bytes of the file at `offset`.
pub(super) fn bytes_at<const LEN: usize>(file: &dyn ReadAt, offset: u64) -> io::Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    file.read_exact_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// Whether the file has `mark` at `offset`. `false` if it is too short.
pub(super) fn has_at(file: &dyn ReadAt, offset: u64, mark: &[u8]) -> io::Result<bool> {
    let mut found = vec![0; mark.len()];
    match file.read_exact_at(offset, &mut found) {
        Ok(()) => Ok(found == mark),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// `len` bytes from `at` on. The readers below return 0 for a number beyond the end, which does not
/// occur: they are used on headers of fixed length.
fn from(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..)?.get(..len)
}

pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    from(bytes, at, 4).map_or(0, BigEndian::read_u32)
}

pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    from(bytes, at, 8).map_or(0, BigEndian::read_u64)
}

pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    from(bytes, at, 2).map_or(0, LittleEndian::read_u16)
}

pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    from(bytes, at, 4).map_or(0, LittleEndian::read_u32)
}

pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    from(bytes, at, 8).map_or(0, LittleEndian::read_u64)
}
