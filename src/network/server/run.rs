//! The server's sockets and threads.
//!
//! Each socket is read by several threads, one for each core unless told otherwise. A thread that
//! receives a datagram does all the work for it. So the kernel's receive buffer is the only queue,
//! and no request is lost when certificates and policy are read again.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use super::record::Record;
use super::socket::{Listener, UdpListener, WAKE_INTERVAL};
use super::tap::Tap;
use super::{Core, Protocol};
use crate::error::{Error, Remedy, Result};
use crate::network::message::MAX_DATAGRAM;

/// How long a thread pauses after its socket failed, so that a broken socket does not keep a core
/// busy.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// How long reading a request for the counters, and writing the response, may take.
const METRICS_TIMEOUT: Duration = Duration::from_secs(1);

/// Which kind of socket requests are received on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketMode {
    /// UDP sockets, which need the server ports of DHCP for themselves.
    Udp,
    /// Packet sockets, which work beside a DHCP server that holds these ports.
    Tap,
}

impl SocketMode {
    /// Its stable word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tap => "tap",
        }
    }
}

/// The same as [`SocketMode::word`].
impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for SocketMode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        [Self::Udp, Self::Tap]
            .into_iter()
            .find(|mode| mode.word() == text)
            .ok_or(UnknownMode)
    }
}

/// Text that names no [`SocketMode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown mode; use udp or tap")]
pub struct UnknownMode;

/// What to listen on. The default is UDP, both protocols, every interface that is up.
#[derive(Debug)]
pub struct ListenOptions {
    interfaces: Vec<String>,
    protocols: Vec<Protocol>,
    mode: SocketMode,
    share_port: bool,
    inherited: Vec<UdpSocket>,
    metrics: Option<SocketAddr>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            protocols: vec![Protocol::Dhcp4, Protocol::Dhcp6],
            mode: SocketMode::Udp,
            share_port: false,
            inherited: Vec::new(),
            metrics: None,
        }
    }
}

impl ListenOptions {
    /// The default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listen on these interfaces only. With an empty list: on every interface that is up, except
    /// the loopback interface.
    pub fn interfaces(mut self, names: Vec<String>) -> Self {
        self.interfaces = names;
        self
    }

    /// Answer these protocols only.
    pub fn protocols(mut self, protocols: Vec<Protocol>) -> Self {
        self.protocols = protocols;
        self
    }

    /// Which kind of socket to open.
    pub fn mode(mut self, mode: SocketMode) -> Self {
        self.mode = mode;
        self
    }

    /// Whether to bind UDP ports that another program binds with `SO_REUSEADDR`, too. Broadcasts
    /// reach both programs; a unicast datagram, such as one from a relay, reaches only one of them.
    pub fn share_port(mut self, share: bool) -> Self {
        self.share_port = share;
        self
    }

    /// UDP sockets that are already bound, as systemd passes them. If there are any, no other
    /// socket for requests is opened.
    pub fn inherited(mut self, sockets: Vec<UdpSocket>) -> Self {
        self.inherited = sockets;
        self
    }

    /// Serve the counters over HTTP on this address, which must be a loopback address.
    pub fn metrics(mut self, address: Option<SocketAddr>) -> Self {
        self.metrics = address;
        self
    }

    /// Opens the sockets. [`Sockets::serve`] needs no privileges any more.
    ///
    /// # Errors
    /// [`Error::Environment`] if a port is in use, a privilege is missing, an inherited socket has
    /// another port, or there is no interface; [`Error::Io`] if the system refuses for another
    /// reason.
    pub fn open(self) -> Result<Sockets> {
        let interfaces = match self.interfaces.is_empty() {
            true => interfaces_that_are_up()?,
            false => self.interfaces,
        };
        let mut listeners: Vec<Box<dyn Listener>> = Vec::new();
        for socket in self.inherited {
            listeners.push(Box::new(UdpListener::inherited(socket, &interfaces)?));
        }
        let has_inherited = !listeners.is_empty();
        for interface in interfaces.iter().filter(|_| !has_inherited) {
            for protocol in &self.protocols {
                listeners.push(match self.mode {
                    SocketMode::Udp => {
                        Box::new(UdpListener::bind(*protocol, interface, self.share_port)?)
                    }
                    SocketMode::Tap => Box::new(Tap::open(*protocol, interface)?),
                });
            }
        }
        if listeners.is_empty() {
            return Err(Error::Environment {
                what: "there is no network interface to listen on".to_owned(),
                remedy: Some(Remedy::NameInterface),
            });
        }
        let metrics = self.metrics.map(listen_for_metrics).transpose()?;
        Ok(Sockets { listeners, metrics })
    }
}

/// Open sockets, ready to serve.
pub struct Sockets {
    listeners: Vec<Box<dyn Listener>>,
    metrics: Option<TcpListener>,
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets")
            .field("listeners", &self.names())
            .field("metrics", &self.metrics)
            .finish()
    }
}

