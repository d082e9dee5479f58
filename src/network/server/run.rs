//! The server's sockets and threads.
//!
//! Every socket is read by as many threads as there are cores, each of which does all of the work
//! for the datagram that it got: no queue of ours stands between the kernel's and the private key,
//! and nothing is lost when the files are read again.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use super::record::Record;
use super::socket::{Door, Udp};
use super::tap::Tap;
use super::{Core, Transport};
use crate::error::{Error, Remedy, Result};
use crate::network::message::MAX_DATAGRAM;

/// How long a thread rests after its socket failed, so that a dead one does not keep a core busy.
const REST: Duration = Duration::from_secs(1);
/// How long somebody who asks for the counters may take.
const METRICS_PATIENCE: Duration = Duration::from_secs(1);

/// How requests come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Through UDP ports of our own.
    Udp,
    /// Through packet sockets, beside a DHCP server that holds the ports.
    Tap,
}

/// What to listen on.
#[derive(Debug)]
pub struct Listen {
    /// On these interfaces; none: on all that are up, but for the loopback.
    pub interfaces: Vec<String>,
    /// For these protocols.
    pub transports: Vec<Transport>,
    /// How.
    pub mode: Mode,
    /// Bind ports that others bind, too (`SO_REUSEADDR`). What is sent to one host reaches only
    /// one of them.
    pub share_port: bool,
    /// Sockets that are open already, as systemd hands them down: nothing else is opened then.
    pub inherited: Vec<UdpSocket>,
    /// Where the counters can be read; a loopback address.
    pub metrics: Option<SocketAddr>,
}

/// Sockets that are open. Nothing needs privileges from here on.
pub struct Bound {
    doors: Vec<Box<dyn Door>>,
    metrics: Option<TcpListener>,
}

/// Something that happened, for the log.
#[derive(Debug)]
pub enum Event<'a> {
    /// A request was judged.
    Request(&'a Record),
    /// The reply to a request could not be sent.
    NotSent(&'a Record, &'a io::Error),
    /// A socket failed; it is tried again.
    Failed(&'a str, &'a io::Error),
}

impl Listen {
    /// Opens all of it.
    pub fn open(self) -> Result<Bound> {
        let interfaces = match self.interfaces.is_empty() {
            true => up()?,
            false => self.interfaces,
        };
        let mut doors: Vec<Box<dyn Door>> = Vec::new();
        for socket in self.inherited {
            doors.push(Box::new(Udp::inherited(socket, &interfaces)?));
        }
        let handed_down = !doors.is_empty();
        for interface in interfaces.iter().filter(|_| !handed_down) {
            for transport in &self.transports {
                doors.push(match self.mode {
                    Mode::Udp => Box::new(Udp::bind(*transport, interface, self.share_port)?),
                    Mode::Tap => Box::new(Tap::open(*transport, interface)?),
                });
            }
        }
        if doors.is_empty() {
            return Err(Error::Environment {
                what: "there is no network interface to listen on".to_owned(),
                remedy: Some(Remedy::NameInterface),
            });
        }
        let metrics = self.metrics.map(listen).transpose()?;
        Ok(Bound { doors, metrics })
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(Error::Environment {
            what: format!(
                "the counters are shown on the loopback only, and {address} is not on it"
            ),
            remedy: Some("give 127.0.0.1:PORT or [::1]:PORT".into()),
        });
    }
    let open = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    open().map_err(|error| Error::io(format!("cannot show the counters on {address}"), error))
}

/// The interfaces that are up, but for the loopback.
fn up() -> Result<Vec<String>> {
    let failed = |error: nix::Error| Error::io("cannot list the network interfaces", error.into());
    let mut names: Vec<_> = getifaddrs()
        .map_err(failed)?
        .filter(|address| {
            address.flags.contains(InterfaceFlags::IFF_UP)
                && !address.flags.contains(InterfaceFlags::IFF_LOOPBACK)
        })
        .map(|address| address.interface_name)
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

impl Bound {
    /// What is listened on, for people.
    pub fn places(&self) -> Vec<String> {
        self.doors
            .iter()
            .map(|door| door.name().to_owned())
            .collect()
    }

    /// Answers until `stop` is set, with `threads` threads for each socket, or as many as can be
    /// started. `log` is called from all of them.
    ///
    /// # Errors
    /// That of the system when a socket has no thread at all; `stop` is then set.
    pub fn serve(
        &self,
        core: &Core,
        threads: usize,
        stop: &AtomicBool,
        log: &(dyn Fn(&Event<'_>) + Sync),
    ) -> io::Result<()> {
        thread::scope(|scope| {
            for door in &self.doors {
                for number in 0..threads.max(1) {
                    let attend = || attend(&**door, core, stop, log);
                    match thread::Builder::new().spawn_scoped(scope, attend) {
                        Ok(_) => {}
                        Err(error) if number == 0 => {
                            stop.store(true, Relaxed);
                            return Err(error);
                        }
                        // The others do the work.
                        Err(error) => {
                            log(&Event::Failed(door.name(), &error));
                            break;
                        }
                    }
                }
            }
            if let Some(listener) = &self.metrics {
                let show = || show_counters(listener, core, stop);
                if let Err(error) = thread::Builder::new().spawn_scoped(scope, show) {
                    log(&Event::Failed("metrics", &error));
                }
            }
            Ok(())
        })
    }
}

/// What one thread does.
fn attend(door: &dyn Door, core: &Core, stop: &AtomicBool, log: &(dyn Fn(&Event<'_>) + Sync)) {
    // One byte more than is accepted: a longer datagram shows.
    let mut buffer = [0; MAX_DATAGRAM + 1];
    while !stop.load(Relaxed) {
        let came = match door.receive(&mut buffer) {
            Ok(Some(came)) => came,
            Ok(None) => continue,
            Err(error) => {
                log(&Event::Failed(door.name(), &error));
                thread::sleep(REST);
                continue;
            }
        };
        let datagram = buffer.get(..came.len).unwrap_or_default();
        let judgement = core.judge(datagram, &came.origin, Instant::now());
        let Some(record) = judgement.record else {
            continue;
        };
        if let Some(answer) = judgement.answer
            && let Err(error) = door.send(&answer.payload, answer.to, &came)
        {
            core.counters().send_error();
            log(&Event::NotSent(&record, &error));
            continue;
        }
        log(&Event::Request(&record));
    }
}

/// Answers whoever asks on the metrics port, one after the other.
fn show_counters(listener: &TcpListener, core: &Core, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        match listener.accept() {
            // Somebody who went away is no concern of ours.
            Ok((stream, _)) => drop(show(stream, core)),
            Err(_) => thread::sleep(super::socket::PATIENCE),
        }
    }
}

fn show(mut stream: TcpStream, core: &Core) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(METRICS_PATIENCE))?;
    stream.set_write_timeout(Some(METRICS_PATIENCE))?;
    // Whatever is asked, the answer is the same: what fits the first read is enough of it.
    let mut request = [0; 4096];
    let _ = stream.read(&mut request)?;
    let text = core.counters().prometheus(core.healthy());
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}
