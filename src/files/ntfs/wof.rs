//! Files that Windows compressed for CompactOS, through its overlay filter (WOF). The unnamed stream is a
//! hole of the file's length; the content is in the stream `WofCompressedData`, in chunks of the same
//! size but for the last, each compressed by itself. The reparse point names the algorithm, see
//! `reparse.rs`.
//!
//! | offset | field |
//! |---|---|
//! | 0 | a table: where each chunk but the first begins, in bytes from the end of the table |
//! | then | the chunks; one with as many bytes as it makes is not compressed |
//!
//! The entries of the table have 4 bytes or, if the file is longer than 4 GiB − 1, 8 bytes.
//!
//! Sources: the documentation of WIM files, whose resources have the same form; files that compact.exe
//! wrote.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::reparse::Algorithm;
use crate::files::compression::{lzx, xpress};
use crate::files::{Content, FileError};
use crate::source::ReadAt;

/// Most bytes of the file that are read from the volume at once.
const BATCH: u64 = 1 << 20;
/// Entries of the table that are read at once, and kept.
const ENTRIES: u64 = 2048;
/// Chunks to keep of which only a part was asked for.
const KEPT: usize = 4;

impl Algorithm {
    /// Bytes that a chunk makes.
    fn chunk_len(self) -> u64 {
        match self {
            Self::Xpress4K => 4096,
            Self::Xpress8K => 8192,
            Self::Xpress16K => 16384,
            Self::Lzx => 32768,
        }
    }
}

/// The content of a compressed file.
struct Compressed {
    stream: Box<dyn Content>,
    algorithm: Algorithm,
    /// Length of the file in bytes.
    len: u64,
    entry_len: u64,
    /// Length of the table in bytes.
    table_len: u64,
    kept: Mutex<Kept>,
}

/// What was read last, since the next read may need it too.
#[derive(Default)]
struct Kept {
    /// The first chunk whose place is known, and the offsets of it and of those that follow.
    offsets: Option<(u64, Arc<[u64]>)>,
    /// Chunks with their numbers.
    chunks: VecDeque<(u64, Arc<[u8]>)>,
}

/// The content of a file of `len` bytes that is compressed in a stream.
///
/// # Errors
/// [`FileError::Damaged`] when the stream is too short for its table.
pub(super) fn open(
    stream: Box<dyn Content>,
    len: u64,
    algorithm: Algorithm,
) -> Result<Box<dyn Content>, FileError> {
    let entry_len = if len > u64::from(u32::MAX) { 8 } else { 4 };
    let chunks = len.div_ceil(algorithm.chunk_len());
    let table_len = chunks.saturating_sub(1).saturating_mul(entry_len);
    if table_len > stream.size() {
        let stored = stream.size();
        return Err(damaged(format!("{stored} bytes for a file of {len} bytes")));
    }
    Ok(Box::new(Compressed {
        stream,
        algorithm,
        len,
        entry_len,
        table_len,
        kept: Mutex::default(),
    }))
}

impl Compressed {
    fn chunk_len(&self) -> u64 {
        self.algorithm.chunk_len()
    }

    fn chunks(&self) -> u64 {
        self.len.div_ceil(self.chunk_len())
    }

    /// Bytes that a chunk makes: only the last one may make fewer than the others.
    fn len_of(&self, chunk: u64) -> u64 {
        let start = chunk.saturating_mul(self.chunk_len());
        self.len.saturating_sub(start).min(self.chunk_len())
    }

    fn kept<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where chunks begin, and after them where the last of these ends: a part of the table that has at
    /// least chunk `first`, from `first` on.
    fn offsets(&self, first: u64) -> io::Result<(usize, Arc<[u64]>)> {
        let known = self.kept(|kept| kept.offsets.clone());
        if let Some((start, offsets)) = known {
            let at = first
                .checked_sub(start)
                .and_then(|at| usize::try_from(at).ok());
            if let Some(at) = at.filter(|at| at.saturating_add(1) < offsets.len()) {
                return Ok((at, offsets));
            }
        }
        let end = first.saturating_add(ENTRIES).min(self.chunks());
        let offsets = self.read_offsets(first, end)?;
        self.kept(|kept| kept.offsets = Some((first, Arc::clone(&offsets))));
        Ok((0, offsets))
    }

