//! Gives up the privileges that were needed to open the sockets.
//!
//! In Linux, each thread has its own capabilities. So this must run before a second thread starts.

use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};

use crate::cli::failure::Failure;
use fve::error::Error;
use fve::privileges::{give_up_capabilities, limit_new_programs};

/// Changes to `user`, if one is given, and gives up every capability in any case. Root without
/// capabilities can still read the files that it owns, which a reload needs.
pub(super) fn drop_all(user: Option<&str>) -> Result<(), Failure> {
    let user = user.map(find).transpose()?;
    limit_new_programs();
    if let Some(user) = &user {
        become_user(user).map_err(|error| {
            Failure::from(Error::io(
                format!("cannot change to the user {}", user.name),
                error.into(),
            ))
        })?;
    }
    give_up_capabilities()
        .map_err(|error| Failure::from(Error::io("cannot give up capabilities", error)))
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