/// What happens while the server runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request was answered or refused.
    Request(&'a Record),
    /// The reply to a request could not be sent.
    NotSent(&'a Record, &'a io::Error),
    /// The socket of this name failed; the server goes on using it.
    Failed(&'a str, &'a io::Error),
}

fn listen_for_metrics(address: SocketAddr) -> Result<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(Error::Environment {
            what: format!(
                "the counters are served on a loopback address only, and {address} is not one"
            ),
            remedy: Some("give 127.0.0.1:PORT or [::1]:PORT".into()),
        });
    }
    let open = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    open().map_err(|error| Error::io(format!("cannot serve the counters on {address}"), error))
}

/// The names of the interfaces that are up, without the loopback interface.
fn interfaces_that_are_up() -> Result<Vec<String>> {
    let failed = |error: nix::Error| Error::io("cannot list the network interfaces", error.into());
    let mut names: Vec<_> = getifaddrs()
        .map_err(failed)?
        .filter(|address| {
            address.flags.contains(InterfaceFlags::IFF_UP)
                && !address.flags.contains(InterfaceFlags::IFF_LOOPBACK)
        })
        .map(|address| address.interface_name)
        .collect();
    // getifaddrs(3) lists an interface once for each of its addresses.
    names.sort();
    names.dedup();
    Ok(names)
}

impl Sockets {
    /// What the server listens on, for messages: `eth0, UDP port 67`.
    pub fn names(&self) -> Vec<String> {
        self.listeners
            .iter()
            .map(|listener| listener.name().to_owned())
            .collect()
    }

    /// Answers requests until `stop` is set, with `threads` threads for each socket, or with as
    /// many as the system allows. Every thread calls `log`.
    ///
    /// # Errors
    /// The system's error if not even one thread can be started for a socket; `stop` is then set.
    pub fn serve(
        &self,
        core: &Core,
        threads: usize,
        stop: &AtomicBool,
        log: &(dyn Fn(&Event<'_>) + Sync),
    ) -> io::Result<()> {
        thread::scope(|scope| {
            for listener in &self.listeners {
                for number in 0..threads.max(1) {
                    let serve = || serve_listener(&**listener, core, stop, log);
                    match thread::Builder::new().spawn_scoped(scope, serve) {
                        Ok(_) => {}
                        Err(error) if number == 0 => {
                            stop.store(true, Relaxed);
                            return Err(error);
                        }
                        // The socket has at least one thread.
                        Err(error) => {
                            log(&Event::Failed(listener.name(), &error));
                            break;
                        }
                    }
                }
            }
            if let Some(listener) = &self.metrics {
                let serve = || serve_metrics(listener, core, stop);
                if let Err(error) = thread::Builder::new().spawn_scoped(scope, serve) {
                    log(&Event::Failed("metrics", &error));
                }
            }
            Ok(())
        })
    }
}

/// The loop of one thread: receive, decide, reply, log.
fn serve_listener(
    listener: &dyn Listener,
    core: &Core,
    stop: &AtomicBool,
    log: &(dyn Fn(&Event<'_>) + Sync),
) {
    // One byte more than the longest datagram, so that a longer one is recognized as such.
    let mut buffer = [0; MAX_DATAGRAM + 1];
    while !stop.load(Relaxed) {
        let received = match listener.receive(&mut buffer) {
            Ok(Some(received)) => received,
            Ok(None) => continue,
            Err(error) => {
                log(&Event::Failed(listener.name(), &error));
                thread::sleep(FAILURE_PAUSE);
                continue;
            }
        };
        let datagram = buffer.get(..received.len).unwrap_or_default();
        let decision = core.handle(datagram, &received.origin, Instant::now());
        let Some(record) = decision.record else {
            continue;
        };
        if let Some(reply) = decision.reply
            && let Err(error) = listener.send(&reply.payload, reply.to, &received)
        {
            core.counters().send_error();
            log(&Event::NotSent(&record, &error));
            continue;
        }
        log(&Event::Request(&record));
    }
}

/// Serves the counters, one connection after the other.
fn serve_metrics(listener: &TcpListener, core: &Core, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        match listener.accept() {
            // A broken connection affects only its client.
            Ok((stream, _)) => drop(respond(stream, core)),
            // Nothing to accept: the listener does not block.
            Err(_) => thread::sleep(WAKE_INTERVAL),
        }
    }
}

fn respond(mut stream: TcpStream, core: &Core) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(METRICS_TIMEOUT))?;
    stream.set_write_timeout(Some(METRICS_TIMEOUT))?;
    // Every request gets the same response, so the request is not parsed. It is read because closing
    // a socket with unread data resets the connection before the client has the response.
    let mut request = [0; 4096];
    let _ = stream.read(&mut request)?;
    let text = core.counters().prometheus(core.healthy());
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}
