//! INT, TERM and HUP, noticed in one place: a command that writes something ends in order, with
//! nothing half done under a name that promises more, and says that it was interrupted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::cli::exit::Status;
use crate::cli::output::term;

/// Programs such as timeout(1) send a signal twice at once. Whoever sends it again after this time
/// wants the end now, whatever is left behind.
const PATIENCE: Duration = Duration::from_secs(2);

/// From now on a signal does not end the process; the value becomes true, and the command ends as
/// soon as it can. A second signal, some time after the first, ends the process.
pub(crate) fn notice() -> Arc<AtomicBool> {
    let noticed = Arc::new(AtomicBool::new(false));
    let flag = noticed.clone();
    let mut first: Option<Instant> = None;
    watch(move |signal| match first {
        None => {
            first = Some(Instant::now());
            flag.store(true, Ordering::Relaxed);
        }
        Some(first) if first.elapsed() > PATIENCE => {
            let _ = emulate_default_handler(signal);
        }
        Some(_) => {}
    });
    noticed
}

/// From now on a signal ends the process with a sentence and the status of what was interrupted.
/// For commands that have nothing to put in order, or all of it in `tidy`.
pub(crate) fn end_when_told(tidy: impl Fn() + Send + 'static) {
    watch(move |_| {
        tidy();
        term::note("error: interrupted");
        std::process::exit(Status::Io as i32);
    });
}

/// Calls `told` for each signal. Where that is not possible, a signal ends the process as ever.
fn watch(mut told: impl FnMut(i32) + Send + 'static) {
    let signals: &[i32] = match is_ignored(SIGHUP) {
        // The command was started to outlive its terminal, as nohup(1) does it.
        true => &[SIGINT, SIGTERM],
        false => &[SIGINT, SIGTERM, SIGHUP],
    };
    let Ok(mut signals) = Signals::new(signals) else {
        return;
    };
    let handle = signals.handle();
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let started = thread.spawn(move || {
        for signal in signals.forever() {
            told(signal);
        }
    });
    if started.is_err() {
        handle.close();
    }
}

/// Whether the process was started with a signal ignored (proc(5): `SigIgn` is a mask in hex).
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
