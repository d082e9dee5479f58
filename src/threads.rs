//! Runs work on several threads, or on as many as can be started.
//!
//! The system refuses to start a thread at a limit on processes or memory. Threads take the work from
//! a shared queue, so fewer of them do it as well, at worst the caller's thread alone.

use std::panic::resume_unwind;
use std::thread::{self, Builder, Scope, ScopedJoinHandle};

/// Calls `work` at the same time on the caller's thread and on `others` more, or on as many as can be
/// started. Returns when all calls have returned.
///
/// # Panics
/// If `work` panics.
pub(crate) fn share(others: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        // Stops at the first thread that cannot be started.
        let started: Vec<_> = (0..others).map_while(|_| start(scope, &work)).collect();
        work();
        for thread in started {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
}

fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: &'scope (impl Fn() + Sync),
) -> Option<ScopedJoinHandle<'scope, ()>> {
    #[cfg(test)]
    if tests::NONE_MORE.get() {
        return None;
    }
    Builder::new().spawn_scoped(scope, work).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    thread_local! {
        /// Simulates, for the current thread, that the system can start no more threads.
        pub(crate) static NONE_MORE: Cell<bool> = const { Cell::new(false) };
    }

    #[test]
    fn shares_work_among_threads() {
        let calls = AtomicUsize::new(0);
        share(3, || {
            calls.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(calls.into_inner(), 4);
    }

    #[test]
    fn the_caller_works_alone_where_no_thread_can_start() {
        let calls = AtomicUsize::new(0);
        NONE_MORE.set(true);
        share(3, || {
            calls.fetch_add(1, Ordering::Relaxed);
        });
        NONE_MORE.set(false);
        assert_eq!(calls.into_inner(), 1);
    }
}
