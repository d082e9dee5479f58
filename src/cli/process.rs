//! What the process sets about itself before it does anything: no core dumps, and no messages of
//! libtss2 on standard error.

use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Turns core dumps off and keeps other processes of the user from reading this one's memory.
/// Best effort: nothing here is worth refusing to work for.
pub(crate) fn keep_secrets_in_memory() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let limited = rustix::process::setrlimit(Resource::Core, none);
    let undumpable = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if limited.is_err() && undumpable.is_err() {
        tracing::warn!("core dumps could not be turned off");
    }
}

/// What libtss2 takes its verbosity from.
#[cfg(feature = "tpm")]
const VARIABLE: &str = "TSS2_LOG";

/// Turns libtss2's own messages off, unless somebody turned them on: what it says is said again by
/// us, in words that help. Call it while the process has one thread.
#[allow(unsafe_code)]
#[cfg(feature = "tpm")]
pub(crate) fn quiet_libtss2() {
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    // SAFETY: the process has a single thread, so that nobody reads the environment meanwhile.
    unsafe { std::env::set_var(VARIABLE, "all+none") };
}
