//! Content that NTFS compressed with LZNT1.
//!
//! The content is divided into units, usually of 16 clusters. All clusters of a unit are there: it is
//! stored as it is. None is there: it is all zeros. Only the first ones are there: they hold the unit
//! compressed.
//!
//! Source: the documentation of the Linux-NTFS project.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::extents::{MAX_JOINED, Plain, inside, read_pieces};
use crate::files::compression::lznt1;
use crate::files::{Content, FileError};
use crate::source::ReadAt;

/// Largest unit in bytes. Windows compresses only on volumes with clusters of up to 4 KiB.
const MAX_UNIT: u64 = 1 << 20;
/// Number of decompressed units that are kept, so that small reads do not decompress one again.
const KEPT: usize = 4;

/// A decompressed unit, with its number.
type Unit = (u64, Arc<[u8]>);

/// Compressed content.
pub(super) struct Compressed {
    stored: Plain,
    /// Bytes in a unit.
    unit: u64,
    kept: Mutex<VecDeque<Unit>>,
}

/// How a unit is stored.
enum Form {
    /// As it is.
    Plain,
    /// Not at all: it is zeros.
    Hole,
    /// Compressed, in this many bytes.
    Compressed(u64),
}

impl Compressed {
    /// Content in units of `2^exponent` clusters. `None` if there are no units of that size.
    pub(super) fn new(stored: Plain, cluster_size: u64, exponent: u8) -> Option<Self> {
        let factor = 1u64.checked_shl(u32::from(exponent))?;
        let unit = cluster_size.checked_mul(factor)?;
        (exponent > 0 && unit <= MAX_UNIT).then(|| Self {
            stored,
            unit,
            kept: Mutex::default(),
        })
    }

    /// How the unit that begins at `start` is stored.
    fn form(&self, start: u64) -> io::Result<Form> {
        let end = start.saturating_add(self.unit);
        let (mut stored, mut described) = (0u64, 0u64);
        let mut is_behind_hole = false;
        for extent in self.stored.extents.from(start) {
            if extent.bytes.start >= end {
                break;
            }
            let len = extent.bytes.end.min(end);
            let len = len.saturating_sub(extent.bytes.start.max(start));
            described = described.saturating_add(len);
            match extent.at {
                None => is_behind_hole = true,
                Some(_) if is_behind_hole => {
                    let what = "a compression unit has clusters behind a hole";
                    return Err(FileError::damaged(what).into());
                }
                Some(_) => stored = stored.saturating_add(len),
            }
        }
        if stored > 0 && described < self.unit {
            // Its content could be compressed or not.
            let what = "a part of the clusters of a compression unit is missing";
            return Err(FileError::damaged(what).into());
        }
        Ok(match stored {
            0 => Form::Hole,
            len if len == self.unit => Form::Plain,
            len => Form::Compressed(len),
        })
    }

    /// Decompresses the unit that begins at `start` into all of `out`.
    fn decompress(&self, start: u64, len: u64, out: &mut [u8]) -> io::Result<()> {
        let mut data = vec![0; usize::try_from(len).unwrap_or(0)];
        read_pieces(
            self.stored.source.as_ref(),
            &self.stored.extents,
            start,
            &mut data,
        )?;
        lznt1::decompress(&data, out).map_err(|fault| {
            let what = format!("the compression unit at byte {start} of the content: {fault}");
            FileError::damaged(what).into()
        })
    }

    /// A unit from those that are kept, or decompressed now.
    fn unit(&self, number: u64, start: u64, len: u64) -> io::Result<Arc<[u8]>> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept()
            .iter()
            .find(|(kept, _)| *kept == number)
            .map(|(_, unit)| Arc::clone(unit));
        if let Some(unit) = found {
            return Ok(unit);
        }
        let mut unit = vec![0; usize::try_from(self.unit).unwrap_or(0)];
        self.decompress(start, len, &mut unit)?;
        let unit: Arc<[u8]> = unit.into();
        let mut kept = kept();
        kept.truncate(KEPT.saturating_sub(1));
        kept.push_front((number, Arc::clone(&unit)));
        Ok(unit)
    }

    /// Fills `buf` with bytes of one unit, from `offset` in the content on.
    fn read_in_unit(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let number = offset.checked_div(self.unit).unwrap_or(0);
        let start = number.saturating_mul(self.unit);
        match self.form(start)? {
            Form::Hole => buf.fill(0),
            Form::Plain => read_pieces(
                self.stored.source.as_ref(),
                &self.stored.extents,
                offset,
                buf,
            )?,
            Form::Compressed(len) if buf.len() as u64 == self.unit => {
                self.decompress(start, len, buf)?;
            }
            Form::Compressed(len) => {
                let unit = self.unit(number, start, len)?;
                let at = usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX);
                let end = at.saturating_add(buf.len());
                let part = unit.get(at..end).ok_or(io::ErrorKind::UnexpectedEof)?;
                buf.copy_from_slice(part);
            }
        }
        Ok(())
    }
}

