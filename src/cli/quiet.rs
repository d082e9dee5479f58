//! Keeping libtss2 from writing to standard error on its own account.
#![allow(unsafe_code)]

/// What libtss2 takes its verbosity from.
const VARIABLE: &str = "TSS2_LOG";

/// Turns libtss2's own messages off, unless somebody turned them on: what it says is said again by
/// us, in words that help. Call it while the process has one thread.
pub(crate) fn quiet_libtss2() {
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    // SAFETY: the process has a single thread, so that nobody reads the environment meanwhile.
    unsafe { std::env::set_var(VARIABLE, "all+none") };
}
