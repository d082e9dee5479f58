//! Who is at work on which stretch of the volume: keeps writes that overlap apart.
//!
//! A write of part of a sector reads the rest of it first, so nobody else may write to that sector
//! meanwhile; and a read that met half a sector's new ciphertext would decrypt to garbage. Those
//! who overlap wait for each other in the order in which they came, all others pass.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What somebody wants to do with a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// May overlap with others who read.
    Read,
    /// Overlaps with nobody.
    Write,
}

/// The locks in use, and those who wait.
#[derive(Debug, Default)]
pub(super) struct RangeLocks {
    queue: Mutex<Queue>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    /// In the order in which they came.
    claims: Vec<Claim>,
}

#[derive(Debug)]
struct Claim {
    number: u64,
    range: Range<u64>,
    access: Access,
}

impl Queue {
    /// Whether somebody came before the claim of that number who must be done first.
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

/// A stretch that is in use for as long as this lives.
#[derive(Debug)]
pub(super) struct RangeGuard<'a> {
    locks: &'a RangeLocks,
    number: u64,
}

impl RangeLocks {
    /// Waits until the stretch is free for that use.
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

    /// The queue is whole whenever its lock is free, whoever panicked.
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
    fn writers_of_one_stretch_come_one_after_the_other() {
        let locks = RangeLocks::default();
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for start in [0, 3, 6] {
                let (locks, inside) = (&locks, &inside);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let _held = locks.lock(start..start + 4, Access::Write);
                        // The first and the last do not overlap; the one between meets both.
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
    fn readers_share_and_neighbours_pass() {
        let locks = RangeLocks::default();
        let _first = locks.lock(0..10, Access::Read);
        let _second = locks.lock(5..15, Access::Read);
        let _behind = locks.lock(15..20, Access::Write);
        let queue = locks.queue();
        assert_eq!(queue.claims.len(), 3);
    }
}
