//! `fve report`: shows the history of a volume, and why Windows may have asked for its recovery
//! password (docs/format-recovery.md §6).
//!
//! Keys of `--json`: `source` and `volume` (as in `info`), `mode`, `starts_with`, `system`,
//! `pcr_profiles` (protector, pcrs, profile, bank), `windows` (major, minor, build, product,
//! release), `computer`, `recovery_password_asked_for`, `suspension` (since, reboots_left),
//! `protectors` (as in `info`, with age_days), `consistency` (copies with last_written and
//! next_nonce, agree, sha256), `sealings` (next, present, gone), `timeline` (time, event, message,
//! protector, type, from), `findings` (finding, certainty, message, advice, protector, pcr, event,
//! count, last), `unlocked`, and `event_logs` (logs, events, last_start, last_end), which is null
//! if no logs were read.

mod json;
mod text;
mod words;

use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use fve::analysis::{Analysis, EventLogs};
use fve::format::time::FileTime;
use fve::volume::Unlocked;

use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source::{self, Opened, SourceArgs};
use crate::cli::output::term;
use crate::cli::run::Run;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Show the history of a volume, without a credential:
    fve report /dev/sda3
  Also read the event logs of Windows on the volume:
    fve report /dev/sda3 --recovery-password-file key.txt")]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

impl Run for ReportArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &ReportArgs) -> Result<(), Failure> {
    let opened = source::open(&args.source)
        .print_notes()
        .map_err(|failure| args.credentials.name_fitting(failure))?;
    // Most of the report needs no key, so it is printed even if the credentials are wrong.
    let (unlocked, failure) = match args.credentials.unlock_unasked(&opened.volume) {
        Ok(unlocked) => (unlocked.map(Arc::new), None),
        Err(failure) => (None, Some(failure)),
    };
    let logs = unlocked.as_ref().and_then(read_logs);
    let view = ReportView {
        analysis: Analysis::of(&opened.volume, logs.as_ref()),
        proved: unlocked
            .as_ref()
            .is_some_and(|unlocked| unlocked.is_proved()),
        opened: &opened,
        unlocked: unlocked.is_some(),
        logs: logs.as_ref(),
    };
    // The report comes first; a failure only sets the exit status and adds a message.
    term::print(&if args.json { view.json() } else { view.text() })?;
    let damaged = opened.volume.metadata().err().map(Failure::from);
    match failure.or(damaged) {
        None => Ok(()),
        Some(failure) => {
            term::print_failure(&failure);
            Err(Failure::Silent(failure.status()))
        }
    }
}

#[cfg(feature = "event-logs")]
fn read_logs(volume: &Arc<Unlocked>) -> Option<EventLogs> {
    Some(fve::analysis::EventLogs::read(volume))
}

#[cfg(not(feature = "event-logs"))]
fn read_logs(_: &Arc<Unlocked>) -> Option<EventLogs> {
    None
}

/// Everything that the report shows, as data.
struct ReportView<'a> {
    analysis: Analysis,
    /// Whether the SHA-256 sealed with the volume master key matches the metadata.
    proved: bool,
    opened: &'a Opened,
    unlocked: bool,
    logs: Option<&'a EventLogs>,
}

/// Whole days since `then`; `None` if that is not a valid time or is in the future.
fn age_days(then: FileTime) -> Option<u64> {
    const DAY: u64 = 24 * 60 * 60 * 10_000_000;
    then.system_time()?;
    let now = FileTime::from_system_time(SystemTime::now());
    Some(now.0.checked_sub(then.0)? / DAY)
}
