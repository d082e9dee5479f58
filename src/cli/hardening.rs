//! Keeping secrets out of core dumps, before the first is read.

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
