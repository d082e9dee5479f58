//! The transport over DHCPv4: a broadcast from the DHCP client port, on every interface at once.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::dhcp::{DhcpExchange, DhcpRequest, InterfaceExchange};
use super::interfaces::{RequiredAddress, choose};
use super::sockets::Ports;
use super::{Exchange, Schedule, Transport, TransportError, random};
use crate::network::message::Fault;
use crate::network::message::dhcp4::{CLIENT_PORT, Form, Header, Reply4, Request4, SERVER_PORT};
use crate::network::{Request, SealedReply};

/// The retransmission timer of MS-NKPU, and how often the request is sent: once and one
/// retransmission (docs/format-network-unlock.md §4).
const WAIT: Duration = Duration::from_secs(2);
const TRANSMISSIONS: usize = 2;

const PORTS: Ports = Ports {
    client: CLIENT_PORT,
    server: SERVER_PORT,
    destination: IpAddr::V4(Ipv4Addr::BROADCAST),
};

/// Asks over DHCPv4 as a Windows client does: in a BOOTP message without a DHCP message type, from
/// the interface's address.
#[derive(Debug, Clone)]
pub struct Dhcp4 {
    interface: Option<String>,
}

impl Dhcp4 {
    /// Asks on that interface; with `None`, on every wired interface that has an IPv4 address, or on
    /// the wireless ones if there are no such.
    pub fn new(interface: Option<&str>) -> Self {
        Self {
            interface: interface.map(str::to_owned),
        }
    }
}

impl Transport for Dhcp4 {
    fn name(&self) -> String {
        super::transport_name("DHCPv4", self.interface.as_deref())
    }

    fn schedule(&self) -> Schedule {
        Schedule::new(Duration::ZERO, [WAIT; TRANSMISSIONS])
    }

    fn begin(&self, request: &Request) -> Result<Box<dyn Exchange + '_>, TransportError> {
        let interfaces = choose(self.interface.as_deref(), RequiredAddress::Ipv4)?;
        let xid = u32::from_be_bytes(random()?);
        let exchanges = interfaces.iter().map(|interface| {
            let address = interface.v4.unwrap_or(Ipv4Addr::UNSPECIFIED);
            let request = Request4 {
                header: Header::ethernet(xid, interface.mac, address),
                form: Form::Bootp,
                relay_information: None,
                request: request.clone(),
            };
            let packet = request.encode();
            InterfaceExchange::open(interface, address.into(), &PORTS, packet, request)
        });
        Ok(Box::new(DhcpExchange::new(exchanges)?))
    }
}

impl DhcpRequest for Request4 {
    fn parse_reply(&self, datagram: &[u8]) -> Result<(SealedReply, bool), Fault> {
        let reply = Reply4::parse(datagram)?;
        Ok((reply.sealed, reply.answers(self)))
    }

    fn describe(&self, datagram: &[u8], fault: Fault) -> String {
        describe(datagram, fault)
    }
}

/// Describes a DHCPv4 packet that is not a reply, in enough detail to find a server that interferes.
fn describe(datagram: &[u8], fault: Fault) -> String {
    /// Offset of the options: 236 bytes of header and the magic cookie (RFC 2131, section 3).
    const OPTIONS: usize = 240;
    /// Option 53 (RFC 2132, section 9.6) and its values from 1.
    const MESSAGE_TYPE: u8 = 53;
    const TYPES: [&str; 8] = [
        "DHCPDISCOVER",
        "DHCPOFFER",
        "DHCPREQUEST",
        "DHCPDECLINE",
        "DHCPACK",
        "DHCPNAK",
        "DHCPRELEASE",
        "DHCPINFORM",
    ];
    if fault != Fault::NotOurs {
        return format!("BITLOCKER packet that is not a reply ({fault})");
    }
    let mut options = datagram.get(OPTIONS..).unwrap_or_default();
    while let [code, rest @ ..] = options {
        let (len, rest) = match (code, rest) {
            // Pad: a single byte.
            (0, rest) => {
                options = rest;
                continue;
            }
            // End, or a truncated option.
            (255, _) | (_, []) => break,
            (_, [len, rest @ ..]) => (usize::from(*len), rest),
        };
        if let (&MESSAGE_TYPE, [kind, ..]) = (code, rest) {
            let name = TYPES.get(usize::from(*kind).wrapping_sub(1));
            return name.map_or("DHCP packet".to_owned(), |name| (*name).to_owned());
        }
        options = rest.get(len..).unwrap_or_default();
    }
    match datagram.first() {
        Some(2) => "BOOTP reply of a DHCP server".to_owned(),
        _ => "packet that is not a reply".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_packets_that_are_no_reply() {
        let mut packet = vec![0; 300];
        packet[0] = 2;
        assert_eq!(
            describe(&packet, Fault::NotOurs),
            "BOOTP reply of a DHCP server"
        );
        packet[240..247].copy_from_slice(&[0, 12, 1, b'x', 53, 1, 2]);
        assert_eq!(describe(&packet, Fault::NotOurs), "DHCPOFFER");
        packet[246] = 99;
        assert_eq!(describe(&packet, Fault::NotOurs), "DHCP packet");
        for cut in 0..packet.len() {
            describe(&packet[..cut], Fault::NotOurs);
        }
    }
}
