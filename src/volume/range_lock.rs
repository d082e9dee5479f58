//! Locks on ranges of the volume, so that reads and writes that overlap do not disturb each other.
//!
//! A write of part of a sector reads the rest of it first, so no other write to that sector may come
//! between. A read of a sector that is half written would decrypt to garbage. Overlapping requests
//! are served in the order in which they came; others do not wait.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Whether a range is locked for reading or for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// May overlap with other reads.
    Read,
    /// Must not overlap with any other lock.
    Write,
}

/// The locked ranges, and those that wait to be locked.
#[derive(Debug, Default)]
pub(super) struct RangeLocks {
    queue: Mutex<Queue>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    /// Ranges that are locked, and those that wait, in the order in which they came.
    claims: Vec<Claim>,
}

#[derive(Debug)]
struct Claim {
    number: u64,
    range: Range<u64>,
    access: Access,
}

impl Queue {
    /// Whether an earlier claim excludes the claim of that number.
    fn must_wait(&self, number: u64) -> bool {
        let Some(at) = self.claims.iter().position(|claim| claim.number == number) else {
            return false;
        };
        let (before, rest) = self.claims.split_at(at);
        rest.first()
            .is_some_and(|claim| before.iter().any(|other| other.excludes(claim)))
    }
}

impl Claim {
    fn excludes(&self, other: &Self) -> bool {
        (self.access == Access::Write || other.access == Access::Write)
            && self.range.start < other.range.end
            && other.range.start < self.range.end
    }
}

/// A locked range; dropping it unlocks the range.
#[derive(Debug)]
pub(super) struct RangeGuard<'a> {
    locks: &'a RangeLocks,
    number: u64,
}

impl RangeLocks {
    /// Locks a range, waiting until no other lock excludes it.
    pub(super) fn lock(&self, range: Range<u64>, access: Access) -> RangeGuard<'_> {
        let mut queue = self.queue();
        let number = queue.next;
        queue.next = number.wrapping_add(1);
        queue.claims.push(Claim {
            number,
            range,
            access,
        });
        while queue.must_wait(number) {
            queue = self
                .freed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        RangeGuard {
            locks: self,
            number,
        }
    }

    /// The queue is consistent whenever its lock is free, so a panic of another thread does not
    /// matter.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RangeGuard<'_> {
    fn drop(&mut self) {
        let mut queue = self.locks.queue();
        queue.claims.retain(|claim| claim.number != self.number);
        let others = !queue.claims.is_empty();
        drop(queue);
        if others {
            self.locks.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn writes_that_overlap_come_one_after_the_other() {
        let locks = RangeLocks::default();
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for start in [0, 3, 6] {
                let (locks, inside) = (&locks, &inside);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let _held = locks.lock(start..start + 4, Access::Write);
                        // The first and the last range do not overlap; the middle one overlaps both.
                        let weight = if start == 3 { 2 } else { 1 };
                        let before = inside.fetch_add(weight, Ordering::SeqCst);
                        assert!(before + weight <= 2);
                        std::thread::yield_now();
                        inside.fetch_sub(weight, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn reads_share_a_range_and_neighboring_ranges_do_not_wait() {
        let locks = RangeLocks::default();
        let _first = locks.lock(0..10, Access::Read);
        let _second = locks.lock(5..15, Access::Read);
        let _after = locks.lock(15..20, Access::Write);
        let queue = locks.queue();
        assert_eq!(queue.claims.len(), 3);
    }
}
