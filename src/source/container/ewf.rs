//! Expert Witness images, E01 and S01 (as written by EnCase 1 to 6, SMART and ewfacquire; J. Metz,
//! "Expert Witness Compression Format"; ASR Data, "Expert Witness Compression Format Specification",
//! 2002).
//!
//! The crate `ewf` 0.4 was tried. It does not check the Adler-32 of an uncompressed chunk, and
//! allocates the size that a table gives for one, up to 2 GiB.
//!
//! All numbers are little-endian. A file begins with 13 bytes (signature, number of the segment at
//! 9), followed by sections. Each begins with a descriptor of 76 bytes: type at 0, offset of the next
//! section at 16, length including the descriptor at 24, Adler-32 at 72.
//!
//! | section | content |
//! |---|---|
//! | `volume`, `disk` | number of chunks at 4, sectors of a chunk at 8, bytes of a sector at 12, sectors at 16 |
//! | `sectors` | chunks: deflated, or uncompressed and followed by an Adler-32 |
//! | `table` | number of entries at 0, base at 8, Adler-32 at 20; from 24 on entries of 4 bytes: offset from the base, highest bit set if deflated; Adler-32 |
//! | `table2` | a copy of `table` |
//! | `next`, `done` | end of the segment, end of the image |
//!
//! EnCase 1 and SMART write neither `sectors` nor `table2`, and no checksum after the entries of a
//! table: the chunks, all deflated, follow the entries in the `table` section.
//!
//! The checksum of each chunk is verified when it is read. Ex01 and L01 are other formats, and not
//! supported.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use flate2::{Decompress, FlushDecompress, Status};

use super::beside::Beside;
use super::blocks::{at_most, bytes_at, has_at, le16, le32, le64, read_in_blocks};
use super::{damaged, unsupported, unsupported_with};
use crate::error::Remedy;
use crate::shown::ShowPath;
use crate::source::ReadAt;

const SIGNATURE: &[u8] = b"EVF\x09\x0D\x0A\xFF\x00";
const FILE_HEADER_LEN: u64 = 13;
const DESCRIPTOR_LEN: u64 = 76;
const TABLE_HEADER_LEN: u64 = 24;
const ENTRY_LEN: u64 = 4;
const DEFLATED: u32 = 1 << 31;
/// Length of the Adler-32 after an uncompressed chunk.
const CHECKSUM_LEN: u64 = 4;

/// Limit on the files: about as many as a process may usually have open.
const MAX_SEGMENTS: usize = 1000;
/// Limit on the tables. EnCase writes one for each 16,375 chunks of 32 KiB, so that this is enough
/// for 128 TiB.
const MAX_TABLES: usize = 1 << 18;
/// Limit on the sections of a segment: each table comes with up to three others.
const MAX_SECTIONS: usize = 4 * MAX_TABLES;
/// EnCase offers chunks of 64 to 32,768 sectors.
const MAX_CHUNK_LEN: u64 = 32_768 * 512;
/// Bytes of a table that are read at once: a multiple of the length of an entry.
const READ_LEN: usize = 64 << 10;
/// How much longer a deflated chunk may be than its content: RFC 1951 adds 5 bytes to each block that
/// does not compress.
const MAX_OVERHEAD: u64 = 64 << 10;

pub(super) fn fits(file: &dyn ReadAt) -> io::Result<bool> {
    has_at(file, 0, SIGNATURE)
}

