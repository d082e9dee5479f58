//! Whether standard output was closed when the process was started. The runtime opens `/dev/null`
//! in its place before `main`, so that what is written there is lost without an error; this looks
//! before the runtime does.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, fcntl_getfd};

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

// SAFETY: the linker puts the address of a function with the C calling convention into the section
// whose functions the C library calls before `main`, once, on the only thread. The function makes
// one system call and stores to an atomic: it needs nothing of the runtime, and cannot panic.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let closed = fcntl_getfd(rustix::stdio::stdout()) == Err(Errno::BADF);
    WAS_CLOSED.store(closed, Ordering::Relaxed);
}

/// Whether it was closed.
pub(crate) fn was_closed() -> bool {
    WAS_CLOSED.load(Ordering::Relaxed)
}
