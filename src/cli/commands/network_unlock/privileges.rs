//! Gives up the privileges that were needed to open the sockets.
//!
//! In Linux, each thread has its own capabilities. So this must run before a second thread starts.

use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::cli::failure::Failure;
use fve::error::Error;

/// Changes to `user`, if one is given, and gives up every capability in any case. Root without
/// capabilities can still read the files that it owns, which a reload needs.
pub(super) fn drop_all(user: Option<&str>) -> Result<(), Failure> {
    let user = user.map(find).transpose()?;
    // Errors are ignored: without CAP_SETPCAP the bounding set cannot be changed, and without any
    // capability it has no effect.
    for capability in CapabilitySet::all().iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
    if let Some(user) = &user {
        become_user(user).map_err(|error| {
            Failure::from(Error::io(
                format!("cannot change to the user {}", user.name),
                error.into(),
            ))
        })?;
    }
    give_up().map_err(|error| Failure::from(Error::io("cannot give up capabilities", error.into())))
}

fn find(name: &str) -> Result<User, Failure> {
    let found = User::from_name(name)
        .map_err(|error| Error::io(format!("cannot look up the user {name}"), error.into()))?;
    found.ok_or_else(|| {
        let error = Error::environment(format!("there is no user {name}"));
        Failure::from(error.with_remedy("name one with --user"))
    })
}

fn become_user(user: &User) -> nix::Result<()> {
    if Uid::effective() == user.uid && Gid::effective() == user.gid {
        return Ok(());
    }
    setgroups(&[user.gid])?;
    setresgid(user.gid, user.gid, user.gid)?;
    setresuid(user.uid, user.uid, user.uid)
}

fn give_up() -> rustix::io::Result<()> {
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
        false => Err(rustix::io::Errno::PERM),
    }
}
