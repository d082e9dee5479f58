//! Choosing positions for the metadata in the free space of a file system.

use std::ops::Range;

use super::Placement;
use super::placement::{MOVED_LEN, SPARE_LEN};
use crate::format::block::REGION_LEN;

/// Limit for the number of free runs that are stored: a file system can have any number of them.
const MAX_RUNS: usize = 1 << 20;
/// Offset of the first copy on volumes made by Windows (docs/format.md §2.5).
const FIRST_COPY: u64 = 0x210_0000;
/// Positions are multiples of this if the clusters allow it: a page, and a large sector.
const PAGE: u64 = 0x1000;

/// The clusters of a file system, its units of allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clusters {
    /// Offset of the first cluster on the volume, in bytes.
    pub(super) start: u64,
    /// Size of a cluster in bytes.
    pub(super) size: u64,
    /// Number of clusters.
    pub(super) count: u64,
}

impl Clusters {
    /// The byte range of the clusters with these numbers, counted from 0.
    pub(super) fn bytes(&self, numbers: &Range<u64>) -> Range<u64> {
        let at = |number: u64| {
            let offset = number.saturating_mul(self.size);
            self.start.saturating_add(offset)
        };
        at(numbers.start)..at(numbers.end)
    }

    /// The numbers of the clusters that overlap this byte range.
    pub(super) fn holding(&self, bytes: &Range<u64>) -> Range<u64> {
        let from = |offset: u64| offset.saturating_sub(self.start);
        from(bytes.start) / self.size..from(bytes.end).div_ceil(self.size)
    }

    fn round_up(&self, offset: u64) -> u64 {
        let from_start = offset.saturating_sub(self.start);
        self.start
            .saturating_add(from_start.saturating_add(self.size - 1) / self.size * self.size)
    }
}

/// Free space, in runs of whole clusters.
pub(super) struct FreeSpace {
    clusters: Clusters,
    /// Byte ranges on the volume, in ascending order.
    runs: Vec<Range<u64>>,
}

impl FreeSpace {
    /// No free space yet.
    pub(super) fn new(clusters: Clusters) -> Self {
        Self {
            clusters,
            runs: Vec::new(),
        }
    }

    /// Adds free clusters, which must come after those added before.
    pub(super) fn add(&mut self, numbers: &Range<u64>) {
        let bytes = self.clusters.bytes(numbers);
        let start = self.clusters.round_up(bytes.start.max(MOVED_LEN));
        // Runs that are shorter than the shortest area are useless.
        if start.saturating_add(MOVED_LEN) <= bytes.end && self.runs.len() < MAX_RUNS {
            self.runs.push(start..bytes.end);
        }
    }

    /// A lower bound of the free space, in bytes.
    pub(super) fn free(&self) -> u64 {
        self.runs.iter().map(|run| run.end - run.start).sum()
    }

    /// Chooses positions for the metadata on a file system of `size` bytes: the first copy where
    /// Windows puts it, the others away from it, each as near to its ideal position as possible.
    pub(super) fn on_file_system(self, size: u64) -> Option<Placement> {
        let first = FIRST_COPY.min(size / 4);
        self.place([first, size / 2, size / 4 * 3])
    }

    /// Chooses positions for the metadata on an empty volume of `size` bytes. File systems fill a
    /// volume from its start, and have structures in the middle and at the end.
    pub(super) fn on_empty_volume(self, size: u64) -> Option<Placement> {
        let sixteenth = size / 16;
        self.place([12 * sixteenth, 13 * sixteenth, 14 * sixteenth])
    }

    /// The layout of Windows 8 and later, if a run is large enough for the first copy and all that
    /// follows it; otherwise each area is placed separately.
    fn place(mut self, targets: [u64; 3]) -> Option<Placement> {
        let round = |len: u64| len.div_ceil(self.clusters.size) * self.clusters.size;
        let (copy, moved, spare) = (round(REGION_LEN), round(MOVED_LEN), round(SPARE_LEN));
        let [first, second, third] = targets;
        let (first, moved, spare) = match self.take(copy + moved + spare, first) {
            Some(place) => (place, place + copy, place + copy + moved),
            None => {
                let place = self.take(copy, first)?;
                (place, self.take(moved, place)?, self.take(spare, place)?)
            }
        };
        Some(Placement {
            copies: [first, self.take(copy, second)?, self.take(copy, third)?],
            moved,
            spare,
        })
    }

