//! What FAT and exFAT share: clusters, the table that chains them, and times.
//!
//! The table has an entry for each cluster, from number 2 on. The entry of a used cluster is the number
//! of the next cluster of the same file, or a value that ends the chain. All these values come from the
//! disk: a chain is followed only as far as the volume has clusters, and never in a loop.

#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod content;
mod table;
mod time;

use std::collections::HashSet;
use std::ops::Range;

pub(super) use content::ChainContent;
pub(super) use table::End;
pub(crate) use table::{Reader, Table, Width};
pub(super) use time::{date, date_and_time};

/// Number of the first cluster.
pub(crate) const FIRST: u32 = 2;

/// Most runs of a chain, which limits the memory for a file in pieces to 12 MiB. Several chains can be in
/// memory at the same time.
const MAX_RUNS: usize = 1 << 20;

/// The clusters of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clusters {
    /// Offset of the first cluster on the volume, in bytes.
    pub(crate) start: u64,
    /// Bytes in a cluster: a power of two, at least 512.
    pub(crate) size: u64,
    /// Number of clusters.
    pub(crate) count: u32,
}

impl Clusters {
    /// Whether there is a cluster with this number.
    pub(super) fn contains(&self, cluster: u32) -> bool {
        cluster
            .checked_sub(FIRST)
            .is_some_and(|index| index < self.count)
    }

    /// The bytes of `count` clusters that begin with this one.
    pub(super) fn bytes(&self, first: u32, count: u32) -> Range<u64> {
        let index = u64::from(first.saturating_sub(FIRST));
        let start = self.start.saturating_add(index.saturating_mul(self.size));
        start..start.saturating_add(u64::from(count).saturating_mul(self.size))
    }

    /// The cluster that contains the byte at this offset of the volume.
    pub(super) fn holding(&self, position: u64) -> Option<u32> {
        let index = position.checked_sub(self.start)?.checked_div(self.size)?;
        let cluster = u32::try_from(index).ok()?.checked_add(FIRST)?;
        self.contains(cluster).then_some(cluster)
    }

    /// How many clusters `len` bytes need. `None` if there are not that many.
    pub(super) fn needed(&self, len: u64) -> Option<u32> {
        let needed = u32::try_from(len.div_ceil(self.size)).ok()?;
        (needed <= self.count).then_some(needed)
    }
}

/// Clusters of a chain that follow one another on the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// How many clusters of the chain come before it.
    before: u32,
    /// Its first cluster.
    first: u32,
    /// Its number of clusters.
    count: u32,
}

/// The clusters of a file, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Chain {
    runs: Vec<Run>,
    count: u32,
}

impl Chain {
    /// `count` clusters that follow one another.
    pub(super) fn contiguous(first: u32, count: u32) -> Self {
        let run = Run {
            before: 0,
            first,
            count,
        };
        Self {
            runs: vec![run],
            count,
        }
    }

    /// Number of clusters.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of memory that it occupies.
    fn memory(&self) -> usize {
        self.runs.capacity().saturating_mul(size_of::<Run>())
    }

    /// Adds a cluster. False if there are too many runs.
    fn push(&mut self, cluster: u32) -> bool {
        let is_full = self.runs.len() >= MAX_RUNS;
        match self.runs.last_mut() {
            Some(run) if run.first.checked_add(run.count) == Some(cluster) => {
                run.count = run.count.saturating_add(1);
            }
            _ if is_full => return false,
            _ => self.runs.push(Run {
                before: self.count,
                first: cluster,
                count: 1,
            }),
        }
        self.count = self.count.saturating_add(1);
        true
    }

    /// Whether a cluster is in it twice.
    fn has_repeats(&self) -> bool {
        let mut sorted: Vec<(u32, u32)> =
            self.runs.iter().map(|run| (run.first, run.count)).collect();
        sorted.sort_unstable();
        sorted.windows(2).any(|pair| match pair {
            [(first, count), (next, _)] => first.saturating_add(*count) > *next,
            _ => false,
        })
    }

    /// Its clusters up to the first that it has for the second time.
    pub(super) fn up_to_repeat(self) -> Self {
        if !self.has_repeats() {
            return self;
        }
        let mut seen = HashSet::new();
        let mut first = Self::default();
        for cluster in self.numbers() {
            if !seen.insert(cluster) || !first.push(cluster) {
                break;
            }
        }
        first
    }

