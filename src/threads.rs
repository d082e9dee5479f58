//! Work that is shared out among threads, as many of them as can be started.
//!
//! A system refuses a thread where a limit on processes or on memory is reached. Work that several
//! threads take from one place gets done by fewer of them as well, if need be by the caller's alone.

use std::panic::resume_unwind;
use std::thread::{self, Builder, Scope, ScopedJoinHandle};

/// Calls `work` on the caller's thread and on `others` more at the same time, or on as many as can
/// be started; returns when all of them did.
///
/// # Panics
/// When `work` does.
pub(crate) fn share(others: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        // The first that cannot be started is the last that is asked for.
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
        /// As if the system had no thread left for the one that runs this.
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