    /// Where the chunks from `first` to `end` begin, and where chunk `end` does. The first chunk has no
    /// entry, and the last one ends with the stream.
    fn read_offsets(&self, first: u64, end: u64) -> io::Result<Arc<[u64]>> {
        let from = first.saturating_sub(1).saturating_mul(self.entry_len);
        let to = end.saturating_mul(self.entry_len).min(self.table_len);
        let len = usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        self.stream.read_exact_at(from, &mut bytes)?;
        let stored = self.stream.size().saturating_sub(self.table_len);
        let mut offsets = Vec::new();
        if first == 0 {
            offsets.push(0);
        }
        if self.entry_len == 8 {
            offsets.extend(bytes.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)));
        } else {
            let entries = bytes.as_chunks().0.iter();
            offsets.extend(entries.map(|b| u64::from(u32::from_le_bytes(*b))));
        }
        if end >= self.chunks() {
            offsets.push(stored);
        }
        for (chunk, pair) in (first..).zip(offsets.windows(2)) {
            if let [start, end] = *pair {
                let len = end.checked_sub(start).filter(|_| end <= stored);
                if !len.is_some_and(|len| len > 0 && len <= self.len_of(chunk)) {
                    let what = format!("chunk {chunk} is at {start:#x} to {end:#x}");
                    return Err(damaged(what).into());
                }
            }
        }
        Ok(offsets.into())
    }

    /// Decompresses a chunk into a buffer of its length.
    fn decompress(&self, chunk: u64, stored: &[u8], out: &mut [u8]) -> io::Result<()> {
        if stored.len() == out.len() {
            out.copy_from_slice(stored);
            return Ok(());
        }
        let done = match self.algorithm {
            Algorithm::Lzx => lzx::decompress(stored, out),
            _ => xpress::decompress(stored, out),
        };
        done.map_err(|fault| damaged(format!("chunk {chunk}: {fault}")).into())
    }

    /// Reads from the start of `buf` on, and returns how many bytes it read.
    fn read_some(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let first = offset.checked_div(self.chunk_len()).unwrap_or_default();
        let skipped = offset.checked_rem(self.chunk_len()).unwrap_or_default();
        let skipped = usize::try_from(skipped).unwrap_or_default();
        let known = self.kept(|kept| {
            let found = kept.chunks.iter().find(|(number, _)| *number == first);
            found.map(|(_, chunk)| Arc::clone(chunk))
        });
        if let Some(chunk) = known {
            return Ok(copy_part(&chunk, skipped, buf));
        }
        let (at, offsets) = self.offsets(first)?;
        let offsets = offsets.get(at..).unwrap_or_default();
        let wanted = (skipped.saturating_add(buf.len()) as u64).min(BATCH);
        let count = usize::try_from(wanted.div_ceil(self.chunk_len())).unwrap_or(1);
        let offsets = offsets.get(..=count).unwrap_or(offsets);
        let (Some(start), Some(end)) = (offsets.first(), offsets.last()) else {
            return Err(damaged("its table is too short").into());
        };
        let len = usize::try_from(end.saturating_sub(*start)).unwrap_or_default();
        let mut bytes = vec![0; len];
        let position = self.table_len.saturating_add(*start);
        self.stream.read_exact_at(position, &mut bytes)?;
        let mut stored = &bytes[..];
        let mut done = 0usize;
        for (chunk, pair) in (first..).zip(offsets.windows(2)) {
            let [start, end] = *pair else { continue };
            let stored_len = usize::try_from(end.saturating_sub(start)).unwrap_or_default();
            let (this, after) = stored.split_at_checked(stored_len).unwrap_or_default();
            stored = after;
            let len = usize::try_from(self.len_of(chunk)).unwrap_or_default();
            let rest = buf.get_mut(done..).unwrap_or_default();
            let skipped = if chunk == first { skipped } else { 0 };
            match rest.get_mut(..len).filter(|_| skipped == 0) {
                Some(whole) => {
                    self.decompress(chunk, this, whole)?;
                    done = done.saturating_add(len);
                }
                None => {
                    let mut whole = vec![0; len];
                    self.decompress(chunk, this, &mut whole)?;
                    done = done.saturating_add(copy_part(&whole, skipped, rest));
                    self.keep(chunk, whole);
                }
            }
        }
        Ok(done)
    }

    fn keep(&self, number: u64, chunk: Vec<u8>) {
        let chunk = chunk.into();
        self.kept(|kept| {
            if kept.chunks.len() >= KEPT {
                kept.chunks.pop_front();
            }
            kept.chunks.push_back((number, chunk));
        });
    }
}

