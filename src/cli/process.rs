//! Settings of the process, made before the command runs: no core dumps, no secret in the environment, and no
//! messages of libtss2 on standard error.

use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Turns core dumps off, and keeps other processes of the same user from reading the memory of this
/// one. A failure is only logged.
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

/// The open files of this process, by number. `/dev/fd` is a link to it, which a small container may lack.
pub(crate) const DESCRIPTORS: &str = "/proc/self/fd/";

/// Removes a variable from the environment, so that no program that this process starts gets it, and returns its value.
/// Must be called while the process has only one thread.
#[allow(unsafe_code)]
pub(crate) fn take_variable(name: &str) -> Option<std::ffi::OsString> {
    let value = std::env::var_os(name)?;
    // SAFETY: the process has a single thread, so no other thread reads the environment.
    unsafe { std::env::remove_var(name) };
    Some(value)
}

/// The environment variable that sets the log level of libtss2.
#[cfg(feature = "tpm")]
const VARIABLE: &str = "TSS2_LOG";

/// Turns the messages of libtss2 off, unless the user turned them on: errors of the TPM are reported
/// in other words. Must be called while the process has only one thread.
#[allow(unsafe_code)]
#[cfg(feature = "tpm")]
pub(crate) fn quiet_libtss2() {
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    // SAFETY: the process has a single thread, so no other thread reads the environment.
    unsafe { std::env::set_var(VARIABLE, "all+none") };
}
