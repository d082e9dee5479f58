//! What a search will try, how long it takes, and whether it needs confirmation.

use std::time::Duration;

use fve::unlock::search::Search;

use super::SearchArgs;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::term;

/// More candidates than this take days, and need `--yes`.
const MANY: u128 = 10_000_000;

/// How long the speed of the CPU is measured before a long search, and before one that takes only
/// seconds.
pub(super) const MEASURE: Duration = Duration::from_secs(2);
pub(super) const MEASURE_BRIEFLY: Duration = Duration::from_millis(200);
/// Up to this number of candidates, the short measurement is enough.
pub(super) const FEW: u128 = 1000;

/// A search that is ready to run.
pub(super) struct Plan<'a> {
    pub(super) search: Search<'a>,
    pub(super) count: u128,
    pub(super) shape: String,
    pub(super) rate: f64,
}

impl Plan<'_> {
    /// Expected seconds for all candidates from number `from` on.
    pub(super) fn seconds(&self, from: u64) -> f64 {
        self.count.saturating_sub(u128::from(from)) as f64 / self.rate
    }
}

pub(super) fn print_plan(plan: &Plan<'_>) {
    let protectors = plan.search.protectors().count();
    term::note(format_args!(
        "{} candidate{}, {protectors} protector{}: {} at {:.1} candidates/s ({}, {} thread{})",
        plan.count,
        plural(plan.count),
        plural(protectors as u128),
        match plan.count {
            0 | 1 => "a moment".to_owned(),
            _ => format!("at most {}", term::human_time(plan.seconds(0))),
        },
        plan.rate,
        plan.search.lanes().name(),
        plan.search.threads(),
        plural(plan.search.threads() as u128),
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

pub(super) fn check_worth(args: &SearchArgs, plan: &Plan<'_>) -> Result<(), Failure> {
    /// In seconds. The result of a longer search must be saved or shown.
    const LONG: f64 = 600.0;
    let refuse = |what: String, help: &str| Failure::Other {
        status: Status::Usage,
        what,
        help: Some(help.to_owned()),
    };
    if plan.count > MANY && !args.yes {
        return Err(refuse(
            format!(
                "trying {} candidates would take up to {}",
                plan.count,
                term::human_time(plan.seconds(0))
            ),
            "--yes starts anyway; 'fve recovery hash' prints hashes for programs that use graphics cards and several computers",
        ));
    }
    if args.recovery_password_to.is_some() || args.show {
        return Ok(());
    }
    if plan.seconds(0) > LONG && !args.yes {
        return Err(refuse(
            "the password, once found, would be neither saved nor shown".to_owned(),
            "give --recovery-password-to FILE or --show, or --yes to search anyway",
        ));
    }
    term::note(
        "the password, once found, will be neither saved (--recovery-password-to FILE) nor shown (--show)",
    );
    Ok(())
}