/// Copies what follows `skipped` bytes, as far as there is space, and returns how much that is.
fn copy_part(chunk: &[u8], skipped: usize, buf: &mut [u8]) -> usize {
    let part = chunk.get(skipped..).unwrap_or_default();
    let len = part.len().min(buf.len());
    if let (Some(to), Some(from)) = (buf.get_mut(..len), part.get(..len)) {
        to.copy_from_slice(from);
    }
    len
}

fn damaged(what: impl std::fmt::Display) -> FileError {
    FileError::damaged(format!("compressed data: {what}"))
}

impl ReadAt for Compressed {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut offset, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let done = self.read_some(offset, rest)?;
            if done == 0 {
                return Err(damaged("a chunk is empty").into());
            }
            offset = offset.saturating_add(done as u64);
            rest = rest.get_mut(done..).unwrap_or_default();
        }
        Ok(())
    }
}

impl Content for Compressed {
    fn memory(&self) -> usize {
        /// The largest chunk, and a batch of the table.
        const MOST: usize = KEPT * (32 << 10) + 8 * ENTRIES as usize;
        self.stream.memory().saturating_add(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(Vec<u8>);

    impl ReadAt for Bytes {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
            let start = offset as usize;
            let found = self.0.get(start..start + buf.len());
            buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
    }

    impl Content for Bytes {}

    /// A stream of chunks that are not compressed, but for chunk 1: 4096 letters in 276 bytes.
    fn stream(len: usize) -> (Vec<u8>, Vec<u8>) {
        let mut plain: Vec<u8> = (0..len).map(|at| (at * 7 % 253) as u8).collect();
        let letters = b"abc".repeat(1400);
        plain[4096..8192].copy_from_slice(&letters[..4096]);
        let mut letters = vec![0; 256];
        letters[0x30..0x32].copy_from_slice(&[0x30, 0x23]);
        letters[0x80] = 0x02;
        letters[0x8F] = 0x20;
        letters.extend([0xa8, 0xdc, 0, 0, 0xff, 0xFA, 0x0F]);
        letters.extend([0; 13]);
        let chunks: Vec<&[u8]> = plain.chunks(4096).collect();
        let mut table = Vec::new();
        let mut data = Vec::new();
        for (number, chunk) in chunks.iter().enumerate() {
            if number > 0 {
                table.extend((data.len() as u32).to_le_bytes());
            }
            data.extend_from_slice(if number == 1 { &letters } else { chunk });
        }
        table.extend(data);
        (table, plain)
    }

    fn opened(stream: Vec<u8>, len: usize) -> Result<Box<dyn Content>, FileError> {
        open(Box::new(Bytes(stream)), len as u64, Algorithm::Xpress4K)
    }

    #[test]
    fn every_range_is_read() {
        let (stream, plain) = stream(20_000);
        let content = opened(stream, plain.len()).unwrap();
        let places = [0, 1, 4095, 4096, 5000, 8191, 8192, 12_288, 19_999, 20_000];
        for start in places {
            for end in places.into_iter().filter(|end| *end >= start) {
                let mut buf = vec![0; end - start];
                content.read_exact_at(start as u64, &mut buf).unwrap();
                assert!(buf == plain[start..end], "{start} {end}");
            }
        }
        let behind = content.read_exact_at(19_999, &mut [0; 2]).unwrap_err();
        assert_eq!(behind.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_damaged_table_is_an_error() {
        let (stream, plain) = stream(20_000);
        for (at, value) in [(0, 0u32), (0, 4097), (4, 4096), (4, u32::MAX), (12, 0x7FFF)] {
            let mut stream = stream.clone();
            stream[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let content = opened(stream, plain.len()).unwrap();
            let fault = content.read_exact_at(0, &mut vec![0; plain.len()]);
            let kind = fault.unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::InvalidData, "{at} {value}");
        }
        assert!(opened(vec![0; 15], plain.len()).is_err());
        assert!(
            opened(stream[..stream.len() - 1].to_vec(), plain.len()).is_ok_and(|content| {
                // The last chunk is one byte too short, so it is taken to be compressed.
                content.read_exact_at(16_384, &mut [0; 10]).is_err()
            })
        );
    }
}