    /// The bytes of its runs on the volume, in order.
    pub(super) fn ranges(&self, clusters: Clusters) -> impl Iterator<Item = Range<u64>> {
        self.runs
            .iter()
            .map(move |run| clusters.bytes(run.first, run.count))
    }

    /// The clusters that this chain and another one begin with, up to the first that differs.
    pub(super) fn common(&self, other: &Self) -> Self {
        let mut common = Self::default();
        for (one, two) in self.numbers().zip(other.numbers()) {
            if one != two || !common.push(one) {
                break;
            }
        }
        common
    }

    /// The numbers of its clusters, in order.
    fn numbers(&self) -> impl Iterator<Item = u32> {
        self.runs
            .iter()
            .flat_map(|run| run.first..run.first.saturating_add(run.count))
    }

    /// Where the byte at this offset of the chain is on the volume, and how many bytes follow there,
    /// with it.
    fn locate(&self, clusters: Clusters, offset: u64) -> Option<(u64, u64)> {
        let index = u32::try_from(offset.checked_div(clusters.size)?).ok()?;
        let after = self.runs.partition_point(|run| run.before <= index);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let bytes = clusters.bytes(run.first, run.count);
        let into = offset.checked_sub(u64::from(run.before).checked_mul(clusters.size)?)?;
        let position = bytes.start.checked_add(into)?;
        let rest = bytes.end.checked_sub(position)?;
        (rest > 0).then_some((position, rest))
    }
}

/// A character in upper case, where a file system has no table for that: as Unicode defines it, if that
/// is one UTF-16 unit, and without the letters that Windows leaves as they are.
pub(super) fn upper(unit: u16) -> u16 {
    /// The micro sign, which Unicode maps to a Greek letter.
    const MICRO: u16 = 0x00B5;
    let Some(char) = char::from_u32(unit.into()).filter(|_| unit != MICRO) else {
        return unit;
    };
    let mut upper = char.to_uppercase();
    let single = upper.next().filter(|_| upper.next().is_none());
    single
        .filter(|single| single.is_ascii() == char.is_ascii())
        .and_then(|single| u16::try_from(u32::from(single)).ok())
        .unwrap_or(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTERS: Clusters = Clusters {
        start: 10_000,
        size: 512,
        count: 100,
    };

    fn chain(numbers: &[u32]) -> Chain {
        let mut chain = Chain::default();
        for number in numbers {
            assert!(chain.push(*number));
        }
        chain
    }

    #[test]
    fn a_chain_joins_clusters_that_follow_one_another() {
        let chain = chain(&[5, 6, 7, 20, 3, 4]);
        assert_eq!(chain.runs.len(), 3);
        assert_eq!(chain.count(), 6);
        assert!(!chain.has_repeats());
        let at = |offset| chain.locate(CLUSTERS, offset);
        assert_eq!(at(0), Some((10_000 + 3 * 512, 3 * 512)));
        assert_eq!(at(1535), Some((10_000 + 6 * 512 - 1, 1)));
        assert_eq!(at(1536), Some((10_000 + 18 * 512, 512)));
        assert_eq!(at(2048 + 700), Some((10_000 + 512 + 700, 324)));
        assert_eq!(at(6 * 512), None);
    }

    #[test]
    fn a_cluster_that_occurs_twice_is_noticed() {
        assert!(chain(&[5, 6, 9, 6]).has_repeats());
        assert!(chain(&[6, 5, 6]).has_repeats());
        assert!(!chain(&[6, 5]).has_repeats());
        assert_eq!(chain(&[5, 6, 9, 6, 7]).up_to_repeat(), chain(&[5, 6, 9]));
        assert_eq!(chain(&[6, 5]).up_to_repeat(), chain(&[6, 5]));
    }

    #[test]
    fn chains_are_compared_cluster_by_cluster() {
        let common = chain(&[5, 6, 7, 20]).common(&chain(&[5, 6, 9]));
        assert_eq!(common, chain(&[5, 6]));
    }

    #[test]
    fn upper_case_is_that_of_windows() {
        let upper = |text: &str| -> String {
            let units: Vec<u16> = text.encode_utf16().map(upper).collect();
            String::from_utf16_lossy(&units)
        };
        assert_eq!(upper("aßéжωﬁıµÿ"), "AßÉЖΩﬁıµŸ");
    }
}
