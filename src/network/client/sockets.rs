//! Sockets of the client: UDP where its port is free, a packet socket where another program holds
//! it (docs/format-network-unlock.md §11.5).

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind, recv,
    send, setsockopt, socket, sockopt,
};

use super::TransportError;
use super::interfaces::Interface;

/// No reply is longer: larger datagrams come cut off, and are none.
const MAX_DATAGRAM: usize = 2048;

/// How often, and how long after each other, an address is tried that the system is still checking
/// for duplicates.
const TRIES: usize = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Ports and addresses of a kind of DHCP.
pub(super) struct Ports {
    pub(super) client: u16,
    pub(super) server: u16,
    /// Where requests go to.
    pub(super) everybody: IpAddr,
}

/// A way out of one interface, and back in.
pub(super) enum Socket {
    Udp {
        socket: UdpSocket,
        to: SocketAddr,
    },
    /// Whole Ethernet frames.
    Packet {
        socket: OwnedFd,
        head: Head,
    },
}

impl Socket {
    /// Opens the way, from this address of the interface.
    pub(super) fn open(
        interface: &Interface,
        from: IpAddr,
        ports: &Ports,
    ) -> Result<Self, TransportError> {
        match udp(interface, from, ports) {
            Ok(socket) => Ok(socket),
            Err(Errno::EADDRINUSE) => {
                tracing::info!(
                    "UDP port {} is in use: asking through a packet socket",
                    ports.client
                );
                packet(interface, from, ports).map_err(|errno| TransportError::Io {
                    what: format!(
                        "UDP port {} is in use, by a DHCP client perhaps, and a packet socket cannot be opened on {}",
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
            Self::Packet { socket, head } => {
                let frame = head.frame(payload).ok_or(io::ErrorKind::InvalidInput)?;
                send(socket.as_raw_fd(), &frame, MsgFlags::empty())?;
                Ok(())
            }
        }
    }

    /// A datagram for our port, and who sent it; `None` where nothing is there now.
    fn receive(&self) -> io::Result<Option<(Vec<u8>, IpAddr)>> {
        let mut buffer = vec![0; MAX_DATAGRAM];
        match self {
            Self::Udp { socket, .. } => match socket.recv_from(&mut buffer) {
                Ok((len, from)) => {
                    buffer.truncate(len);
                    Ok(Some((buffer, from.ip())))
                }
                Err(error) => quiet(error),
            },
            Self::Packet { socket, head } => {
                match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                    Ok(len) => {
                        let frame = buffer.get(..len).unwrap_or_default();
                        Ok(head.payload(frame))
                    }
                    Err(errno) => quiet(errno.into()),
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

/// What is no reason to stop listening: nothing is there, or somebody refused what we sent.
fn quiet<T>(error: io::Error) -> io::Result<Option<T>> {
    match error.kind() {
        io::ErrorKind::WouldBlock
        | io::ErrorKind::Interrupted
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::HostUnreachable => Ok(None),
        _ => Err(error),
    }
}

/// The next datagram that comes on any of the sockets, with the number of the socket; `None` when
/// none came by `until`, or when one came that is not for us.
pub(super) fn next_datagram(
    sockets: &[&Socket],
    until: Instant,
) -> Result<Option<(usize, Vec<u8>, IpAddr)>, TransportError> {
    let broken = |source| TransportError::Io {
        what: "cannot receive from the network".to_owned(),
        remedy: None,
        source,
    };
    let left = until.saturating_duration_since(Instant::now());
    // Rounded up, or the last millisecond is spent turning.
    let left =
        PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX);
    let mut waiting: Vec<_> = sockets
        .iter()
        .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
        .collect();
    match nix::poll::poll(&mut waiting, left) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(broken(errno.into())),
    }
    let ready: Vec<_> = waiting
        .iter()
        .map(|one| one.any().unwrap_or(false))
        .collect();
    for (number, (socket, ready)) in sockets.iter().zip(ready).enumerate() {
        if ready && let Some((datagram, from)) = socket.receive().map_err(broken)? {
            return Ok(Some((number, datagram, from)));
        }
    }
    Ok(None)
}

fn udp(interface: &Interface, from: IpAddr, ports: &Ports) -> Result<Socket, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let family = match from {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = socket(family, SockType::Datagram, flags, SockProtocol::Udp)?;
    setsockopt(
        &fd,
        sockopt::BindToDevice,
        &OsString::from(interface.name.as_str()),
    )?;
    let to = match from {
        IpAddr::V4(_) => {
            setsockopt(&fd, sockopt::Broadcast, &true)?;
            // Not the address: a reply may be broadcast.
            bind(
                fd.as_raw_fd(),
                &SockaddrIn::from(std::net::SocketAddrV4::new(
                    Ipv4Addr::UNSPECIFIED,
                    ports.client,
                )),
            )?;
            SocketAddr::new(ports.everybody, ports.server)
        }
        IpAddr::V6(address) => {
            let scope = interface.index();
            let scoped = |address, port| std::net::SocketAddrV6::new(address, port, 0, scope);
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
            bind_when_checked(&fd, &SockaddrIn6::from(scoped(address, ports.client)))?;
            match ports.everybody {
                IpAddr::V6(everybody) => scoped(everybody, ports.server).into(),
                IpAddr::V4(_) => return Err(Errno::EAFNOSUPPORT),
            }
        }
    };
    Ok(Socket::Udp {
        socket: UdpSocket::from(fd),
        to,
    })
}

/// A new IPv6 address cannot be used for a second or two, until nobody else was found to have it.
fn bind_when_checked(fd: &OwnedFd, address: &SockaddrIn6) -> Result<(), Errno> {
    for _ in 1..TRIES {
        match bind(fd.as_raw_fd(), address) {
            Err(Errno::EADDRNOTAVAIL) => std::thread::sleep(BETWEEN_TRIES),
            other => return other,
        }
    }
    bind(fd.as_raw_fd(), address)
}

fn packet(interface: &Interface, from: IpAddr, ports: &Ports) -> Result<Socket, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = match from {
        IpAddr::V4(_) => SockProtocol::EthIp,
        IpAddr::V6(_) => SockProtocol::EthIpv6,
    };
    let fd = socket(AddressFamily::Packet, SockType::Raw, flags, protocol)?;
    // The address of the interface names no protocol: that of the socket stays.
    bind(fd.as_raw_fd(), &interface.link)?;
    Ok(Socket::Packet {
        socket: fd,
        head: Head {
            mac: interface.mac,
            from,
            to: ports.everybody,
            client: ports.client,
            server: ports.server,
        },
    })
}

/// What stands in front of a request in a frame of our own making.
pub(super) struct Head {
    mac: [u8; 6],
    from: IpAddr,
    to: IpAddr,
    client: u16,
    server: u16,
}

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;
const UDP: u8 = 17;

impl Head {
    /// The whole frame; `None` for a payload that is too long for one.
    fn frame(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let udp_len = u16::try_from(UDP_LEN + payload.len()).ok()?;
        let mut udp = Vec::new();
        for number in [self.client, self.server, udp_len, 0] {
            udp.extend(number.to_be_bytes());
        }
        udp.extend(payload);
        let mut frame = Vec::new();
        let pseudo: Vec<u8> = match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend([0xFF; 6]);
                frame.extend(self.mac);
                frame.extend([0x08, 0x00]);
                let mut ip = vec![0x45, 0];
                ip.extend(udp_len.checked_add(IPV4_LEN as u16)?.to_be_bytes());
                // Never in pieces; 64 hops; UDP; checksum to come.
                ip.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
                ip.extend(from.octets());
                ip.extend(to.octets());
                let sum = checksum(&[&ip]).to_be_bytes();
                ip.get_mut(10..12)?.copy_from_slice(&sum);
                frame.extend(ip);
                [
                    &from.octets()[..],
                    &to.octets(),
                    &[0, UDP],
                    &udp_len.to_be_bytes(),
                ]
                .concat()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                // A multicast address gives the last four bytes of its Ethernet address.
                frame.extend([0x33, 0x33]);
                frame.extend(to.octets().last_chunk::<4>()?);
                frame.extend(self.mac);
                frame.extend([0x86, 0xDD]);
                frame.extend([0x60, 0, 0, 0]);
                frame.extend(udp_len.to_be_bytes());
                frame.extend([UDP, 64]);
                frame.extend(from.octets());
                frame.extend(to.octets());
                let [high, low] = udp_len.to_be_bytes();
                [
                    &from.octets()[..],
                    &to.octets(),
                    &[0, 0, high, low, 0, 0, 0, UDP],
                ]
                .concat()
            }
            _ => return None,
        };
        // Zero would say that there is none.
        let sum = match checksum(&[&pseudo, &udp]) {
            0 => 0xFFFF,
            sum => sum,
        };
        udp.get_mut(6..8)?.copy_from_slice(&sum.to_be_bytes());
        frame.extend(udp);
        Some(frame)
    }

    /// What a frame brings for our port, and from whom. The checksum is not looked at: a virtual
    /// interface hands frames over before it is computed, and a reply proves itself.
    fn payload(&self, frame: &[u8]) -> Option<(Vec<u8>, IpAddr)> {
        let ether_type = frame.get(12..ETHERNET_LEN)?;
        let packet = frame.get(ETHERNET_LEN..)?;
        let (from, udp) = match (self.from, ether_type) {
            (IpAddr::V4(_), [0x08, 0x00]) => {
                let first = *packet.first()?;
                let head_len = usize::from(first & 0x0F) * 4;
                let is_udp = *packet.get(9)? == UDP;
                // More pieces to come, or not the first.
                let in_pieces = *packet.get(6)? & 0x3F != 0 || *packet.get(7)? != 0;
                if first >> 4 != 4 || head_len < IPV4_LEN || !is_udp || in_pieces {
                    return None;
                }
                let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
                (IpAddr::from(from), packet.get(head_len..)?)
            }
            (IpAddr::V6(_), [0x86, 0xDD]) => {
                if *packet.first()? >> 4 != 6 || *packet.get(6)? != UDP {
                    return None;
                }
                let from: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
                (IpAddr::from(Ipv6Addr::from(from)), packet.get(IPV6_LEN..)?)
            }
            _ => return None,
        };
        let number = |at: usize| Some(u16::from_be_bytes(udp.get(at..at + 2)?.try_into().ok()?));
        let len = usize::from(number(4)?);
        if number(2)? != self.client {
            return None;
        }
        Some((udp.get(UDP_LEN..len)?.to_vec(), from))
    }
}

/// The checksum of the Internet protocols (RFC 1071), over parts of even length and a last one.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let word = [pair[0], pair.get(1).copied().unwrap_or(0)];
            sum += u32::from(u16::from_be_bytes(word));
        }
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    fn head(from: &str, to: &str) -> Head {
        Head {
            mac: [2, 0, 0, 0, 0, 1],
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            client: 68,
            server: 67,
        }
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        // The example of RFC 1071, section 3.
        assert_eq!(checksum(&[&hex!("0001f203f4f5f6f7")]), !0xddf2);
    }

    #[test]
    fn a_frame_holds_what_the_peer_would_take() {
        for (from, to, len) in [
            ("10.77.0.50", "255.255.255.255", 42),
            ("fe80::1", "ff02::1:2", 62),
        ] {
            let head = head(from, to);
            let frame = head.frame(b"odd").unwrap();
            assert_eq!(frame.len(), len + 3);
            // Over the wrong port on its way out.
            assert_eq!(head.payload(&frame), None);
            let back = Head { client: 67, ..head };
            let (payload, sender) = back.payload(&frame).unwrap();
            assert_eq!((payload.as_slice(), sender), (&b"odd"[..], head.from));
            for cut in 0..frame.len() {
                assert_eq!(back.payload(&frame[..cut]), None, "{cut}");
            }
        }
    }
}