pub(super) fn open(path: &Path, file: Arc<dyn ReadAt>) -> io::Result<Arc<dyn ReadAt>> {
    let mut image = Image::default();
    let beside = Beside::of(path)?;
    let mut name = beside.name().to_owned();
    let mut segment = file;
    loop {
        let number = image.segments.len().saturating_add(1);
        let own = segment_number(&segment)?;
        if own.map(usize::from) != Some(number) {
            let shown = beside.path(&name);
            return Err(match (own, number) {
                (Some(own), 1) => later_segment(&beside, own),
                (Some(own), _) => damaged(format!(
                    "{} is segment {own}, but its name is that of segment {number}",
                    shown.shown()
                )),
                (None, _) => damaged(format!(
                    "{} is no segment of an Expert Witness image, but has the name of segment {number}",
                    shown.shown()
                )),
            });
        }
        image.segments.push(segment.clone());
        if image.read_sections(&segment)? {
            return image.finish();
        }
        if number >= MAX_SEGMENTS {
            return Err(unsupported(format!("more than {MAX_SEGMENTS} segments")));
        }
        name = next(Path::new(&name))
            .map(PathBuf::into_os_string)
            .ok_or_else(|| damaged("its file name does not give that of the next segment"))?;
        segment = Arc::new(beside.required(&name)?);
    }
}

/// The number of a segment; `None` if the file is none.
fn segment_number(file: &dyn ReadAt) -> io::Result<Option<u16>> {
    Ok(match fits(file)? {
        true => Some(le16(&bytes_at::<13>(file, 0)?, 9)),
        false => None,
    })
}

/// The error for a segment that is not the first, with the name of the first, if it is found.
fn later_segment(beside: &Beside, number: u16) -> io::Error {
    let first = first_segment(beside);
    let what = format!(
        "segment {number} of an Expert Witness image, which is opened by its first segment"
    );
    match first {
        Some(first) => unsupported_with(what, Remedy::NameFirstPart { file: first }),
        None => unsupported_with(
            what,
            "put all segments into one directory and name the first, whose extension is .E01 or .S01",
        ),
    }
}

/// The first segment in the directory of the image. The first letter of its extension may come before
/// that of a later segment: EAA to EZZ are followed by FAA.
fn first_segment(beside: &Beside) -> Option<PathBuf> {
    let name = Path::new(beside.name());
    let letter = name.extension()?.to_str()?.chars().next()?;
    let known = match letter.is_ascii_uppercase() {
        true => ['E', 'S'],
        false => ['e', 's'],
    };
    [letter].into_iter().chain(known).find_map(|letter| {
        let first = name.with_extension(format!("{letter}01")).into_os_string();
        let file = beside.open(&first).ok()??;
        (segment_number(&file).ok()? == Some(1)).then(|| beside.path(&first))
    })
}

/// The name of the next segment: `E01` … `E99`, `EAA` … `EZZ`, `FAA` … `ZZZ`.
fn next(path: &Path) -> Option<PathBuf> {
    let extension = path.extension()?.to_str()?;
    let [first, second, third] = *extension.as_bytes() else {
        return None;
    };
    let a = if first.is_ascii_uppercase() {
        b'A'
    } else {
        b'a'
    };
    let z = a.saturating_add(25);
    let up = |letter: u8| letter.saturating_add(1);
    let following = match (second, third) {
        (b'9', b'9') => [first, a, a],
        (_, b'9') => [first, up(second), b'0'],
        (_, b'0'..=b'8') => [first, second, up(third)],
        _ if third != z => [first, second, up(third)],
        _ if second != z => [first, up(second), a],
        _ if first != z => [up(first), a, a],
        _ => return None,
    };
    Some(path.with_extension(std::str::from_utf8(&following).ok()?))
}

/// A table with the offsets of a run of chunks.
#[derive(Debug, Clone, Copy)]
struct Table {
    /// Index of the segment with the table and its chunks.
    segment: usize,
    /// Number of its first chunk.
    first: u64,
    /// Number of chunks.
    count: u64,
    /// Offset of its entries in the segment.
    entries: u64,
    /// Offset in the segment from which the entries count.
    base: u64,
    /// Offset in the segment that limits the last chunk.
    end: u64,
    /// Whether all chunks are deflated, whatever their entries say.
    deflated: bool,
}

impl Table {
    /// The offset in the segment that an entry gives.
    fn place(&self, entry: u32) -> u64 {
        self.base.saturating_add((entry & !DEFLATED).into())
    }

