//! `fve serve nbd`: the decrypted volume for NBD clients, until a signal ends the process.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use clap::{ArgGroup, Args, ValueHint};
use fve::error::Error;
use fve::privileges::give_up_capabilities;
use fve::serve::nbd::{Export, Listener, PORT, Server};
use fve::shown::ShowPath;
use listenfd::ListenFd;
use rustix::fs::{FlockOperation, Mode};
use rustix::process::{getpid, umask};
use sd_notify::NotifyState;
use serde_json::json;
use signal_hook::iterator::Signals;

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::plaintext::{Holds, check_inside, open_to_read, open_to_write, warn};
use crate::cli::options::source::SourceArgs;
use crate::cli::output::json::document;
use crate::cli::output::{keyboard, term};
use crate::cli::run::Run;
use crate::cli::signals;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("writing").multiple(true), after_help = "\
Examples:
  Serve a volume to programs of the same user, and copy it in another terminal:
    fve serve nbd /dev/sda3 --socket /run/volume.socket
    nbdcopy 'nbd+unix:///?socket=/run/volume.socket' volume.img
  Let a virtual machine write to the volume of a disk image:
    fve serve nbd disk.img --read-write --socket /run/volume.socket
  The same, with all changes in another file:
    fve serve nbd disk.img --overlay changes.cow --socket /run/volume.socket
  Serve other computers, through a network in which every computer is trusted:
    fve serve nbd /dev/sda3 --listen 192.0.2.1 --allow-remote")]
pub(crate) struct NbdArgs {
    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Listen on this Unix-domain socket, which only its owner can use. Without --socket, --listen and
    /// sockets from systemd, it is in /run for root, and in $XDG_RUNTIME_DIR for others
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    socket: Option<PathBuf>,

    /// Listen on this TCP address (127.0.0.1:10809, or a port alone). Every user of this computer can
    /// then read the volume
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    listen: Option<SocketAddr>,

    /// Allow --listen with an address that other computers reach. Nothing on the way is encrypted, and
    /// no client has to prove who it is
    #[arg(long, requires = "listen")]
    allow_remote: bool,

    /// Name of the export; clients that give no name get it, too
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, value_parser = parse_name)]
    export: String,

    /// Let clients write to the volume. No other program may use SOURCE meanwhile
    #[arg(long, group = "writing", conflicts_with = "accept-damaged-metadata")]
    read_write: bool,

    /// Like --read-write, but changes go to FILE, encrypted, and SOURCE stays as it is. With the same FILE
    /// again, the changes are there again
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "writing", conflicts_with = "accept-damaged-metadata")]
    overlay: Option<PathBuf>,

    /// With --read-write: write although the file system in the volume may use the places of BitLocker's
    /// own structures, which cannot be written
    #[arg(long, requires = "writing")]
    allow_unaware_file_system: bool,

    /// Once clients can connect, print one JSON document
    #[arg(long)]
    json: bool,
}

impl Run for NbdArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

impl NbdArgs {
    /// Whether clients can write to the volume.
    fn writes(&self) -> bool {
        self.read_write || self.overlay.is_some()
    }
}

fn run(args: &NbdArgs) -> Result<(), Failure> {
    // Before the user is asked for a credential.
    let inherited = inherited()?;
    check_sockets(args)?;
    let (export, size, _holds) = open(args)?;
    keyboard::leave_to_others(&signals::ending());
    // From here on, a signal must not end the process without removing the socket.
    let mut signals = Signals::new(signals::ending())
        .map_err(|error| Error::io("cannot watch for signals", error))?;
    let server = Server::new(export)?;
    let (listeners, made) = listen(args, inherited)?;
    let stopper = server.stopper();
    let watching = signals.handle();
    // This thread keeps the capabilities: root may need them to remove its socket from a directory of
    // another user.
    let watcher = std::thread::Builder::new()
        .spawn(move || {
            for _ in signals.forever() {
                // Without a service manager, this does nothing.
                let _ = sd_notify::notify(&[NotifyState::Stopping]);
                stopper.stop();
            }
            drop(made);
        })
        .map_err(|error| Error::io("cannot start a thread", error))?;
    // The server parses what is on the disk and what clients send, which may be hostile.
    let served = give_up_capabilities()
        .map_err(|error| Error::io("cannot give up capabilities", error).into())
        .and_then(|()| announce(args, &listeners, size))
        .and_then(|()| Ok(server.serve(&listeners)?));
    watching.close();
    let _ = watcher.join();
    served
}

