//! Packet sockets: requests taken from the wire beside a DHCP server that holds the ports.
//!
//! Frames are Ethernet, IPv4 or IPv6 without extension headers, UDP. A reply goes back to the
//! hardware address that the request came from, be it the client's or a router's, so that nothing
//! needs resolving. Tagged VLANs are read on their own interfaces (`eth0.5`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, MsgFlags, bind, recvfrom, send};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::socket::{Came, Door, PATIENCE, Udp, index, make_room, passing, port};
use super::{Origin, Transport};
use crate::error::{Error, Remedy, Result};
use crate::network::message::dhcp6;

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86DD;
const PROTOCOL_UDP: u8 = 17;
/// Hardware type of Ethernet interfaces (ARPHRD_ETHER).
const ETHERNET: u16 = 1;
/// Frames for somebody else, and those that we sent (linux/if_packet.h).
const OTHER_HOST: u8 = 3;
const OUTGOING: u8 = 4;
/// Bits of the fragment field: the offset, and that more follow.
const FRAGMENT: u16 = 0x3FFF;
const HOP_LIMIT: u8 = 64;
const BROADCAST: [u8; 6] = [0xFF; 6];

pub(super) struct Tap {
    name: String,
    interface: String,
    index: u32,
    mac: [u8; 6],
    transport: Transport,
    socket: Socket,
    /// Keeps the group of DHCPv6 joined, and the kernel from refusing what is sent to a port that
    /// nobody holds.
    _beside: Vec<UdpSocket>,
}

impl Tap {
    pub(super) fn open(transport: Transport, interface: &str) -> Result<Self> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => Error::Environment {
                what: format!("no permission to open a packet socket on {interface}"),
                remedy: Some("run it as root or with CAP_NET_RAW".into()),
            },
            _ => Error::io(format!("cannot open a packet socket on {interface}"), error),
        };
        let link = link_address(interface).map_err(failed)?;
        let (Some(mac), ETHERNET) = (link.addr(), link.hatype()) else {
            return Err(Error::Environment {
                what: format!(
                    "{interface} is no Ethernet interface, and only frames of those can be read"
                ),
                remedy: Some(Remedy::UseUdp),
            });
        };
        let (ethertype, filter) = match transport {
            Transport::Dhcp4 => (ETHERTYPE_IPV4, filter4(port(transport))),
            Transport::Dhcp6 => (ETHERTYPE_IPV6, filter6(port(transport))),
        };
        let open = || {
            let protocol = Protocol::from(i32::from(ethertype.to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
            socket.attach_filter(&filter)?;
            bind(socket.as_raw_fd(), &link)?;
            make_room(&socket);
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let socket = open().map_err(failed)?;
        let mut beside = Vec::new();
        if let Ok(held) = Udp::bind(transport, interface, false) {
            beside.push(held.into_socket());
        }
        if transport == Transport::Dhcp6 {
            let join = || {
                let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
                for group in dhcp6::GROUPS {
                    socket.join_multicast_v6(&group, index(interface)?)?;
                }
                Ok(socket)
            };
            beside.push(join().map_err(failed)?);
        }
        Ok(Self {
            name: format!("{interface}, packets to UDP port {}", port(transport)),
            interface: interface.to_owned(),
            index: index(interface).map_err(failed)?,
            mac,
            transport,
            socket,
            _beside: beside,
        })
    }

    /// The address that replies to `to` come from: the one of the interface that fits best.
    fn own_address(&self, to: IpAddr) -> io::Result<IpAddr> {
        let mut found = None;
        for address in getifaddrs()?.filter(|address| address.interface_name == self.interface) {
            let Some(address) = address.address else {
                continue;
            };
            let address: IpAddr = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => v4.ip().into(),
                (_, Some(v6)) => v6.ip().into(),
                _ => continue,
            };
            if address.is_ipv4() != to.is_ipv4() {
                continue;
            }
            if local(address) == local(to) {
                return Ok(address);
            }
            found = Some(address);
        }
        found.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("{} has no address to answer from", self.interface),
            )
        })
    }
}

fn local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The packet-socket address of an interface.
fn link_address(interface: &str) -> io::Result<LinkAddr> {
    getifaddrs()?
        .filter(|address| address.interface_name == interface)
        .find_map(|address| address.address?.as_link_addr().copied())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such interface"))
}

