//! Which chunks of a source are stored where.

use std::collections::BTreeMap;

/// Chunks that follow each other in the source and in the store.
#[derive(Debug)]
struct Run {
    /// The place of the first one.
    place: u64,
    len: u64,
}

impl Run {
    fn end(&self) -> u64 {
        self.place.saturating_add(self.len)
    }
}

/// The changed chunks of a source, by their numbers, and their places in the store. What was written in
/// order takes little memory.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// By the number of the first chunk. No two of them can be joined.
    runs: BTreeMap<u64, Run>,
    count: u64,
}

impl Changes {
    /// How many chunks are stored.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Adds a chunk. `false` if it has a place already, which stays.
    pub(super) fn insert(&mut self, chunk: u64, place: u64) -> bool {
        let mut start = chunk;
        if let Some((first, run)) = self.runs.range_mut(..=chunk).next_back() {
            let within = chunk - first;
            if within < run.len {
                return false;
            }
            if within == run.len && run.end() == place {
                run.len += 1;
                start = *first;
            }
        }
        if start == chunk {
            self.runs.insert(chunk, Run { place, len: 1 });
        }
        self.join_with_next(start);
        self.count += 1;
        true
    }

    fn join_with_next(&mut self, start: u64) {
        let Some(run) = self.runs.get(&start) else {
            return;
        };
        let (next, end) = (start.saturating_add(run.len), run.end());
        if self.runs.get(&next).is_some_and(|after| after.place == end)
            && let Some(after) = self.runs.remove(&next)
            && let Some(run) = self.runs.get_mut(&start)
        {
            run.len += after.len;
        }
    }

    /// The place of a chunk, `None` if it is not stored, and for how many chunks from this one on that is
    /// so: their places follow each other, or none is stored.
    pub(super) fn stretch(&self, chunk: u64) -> (Option<u64>, u64) {
        if let Some((first, run)) = self.runs.range(..=chunk).next_back() {
            let within = chunk - first;
            if within < run.len {
                return (Some(run.place + within), run.len - within);
            }
        }
        let next = self.runs.range(chunk..).next();
        (None, next.map_or(u64::MAX, |(next, _)| next - chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_chunk_and_how_far_its_run_goes() {
        let mut changes = Changes::default();
        for (chunk, place) in [(5, 20), (7, 22), (6, 21), (9, 23), (8, 40), (4, 19), (0, 2)] {
            assert!(changes.insert(chunk, place), "{chunk}");
            assert!(!changes.insert(chunk, 99), "{chunk}");
        }
        assert_eq!(changes.count(), 7);
        assert_eq!(changes.runs.len(), 4);
        for (chunk, expected) in [
            (0, (Some(2), 1)),
            (1, (None, 3)),
            (3, (None, 1)),
            (4, (Some(19), 4)),
            (7, (Some(22), 1)),
            (8, (Some(40), 1)),
            (9, (Some(23), 1)),
            (10, (None, u64::MAX)),
        ] {
            assert_eq!(changes.stretch(chunk), expected, "{chunk}");
        }
    }
}