/// Unlocks the volume. The locks on its source must be kept while it is served.
fn open(args: &NbdArgs) -> Result<(Export, u64, Holds), Failure> {
    let (export, source, size, holds) = match args.writes() {
        true => {
            let (volume, source, holds) = open_to_write(
                &args.source,
                args.overlay.as_deref(),
                &args.credentials,
                |volume| check_inside(volume, args.allow_unaware_file_system),
            )?;
            let size = volume.size();
            (Export::read_write(Arc::new(volume)), source, size, holds)
        }
        false => {
            let (volume, source, _, holds) = open_to_read(&args.source, &args.credentials)?;
            let size = volume.size();
            (Export::read_only(Arc::new(volume)), source, size, holds)
        }
    };
    let description = format!("the decrypted BitLocker volume of {}", source.shown());
    let export = export.name(args.export.as_str()).description(description);
    Ok((export, size, holds))
}

fn announce(args: &NbdArgs, listeners: &[Listener], size: u64) -> Result<(), Failure> {
    let uris: Vec<_> = listeners
        .iter()
        .filter_map(|listener| listener.uri(&args.export))
        .collect();
    if listeners.iter().any(Listener::is_remote) {
        warn(
            "every computer that reaches this address can use the decrypted volume, and nothing on the way is encrypted",
        );
    }
    let use_it = if args.writes() {
        "read and write"
    } else {
        "read"
    };
    term::note(format_args!(
        "clients {use_it} the decrypted volume at {}; end with Ctrl-C",
        uris.join(" and ")
    ));
    // Without a service manager, this does nothing.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    if !args.json {
        return Ok(());
    }
    term::print(&document(&json!({
        "source": args.source.source.to_string_lossy(),
        "uris": uris,
        "size": size,
        "read_write": args.writes(),
        "overlay": args.overlay.as_deref().map(Path::to_string_lossy),
    })))
}

/// Refuses what no socket can be made for.
fn check_sockets(args: &NbdArgs) -> Result<(), Failure> {
    if let Some(address) = args.listen
        && !address.ip().to_canonical().is_loopback()
        && !args.allow_remote
    {
        return Err(Failure::Other {
            status: Status::Usage,
            what: format!("other computers may reach {address}, and could use the decrypted volume"),
            help: Some(
                "listen on 127.0.0.1 and let clients come through a tunnel (ssh -L), or allow it with --allow-remote"
                    .to_owned(),
            ),
        });
    }
    match &args.socket {
        Some(path) if path.symlink_metadata().is_ok() && !is_abandoned(path) => Err(exists(path)),
        _ => Ok(()),
    }
}

/// The sockets that clients connect to, and the file of the one that this process made.
fn listen(
    args: &NbdArgs,
    mut listeners: Vec<Listener>,
) -> Result<(Vec<Listener>, Option<SocketFile>), Failure> {
    if let Some(address) = args.listen {
        let listener = TcpListener::bind(address)
            .map_err(|error| Error::io(format!("cannot listen on {address}"), error))?;
        listeners.push(Listener::tcp(listener)?);
    }
    let path = match &args.socket {
        Some(path) => path.clone(),
        None if listeners.is_empty() => default_socket()?,
        None => return Ok((listeners, None)),
    };
    listeners.push(Listener::unix(bind(&path)?)?);
    Ok((listeners, SocketFile::at(path)))
}

