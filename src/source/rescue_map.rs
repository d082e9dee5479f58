//! Images of failing disks made by GNU ddrescue, with its map file: what was not rescued is
//! unreadable, whatever the image holds there.
//!
//! The format: ddrescue's manual, section "Mapfile structure". Of the crates, `ddr-mount` is under the
//! AGPL and returns text for dmsetup, and `mapfile_parser` reads the maps of linkers.

use std::io;
use std::ops::Range;
use std::time::SystemTime;

use super::ReadAt;

/// ddrescue's status for a rescued range.
const FINISHED: &str = "+";
/// All its statuses for a range: not tried, not trimmed, not scraped, bad, rescued.
const STATUSES: &[&str] = &["?", "*", "/", "-", FINISHED];

/// Which ranges of a disk ddrescue rescued.
///
/// ```
/// use fve::source::{ReadAt, RescueMap, Rescued};
///
/// let map = "# Mapfile\n0x400  +\n0  0x200  +\n0x200  0x200  -\n0x400  0x200  +\n";
/// let disk = Rescued::new(vec![7_u8; 1536], map.parse::<RescueMap>()?);
/// let mut sector = [0; 512];
/// assert!(disk.read_exact_at(0, &mut sector).is_ok());
/// assert!(disk.read_exact_at(512, &mut sector).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RescueMap {
    /// Ascending; no two of them touch.
    rescued: Vec<Range<u64>>,
}

/// The text is not a map file of ddrescue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the map file {what}")]
pub struct RescueMapError {
    /// Number of the line, from 1.
    line: usize,
    /// What is wrong with it.
    what: &'static str,
}

impl std::str::FromStr for RescueMap {
    type Err = RescueMapError;

    /// Reads a map file. Blocks must be in ascending order, as ddrescue writes them; what no block
    /// covers was not rescued.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(number, line)| (number + 1, line.split('#').next().unwrap_or("").trim()))
            .filter(|(_, line)| !line.is_empty());
        let (line, _status) = lines.next().ok_or(RescueMapError {
            line: 1,
            what: "is the last; there is no block",
        })?;
        let mut map = Self {
            rescued: Vec::new(),
        };
        let mut end = 0;
        let mut last = line;
        for (line, block) in lines {
            let fail = |what| RescueMapError { line, what };
            let (range, is_rescued) = block_of(block).map_err(fail)?;
            if range.start < end {
                return Err(fail("begins before the end of the block above it"));
            }
            end = range.end;
            last = line;
            if is_rescued {
                map.add(range);
            }
        }
        if end == 0 {
            return Err(RescueMapError {
                line: last,
                what: "is the last; there is no block",
            });
        }
        Ok(map)
    }
}

/// A line `position size status`.
fn block_of(line: &str) -> Result<(Range<u64>, bool), &'static str> {
    let mut words = line.split_whitespace();
    let (Some(start), Some(len), Some(status), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("is not 'position size status'");
    };
    let start = number(start).ok_or("does not begin with a number of bytes")?;
    let len = number(len).ok_or("has no size in bytes")?;
    let end = start.checked_add(len).ok_or("is beyond 2^64 bytes")?;
    if !STATUSES.contains(&status) {
        return Err("has an unknown status");
    }
    Ok((start..end, status == FINISHED))
}

/// A number as in C: decimal, hexadecimal with `0x`, octal with `0`.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    u64::from_str_radix(digits, radix).ok()
}

impl RescueMap {
    fn add(&mut self, range: Range<u64>) {
        match self.rescued.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if range.is_empty() => {}
            _ => self.rescued.push(range),
        }
    }

    /// How many of the first `size` bytes were not rescued.
    pub fn lost(&self, size: u64) -> u64 {
        let rescued = self.rescued.iter();
        let inside = rescued.map(|range| range.end.min(size).saturating_sub(range.start));
        size - inside.sum::<u64>().min(size)
    }

    /// How many of the `len` bytes from `offset` on were rescued, up to the first that was not.
    fn rescued_from(&self, offset: u64, len: u64) -> u64 {
        let next = self.rescued.partition_point(|range| range.end <= offset);
        match self.rescued.get(next) {
            Some(range) if range.start <= offset => len.min(range.end - offset),
            _ => 0,
        }
    }
}

/// An image of which some ranges were not rescued. Reading them is an error.
#[derive(Debug, Clone)]
pub struct Rescued<S> {
    inner: S,
    map: RescueMap,
}

impl<S: ReadAt> Rescued<S> {
    /// The image `inner`, with the map of the disk that it was made of. Positions in the map are
    /// positions in the image.
    pub fn new(inner: S, map: RescueMap) -> Self {
        Self { inner, map }
    }
}

impl<S: ReadAt> ReadAt for Rescued<S> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn sector_size(&self) -> Option<u32> {
        self.inner.sector_size()
    }

    fn readable(&self, offset: u64, len: u64) -> u64 {
        self.inner.readable(offset, len)
    }

    fn modified(&self) -> Option<SystemTime> {
        self.inner.modified()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let len = buf.len() as u64;
        let rescued = self.map.rescued_from(offset, len);
        if rescued < len {
            return Err(io::Error::other(format!(
                "byte {} was not rescued from the disk, as its map says",
                offset.saturating_add(rescued)
            )));
        }
        self.inner.read_exact_at(offset, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> RescueMap {
        text.parse().unwrap()
    }

    #[test]
    fn reads_what_ddrescue_writes() {
        let map = map("# Mapfile. Created by GNU ddrescue version 1.27\n\
             # Command line: ddrescue /dev/sdb image map\n\
             # current_pos  current_status  current_pass\n\
             0x00001200     +               2\n\
             #      pos        size  status\n\
             0x00000000  0x00001000  +\n\
             0x00001000  0x00000200  -\n\
             0x00001200  0x00000200  +\n\
             0x00001400  0x00000200  +\n\
             0x00001600  0x00000A00  ?\n");
        assert_eq!(map.rescued, [0..0x1000, 0x1200..0x1600]);
        assert_eq!(map.lost(0x2000), 0x200 + 0xA00);
        assert_eq!(map.lost(0x1100), 0x100);
        assert_eq!(map.lost(0x800), 0);
    }

    #[test]
    fn numbers_are_decimal_hexadecimal_or_octal() {
        let joined = map("0 +\n010 0x10 +\n24 8 +").rescued;
        assert_eq!(joined.len(), 1);
        assert_eq!(joined[0], 8..32);
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        for (text, line) in [
            ("", 1),
            ("0 +", 1),
            ("0 +\n0 0 +", 2),
            ("0 +\nhello", 2),
            ("0 +\n0 100 +\n50 100 -", 3),
            ("0 +\n0 100 x", 2),
            ("0 +\n0 100 + more", 2),
            ("0 +\n-1 100 +", 2),
            ("0 +\n0xffffffffffffffff 2 +", 2),
        ] {
            let error = text.parse::<RescueMap>().unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
        }
    }

    #[test]
    fn every_read_that_touches_a_lost_byte_fails() {
        let map = map("0 +\n10 10 +\n20 5 -\n25 75 +");
        let disk = Rescued::new(vec![1_u8; 100], map);
        for start in 0..100_u64 {
            for len in 1..=100 - start {
                let touches_lost = start < 10 || (start < 25 && start + len > 20);
                let mut buf = vec![0; usize::try_from(len).unwrap()];
                let read = disk.read_exact_at(start, &mut buf);
                assert_eq!(read.is_err(), touches_lost, "{start} {len}");
            }
        }
    }
}
