//! Detects that standard output was closed when the process was started. The Rust runtime opens
//! `/dev/null` in its place before `main`, so that output would be lost without an error. The check
//! runs before the runtime starts.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, fcntl_getfd};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

// SAFETY: the linker puts the address of a function with the C calling convention into the section
// whose functions the C library calls before `main`, once, on the only thread. The function makes
// one system call and stores to an atomic: it needs nothing of the runtime, and cannot panic.
#[used]
#[unsafe(link_section = ".init_array")]
static CHECK: extern "C" fn() = check;

extern "C" fn check() {
    let closed = fcntl_getfd(rustix::stdio::stdout()) == Err(Errno::BADF);
    WAS_CLOSED.store(closed, Ordering::Relaxed);
}

/// Refuses to write to standard output if it was closed when the process was started.
pub(crate) fn check_open() -> Result<(), Failure> {
    match WAS_CLOSED.load(Ordering::Relaxed) {
        true => Err(Failure::Other {
            status: Status::Io,
            what: "cannot write to standard output: it is closed".to_owned(),
            help: None,
        }),
        false => Ok(()),
    }
}