/// The file of a socket, which is removed at the end, unless another one has its path by then.
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: PathBuf) -> Option<Self> {
        // The directory in which the process was started may be gone at the end.
        let path = std::path::absolute(path).ok()?;
        let identity = identity(&path)?;
        Some(Self { path, identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path) == Some(self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            warn(&format!("cannot remove {}: {error}", self.path.shown()));
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let meta = path.symlink_metadata().ok()?;
    Some((meta.dev(), meta.ino()))
}

/// The sockets that systemd, or a client that started this process, has opened (sd_listen_fds(3)).
fn inherited() -> Result<Vec<Listener>, Failure> {
    let mut inherited = ListenFd::from_env();
    let mut listeners = Vec::new();
    for at in 0..inherited.len() {
        let fail = |error| Error::io("an inherited socket cannot be used", error);
        let listener = match inherited.take_unix_listener(at) {
            Ok(socket) => socket.map(Listener::unix),
            // It is of the other kind.
            Err(_) => inherited
                .take_tcp_listener(at)
                .map_err(fail)?
                .map(Listener::tcp),
        };
        listeners.extend(listener.transpose()?);
    }
    Ok(listeners)
}

/// The socket in the directory for the sockets of this user.
fn default_socket() -> Result<PathBuf, Failure> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty());
    let directory = match own {
        // That of another user stays set under sudo.
        _ if rustix::process::geteuid().is_root() => "/run".into(),
        Some(directory) => PathBuf::from(directory),
        None => {
            return Err(Failure::usage(
                "there is no directory for sockets of this user ($XDG_RUNTIME_DIR is not set): give --socket PATH",
            ));
        }
    };
    Ok(directory.join(format!("fve-nbd-{}.socket", getpid())))
}

/// Makes a socket that only its owner can use. Replaces one that no process listens on any more.
fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let fail = |error| Error::io(format!("cannot listen on {}", path.shown()), error);
    // Of two processes that find the same abandoned socket, only one may replace it.
    let directory = std::path::absolute(path).ok();
    let directory = directory
        .as_deref()
        .and_then(Path::parent)
        .and_then(|parent| fs::File::open(parent).ok());
    if let Some(directory) = &directory {
        // Without locks in this file system, the race is possible, and harms none but these two.
        let _ = rustix::fs::flock(directory, FlockOperation::LockExclusive);
    }
    // No other thread makes files now.
    let mask = umask(Mode::RWXG | Mode::RWXO);
    let bound = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
            fs::remove_file(path).and_then(|()| UnixListener::bind(path))
        }
        other => other,
    };
    umask(mask);
    match bound {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(exists(path)),
        other => Ok(other.map_err(fail)?),
    }
}

fn exists(path: &Path) -> Failure {
    Failure::Other {
        status: Status::Usage,
        what: format!("{} exists already", path.shown()),
        help: Some("give another path, or remove it if no program uses it".to_owned()),
    }
}

/// Whether a file is a socket that no process listens on.
fn is_abandoned(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|meta| meta.file_type().is_socket())
        && UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// A TCP address: a port, a host, or both.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(([127, 0, 0, 1], port).into());
    }
    let host = text.trim_start_matches('[').trim_end_matches(']');
    let found = match text.parse::<SocketAddr>() {
        Ok(address) => Some(address),
        Err(_) => match text.to_socket_addrs() {
            Ok(mut found) => found.next(),
            Err(_) => (host, PORT)
                .to_socket_addrs()
                .ok()
                .and_then(|mut found| found.next()),
        },
    };
    found.ok_or_else(|| "not a TCP address, such as 127.0.0.1:10809".to_owned())
}

fn parse_name(text: &str) -> Result<String, String> {
    const MOST: usize = 256;
    match text.len() <= MOST && !text.contains(|sign: char| sign.is_control()) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "not a name of at most {MOST} bytes without control characters"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_or_a_host_or_both() {
        let parsed = |text| parse_address(text).map(|address| address.to_string());
        assert_eq!(parsed("2000").unwrap(), "127.0.0.1:2000");
        assert_eq!(parsed("127.0.0.2").unwrap(), "127.0.0.2:10809");
        assert_eq!(parsed("127.0.0.2:5").unwrap(), "127.0.0.2:5");
        assert_eq!(parsed("[::1]:5").unwrap(), "[::1]:5");
        assert_eq!(parsed("[::1]").unwrap(), "[::1]:10809");
        assert_eq!(parsed("::1").unwrap(), "[::1]:10809");
        assert!(parsed("").is_err());
        assert!(parsed("a b").is_err());
    }
}
