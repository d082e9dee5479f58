//! Runs a search with progress, checkpoint and signals.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fve::shown::ShowPath;
use fve::unlock::search::Hit;

use super::SearchArgs;
use super::plan::Plan;
use crate::cli::commands::recovery::checkpoint::{Checkpoint, SearchIdentity};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::source::Opened;
use crate::cli::output::term;

/// How often the checkpoint is saved.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// How often progress is printed if standard error is not a terminal.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How a search ended.
pub(super) struct SearchOutcome {
    pub(super) hit: Option<Hit>,
    pub(super) tried: u64,
    pub(super) took: Duration,
    /// Removed once the password has been saved or printed.
    pub(super) checkpoint: Option<Checkpoint>,
}

pub(super) fn checkpoint_subject(
    args: &SearchArgs,
    opened: &Opened,
    plan: &Plan<'_>,
) -> SearchIdentity {
    let id = opened
        .volume
        .metadata_as_found()
        .map(|block| block.dataset.id);
    let way = match (args.try_near, args.any_order) {
        (true, _) => "near",
        (_, true) => "any-order",
        _ => "pattern",
    };
    SearchIdentity {
        volume: id.map(|id| format!("{id:X}")).unwrap_or_default(),
        protectors: plan
            .search
            .protectors()
            .map(|id| format!("{id:X}"))
            .collect(),
        way: way.to_owned(),
        shape: plan.shape.clone(),
        candidates: plan.count.to_string(),
    }
}

/// Runs the search. A signal stops it after its checkpoint is saved.
pub(super) fn run_search(
    plan: &Plan<'_>,
    mut checkpoint: Option<Checkpoint>,
    path: Option<&Path>,
    interrupted: &AtomicBool,
) -> Result<SearchOutcome, Failure> {
    // A low priority keeps the computer responsive. If the kernel refuses it, the search runs all
    // the same.
    let _ = rustix::process::nice(10);
    let from = checkpoint.as_ref().map_or(0, Checkpoint::next);
    if from > 0 {
        term::note(format_args!("continuing from candidate {from}"));
    }
    let bar = term::progress_counting(u64::try_from(plan.count).unwrap_or(u64::MAX));
    bar.set_position(from);
    bar.reset_eta();
    let watch = plan.search.watch(from);
    let begun = Instant::now();
    let mut saved = Ok(());
    let [mut last_save, mut last_note] = [begun; 2];
    let hit = plan.search.run_watched(from, &watch, &mut || {
        let tried = watch.tried();
        bar.set_position(from.saturating_add(tried));
        if let Some(checkpoint) = &mut checkpoint
            && is_due(&mut last_save, SAVE_EVERY)
            && saved.is_ok()
        {
            saved = checkpoint.save(watch.resume_at());
        }
        if bar.is_hidden() && is_due(&mut last_note, TELL_EVERY) {
            print_progress(plan, from, tried, begun);
        }
        if interrupted.load(Ordering::Relaxed) || saved.is_err() {
            watch.stop();
        }
    });
    let took = begun.elapsed();
    bar.finish_and_clear();
    if let Some(checkpoint) = &mut checkpoint {
        match &hit {
            // The password was found: an error of the checkpoint no longer matters.
            Some(hit) => drop(checkpoint.save(hit.number)),
            None if watch.is_stopped() => checkpoint.save(watch.resume_at())?,
            None => {}
        }
    }
    let outcome = SearchOutcome {
        hit,
        tried: watch.tried(),
        took,
        checkpoint,
    };
    if outcome.hit.is_none() {
        saved?;
        if interrupted.load(Ordering::Relaxed) {
            let done = u128::from(watch.resume_at());
            let percent = done.saturating_mul(100) / plan.count.max(1);
            return Err(Failure::Other {
                status: Status::Io,
                what: format!("interrupted at {percent} % of the candidates"),
                help: Some(match path {
                    Some(path) => {
                        format!(
                            "run the same command again to continue with the checkpoint {}",
                            path.shown()
                        )
                    }
                    None => {
                        "with --checkpoint FILE, an interrupted search can be continued".to_owned()
                    }
                }),
            });
        }
    }
    Ok(outcome)
}

fn is_due(last: &mut Instant, every: Duration) -> bool {
    let due = last.elapsed() >= every;
    if due {
        *last = Instant::now();
    }
    due
}

fn print_progress(plan: &Plan<'_>, from: u64, tried: u64, begun: Instant) {
    let rate = tried as f64 / begun.elapsed().as_secs_f64();
    let done = from.saturating_add(tried);
    let left = plan.count.saturating_sub(u128::from(done)) as f64 / rate.max(f64::MIN_POSITIVE);
    term::note(format_args!(
        "{done} of {} tried, {rate:.1} candidates/s, at most {} left",
        plan.count,
        term::human_time(left)
    ));
}
