//! What a search will try, how long that takes, and whether it is worth it.

use std::time::Duration;

use fve::unlock::search::Search;

use super::SearchArgs;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::term;

/// More candidates are a matter of days, and are searched only when somebody says so.
const MANY: u128 = 10_000_000;

/// How long the CPU is measured before a search, and before one that is over in seconds.
pub(super) const MEASURE: Duration = Duration::from_secs(2);
pub(super) const MEASURE_BRIEFLY: Duration = Duration::from_millis(200);
/// How many candidates are briefly measured for.
pub(super) const FEW: u128 = 1000;

/// What is to be tried.
pub(super) struct Task<'a> {
    pub(super) search: Search<'a>,
    pub(super) count: u128,
    pub(super) shape: String,
    pub(super) rate: f64,
}

impl Task<'_> {
    /// Seconds that trying all from candidate `from` on takes.
    pub(super) fn seconds(&self, from: u64) -> f64 {
        self.count.saturating_sub(u128::from(from)) as f64 / self.rate
    }
}

pub(super) fn tell_plan(task: &Task<'_>) {
    let protectors = task.search.protectors().count();
    term::note(format_args!(
        "{} candidate{}, {protectors} protector{}: {} at {:.1} candidates/s ({}, {} thread{})",
        task.count,
        plural(task.count),
        plural(protectors as u128),
        match task.count {
            0 | 1 => "a moment".to_owned(),
            _ => format!("at most {}", term::human_time(task.seconds(0))),
        },
        task.rate,
        task.search.lanes().name(),
        task.search.threads(),
        plural(task.search.threads() as u128),
    ));
    if protectors > 1 {
        term::note(
            "each key protector takes the full time: --protector ID tries only the one that the printout names",
        );
    }
}

pub(super) fn plural(count: u128) -> &'static str {
    if count == 1 { "" } else { "s" }
}

pub(super) fn check_worth(args: &SearchArgs, task: &Task<'_>) -> Result<(), Failure> {
    /// A search of which nobody wants to lose the result.
    const LONG: f64 = 600.0;
    let refuse = |what: String, help: &str| Failure::Other {
        status: Status::Usage,
        what,
        help: Some(help.to_owned()),
    };
    if task.count > MANY && !args.yes {
        return Err(refuse(
            format!(
                "trying {} candidates would take up to {}",
                task.count,
                term::human_time(task.seconds(0))
            ),
            "--yes starts anyway; 'fve recovery hash' prints hashes for programs that use graphics cards and several computers",
        ));
    }
    if args.save_to.is_some() || args.show {
        return Ok(());
    }
    if task.seconds(0) > LONG && !args.yes {
        return Err(refuse(
            "the password, once found, would be neither saved nor shown".to_owned(),
            "give --save-to FILE or --show, or --yes to search anyway",
        ));
    }
    term::note(
        "the password, once found, will be neither saved (--save-to FILE) nor shown (--show)",
    );
    Ok(())
}