impl Door for Tap {
    fn name(&self) -> &str {
        &self.name
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Came>> {
        let mut frame = [0; 2048];
        let (len, from) = match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut frame) {
            Ok(received) => received,
            Err(error) => {
                let error = io::Error::from(error);
                return if passing(&error) {
                    Ok(None)
                } else {
                    Err(error)
                };
            }
        };
        // Frames of other interfaces may have come in before the socket was bound to this one.
        let ours = from.is_some_and(|from| {
            from.ifindex() == self.index as usize
                && ![OTHER_HOST, OUTGOING].contains(&from.pkttype())
        });
        let frame = frame.get(..len).filter(|_| ours);
        let Some(datagram) = frame.and_then(|frame| open(frame, self.transport, self.index)) else {
            return Ok(None);
        };
        // What does not fit is too long to be looked at, and stays so.
        let len = datagram.payload.len().min(buffer.len());
        if let (Some(room), Some(payload)) = (buffer.get_mut(..len), datagram.payload.get(..len)) {
            room.copy_from_slice(payload);
        }
        Ok(Some(Came {
            origin: Origin {
                transport: self.transport,
                source: datagram.source,
            },
            len,
            neighbour: Some(datagram.neighbour),
        }))
    }

    fn send(&self, payload: &[u8], to: SocketAddr, came: &Came) -> io::Result<()> {
        let neighbour = match (to.ip(), came.neighbour) {
            (IpAddr::V4(Ipv4Addr::BROADCAST), _) | (_, None) => BROADCAST,
            (_, Some(neighbour)) => neighbour,
        };
        let from = SocketAddr::new(self.own_address(to.ip())?, port(self.transport));
        let frame = wrap(payload, from, to, self.mac, neighbour);
        send(self.socket.as_raw_fd(), &frame, MsgFlags::empty())?;
        Ok(())
    }
}

struct Datagram<'a> {
    source: SocketAddr,
    neighbour: [u8; 6],
    payload: &'a [u8],
}

/// The UDP payload of a frame; `None` for everything that is not whole and sound.
fn open(frame: &[u8], transport: Transport, scope: u32) -> Option<Datagram<'_>> {
    let (header, packet) = frame.split_first_chunk::<ETHERNET_LEN>()?;
    let neighbour = header.get(6..12)?.try_into().ok()?;
    let (source, destination, udp) = match transport {
        Transport::Dhcp4 => open4(packet)?,
        Transport::Dhcp6 => open6(packet)?,
    };
    let (header, _) = udp.split_first_chunk::<UDP_LEN>()?;
    let [s0, s1, d0, d1, l0, l1, c0, c1] = *header;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let udp = udp.get(..len)?;
    let sum = u16::from_be_bytes([c0, c1]);
    if u16::from_be_bytes([d0, d1]) != port(transport) || !checks(source, destination, udp, sum) {
        return None;
    }
    let from = u16::from_be_bytes([s0, s1]);
    let source = match source {
        IpAddr::V4(v4) => SocketAddrV4::new(v4, from).into(),
        IpAddr::V6(v6) => {
            let scope = if local(source) { scope } else { 0 };
            SocketAddrV6::new(v6, from, 0, scope).into()
        }
    };
    Some(Datagram {
        source,
        neighbour,
        payload: udp.get(UDP_LEN..)?,
    })
}

fn open4(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let first = *packet.first()?;
    let header_len = usize::from(first & 0xF) * 4;
    let header = packet.get(..header_len).filter(|_| first >> 4 == 4)?;
    let fixed = header.first_chunk::<IPV4_LEN>()?;
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & FRAGMENT;
    if fragment != 0 || fixed[9] != PROTOCOL_UDP || sum(&[header]) != 0xFFFF {
        return None;
    }
    let source: [u8; 4] = fixed[12..16].try_into().ok()?;
    let destination: [u8; 4] = fixed[16..20].try_into().ok()?;
    let content = packet.get(header_len..total)?;
    Some((source.into(), destination.into(), content))
}

fn open6(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let (fixed, content) = packet.split_first_chunk::<IPV6_LEN>()?;
    let len = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    if fixed[0] >> 4 != 6 || fixed[6] != PROTOCOL_UDP {
        return None;
    }
    let source: [u8; 16] = fixed[8..24].try_into().ok()?;
    let destination: [u8; 16] = fixed[24..40].try_into().ok()?;
    Some((source.into(), destination.into(), content.get(..len)?))
}

/// Whether a UDP checksum is right. A virtual interface hands on packets whose checksum the sender
/// left to hardware that is not there: then the field holds the sum of the pseudo-header alone.
fn checks(source: IpAddr, destination: IpAddr, udp: &[u8], field: u16) -> bool {
    let pseudo = pseudo_header(source, destination, udp.len());
    let absent = field == 0 && source.is_ipv4();
    absent || sum(&[&pseudo, udp]) == 0xFFFF || field == sum(&[&pseudo])
}

fn pseudo_header(source: IpAddr, destination: IpAddr, len: usize) -> Vec<u8> {
    let mut pseudo = Vec::with_capacity(IPV6_LEN);
    for address in [source, destination] {
        match address {
            IpAddr::V4(v4) => pseudo.extend(v4.octets()),
            IpAddr::V6(v6) => pseudo.extend(v6.octets()),
        }
    }
    // The IPv4 and the IPv6 form differ in zeros only, which do not count.
    pseudo.extend([0, PROTOCOL_UDP]);
    pseudo.extend((len as u16).to_be_bytes());
    pseudo
}