    /// Whether the first chunk follows the entries, which end at `after`: there is no checksum.
    fn is_followed_by_chunks(&self, file: &dyn ReadAt, after: u64) -> io::Result<bool> {
        let first = le32(&bytes_at::<4>(file, self.entries)?, 0);
        Ok(self.count > 0 && self.place(first) == after)
    }

    /// Whether the chunks are inside a range, each after the one before.
    fn ascends(&self, file: &dyn ReadAt, chunks: Range<u64>) -> io::Result<bool> {
        let mut buf = [0; READ_LEN];
        let (mut at, mut least) = (self.entries, chunks.start);
        while at < chunks.start {
            let piece = at_most(&mut buf, chunks.start.saturating_sub(at));
            file.read_exact_at(at, piece)?;
            for entry in piece.chunks_exact(ENTRY_LEN as usize) {
                let place = self.place(le32(entry, 0));
                if place < least || place >= chunks.end {
                    return Ok(false);
                }
                least = place.saturating_add(1);
            }
            at = at.saturating_add(piece.len() as u64);
        }
        Ok(true)
    }
}

fn table_lost() -> io::Error {
    damaged("a chunk table is damaged, and no sound copy of it follows")
}

#[derive(Default)]
struct Image {
    segments: Vec<Arc<dyn ReadAt>>,
    tables: Vec<Table>,
    chunks: u64,
    chunk_len: u64,
    size: u64,
}

impl Image {
    /// Reads the sections of the last segment. `true` if the image ends with it.
    fn read_sections(&mut self, file: &dyn ReadAt) -> io::Result<bool> {
        let mut at = FILE_HEADER_LEN;
        let mut sectors_end = None;
        // A damaged table is followed by its copy.
        let mut table_damaged = false;
        for _ in 0..MAX_SECTIONS {
            let descriptor: [u8; DESCRIPTOR_LEN as usize] = bytes_at(file, at)?;
            if adler32(descriptor.get(..72).unwrap_or_default()) != le32(&descriptor, 72) {
                return Err(damaged(format!("the section at {at} is damaged")));
            }
            let kind = descriptor
                .split(|byte| *byte == 0)
                .next()
                .unwrap_or_default();
            let data = at.saturating_add(DESCRIPTOR_LEN);
            let following = le64(&descriptor, 16);
            let end = at.saturating_add(le64(&descriptor, 24).max(DESCRIPTOR_LEN));
            match kind {
                b"volume" | b"disk" if self.chunk_len == 0 => self.read_volume(file, data)?,
                b"sectors" => sectors_end = Some(end),
                b"table" => {
                    let section = data..end.min(following);
                    table_damaged = !self.read_table(file, section, sectors_end)?;
                }
                b"table2" if table_damaged => {
                    let section = data..end.min(following);
                    table_damaged = !self.read_table(file, section, sectors_end)?;
                }
                b"done" | b"next" => {
                    return match table_damaged {
                        true => Err(table_lost()),
                        false => Ok(kind == b"done"),
                    };
                }
                _ => {}
            }
            if following <= at {
                return Err(damaged(format!(
                    "the section at {at} has an impossible offset of the next one"
                )));
            }
            if table_damaged && !matches!(kind, b"table") {
                return Err(table_lost());
            }
            at = following;
        }
        Err(damaged("more sections than any image has"))
    }

    fn read_volume(&mut self, file: &dyn ReadAt, data: u64) -> io::Result<()> {
        let volume: [u8; 24] = bytes_at(file, data)?;
        let sector = u64::from(le32(&volume, 12));
        self.chunk_len = u64::from(le32(&volume, 8)).saturating_mul(sector);
        self.size = le64(&volume, 16).saturating_mul(sector);
        if self.chunk_len == 0 || self.chunk_len > MAX_CHUNK_LEN {
            return Err(damaged(format!("its chunks have {} bytes", self.chunk_len)));
        }
        Ok(())
    }

