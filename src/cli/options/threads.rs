//! How many threads a person may ask for.

use std::num::NonZeroUsize;
use std::thread;

use crate::cli::output::term;

/// Threads for each core that may be asked for: more only wait for each other, and each takes
/// memory.
const FOR_EACH_CORE: usize = 4;
/// Most threads whatever the machine has.
const MOST: usize = 1024;

/// As many threads as were asked for, but no more than the machine has a use for; says so where it
/// makes a difference.
pub(crate) fn bounded_threads(wanted: NonZeroUsize) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let most = cores.saturating_mul(FOR_EACH_CORE).min(MOST);
    if wanted.get() > most {
        term::note(format_args!(
            "{most} threads are used instead of {wanted}: {FOR_EACH_CORE} for each core, and no more than {MOST}"
        ));
    }
    wanted.get().min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_asked_for_within_bounds() {
        let one = NonZeroUsize::MIN;
        assert_eq!(bounded_threads(one), 1);
        let most = bounded_threads(NonZeroUsize::MAX);
        assert!((FOR_EACH_CORE..=MOST).contains(&most), "{most}");
    }
}
