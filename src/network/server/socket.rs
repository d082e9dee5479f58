//! What the server listens on: the trait that [`run`](super::run) uses, and UDP sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol as IpProtocol, SockAddr, Socket, Type};

use super::{Origin, Protocol};
use crate::error::{Error, Remedy, Result};
use crate::network::filter::enlarge_receive_buffer;
use crate::network::frame::EthernetAddress;
use crate::network::message::{dhcp4, dhcp6};

/// How long a thread waits for a datagram before it checks whether the server is to stop.
pub(super) const WAKE_INTERVAL: Duration = Duration::from_millis(250);

/// A datagram that was received: its length, and what a reply needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    pub(super) origin: Origin,
    pub(super) len: usize,
    /// The Ethernet address that it came from; packet sockets only.
    pub(super) neighbor: Option<EthernetAddress>,
}

/// A socket that requests arrive on and replies leave from.
pub(super) trait Listener: Send + Sync {
    /// How messages name it, for example `eth0, UDP port 67`.
    fn name(&self) -> &str;

    /// Writes the next datagram to `buffer`. `None` after [`WAKE_INTERVAL`], or for a frame that
    /// holds no datagram for this port.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>>;

    /// Sends a reply to `to`. A packet socket takes the Ethernet address from the request.
    fn send(&self, payload: &[u8], to: SocketAddr, request: &Received) -> io::Result<()>;
}

/// A UDP socket.
pub(super) struct UdpListener {
    name: String,
    socket: UdpSocket,
    protocol: Protocol,
}

/// The UDP port of servers.
pub(super) fn port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Dhcp4 => dhcp4::SERVER_PORT,
        Protocol::Dhcp6 => dhcp6::SERVER_PORT,
    }
}

impl UdpListener {
    /// Binds the protocol's port on one interface.
    pub(super) fn bind(protocol: Protocol, interface: &str, share_port: bool) -> Result<Self> {
        let port = port(protocol);
        let failed = |error: io::Error| {
            match error.kind() {
            io::ErrorKind::AddrInUse => Error::Environment {
                what: format!("UDP port {port} is in use on {interface} (by a DHCP server?)"),
                remedy: Some(Remedy::ShareOrTap),
            },
            io::ErrorKind::PermissionDenied => Error::Environment {
                what: format!("no permission to bind UDP port {port} on {interface}"),
                remedy: Some(
                    "run it as root, with CAP_NET_BIND_SERVICE, or with systemd's socket activation"
                        .into(),
                ),
            },
            _ => Error::io(
                format!("cannot open UDP port {port} on {interface}"),
                error,
            ),
        }
        };
        let open = || {
            let (domain, address): (_, SockAddr) = match protocol {
                Protocol::Dhcp4 => (
                    Domain::IPV4,
                    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into(),
                ),
                Protocol::Dhcp6 => (
                    Domain::IPV6,
                    SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0).into(),
                ),
            };
            let socket = Socket::new(domain, Type::DGRAM, Some(IpProtocol::UDP))?;
            if protocol == Protocol::Dhcp6 {
                socket.set_only_v6(true)?;
            }
            socket.set_reuse_address(share_port)?;
            // Before bind(2): two sockets on different interfaces can then have the same port.
            socket.bind_device(Some(interface.as_bytes()))?;
            socket.bind(&address)?;
            Ok(socket)
        };
        let socket = open().map_err(failed)?;
        Self::configure(socket, protocol, Some(interface))
    }

    /// Uses a bound socket that systemd passed to the process. `interfaces` are those on which a
    /// DHCPv6 socket that is bound to no interface joins the multicast groups.
    pub(super) fn inherited(socket: UdpSocket, interfaces: &[String]) -> Result<Self> {
        let what = "cannot use the inherited socket";
        let address = socket
            .local_addr()
            .map_err(|error| Error::io(what, error))?;
        let protocol = [Protocol::Dhcp4, Protocol::Dhcp6]
            .into_iter()
            .find(|protocol| {
                port(*protocol) == address.port()
                    && address.is_ipv4() == (*protocol == Protocol::Dhcp4)
            });
        let Some(protocol) = protocol else {
            return Err(Error::Environment {
                what: format!("the inherited socket is bound to {address}"),
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
            return Self::configure(socket, protocol, Some(&interface));
        }
        let listener = Self::configure(socket, protocol, None)?;
        if protocol == Protocol::Dhcp6 {
            interfaces
                .iter()
                .try_for_each(|interface| listener.join_groups(interface))?;
        }
        Ok(listener)
    }

    fn configure(socket: Socket, protocol: Protocol, interface: Option<&str>) -> Result<Self> {
        let name = format!(
            "{}, UDP port {}",
            interface.unwrap_or("all interfaces"),
            port(protocol)
        );
        let set_options = || {
            if protocol == Protocol::Dhcp4 {
                socket.set_broadcast(true)?;
            }
            enlarge_receive_buffer(&socket);
            socket.set_nonblocking(false)?;
            socket.set_read_timeout(Some(WAKE_INTERVAL))
        };
        set_options().map_err(|error| Error::io(format!("cannot set up {name}"), error))?;
        let listener = Self {
            name,
            socket: socket.into(),
            protocol,
        };
        if let (Protocol::Dhcp6, Some(interface)) = (protocol, interface) {
            listener.join_groups(interface)?;
        }
        Ok(listener)
    }

    /// Joins the multicast groups that DHCPv6 clients and relays send to (RFC 8415, section 7.1).
    fn join_groups(&self, interface: &str) -> Result<()> {
        let failed = |error| {
            Error::io(
                format!("cannot join the multicast groups of DHCPv6 on {interface}"),
                error,
            )
        };
        let index = interface_index(interface).map_err(failed)?;
        for group in dhcp6::GROUPS {
            match self.socket.join_multicast_v6(&group, index) {
                // Already a member: the same interface was named twice.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                other => other.map_err(failed)?,
            }
        }
        Ok(())
    }

    /// The socket, to be kept open and not read.
    pub(super) fn into_socket(self) -> UdpSocket {
        self.socket
    }
}

/// The kernel's number of an interface.
pub(super) fn interface_index(interface: &str) -> io::Result<u32> {
    if_nametoindex(interface).map_err(io::Error::from)
}

impl Listener for UdpListener {
    fn name(&self) -> &str {
        &self.name
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        match self.socket.recv_from(buffer) {
            Ok((len, source)) => Ok(Some(Received {
                origin: Origin {
                    protocol: self.protocol,
                    source,
                },
                len,
                neighbor: None,
            })),
            Err(error) if is_transient(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn send(&self, payload: &[u8], to: SocketAddr, _request: &Received) -> io::Result<()> {
        self.socket.send_to(payload, to).map(drop)
    }
}

/// Whether receiving failed for a reason that does not concern the socket: nothing arrived in time,
/// or an earlier reply brought back an ICMP error because its client is gone.
pub(super) fn is_transient(error: &io::Error) -> bool {
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
