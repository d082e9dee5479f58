//! Limits on the number of threads that a user can request.

use std::num::NonZeroUsize;
use std::thread;

use crate::cli::output::term;

/// Most threads for each core. More would only wait for each other, and each needs memory.
const FOR_EACH_CORE: usize = 4;
/// Most threads on any computer.
const MOST: usize = 1024;

/// The requested number of threads, limited to what the computer can use. Tells the user if the limit
/// applies.
pub(crate) fn bounded_threads(wanted: NonZeroUsize) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let most = cores.saturating_mul(FOR_EACH_CORE).min(MOST);
    if wanted.get() > most {
        term::note(format_args!(
            "using {most} threads instead of {wanted}: at most {FOR_EACH_CORE} for each core, and {MOST} in all"
        ));
    }
    wanted.get().min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_the_number_of_threads() {
        let one = NonZeroUsize::MIN;
        assert_eq!(bounded_threads(one), 1);
        let most = bounded_threads(NonZeroUsize::MAX);
        assert!((FOR_EACH_CORE..=MOST).contains(&most), "{most}");
    }
}
