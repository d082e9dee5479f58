//! The child process: gives up what it does not need, and answers requests.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getpid, getppid, kill_process,
    set_dumpable_behavior, setrlimit, setsid,
};
use rustix::thread::set_no_new_privs;

use super::service::ARGUMENT;
use super::{Conversation, Limits, Service};
use crate::privileges::{give_up_capabilities, limit_new_programs};

/// The status of a process that could not limit itself, so that it read no request.
const UNLIMITED: i32 = 70;
/// The lowest descriptor that is not standard input, output or error.
const FIRST: i32 = 3;

/// Serves one of `services` and ends the process, if the process was started for that by
/// [`Child::start`](super::Child::start). Returns otherwise, also when someone gives the same arguments
/// by hand: then standard input is no connection to the process that started this one.
pub(crate) fn serve(services: &[&Service]) {
    let Some(name) = requested() else { return };
    let Some(service) = services.iter().find(|service| service.name == name) else {
        return;
    };
    let peer = rustix::net::sockopt::socket_peercred(rustix::stdio::stdin());
    if !peer.is_ok_and(|peer| Some(peer.pid) == getppid()) {
        return;
    }
    let status = match begin(&service.limits) {
        Ok(stream) => {
            let max_request = service.max_request;
            (service.serve)(&mut Conversation::new(stream, max_request));
            0
        }
        Err(_) => UNLIMITED,
    };
    // The destructors of a foreign library could hang, but the process that started this one waits
    // only for the answer.
    std::process::exit(status);
}

/// The name of the service that this process was started for.
fn requested() -> Option<String> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(ARGUMENT)) {
        return None;
    }
    let name = arguments.next()?.into_string().ok()?;
    arguments.next().is_none().then_some(name)
}

/// Limits the process, and takes the connection from standard input.
fn begin(limits: &Limits) -> io::Result<UnixStream> {
    let stream = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), FIRST)?;
    let null = OpenOptions::new().read(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    drop(null);
    close_others(&stream)?;
    // Ctrl-C reaches only the process that asks, which then ends this one.
    setsid()?;
    limit(limits)?;
    if limits.becomes_unprivileged && rustix::process::geteuid().is_root() {
        limit_new_programs();
        // Not possible in a user namespace without this number. The process then keeps its user, and
        // still gives up its capabilities.
        let _ = change_user();
    }
    match limits.keeps_capabilities {
        true => set_no_new_privs(true)?,
        false => give_up_capabilities()?,
    }
    #[cfg(feature = "directory")]
    if !limits.writes_files {
        // Not every kernel can do this.
        let _ = deny_writing();
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    end_with_peer(stream.try_clone()?)?;
    Ok(UnixStream::from(stream))
}

/// Changes to the user without rights that every Linux has. The number needs no database of users, which
/// an initramfs lacks.
fn change_user() -> nix::Result<()> {
    const UNPRIVILEGED: u32 = 65534;
    let (user, group) = (Uid::from_raw(UNPRIVILEGED), Gid::from_raw(UNPRIVILEGED));
    setgroups(&[group])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)
}

/// From now on, the process opens no file for writing, and no device but the sources of random numbers.
#[cfg(feature = "directory")]
fn deny_writing() -> Result<(), landlock::RulesetError> {
    use landlock::{
        ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, path_beneath_rules,
    };

    const DEVICES: &str = "dev";
    let entries = std::fs::read_dir("/").into_iter().flatten().flatten();
    let others = entries.filter(|entry| entry.file_name() != DEVICES);
    let directories = others.map(|entry| entry.path());
    let devices = ["/dev/null", "/dev/random", "/dev/urandom"];
    Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .create()?
        .add_rules(path_beneath_rules(
            directories,
            AccessFs::ReadFile | AccessFs::ReadDir,
        ))?
        .add_rules(path_beneath_rules(devices, AccessFs::ReadFile))?
        .restrict_self()?;
    Ok(())
}

/// Closes what the process that asks had inherited itself, such as the descriptor of a password.
fn close_others(stream: &OwnedFd) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let listed: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let own = stream.as_fd().as_raw_fd();
    for descriptor in listed {
        if descriptor >= FIRST && descriptor != own {
            // The descriptor of the listing itself is closed already.
            let _ = nix::unistd::close(descriptor);
        }
    }
    Ok(())
}

fn limit(limits: &Limits) -> io::Result<()> {
    let at_most = |resource, most: u64| {
        // A lower limit of the user stays.
        let now = rustix::process::getrlimit(resource);
        let most = now.maximum.map_or(most, |maximum| maximum.min(most));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)
    };
    at_most(Resource::Core, 0)?;
    at_most(Resource::As, limits.memory)?;
    at_most(Resource::Cpu, limits.processor_seconds)?;
    at_most(Resource::Nofile, limits.files)?;
    if !limits.writes_files {
        at_most(Resource::Fsize, 0)?;
    }
    Ok(())
}

/// Ends this process when the other end of the connection is closed, also while a foreign library does
/// not return. A signal at the end of the parent (PR_SET_PDEATHSIG) would come when the *thread* that
/// started the process ends.
fn end_with_peer(connection: OwnedFd) -> io::Result<()> {
    let watch = move || loop {
        let mut connection = [PollFd::new(&connection, PollFlags::empty())];
        match poll(&mut connection, None) {
            Err(rustix::io::Errno::INTR) | Ok(0) => {}
            Ok(_) | Err(_) => {
                // Unlike exit, runs nothing of a foreign library.
                let _ = kill_process(getpid(), Signal::KILL);
            }
        }
    };
    let thread = std::thread::Builder::new().name("end".to_owned());
    thread.stack_size(0x1_0000).spawn(watch).map(drop)
}
