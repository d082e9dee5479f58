//! Packet sockets: the server reads requests from the wire while a DHCP server on the same host
//! holds the UDP ports (`--mode tap`).
//!
//! A filter in the kernel passes only UDP datagrams to the server's port; [`frame`](crate::network::frame)
//! parses them. A reply goes to the Ethernet address that the request came from, that of the client
//! or of a router, so that no address needs to be resolved. Requests in a tagged VLAN are read on the
//! interface of that VLAN (`eth0.5`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use etherparse::ether_type;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, MsgFlags, bind, recvfrom, send};
use socket2::{Domain, Protocol as IpProtocol, Socket, Type};

use super::socket::{
    Listener, Received, UdpListener, WAKE_INTERVAL, interface_index, is_transient, port,
};
use super::{Origin, Protocol};
use crate::error::{Error, Remedy, Result};
use crate::network::filter::{enlarge_receive_buffer, filter4, filter6};
use crate::network::frame::{Addresses, BROADCAST, Datagram, EthernetAddress};
use crate::network::message::dhcp6;

/// Hardware type of Ethernet interfaces (`ARPHRD_ETHER`, linux/if_arp.h).
const ARPHRD_ETHER: u16 = 1;
/// Packet types (linux/if_packet.h): frames that are addressed to another host, which a promiscuous
/// interface delivers, and frames that this host sent.
const PACKET_OTHERHOST: u8 = 3;
const PACKET_OUTGOING: u8 = 4;
/// The longest frame that is read. [`MAX_DATAGRAM`](crate::network::message::MAX_DATAGRAM) and the
/// longest headers fit; a longer frame is cut off and then refused.
const MAX_FRAME: usize = 2048;

/// A packet socket on one interface.
pub(super) struct Tap {
    name: String,
    interface: String,
    index: u32,
    mac: EthernetAddress,
    protocol: Protocol,
    socket: Socket,
    /// UDP sockets that are never read. One holds the port if it is free, because the kernel would
    /// answer a datagram to an unused port with an ICMP error. For DHCPv6, another is a member of
    /// the multicast groups, so that the interface receives what is sent to them.
    _held: Vec<UdpSocket>,
}

impl Tap {
    pub(super) fn open(protocol: Protocol, interface: &str) -> Result<Self> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => Error::Environment {
                what: format!("no permission to open a packet socket on {interface}"),
                remedy: Some("run it as root or with CAP_NET_RAW".into()),
            },
            _ => Error::io(format!("cannot open a packet socket on {interface}"), error),
        };
        let link = link_address(interface).map_err(failed)?;
        let (Some(mac), ARPHRD_ETHER) = (link.addr(), link.hatype()) else {
            return Err(Error::Environment {
                what: format!(
                    "{interface} is not an Ethernet interface, and packet sockets work on those only"
                ),
                remedy: Some(Remedy::UseUdp),
            });
        };
        let (ether_type, filter) = match protocol {
            Protocol::Dhcp4 => (ether_type::IPV4, filter4(port(protocol))),
            Protocol::Dhcp6 => (ether_type::IPV6, filter6(port(protocol))),
        };
        let open = || {
            // packet(7) wants the protocol in network byte order.
            let ether_type = IpProtocol::from(i32::from(ether_type.0.to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(ether_type))?;
            socket.attach_filter(&filter)?;
            bind(socket.as_raw_fd(), &link)?;
            enlarge_receive_buffer(&socket);
            socket.set_read_timeout(Some(WAKE_INTERVAL))?;
            Ok(socket)
        };
        let socket = open().map_err(failed)?;
        let mut held = Vec::new();
        if let Ok(udp) = UdpListener::bind(protocol, interface, false) {
            held.push(udp.into_socket());
        }
        if protocol == Protocol::Dhcp6 {
            let join = || {
                let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
                for group in dhcp6::GROUPS {
                    socket.join_multicast_v6(&group, interface_index(interface)?)?;
                }
                Ok(socket)
            };
            held.push(join().map_err(failed)?);
        }
        Ok(Self {
            name: format!("{interface}, packets to UDP port {}", port(protocol)),
            interface: interface.to_owned(),
            index: interface_index(interface).map_err(failed)?,
            mac,
            protocol,
            socket,
            _held: held,
        })
    }

    /// The address of the interface to send from: of the family of `to`, and link-local if `to` is;
    /// any of that family if none matches.
    fn own_address(&self, to: IpAddr) -> io::Result<IpAddr> {
        let mut other_scope = None;
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
            if is_link_local_v6(address) == is_link_local_v6(to) {
                return Ok(address);
            }
            other_scope = Some(address);
        }
        other_scope.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("{} has no address to send from", self.interface),
            )
        })
    }

    /// Where a datagram came from. A link-local address is only valid with its interface.
    fn source(&self, datagram: &Datagram<'_>) -> SocketAddr {
        match datagram.source {
            IpAddr::V4(v4) => SocketAddrV4::new(v4, datagram.source_port).into(),
            IpAddr::V6(v6) => {
                let scope = match v6.is_unicast_link_local() {
                    true => self.index,
                    false => 0,
                };
                SocketAddrV6::new(v6, datagram.source_port, 0, scope).into()
            }
        }
    }
}

fn is_link_local_v6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The packet-socket address of an interface.
fn link_address(interface: &str) -> io::Result<LinkAddr> {
    getifaddrs()?
        .filter(|address| address.interface_name == interface)
        .find_map(|address| address.address?.as_link_addr().copied())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such interface"))
}

impl Listener for Tap {
    fn name(&self) -> &str {
        &self.name
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut frame = [0; MAX_FRAME];
        let (len, from) = match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut frame) {
            Ok(received) => received,
            Err(error) => {
                let error = io::Error::from(error);
                return if is_transient(&error) {
                    Ok(None)
                } else {
                    Err(error)
                };
            }
        };
        // Between its creation and its binding, the socket received the frames of every interface.
        let is_ours = from.is_some_and(|from| {
            from.ifindex() == self.index as usize
                && ![PACKET_OTHERHOST, PACKET_OUTGOING].contains(&from.pkttype())
        });
        let frame = frame.get(..len).filter(|_| is_ours);
        let Some(datagram) = frame
            .and_then(Datagram::parse)
            .filter(|datagram| datagram.destination_port == port(self.protocol))
        else {
            return Ok(None);
        };
        // The buffer holds one byte more than is accepted: a payload that is cut off here is still
        // refused as too long.
        let len = datagram.payload.len().min(buffer.len());
        if let (Some(buffer), Some(payload)) = (buffer.get_mut(..len), datagram.payload.get(..len))
        {
            buffer.copy_from_slice(payload);
        }
        Ok(Some(Received {
            origin: Origin {
                protocol: self.protocol,
                source: self.source(&datagram),
            },
            len,
            neighbor: Some(datagram.neighbor),
        }))
    }

    fn send(&self, payload: &[u8], to: SocketAddr, request: &Received) -> io::Result<()> {
        let neighbor = match (to.ip(), request.neighbor) {
            (IpAddr::V4(Ipv4Addr::BROADCAST), _) | (_, None) => BROADCAST,
            (_, Some(neighbor)) => neighbor,
        };
        let addresses = Addresses {
            ethernet_source: self.mac,
            ethernet_destination: neighbor,
            source: SocketAddr::new(self.own_address(to.ip())?, port(self.protocol)),
            destination: to,
        };
        let frame = addresses
            .frame(payload)
            .ok_or(io::ErrorKind::InvalidInput)?;
        send(self.socket.as_raw_fd(), &frame, MsgFlags::empty())?;
        Ok(())
    }
}
