//! The client's sockets: UDP if the port of DHCP clients is free, a packet socket if another program
//! holds it (docs/format-network-unlock.md §11.5).

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind, recv,
    send, setsockopt, socket, sockopt,
};

use socket2::SockRef;

use super::TransportError;
use super::interfaces::Interface;
use crate::network::filter::{enlarge_receive_buffer, filter4, filter6};
use crate::network::frame::{Addresses, BROADCAST, Datagram, EthernetAddress};

/// The longest frame or datagram that is received whole. A longer one is truncated, which the
/// parsers refuse; replies have a few hundred bytes.
const MAX_RECEIVED: usize = 2048;

/// How often to try to bind an IPv6 address that the kernel still checks for duplicates, and how
/// long to wait between the attempts: two seconds in all.
const BIND_ATTEMPTS: usize = 20;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);

/// The ports of DHCPv4 or DHCPv6, and the address that requests are sent to.
pub(super) struct Ports {
    pub(super) client: u16,
    pub(super) server: u16,
    /// The broadcast address, or the multicast group of servers and relays.
    pub(super) destination: IpAddr,
}

/// A socket that sends and receives on one interface.
pub(super) enum Socket {
    Udp {
        socket: UdpSocket,
        to: SocketAddr,
    },
    /// A packet socket, which sends and receives whole Ethernet frames.
    Packet {
        socket: OwnedFd,
        addresses: Addresses,
    },
}

impl Socket {
    /// Opens a socket that sends from the address `from` of the interface.
    pub(super) fn open(
        interface: &Interface,
        from: IpAddr,
        ports: &Ports,
    ) -> Result<Self, TransportError> {
        match udp(interface, from, ports) {
            Ok(socket) => Ok(socket),
            Err(Errno::EADDRINUSE) => {
                tracing::info!("UDP port {} is in use: using a packet socket", ports.client);
                packet(interface, from, ports).map_err(|errno| TransportError::Io {
                    what: format!(
                        "UDP port {} is in use (by a DHCP client?), and a packet socket cannot be opened on {}",
                        ports.client, interface.name
                    ),
                    remedy: Some("run it as root, or with the capability CAP_NET_RAW".into()),
                    source: errno.into(),
                })
            }
            Err(errno) => Err(TransportError::Io {
                what: format!(
                    "cannot open UDP port {} on {}",
                    ports.client, interface.name
                ),
                remedy: matches!(errno, Errno::EACCES | Errno::EPERM)
                    .then(|| "run it as root, or with the capability CAP_NET_BIND_SERVICE".into()),
                source: errno.into(),
            }),
        }
    }

    pub(super) fn send(&self, payload: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp { socket, to } => socket.send_to(payload, to).map(drop),
            Self::Packet { socket, addresses } => {
                let frame = addresses
                    .frame(payload)
                    .ok_or(io::ErrorKind::InvalidInput)?;
                send(socket.as_raw_fd(), &frame, MsgFlags::empty())?;
                Ok(())
            }
        }
    }

    /// The next datagram for the client port, and its source address. `None` if none is waiting.
    fn receive(&self) -> io::Result<Option<(Vec<u8>, IpAddr)>> {
        let mut buffer = vec![0; MAX_RECEIVED];
        match self {
            Self::Udp { socket, .. } => match socket.recv_from(&mut buffer) {
                Ok((len, from)) => {
                    buffer.truncate(len);
                    Ok(Some((buffer, from.ip())))
                }
                Err(error) => ignore_transient(error),
            },
            Self::Packet { socket, addresses } => {
                match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                    Ok(len) => {
                        let frame = buffer.get(..len).unwrap_or_default();
                        let datagram = Datagram::parse(frame).filter(|datagram| {
                            datagram.destination_port == addresses.source.port()
                        });
                        Ok(datagram.map(|datagram| (datagram.payload.to_vec(), datagram.source)))
                    }
                    Err(errno) => ignore_transient(errno.into()),
                }
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp { socket, .. } => socket.as_fd(),
            Self::Packet { socket, .. } => socket.as_fd(),
        }
    }
}

/// `None` for errors after which the socket still works: nothing is waiting, or an ICMP error
/// answered an earlier packet.
fn ignore_transient<T>(error: io::Error) -> io::Result<Option<T>> {
    match error.kind() {
        io::ErrorKind::WouldBlock
        | io::ErrorKind::Interrupted
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::HostUnreachable => Ok(None),
        _ => Err(error),
    }
}

