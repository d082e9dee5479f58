//! The table that chains clusters.
//!
//! | entry | FAT12 | FAT16 | FAT32 (28 bits) | exFAT |
//! |---|---|---|---|---|
//! | free | 0 | 0 | 0 | 0 |
//! | bad cluster | FF7 | FFF7 | 0FFFFFF7 | FFFFFFF7 |
//! | end of the chain, from | FF8 | FFF8 | 0FFFFFF8 | FFFFFFF8 |
//!
//! Two entries of FAT12 share three bytes. Sources: Microsoft's FAT specification of 2000 and its exFAT
//! specification of 2019.

use super::{Chain, Clusters};
use crate::files::fault::FileError;
use crate::source::{ReadAt, read_uninterrupted};

/// The width of the entries of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Fat12,
    Fat16,
    Fat32,
    ExFat,
}

impl Width {
    /// The file system with tables of this width.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fat12 => "FAT12",
            Self::Fat16 => "FAT16",
            Self::Fat32 => "FAT32",
            Self::ExFat => "exFAT",
        }
    }

    /// How many entries fit in a table of `len` bytes.
    pub(crate) fn entries_in(self, len: u64) -> u64 {
        match self {
            Self::Fat12 => len.saturating_mul(2) / 3,
            Self::Fat16 => len / 2,
            Self::Fat32 | Self::ExFat => len / 4,
        }
    }

    /// The entry of a bad cluster; a larger value ends a chain.
    pub(crate) fn bad(self) -> u32 {
        match self {
            Self::Fat12 => 0xFF7,
            Self::Fat16 => 0xFFF7,
            Self::Fat32 => 0x0FFF_FFF7,
            Self::ExFat => 0xFFFF_FFF7,
        }
    }

    /// The entry at the start of these bytes.
    fn value(self, cluster: u32, bytes: &[u8]) -> Option<u32> {
        Some(match (self, bytes) {
            (Self::Fat12, [a, b, ..]) => {
                let pair = u16::from_le_bytes([*a, *b]);
                let entry = match cluster % 2 {
                    0 => pair & 0x0FFF,
                    _ => pair >> 4,
                };
                entry.into()
            }
            (Self::Fat16, [a, b, ..]) => u16::from_le_bytes([*a, *b]).into(),
            (Self::Fat32, [a, b, c, d, ..]) => u32::from_le_bytes([*a, *b, *c, *d]) & 0x0FFF_FFFF,
            (Self::ExFat, [a, b, c, d, ..]) => u32::from_le_bytes([*a, *b, *c, *d]),
            _ => return None,
        })
    }
}

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its offset on the volume, in bytes.
    pub(crate) offset: u64,
    /// The width of its entries.
    pub(crate) width: Width,
}

/// A chain as far as it was followed.
#[derive(Debug)]
pub(in crate::files) struct Followed {
    pub(in crate::files) chain: Chain,
    pub(in crate::files) end: End,
}

/// Why a chain was not followed further.
#[derive(Debug)]
pub(in crate::files) enum End {
    /// The table says that it ends.
    Marked,
    /// It goes on with another cluster, and no more were wanted.
    GoesOn,
    /// It is damaged, or the table cannot be read.
    Fault(FileError),
}

impl Table {
    /// Offset of the entry of a cluster on the volume. The entry of FAT12 may begin in the middle of that
    /// byte.
    pub(crate) fn entry(&self, cluster: u32) -> u64 {
        self.offset.saturating_add(self.offset_in(cluster))
    }

    fn offset_in(&self, cluster: u32) -> u64 {
        let cluster = u64::from(cluster);
        match self.width {
            Width::Fat12 => cluster.saturating_add(cluster / 2),
            Width::Fat16 => cluster.saturating_mul(2),
            Width::Fat32 | Width::ExFat => cluster.saturating_mul(4),
        }
    }

