//! Kernels that gave a wrong answer to a known question. A CPU's instructions are chosen by what it
//! says that it has; an emulator, or a CPU with a flaw, may compute something else.

use std::sync::{Mutex, MutexGuard, PoisonError};

static FAULTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn all() -> MutexGuard<'static, Vec<String>> {
    FAULTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What this process found wrong with the CPU's instructions so far, a sentence each. What gave a
/// wrong answer is not used: something slower takes its place.
pub fn faults() -> Vec<String> {
    all().clone()
}

/// `kernel` gave a wrong answer for `work`; `instead` is what does it now, if anything does.
pub(super) fn record(kernel: &str, work: &str, instead: Option<&str>) {
    let instead = match instead {
        Some(instead) => format!("{instead} is used instead"),
        None => "there is nothing else that could be used".to_owned(),
    };
    let fault =
        format!("this CPU, or its emulator, computes {work} wrongly with {kernel}: {instead}");
    let mut faults = all();
    if !faults.contains(&fault) {
        faults.push(fault);
    }
}
