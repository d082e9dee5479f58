//! Giving up the privileges of a process, before it handles data from outside.
//!
//! In Linux, each thread has its own capabilities, and a new thread gets those of the thread that
//! starts it. So call these functions before a second thread starts.

use rustix::io::{Errno, Result};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// Gives up every capability of the calling thread, and the possibility to get new ones: by running
/// a set-user-ID program, or any program as root.
///
/// Root without capabilities can still use the files that it owns.
///
/// # Errors
/// The system's reason. The thread may still have capabilities then.
pub fn give_up_capabilities() -> std::io::Result<()> {
    limit_new_programs();
    give_up()?;
    Ok(())
}

/// Empties the bounding set, so that no program that is run later has capabilities. This needs
/// `CAP_SETPCAP`, so it must be done before the process changes to another user. Errors are ignored:
/// [`give_up_capabilities`] does what is necessary.
pub fn limit_new_programs() {
    for capability in CapabilitySet::all().iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
}

fn give_up() -> Result<()> {
    // Fails on kernels before 4.3, which have no ambient set.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    set_no_new_privs(true)?;
    let left = capabilities(None)?;
    match left.effective.is_empty() && left.permitted.is_empty() {
        true => Ok(()),
        false => Err(Errno::PERM),
    }
}
