//! A list of faults: code for special CPU instructions that failed its self-test.
//!
//! Code is chosen by the features that the CPU reports. An emulator, or a defective CPU, may report a
//! feature and compute wrong results; QEMU 7.2 with `-cpu max` does so for AVX2 or VAES. Without a
//! self-test, such a machine would read wrong plaintext and write wrong ciphertext.

use std::sync::{Mutex, MutexGuard, PoisonError};

static FAULTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn all() -> MutexGuard<'static, Vec<String>> {
    FAULTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The faults that this process has found in the CPU's instructions so far, one sentence each. Code
/// that failed its self-test is not used; slower code takes its place.
pub fn faults() -> Vec<String> {
    all().clone()
}

/// Records that `kernel` computes `work` wrongly. `instead` is the code that is used in its place, or
/// `None` if none is left.
pub(super) fn record(kernel: &str, work: &str, instead: Option<&str>) {
    let instead = match instead {
        Some(instead) => format!("{instead} is used instead"),
        None => "no other implementation is left".to_owned(),
    };
    let fault =
        format!("this CPU, or its emulator, computes {work} wrongly with {kernel}: {instead}");
    let mut faults = all();
    if !faults.contains(&fault) {
        faults.push(fault);
    }
}