    /// Removes `len` bytes from a run: the first that fits after `target`, or else the last one
    /// before it.
    fn take(&mut self, len: u64, target: u64) -> Option<u64> {
        let after = self.runs.iter().enumerate().find_map(|(number, run)| {
            let start = self.aligned(run.start.max(target));
            (start.checked_add(len)? <= run.end).then_some((number, start))
        });
        let (number, start) = after.or_else(|| {
            let runs = self.runs.iter().enumerate().rev();
            runs.filter(|(_, run)| run.start < target)
                .find_map(|(number, run)| self.last_place(run, len).map(|start| (number, start)))
        })?;
        let run = self.runs.get(number)?.clone();
        let left = [run.start..start, start + len..run.end];
        let left = left.into_iter().filter(|run| run.start < run.end);
        self.runs.splice(number..=number, left);
        Some(start)
    }

    /// The last position in a run with space for `len` bytes.
    fn last_place(&self, run: &Range<u64>, len: u64) -> Option<u64> {
        let back = PAGE.max(self.clusters.size);
        let latest = run.end.checked_sub(len)?;
        let near = self.aligned(latest.saturating_sub(back).max(run.start));
        let fits = |start: &u64| *start >= run.start && *start <= latest;
        [near, self.aligned(run.start), run.start]
            .into_iter()
            .find(fits)
    }

    /// The next start of a cluster, if possible also the start of a page.
    fn aligned(&self, offset: u64) -> u64 {
        let start = self.clusters.round_up(offset);
        let near = (0..PAGE / 512).map(|n| start.saturating_add(n * self.clusters.size));
        let mut near = near.take_while(|at| *at - start < PAGE.max(self.clusters.size));
        near.find(|at| at.is_multiple_of(PAGE)).unwrap_or(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn free_space(clusters: Clusters, runs: &[Range<u64>]) -> FreeSpace {
        let mut free = FreeSpace::new(clusters);
        runs.iter().for_each(|run| free.add(run));
        free
    }

    #[test]
    fn places_the_first_copy_where_windows_does() {
        let clusters = Clusters {
            start: 0,
            size: 4096,
            count: 25600,
        };
        let placement = free_space(clusters, &[2..3, 4..25600]).on_file_system(0x640_0000);
        let [first, second, third] = placement.unwrap().copies;
        assert_eq!(first, 0x190_0000);
        assert_eq!((second, third), (0x320_0000, 0x4B0_0000));
        let large = Clusters {
            count: 0x4_0000,
            ..clusters
        };
        let placement = free_space(large, &[2..3, 4..0x4_0000]).on_file_system(0x4000_0000);
        let expected = Placement::after_first_copy([FIRST_COPY, 0x2000_0000, 0x3000_0000]);
        assert_eq!(placement, Some(expected));
    }

    #[test]
    fn places_each_structure_separately_if_no_run_has_space_for_all() {
        let clusters = Clusters {
            start: 0,
            size: 4096,
            count: 1000,
        };
        let pieces = [10..26, 30..46, 50..66, 70..86, 90..92];
        let placement = free_space(clusters, &pieces)
            .on_file_system(4_096_000)
            .unwrap();
        let mut starts: Vec<_> = placement.ranges().map(|(_, range)| range.start).into();
        starts.sort_unstable();
        assert_eq!(starts, [10, 30, 50, 70, 90].map(|n: u64| n * 4096));
        assert!(
            free_space(clusters, &pieces[..4])
                .on_file_system(4_096_000)
                .is_none()
        );
    }

    proptest! {
        /// The chosen areas are free, do not overlap, and begin at clusters.
        #[test]
        fn places_are_free_disjoint_and_start_clusters(
            start in (0u64..64).prop_map(|n| n * 512),
            size in prop::sample::select(vec![512u64, 1024, 4096, 32768, 65536, 1 << 20]),
            gaps in prop::collection::vec((1u64..200, 1u64..400), 1..12),
        ) {
            let mut at = 0;
            let runs: Vec<_> = gaps.iter().map(|(used, free)| {
                let run = at + used..at + used + free;
                at = run.end;
                run
            }).collect();
            let clusters = Clusters { start, size, count: at };
            let Some(placement) = free_space(clusters, &runs).on_file_system(start + at * size) else {
                return Ok(());
            };
            let ranges = placement.ranges();
            for (number, (_, range)) in ranges.iter().enumerate() {
                prop_assert!(range.start >= MOVED_LEN);
                prop_assert_eq!((range.start - start) % size, 0);
                let held = clusters.holding(range);
                prop_assert!(runs.iter().any(|run| run.start <= held.start && held.end <= run.end));
                for (_, other) in &ranges[..number] {
                    prop_assert!(range.end <= other.start || other.end <= range.start);
                }
            }
        }
    }
}
