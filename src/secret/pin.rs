//! Keeping the pages that hold secrets out of swap.
#![allow(unsafe_code)]

/// Asks the kernel to keep the pages of `bytes` in memory: best effort, since a process may lock
/// only so much. Pages stay locked for the life of the process, because several secrets may share
/// one and locks do not count.
pub(crate) fn pin(bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    // SAFETY: the range is one live slice; locking pages changes neither their content nor what
    // may be done with them.
    let _ = unsafe { rustix::mm::mlock(bytes.as_ptr().cast_mut().cast(), bytes.len()) };
}