    /// Follows the chain that begins with `first`, for at most `max` clusters.
    pub(in crate::files) fn follow(
        &self,
        source: &dyn ReadAt,
        clusters: Clusters,
        first: u32,
        max: u32,
    ) -> Followed {
        /// Small, because the next entry of a file in pieces is often elsewhere.
        const PIECE: usize = 1 << 12;
        let mut chain = Chain::default();
        let mut reader = Reader::new(source, *self, PIECE);
        let end = follow(&mut reader, clusters, first, max, &mut chain);
        let end = match end {
            Ok(_) if chain.has_repeats() => End::Fault(looped(first)),
            Ok(end) => end,
            Err(fault) => End::Fault(fault),
        };
        Followed { chain, end }
    }
}

fn looped(first: u32) -> FileError {
    FileError::damaged(format!(
        "the chain of clusters that begins with {first} leads back into itself"
    ))
}

fn follow(
    reader: &mut Reader<'_>,
    clusters: Clusters,
    first: u32,
    max: u32,
    chain: &mut Chain,
) -> Result<End, FileError> {
    let width = reader.table.width;
    let mut cluster = first;
    // Brent's way to notice a loop: a cluster that is passed, and how many clusters later the next one
    // is chosen.
    let (mut passed, mut until, mut since) = (0, 1u32, 0u32);
    loop {
        if !clusters.contains(cluster) {
            let what = match cluster {
                0 => "to a free cluster".to_owned(),
                bad if bad == width.bad() => "to a bad cluster".to_owned(),
                other => format!("to cluster {other}, which does not exist"),
            };
            return Err(FileError::damaged(format!(
                "the chain of clusters that begins with {first} leads {what}"
            )));
        }
        if cluster == passed {
            return Err(looped(first));
        }
        if chain.count() >= max {
            return Ok(End::GoesOn);
        }
        if !chain.push(cluster) {
            return Err(FileError::damaged(format!(
                "the chain of clusters that begins with {first} is in too many pieces"
            )));
        }
        since = since.saturating_add(1);
        if since == until {
            (passed, until, since) = (cluster, until.saturating_mul(2), 0);
        }
        let next = reader.entry(cluster)?;
        if next > width.bad() {
            return Ok(End::Marked);
        }
        cluster = next;
    }
}