/// The Internet checksum's sum, not complemented (RFC 1071). Only the last part may be of odd
/// length.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or_default();
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

/// A frame around a payload. Both addresses are of one family.
fn wrap(
    payload: &[u8],
    from: SocketAddr,
    to: SocketAddr,
    mac: [u8; 6],
    neighbour: [u8; 6],
) -> Vec<u8> {
    let len = UDP_LEN + payload.len();
    let mut udp = Vec::with_capacity(len);
    for field in [from.port(), to.port(), len as u16, 0] {
        udp.extend(field.to_be_bytes());
    }
    udp.extend(payload);
    let check = match !sum(&[&pseudo_header(from.ip(), to.ip(), len), &udp]) {
        // Zero would say that there is no checksum.
        0 => 0xFFFF,
        check => check,
    };
    udp[6..8].copy_from_slice(&check.to_be_bytes());

    let mut frame = [neighbour, mac].concat();
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend(ETHERTYPE_IPV4.to_be_bytes());
            let mut header = [0; IPV4_LEN];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&((IPV4_LEN + len) as u16).to_be_bytes());
            header[8] = HOP_LIMIT;
            header[9] = PROTOCOL_UDP;
            header[12..16].copy_from_slice(&from.octets());
            header[16..20].copy_from_slice(&to.octets());
            let check = !sum(&[&header]);
            header[10..12].copy_from_slice(&check.to_be_bytes());
            frame.extend(header);
        }
        (from, to) => {
            frame.extend(ETHERTYPE_IPV6.to_be_bytes());
            frame.extend([0x60, 0, 0, 0]);
            frame.extend((len as u16).to_be_bytes());
            frame.extend([PROTOCOL_UDP, HOP_LIMIT]);
            for address in [from, to] {
                if let IpAddr::V6(address) = address {
                    frame.extend(address.octets());
                }
            }
        }
    }
    frame.extend(udp);
    frame
}

/// Classic BPF, in the words of linux/filter.h.
mod bpf {
    pub(super) const LOAD_HALF: u16 = 0x28;
    pub(super) const LOAD_BYTE: u16 = 0x30;
    pub(super) const LOAD_HALF_INDEXED: u16 = 0x48;
    pub(super) const LOAD_HEADER_LEN: u16 = 0xB1;
    pub(super) const JUMP_EQUAL: u16 = 0x15;
    pub(super) const JUMP_ANY_BIT: u16 = 0x45;
    pub(super) const RETURN: u16 = 0x06;
    pub(super) const ALL: u32 = u32::MAX;
}

/// IPv4, UDP, not a fragment, to this port.
fn filter4(port: u16) -> Vec<SockFilter> {
    vec![
        SockFilter::new(bpf::LOAD_HALF, 0, 0, 12),
        SockFilter::new(bpf::JUMP_EQUAL, 0, 8, ETHERTYPE_IPV4.into()),
        SockFilter::new(bpf::LOAD_BYTE, 0, 0, 23),
        SockFilter::new(bpf::JUMP_EQUAL, 0, 6, PROTOCOL_UDP.into()),
        SockFilter::new(bpf::LOAD_HALF, 0, 0, 20),
        SockFilter::new(bpf::JUMP_ANY_BIT, 4, 0, FRAGMENT.into()),
        SockFilter::new(bpf::LOAD_HEADER_LEN, 0, 0, 14),
        SockFilter::new(bpf::LOAD_HALF_INDEXED, 0, 0, 16),
        SockFilter::new(bpf::JUMP_EQUAL, 0, 1, port.into()),
        SockFilter::new(bpf::RETURN, 0, 0, bpf::ALL),
        SockFilter::new(bpf::RETURN, 0, 0, 0),
    ]
}

/// IPv6, UDP right behind the header, to this port.
fn filter6(port: u16) -> Vec<SockFilter> {
    vec![
        SockFilter::new(bpf::LOAD_HALF, 0, 0, 12),
        SockFilter::new(bpf::JUMP_EQUAL, 0, 5, ETHERTYPE_IPV6.into()),
        SockFilter::new(bpf::LOAD_BYTE, 0, 0, 20),
        SockFilter::new(bpf::JUMP_EQUAL, 0, 3, PROTOCOL_UDP.into()),
        SockFilter::new(bpf::LOAD_HALF, 0, 0, 56),
        SockFilter::new(bpf::JUMP_EQUAL, 0, 1, port.into()),
        SockFilter::new(bpf::RETURN, 0, 0, bpf::ALL),
        SockFilter::new(bpf::RETURN, 0, 0, 0),
    ]
}
