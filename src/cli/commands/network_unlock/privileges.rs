//! Giving up what only opening the sockets took.
//!
//! Linux keeps capabilities by thread: this has to run before there is a second one.

use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::cli::failure::Failure;
use fve::error::Error;

/// Becomes `user`, if one is named, and gives up every capability either way. Root without
/// capabilities still owns its files, and can read them again.
pub(super) fn drop_all(user: Option<&str>) -> Result<(), Failure> {
    let wanted = user.map(find).transpose()?;
    // The bounding set takes a capability to change; without one there is nothing in it for us.
    for capability in CapabilitySet::all().iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
    if let Some(user) = &wanted {
        become_user(user).map_err(|error| {
            Failure::from(Error::io(
                format!("cannot become the user {}", user.name),
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
    // An older kernel has none.
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
