//! The bitmap of NTFS and exFAT: a bit for every cluster, set if the cluster is used. Its parts can be
//! anywhere on the volume.

use std::ops::Range;

use super::{Image, Runs, change, read};
use crate::error::Result;
use crate::source::ReadAt;

/// Bytes read at a time.
const PIECE: u64 = 1 << 16;

/// The bytes of the bitmap, and where they are.
#[derive(Debug)]
pub(super) struct Bitmap {
    /// Its parts in order, as byte ranges on the volume.
    pub(super) pieces: Vec<Range<u64>>,
    /// Number of clusters.
    pub(super) clusters: u64,
}

impl Bitmap {
    /// Whether the parts have a bit for every cluster.
    pub(super) fn is_whole(&self) -> bool {
        let len: u64 = self
            .pieces
            .iter()
            .map(|piece| piece.end - piece.start)
            .sum();
        len >= self.clusters.div_ceil(8)
    }

    /// Calls `tell` with each run of clusters whose bits are clear.
    pub(super) fn clear(&self, image: &dyn ReadAt, tell: &mut dyn FnMut(Range<u64>)) -> Result<()> {
        let mut runs = Runs::default();
        let mut number = 0;
        for piece in &self.pieces {
            let mut at = piece.start;
            while at < piece.end && number < self.clusters {
                let bytes = read(image, at, (piece.end - at).min(PIECE))?;
                for byte in &bytes {
                    for bit in 0..8 {
                        if byte >> bit & 1 == 0 && number < self.clusters {
                            runs.add(number, tell);
                        }
                        number += 1;
                    }
                }
                at += bytes.len() as u64;
            }
        }
        runs.finish(tell);
        Ok(())
    }

    /// Sets the bits of a run.
    pub(super) fn set(&self, image: &mut Image<'_>, clusters: &Range<u64>) -> Result<()> {
        let mut first = 0;
        for piece in &self.pieces {
            let end = first + (piece.end - piece.start) * 8;
            for number in clusters.start.max(first)..clusters.end.min(end) {
                let at = piece.start + (number - first) / 8;
                let byte = read(image, at, 1)?.first().copied().unwrap_or(0);
                change(image, at, &[byte | 1 << (number % 8)])?;
            }
            first = end;
        }
        Ok(())
    }

    /// Number of clear bits.
    pub(super) fn count_clear(&self, image: &dyn ReadAt) -> Result<u64> {
        let mut count = 0;
        self.clear(image, &mut |run| count += run.end - run.start)?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_and_sets_bits_across_pieces() {
        let mut bytes = vec![0xFFu8; 100];
        bytes[11] = 0b0011_1111;
        bytes[50] = 0b1111_0000;
        bytes[51] = 0;
        let map = Bitmap {
            pieces: vec![10..12, 50..52],
            clusters: 30,
        };
        assert!(map.is_whole());
        let mut image = Image::new(&bytes as &dyn ReadAt);
        let runs = |image: &Image<'_>| {
            let mut runs = Vec::new();
            map.clear(image, &mut |run| runs.push(run)).unwrap();
            runs
        };
        assert_eq!(runs(&image), [14..20, 24..30]);
        assert_eq!(map.count_clear(&image).unwrap(), 12);
        map.set(&mut image, &(15..26)).unwrap();
        assert_eq!(runs(&image), [14..15, 26..30]);
    }
}