    /// Reads the table in a section. `false` if it is damaged. `sectors_end` is the end of the
    /// `sectors` section with its chunks, if there is one.
    fn read_table(
        &mut self,
        file: &dyn ReadAt,
        section: Range<u64>,
        sectors_end: Option<u64>,
    ) -> io::Result<bool> {
        let data = section.start;
        let header: [u8; TABLE_HEADER_LEN as usize] = bytes_at(file, data)?;
        if adler32(header.get(..20).unwrap_or_default()) != le32(&header, 20) {
            return Ok(false);
        }
        let table = Table {
            segment: self.segments.len().saturating_sub(1),
            first: self.chunks,
            count: le32(&header, 0).into(),
            entries: data.saturating_add(TABLE_HEADER_LEN),
            base: le64(&header, 8),
            end: sectors_end.unwrap_or(section.end),
            deflated: false,
        };
        let after = table
            .entries
            .saturating_add(table.count.saturating_mul(ENTRY_LEN));
        // A table must be inside its section. So the checks of all tables together read each byte of
        // the file once, however many tables there are.
        if after.saturating_add(CHECKSUM_LEN) > section.end {
            return Ok(false);
        }
        let table = if sectors_end.is_none() && table.is_followed_by_chunks(file, after)? {
            if !table.ascends(file, after..section.end)? {
                return Ok(false);
            }
            Table {
                deflated: true,
                ..table
            }
        } else {
            let stored = le32(&bytes_at::<4>(file, after)?, 0);
            if stored != adler32_of(file, table.entries, after)? {
                return Ok(false);
            }
            table
        };
        if self.tables.len() >= MAX_TABLES {
            return Err(unsupported(format!("more than {MAX_TABLES} chunk tables")));
        }
        if table.count > 0 {
            self.tables.push(table);
            self.chunks = self.chunks.saturating_add(table.count);
        }
        Ok(true)
    }

    fn finish(self) -> io::Result<Arc<dyn ReadAt>> {
        if self.chunk_len == 0 {
            return Err(damaged("it has no volume section"));
        }
        if self.size.div_ceil(self.chunk_len) > self.chunks {
            return Err(damaged(format!(
                "its tables list {} chunks of {} bytes, too few for a disk of {} bytes",
                self.chunks, self.chunk_len, self.size
            )));
        }
        Ok(Arc::new(self))
    }

    /// The content of a chunk, whose checksum was verified.
    fn chunk(&self, number: u64) -> io::Result<Vec<u8>> {
        let after = self.tables.partition_point(|table| table.first <= number);
        let table = self.tables.get(after.saturating_sub(1));
        let (table, file) = table
            .and_then(|table| Some((table, self.segments.get(table.segment)?)))
            .ok_or_else(|| damaged("a chunk that no table lists"))?;
        let index = number.saturating_sub(table.first);
        let entry_at = table
            .entries
            .saturating_add(index.saturating_mul(ENTRY_LEN));
        // Of the last entry, the second number is the checksum of the table, which is not used.
        let entries: [u8; 8] = bytes_at(file, entry_at)?;
        let (entry, following) = (le32(&entries, 0), le32(&entries, 4));
        let start = table.place(entry);
        let end = match index.saturating_add(1) < table.count {
            true => table.place(following),
            false => table.end,
        };
        let start_of_chunk = number.saturating_mul(self.chunk_len);
        let len = self.chunk_len.min(self.size.saturating_sub(start_of_chunk));
        let deflated = table.deflated || entry & DEFLATED != 0;
        let stored = end.checked_sub(start).filter(|stored| *stored > 0);
        let limit = self.chunk_len.saturating_add(MAX_OVERHEAD);
        let stored = match (stored, deflated) {
            (Some(stored), true) => stored.min(limit),
            (Some(stored), false) if stored >= len.saturating_add(CHECKSUM_LEN) => {
                len.saturating_add(CHECKSUM_LEN)
            }
            _ => return Err(damaged(format!("chunk {number} has no data"))),
        };
        let mut bytes = vec![0; usize::try_from(stored).map_err(|_| io::ErrorKind::InvalidData)?];
        file.read_exact_at(start, &mut bytes)?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidData)?;
        let content = match deflated {
            true => inflate(&bytes, self.chunk_len),
            false => plain(bytes, len),
        };
        content
            .filter(|content| content.len() >= len)
            .ok_or_else(|| damaged(format!("chunk {number} fails its checksum")))
    }
}

