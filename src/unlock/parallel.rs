//! Attempts that cost nothing but time, made on several threads at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::secret::{KIB, leave_nothing};

/// Words of its stack that a thread wipes before it ends: the memory is reused without being
/// cleared.
const STACK: usize = 64 * KIB;

/// Calls `work` on the items, on at most `threads` threads. Returns the results in the order of the
/// items, up to and including the first one for which `ends` is true, as a loop would.
///
/// Later items may have been worked on, too; their results are dropped.
pub(super) fn in_order<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> R + Sync,
    ends: impl Fn(&R) -> bool + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let last = AtomicUsize::new(usize::MAX);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    let run = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            if index > last.load(Ordering::Relaxed) {
                return;
            }
            let result = work(item);
            if ends(&result) {
                last.fetch_min(index, Ordering::Relaxed);
            }
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.push((index, result));
        }
    };
    let others = threads.min(items.len()).saturating_sub(1);
    crate::threads::share(others, || leave_nothing::<STACK, _>(run));
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    let last = last.into_inner();
    let upto = results.into_iter().take_while(|(index, _)| *index <= last);
    upto.map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn gives_the_same_results_as_a_loop() {
        let items: Vec<u64> = (0..20).collect();
        let slow_first = |item: &u64| {
            std::thread::sleep(Duration::from_millis(20 - item));
            *item
        };
        for threads in [1, 4] {
            let all = in_order(&items, threads, slow_first, |_| false);
            assert_eq!(all, items);
            let some = in_order(&items, threads, slow_first, |item| *item >= 7);
            assert_eq!(some, items[..8]);
            assert!(in_order(&[], threads, slow_first, |_| true).is_empty());
        }
    }
}