/// Reads a table in pieces.
pub(crate) struct Reader<'a> {
    source: &'a dyn ReadAt,
    table: Table,
    piece: usize,
    /// Offset in the table of what was read last.
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Reader<'a> {
    /// Reads at most `piece` bytes at a time.
    pub(crate) fn new(source: &'a dyn ReadAt, table: Table, piece: usize) -> Self {
        Self {
            source,
            table,
            piece,
            start: 0,
            bytes: Vec::new(),
        }
    }

    /// The entry of a cluster, without bits that are not part of it.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub(crate) fn entry(&mut self, cluster: u32) -> Result<u32, FileError> {
        let offset = self.table.offset_in(cluster);
        if let Some(value) = self.in_piece(cluster, offset) {
            return Ok(value);
        }
        self.load(offset)?;
        self.in_piece(cluster, offset)
            .ok_or_else(|| FileError::damaged("the table of clusters is outside of the volume"))
    }

    fn in_piece(&self, cluster: u32, offset: u64) -> Option<u32> {
        let into = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.table.width.value(cluster, self.bytes.get(into..)?)
    }

    /// Reads the piece with this offset of the table.
    fn load(&mut self, offset: u64) -> Result<(), FileError> {
        let piece = self.piece as u64;
        let into = offset.checked_rem(piece).unwrap_or(0);
        let start = offset.saturating_sub(into);
        let position = self.table.offset.saturating_add(start);
        // An entry of FAT12 can begin with the last byte of a piece.
        let wanted = match self.table.width {
            Width::Fat12 => piece.saturating_add(1),
            _ => piece,
        };
        let len = wanted.min(self.source.size().saturating_sub(position));
        self.bytes.clear();
        self.bytes.resize(usize::try_from(len).unwrap_or(0), 0);
        self.start = start;
        if let Err(error) = read_uninterrupted(self.source, position, &mut self.bytes) {
            self.bytes.clear();
            return Err(error.into());
        }
        Ok(())
    }

    /// Number of entries that say that their cluster is free.
    ///
    /// # Errors
    /// Those of [`Reader::entry`].
    pub(in crate::files) fn count_free(&mut self, clusters: Clusters) -> Result<u32, FileError> {
        let mut free = 0u32;
        for cluster in super::FIRST..clusters.count.saturating_add(super::FIRST) {
            if self.entry(cluster)? == 0 {
                free = free.saturating_add(1);
            }
        }
        Ok(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u32 = 3000;
    const CLUSTERS: Clusters = Clusters {
        start: 0,
        size: 512,
        count: COUNT,
    };

    /// A table with these entries, and otherwise ends of chains.
    fn table(width: Width, entries: &[(u32, u32)]) -> Vec<u8> {
        let mut bytes = vec![0xFF; 16_384];
        for (cluster, value) in entries {
            let at = Table { offset: 0, width }.offset_in(*cluster) as usize;
            match width {
                Width::Fat12 => {
                    let old = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
                    let value = *value as u16;
                    let pair = match cluster % 2 {
                        0 => old & 0xF000 | value,
                        _ => old & 0x000F | value << 4,
                    };
                    bytes[at..at + 2].copy_from_slice(&pair.to_le_bytes());
                }
                Width::Fat16 => {
                    bytes[at..at + 2].copy_from_slice(&(*value as u16).to_le_bytes());
                }
                _ => bytes[at..at + 4].copy_from_slice(&value.to_le_bytes()),
            }
        }
        bytes
    }

    fn followed(width: Width, entries: &[(u32, u32)], max: u32) -> (Vec<u32>, String) {
        let bytes = table(width, entries);
        let table = Table { offset: 0, width };
        let followed = table.follow(&bytes, CLUSTERS, 5, max);
        let end = match followed.end {
            End::Marked => "marked".to_owned(),
            End::GoesOn => "goes on".to_owned(),
            End::Fault(fault) => fault.to_string(),
        };
        (followed.chain.numbers().collect(), end)
    }

    #[test]
    fn chains_end_where_the_table_says_or_are_refused() {
        for width in [Width::Fat12, Width::Fat16, Width::Fat32, Width::ExFat] {
            // 2730 is the entry of FAT12 that begins with the last byte of a piece.
            let steps = [(5, 6), (6, 2730), (2730, 2731)];
            let (numbers, end) = followed(width, &steps, 100);
            assert_eq!(numbers, [5, 6, 2730, 2731], "{width:?}");
            assert_eq!(end, "marked");
            let (numbers, end) = followed(width, &steps, 2);
            assert_eq!(numbers, [5, 6]);
            assert_eq!(end, "goes on");
            let fault = |to| followed(width, &[(5, 6), (6, to)], 100).1;
            assert!(fault(0).ends_with("leads to a free cluster"));
            assert!(fault(1).ends_with("leads to cluster 1, which does not exist"));
            assert!(fault(width.bad()).ends_with("leads to a bad cluster"));
            assert!(fault(COUNT + 2).ends_with("which does not exist"));
            for back in [5, 6] {
                assert!(fault(back).ends_with("leads back into itself"), "{back}");
            }
            // A loop that is longer than what is wanted.
            let short = followed(width, &[(5, 6), (6, 5)], 3).1;
            assert!(short.ends_with("leads back into itself"), "{short}");
        }
    }

    #[test]
    fn free_clusters_are_counted() {
        for width in [Width::Fat12, Width::Fat16, Width::Fat32, Width::ExFat] {
            let free: Vec<_> = (100..200).chain([2, COUNT + 1]).map(|at| (at, 0)).collect();
            let bytes = table(width, &free);
            let mut reader = Reader::new(&bytes, Table { offset: 0, width }, 4096);
            assert_eq!(reader.count_free(CLUSTERS).unwrap(), 102);
        }
    }
}
