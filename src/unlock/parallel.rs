//! Attempts that only cost time, made on all cores at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::secret::{KIB, leave_nothing};

/// Words of the stack that are wiped when a thread is done: it goes to whoever needs a thread next.
const STACK: usize = 64 * KIB;

/// Does `work` on the items, on as many threads as there are cores; gives the results in the order
/// of the items, up to and with the first that `ends` it, as if they had been done one by one.
///
/// What lies behind such a one may have been worked on, but is dropped.
pub(super) fn in_order<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    ends: impl Fn(&R) -> bool + Sync,
) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
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
    let others = cores.min(items.len()).saturating_sub(1);
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
    fn gives_what_one_by_one_would_give() {
        let items: Vec<u64> = (0..20).collect();
        let slow_first = |item: &u64| {
            std::thread::sleep(Duration::from_millis(20 - item));
            *item
        };
        assert_eq!(in_order(&items, slow_first, |_| false), items);
        assert_eq!(in_order(&items, slow_first, |item| *item >= 7), items[..8]);
        assert!(in_order(&[], slow_first, |_| true).is_empty());
    }
}