/// The next datagram on any of the sockets, with the index of the socket and the source address. The
/// sockets are read in turn, from the one with the index `first` on. `None` if there is none by
/// `until`, or if a packet arrived that is not for the client port.
pub(super) fn next_datagram(
    sockets: &[&Socket],
    first: usize,
    until: Instant,
) -> Result<Option<(usize, Vec<u8>, IpAddr)>, TransportError> {
    let failed = |source| TransportError::Io {
        what: "cannot receive from the network".to_owned(),
        remedy: None,
        source,
    };
    // Without poll(2) first: it would double the work for each of many packets.
    for number in (0..sockets.len()).map(|at| (first % sockets.len() + at) % sockets.len()) {
        let Some(socket) = sockets.get(number) else {
            continue;
        };
        if let Some((datagram, from)) = socket.receive().map_err(failed)? {
            return Ok(Some((number, datagram, from)));
        }
    }
    let left = until.saturating_duration_since(Instant::now());
    // Rounded up: poll(2) counts milliseconds, and a timeout of 0 would make the caller's loop spin
    // for the rest of the last one.
    let left =
        PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX);
    let mut waiting: Vec<_> = sockets
        .iter()
        .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
        .collect();
    match nix::poll::poll(&mut waiting, left) {
        Ok(_) | Err(Errno::EINTR) => Ok(None),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn udp(interface: &Interface, from: IpAddr, ports: &Ports) -> Result<Socket, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let family = match from {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = socket(family, SockType::Datagram, flags, SockProtocol::Udp)?;
    enlarge_receive_buffer(&fd);
    setsockopt(
        &fd,
        sockopt::BindToDevice,
        &OsString::from(interface.name.as_str()),
    )?;
    let to = match from {
        IpAddr::V4(_) => {
            setsockopt(&fd, sockopt::Broadcast, &true)?;
            // To any address: a socket bound to the interface's address would not receive
            // broadcasts, which a reply may be.
            bind(
                fd.as_raw_fd(),
                &SockaddrIn::from(std::net::SocketAddrV4::new(
                    Ipv4Addr::UNSPECIFIED,
                    ports.client,
                )),
            )?;
            SocketAddr::new(ports.destination, ports.server)
        }
        IpAddr::V6(address) => {
            let scope = interface.index();
            let scoped = |address, port| std::net::SocketAddrV6::new(address, port, 0, scope);
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
            bind_when_usable(&fd, &SockaddrIn6::from(scoped(address, ports.client)))?;
            match ports.destination {
                IpAddr::V6(destination) => scoped(destination, ports.server).into(),
                IpAddr::V4(_) => return Err(Errno::EAFNOSUPPORT),
            }
        }
    };
    Ok(Socket::Udp {
        socket: UdpSocket::from(fd),
        to,
    })
}

/// Binds an IPv6 address. For a second or two after it was assigned, duplicate address detection
/// (RFC 4862, section 5.4) makes bind(2) fail with EADDRNOTAVAIL.
fn bind_when_usable(fd: &OwnedFd, address: &SockaddrIn6) -> Result<(), Errno> {
    for _ in 1..BIND_ATTEMPTS {
        match bind(fd.as_raw_fd(), address) {
            Err(Errno::EADDRNOTAVAIL) => std::thread::sleep(BETWEEN_ATTEMPTS),
            other => return other,
        }
    }
    bind(fd.as_raw_fd(), address)
}

fn packet(interface: &Interface, from: IpAddr, ports: &Ports) -> Result<Socket, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (protocol, filter) = match from {
        IpAddr::V4(_) => (SockProtocol::EthIp, filter4(ports.client)),
        IpAddr::V6(_) => (SockProtocol::EthIpv6, filter6(ports.client)),
    };
    let fd = socket(AddressFamily::Packet, SockType::Raw, flags, protocol)?;
    // Packets that arrive before the filter is attached are recognized when they are parsed.
    SockRef::from(&fd)
        .attach_filter(&filter)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))?;
    enlarge_receive_buffer(&fd);
    // The protocol in the interface's address is 0, which keeps that of the socket (packet(7)).
    bind(fd.as_raw_fd(), &interface.link)?;
    Ok(Socket::Packet {
        socket: fd,
        addresses: Addresses {
            ethernet_source: interface.mac,
            ethernet_destination: ethernet_destination(ports.destination),
            source: SocketAddr::new(from, ports.client),
            destination: SocketAddr::new(ports.destination, ports.server),
        },
    })
}

/// The Ethernet address for a broadcast or multicast IP address. An IPv6 multicast address is mapped
/// to 33:33 and its last four bytes (RFC 2464, section 7).
fn ethernet_destination(address: IpAddr) -> EthernetAddress {
    match address {
        IpAddr::V4(_) => BROADCAST,
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_to_the_ethernet_address_of_their_group() {
        let servers = "ff02::1:2".parse().unwrap();
        assert_eq!(ethernet_destination(servers), [0x33, 0x33, 0, 1, 0, 2]);
        assert_eq!(
            ethernet_destination("255.255.255.255".parse().unwrap()),
            BROADCAST
        );
    }

    #[test]
    fn packets_on_one_socket_do_not_delay_those_on_another() {
        let open = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            let to = socket.local_addr().unwrap();
            Socket::Udp { socket, to }
        };
        let (busy, other) = (open(), open());
        for _ in 0..50 {
            busy.send(b"junk").unwrap();
        }
        other.send(b"reply").unwrap();
        let mut first = 0;
        for expected in [0, 1, 0] {
            let until = Instant::now() + Duration::from_secs(5);
            let next = next_datagram(&[&busy, &other], first, until).unwrap();
            let (number, ..) = next.expect("a datagram");
            assert_eq!(number, expected);
            first = number + 1;
        }
    }
}