impl ReadAt for Compressed {
    fn size(&self) -> u64 {
        self.stored.len
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut rest = inside(offset, buf, self.stored.len, self.stored.initialized)?;
        let mut offset = offset;
        while !rest.is_empty() {
            let left = offset.checked_rem(self.unit).unwrap_or(0);
            let left = self.unit.saturating_sub(left);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            let (part, behind) = rest.split_at_mut(len);
            self.read_in_unit(offset, part)?;
            offset = offset.saturating_add(len as u64);
            rest = behind;
        }
        Ok(())
    }
}

impl Content for Compressed {
    fn memory(&self) -> usize {
        let unit = usize::try_from(self.unit).unwrap_or(usize::MAX);
        self.stored
            .memory()
            .saturating_add(unit.saturating_mul(KEPT))
    }

    fn stored_from(&self, offset: u64) -> Option<Range<u64>> {
        let down = |at: u64| at.saturating_sub(at.checked_rem(self.unit).unwrap_or(0));
        let up = |at: u64| at.checked_next_multiple_of(self.unit).unwrap_or(at);
        let extents = self.stored.extents.from(down(offset));
        let mut stored = extents
            .filter(|extent| extent.at.is_some())
            .map(|extent| down(extent.bytes.start)..up(extent.bytes.end))
            .take(MAX_JOINED);
        let mut found = stored.next()?;
        for next in stored {
            if next.start > found.end {
                break;
            }
            found.end = found.end.max(next.end);
        }
        found.end = found.end.min(self.stored.initialized.min(self.stored.len));
        (found.end > offset && !found.is_empty()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::ntfs::extents::{Extent, Extents};

    /// Units of two clusters of 512 bytes: stored, compressed, a hole, and a hole before clusters.
    fn content() -> Compressed {
        let mut disk = vec![7u8; 1024];
        // One chunk of three bytes, not compressed: a header and the bytes.
        let mut unit = vec![2, 0x30, b'a', b'b', b'c'];
        unit.resize(512, 0);
        disk.extend(unit);
        disk.extend([9; 512]);
        let extent = |bytes, at| Extent { bytes, at };
        let extents = Extents::of(vec![
            extent(0..1024, Some(0)),
            extent(1024..1536, Some(1024)),
            extent(1536..3584, None),
            extent(3584..4096, Some(1536)),
        ]);
        let stored = Plain {
            source: Arc::new(disk),
            extents,
            len: 4096,
            initialized: 4096,
        };
        Compressed::new(stored, 512, 1).unwrap()
    }

    #[test]
    fn a_unit_is_stored_compressed_or_a_hole() {
        let content = content();
        let mut all = vec![1; 3072];
        content.read_exact_at(0, &mut all).unwrap();
        let mut expected = vec![7; 1024];
        expected.extend(b"abc");
        expected.resize(3072, 0);
        assert_eq!(all, expected);
        for (at, len) in [(0, 1), (1020, 10), (1025, 2), (1024, 1024), (2040, 20)] {
            let mut part = vec![1; len];
            content.read_exact_at(at as u64, &mut part).unwrap();
            assert_eq!(part, expected[at..at + len]);
        }
        assert_eq!(content.stored_from(0), Some(0..2048));
        assert_eq!(content.stored_from(2047), Some(1024..2048));
        assert_eq!(content.stored_from(2048), Some(3072..4096));
        let damaged = content.read_exact_at(3072, &mut [0; 8]).unwrap_err();
        assert_eq!(damaged.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_unit_of_which_clusters_are_missing_is_refused() {
        let mut content = content();
        // Zeros at the start look like a compressed unit that is empty.
        let mut disk = vec![0u8; 512];
        disk[100] = 1;
        content.stored.source = Arc::new(disk);
        let last = Extent {
            bytes: 0..512,
            at: Some(0),
        };
        content.stored.extents = Extents::of(vec![last]);
        (content.stored.len, content.stored.initialized) = (512, 512);
        let fault = content.read_exact_at(0, &mut [0; 512]).unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn units_of_an_impossible_size_are_refused() {
        let plain = || content().stored;
        for (cluster, exponent) in [(4096, 0), (4096, 255), (1 << 20, 4), (4096, 63)] {
            assert!(Compressed::new(plain(), cluster, exponent).is_none());
        }
    }
}