fn plain(mut bytes: Vec<u8>, len: usize) -> Option<Vec<u8>> {
    let checksum = le32(&bytes, len);
    bytes.truncate(len);
    (adler32(&bytes) == checksum).then_some(bytes)
}

/// The content of a zlib stream; `None` if its checksum is wrong.
fn inflate(bytes: &[u8], limit: u64) -> Option<Vec<u8>> {
    let mut content = vec![0; usize::try_from(limit).ok()?];
    let mut inflate = Decompress::new(true);
    let status = inflate.decompress(bytes, &mut content, FlushDecompress::Finish);
    content.truncate(usize::try_from(inflate.total_out()).ok()?);
    (status.ok()? == Status::StreamEnd).then_some(content)
}

/// Adler-32 (RFC 1950, section 8.2).
fn adler32(bytes: &[u8]) -> u32 {
    let mut sums = Adler::default();
    sums.add(bytes);
    sums.value()
}

/// The Adler-32 of a range of a file, which is read in parts because a table may be large.
fn adler32_of(file: &dyn ReadAt, start: u64, end: u64) -> io::Result<u32> {
    let mut sums = Adler::default();
    let mut buf = [0; READ_LEN];
    let mut at = start;
    while at < end {
        let piece = at_most(&mut buf, end.saturating_sub(at));
        file.read_exact_at(at, piece)?;
        sums.add(piece);
        at = at.saturating_add(piece.len() as u64);
    }
    Ok(sums.value())
}

struct Adler(u32, u32);

impl Default for Adler {
    fn default() -> Self {
        Self(1, 0)
    }
}

impl Adler {
    const MODULUS: u32 = 65521;
    /// The most bytes that cannot overflow the sums before they are reduced (NMAX in zlib).
    const RUN: usize = 5552;

    fn add(&mut self, bytes: &[u8]) {
        for run in bytes.chunks(Self::RUN) {
            for byte in run {
                self.0 = self.0.wrapping_add((*byte).into());
                self.1 = self.1.wrapping_add(self.0);
            }
            self.0 %= Self::MODULUS;
            self.1 %= Self::MODULUS;
        }
    }

    fn value(&self) -> u32 {
        (self.1 << 16) | self.0
    }
}

impl ReadAt for Image {
    fn size(&self) -> u64 {
        self.size
    }

    fn modified(&self) -> Option<SystemTime> {
        self.segments
            .iter()
            .filter_map(|segment| segment.modified())
            .max()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        read_in_blocks(self.size, offset, buf, |offset, buf| {
            let number = offset.checked_div(self.chunk_len).unwrap_or(0);
            let inside = offset.checked_rem(self.chunk_len).unwrap_or(0);
            let chunk = self.chunk(number)?;
            let buf = at_most(buf, chunk.size().saturating_sub(inside));
            chunk.read_exact_at(inside, buf)?;
            Ok(buf.len())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_counted_in_digits_then_letters() {
        for (name, following) in [
            ("d.E01", "d.E02"),
            ("d.E09", "d.E10"),
            ("d.E99", "d.EAA"),
            ("d.e99", "d.eaa"),
            ("d.EAZ", "d.EBA"),
            ("d.EZZ", "d.FAA"),
        ] {
            assert_eq!(next(Path::new(name)).unwrap(), Path::new(following));
        }
        assert_eq!(next(Path::new("d.ZZZ")), None);
        assert_eq!(next(Path::new("d.img1")), None);
    }

    #[test]
    fn adler_32_of_the_standard_example() {
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
        assert_eq!(adler32(b""), 1);
    }
}
