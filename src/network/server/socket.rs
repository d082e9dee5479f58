//! The ways in and out: what a datagram comes from and a reply goes through.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Origin, Transport};
use crate::error::{Error, Remedy, Result};
use crate::network::message::{dhcp4, dhcp6};

/// How long a wait for a datagram lasts before the threads look whether they should end.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
/// Room for requests that wait in the kernel while all cores are busy: a few thousand.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Where a datagram came from, and how to get back there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Came {
    pub(super) origin: Origin,
    pub(super) len: usize,
    /// The hardware address that it came from, on a packet socket.
    pub(super) neighbour: Option<[u8; 6]>,
}

/// A socket that requests come in through.
pub(super) trait Door: Send + Sync {
    /// What it is in messages: `eth0, UDP port 67`.
    fn name(&self) -> &str;

    /// The next datagram; `None` after [`PATIENCE`], and for frames that are of no interest.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Came>>;

    /// Sends a reply to where `came` says, or to `to`.
    fn send(&self, payload: &[u8], to: SocketAddr, came: &Came) -> io::Result<()>;
}

/// A UDP socket.
pub(super) struct Udp {
    name: String,
    socket: UdpSocket,
    transport: Transport,
}

/// The port that a transport's requests go to.
pub(super) fn port(transport: Transport) -> u16 {
    match transport {
        Transport::Dhcp4 => dhcp4::SERVER_PORT,
        Transport::Dhcp6 => dhcp6::SERVER_PORT,
    }
}

impl Udp {
    /// Binds the transport's port on one interface.
    pub(super) fn bind(transport: Transport, interface: &str, share: bool) -> Result<Self> {
        let port = port(transport);
        let failed = |error: io::Error| {
            match error.kind() {
            io::ErrorKind::AddrInUse => Error::Environment {
                what: format!("UDP port {port} is in use on {interface} (by a DHCP server?)"),
                remedy: Some(Remedy::ShareOrTap),
            },
            io::ErrorKind::PermissionDenied => Error::Environment {
                what: format!("no permission to bind UDP port {port} on {interface}"),
                remedy: Some(
                    "run it as root, with CAP_NET_BIND_SERVICE, or with systemd's socket activation".into()),
            },
            _ => Error::io(
                format!("cannot open UDP port {port} on {interface}"),
                error,
            ),
        }
        };
        let open = || {
            let (domain, address): (_, SockAddr) = match transport {
                Transport::Dhcp4 => (
                    Domain::IPV4,
                    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into(),
                ),
                Transport::Dhcp6 => (
                    Domain::IPV6,
                    SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0).into(),
                ),
            };
            let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
            if transport == Transport::Dhcp6 {
                socket.set_only_v6(true)?;
            }
            socket.set_reuse_address(share)?;
            socket.bind_device(Some(interface.as_bytes()))?;
            socket.bind(&address)?;
            Ok(socket)
        };
        let socket = open().map_err(failed)?;
        Self::of(socket, transport, Some(interface))
    }

    /// Takes over a socket that is bound already, as systemd hands it down.
    pub(super) fn inherited(socket: UdpSocket, interfaces: &[String]) -> Result<Self> {
        let what = "cannot use the socket that was handed down";
        let address = socket
            .local_addr()
            .map_err(|error| Error::io(what, error))?;
        let transport = [Transport::Dhcp4, Transport::Dhcp6]
            .into_iter()
            .find(|transport| {
                port(*transport) == address.port()
                    && address.is_ipv4() == (*transport == Transport::Dhcp4)
            });
        let Some(transport) = transport else {
            return Err(Error::Environment {
                what: format!("the socket that was handed down is bound to {address}"),
                remedy: Some("bind it to 0.0.0.0:67 or [::]:547 (ListenDatagram=)".into()),
            });
        };
        let socket = Socket::from(socket);
        let bound = socket
            .device()
            .ok()
            .flatten()
            .and_then(|name| String::from_utf8(name).ok());
        if let Some(interface) = bound {
            return Self::of(socket, transport, Some(&interface));
        }
        let door = Self::of(socket, transport, None)?;
        if transport == Transport::Dhcp6 {
            interfaces
                .iter()
                .try_for_each(|interface| door.join(interface))?;
        }
        Ok(door)
    }

    fn of(socket: Socket, transport: Transport, interface: Option<&str>) -> Result<Self> {
        let name = format!(
            "{}, UDP port {}",
            interface.unwrap_or("all interfaces"),
            port(transport)
        );
        let prepare = || {
            if transport == Transport::Dhcp4 {
                socket.set_broadcast(true)?;
            }
            make_room(&socket);
            socket.set_nonblocking(false)?;
            socket.set_read_timeout(Some(PATIENCE))
        };
        prepare().map_err(|error| Error::io(format!("cannot set up {name}"), error))?;
        let door = Self {
            name,
            socket: socket.into(),
            transport,
        };
        if let (Transport::Dhcp6, Some(interface)) = (transport, interface) {
            door.join(interface)?;
        }
        Ok(door)
    }

    /// Joins the groups that clients and relays of DHCPv6 send to.
    fn join(&self, interface: &str) -> Result<()> {
        let failed = |error| {
            Error::io(
                format!("cannot join the groups of DHCPv6 on {interface}"),
                error,
            )
        };
        let index = index(interface).map_err(failed)?;
        for group in dhcp6::GROUPS {
            match self.socket.join_multicast_v6(&group, index) {
                // Joined already: the same interface was named twice.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                other => other.map_err(failed)?,
            }
        }
        Ok(())
    }

    /// The socket, to be held and not read.
    pub(super) fn into_socket(self) -> UdpSocket {
        self.socket
    }
}

/// Gives a socket its receive buffer: all of it where we have the right to, else as much as the
/// system allows everybody.
pub(super) fn make_room(socket: &Socket) {
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
}

/// The number of an interface.
pub(super) fn index(interface: &str) -> io::Result<u32> {
    if_nametoindex(interface).map_err(io::Error::from)
}

impl Door for Udp {
    fn name(&self) -> &str {
        &self.name
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Came>> {
        match self.socket.recv_from(buffer) {
            Ok((len, source)) => Ok(Some(Came {
                origin: Origin {
                    transport: self.transport,
                    source,
                },
                len,
                neighbour: None,
            })),
            Err(error) if passing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn send(&self, payload: &[u8], to: SocketAddr, _came: &Came) -> io::Result<()> {
        self.socket.send_to(payload, to).map(drop)
    }
}

/// Whether a wait ended without a datagram and nothing is wrong. A client that is gone makes its
/// host send ICMP errors, which come back as errors of the socket.
pub(super) fn passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}
