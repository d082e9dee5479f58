//! DHCPv4: a broadcast from the port of DHCP clients, on every interface at once.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::interfaces::{Needs, choose};
use super::sockets::Ports;
use super::under_way::{Asked, UnderWay, Way};
use super::{Exchange, Timetable, Transport, TransportError, random};
use crate::network::message::Fault;
use crate::network::message::dhcp4::{CLIENT_PORT, Form, Header, Reply4, Request4, SERVER_PORT};
use crate::network::{Request, SealedReply};

/// MS-NKPU's retransmission timer, and how often it runs: the first sending and one more
/// (docs/format-network-unlock.md §4).
const WAIT: Duration = Duration::from_secs(2);
const SENDINGS: usize = 2;

const PORTS: Ports = Ports {
    client: CLIENT_PORT,
    server: SERVER_PORT,
    everybody: IpAddr::V4(Ipv4Addr::BROADCAST),
};

/// Asks as a Windows client does over IPv4: without a message type, from the interface's address.
#[derive(Debug, Clone)]
pub struct Dhcp4 {
    interface: Option<String>,
}

impl Dhcp4 {
    /// On that interface, or on every wired one that has an address.
    pub fn new(interface: Option<&str>) -> Self {
        Self {
            interface: interface.map(str::to_owned),
        }
    }
}

impl Transport for Dhcp4 {
    fn place(&self) -> String {
        super::on("DHCPv4", self.interface.as_deref())
    }

    fn timetable(&self) -> Timetable {
        Timetable {
            delay: Duration::ZERO,
            waits: vec![WAIT; SENDINGS],
        }
    }

    fn begin(&self, request: &Request) -> Result<Box<dyn Exchange + '_>, TransportError> {
        let interfaces = choose(self.interface.as_deref(), Needs::V4)?;
        let xid = u32::from_be_bytes(random()?);
        let ways = interfaces.iter().map(|interface| {
            let address = interface.v4.unwrap_or(Ipv4Addr::UNSPECIFIED);
            let request = Request4 {
                header: Header::ethernet(xid, interface.mac, address),
                form: Form::Bootp,
                relay_information: None,
                request: request.clone(),
            };
            let packet = request.encode();
            Way::open(interface, address.into(), &PORTS, packet, request)
        });
        Ok(Box::new(UnderWay::by(ways)?))
    }
}

impl Asked for Request4 {
    fn reply(&self, datagram: &[u8]) -> Result<(SealedReply, bool), Fault> {
        let reply = Reply4::parse(datagram)?;
        Ok((reply.sealed, reply.answers(self)))
    }

    fn describe(&self, datagram: &[u8], fault: Fault) -> String {
        describe(datagram, fault)
    }
}

/// What a DHCPv4 packet is that is no reply, as far as it takes to find a server that disturbs.
fn describe(datagram: &[u8], fault: Fault) -> String {
    /// Behind the magic cookie.
    const OPTIONS: usize = 240;
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
        return format!("BITLOCKER packet that is no reply ({fault})");
    }
    let mut options = datagram.get(OPTIONS..).unwrap_or_default();
    while let [code, rest @ ..] = options {
        let (len, rest) = match (code, rest) {
            (0, rest) => {
                options = rest;
                continue;
            }
            (255, _) | (_, []) => break,
            (_, [len, rest @ ..]) => (usize::from(*len), rest),
        };
        if let (53, [kind, ..]) = (code, rest) {
            let name = TYPES.get(usize::from(*kind).wrapping_sub(1));
            return name.map_or("DHCP packet".to_owned(), |name| (*name).to_owned());
        }
        options = rest.get(len..).unwrap_or_default();
    }
    match datagram.first() {
        Some(2) => "BOOTP reply of a DHCP server".to_owned(),
        _ => "packet that is no reply".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_packets_are_named() {
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
