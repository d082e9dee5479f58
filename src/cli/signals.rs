//! The signals INT, TERM and HUP. A command that writes a file cleans up after a signal: no incomplete
//! file keeps the name of a complete one, and the command reports that it was interrupted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::cli::exit::Status;
use crate::cli::output::{keyboard, term};

/// A second signal ends the process at once only after this time: programs such as timeout(1) send
/// a signal twice in a row.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns a flag that the first signal sets; the command must then stop as soon as it can. A second
/// signal, at least [`PATIENCE`] after the first, ends the process.
pub(crate) fn notice() -> Arc<AtomicBool> {
    let noticed = Arc::new(AtomicBool::new(false));
    let flag = noticed.clone();
    let mut first: Option<Instant> = None;
    watch(move |signal| match first {
        None => {
            keyboard::restore();
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

/// From now on, a signal calls `clean_up` and ends the process with a message and exit status 5.
pub(crate) fn exit_on_signal(clean_up: impl Fn() + Send + 'static) {
    watch(move |_| {
        keyboard::restore();
        clean_up();
        term::say("error: interrupted");
        std::process::exit(Status::Io as i32);
    });
}

/// The signals that end a process, for a command that must clean up after each of them. Without HUP
/// if the command was started to outlive its terminal, as by nohup(1).
pub(crate) fn ending() -> Vec<i32> {
    let mut signals = vec![SIGINT, SIGTERM, signal_hook::consts::SIGQUIT];
    if !keyboard::is_ignored(SIGHUP) {
        signals.push(SIGHUP);
    }
    signals
}

/// Calls `received` for each signal, on a thread of its own. If that thread cannot be started, a
/// signal ends the process as by default.
fn watch(mut received: impl FnMut(i32) + Send + 'static) {
    let signals: &[i32] = match keyboard::is_ignored(SIGHUP) {
        // The command was started to outlive its terminal, as by nohup(1).
        true => &[SIGINT, SIGTERM],
        false => &[SIGINT, SIGTERM, SIGHUP],
    };
    keyboard::leave_to_others(signals);
    let Ok(mut signals) = Signals::new(signals) else {
        return;
    };
    let handle = signals.handle();
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let started = thread.spawn(move || {
        for signal in signals.forever() {
            received(signal);
        }
    });
    if started.is_err() {
        handle.close();
    }
}
