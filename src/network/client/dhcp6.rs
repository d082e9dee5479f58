//! DHCPv6: an Information-Request to all servers of the link, on every interface at once.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::interfaces::{Interface, Needs, choose};
use super::sockets::{Ports, Socket, next_datagram};
use super::{Exchange, Received, Timetable, Transport, TransportError, random};
use crate::network::Request;
use crate::network::message::Fault;
use crate::network::message::dhcp6::{CLIENT_PORT, MULTICAST, Reply6, Request6, SERVER_PORT};

/// MS-NKPU's timers (network page, section 4): the first wait, which the second doubles, and all
/// that may pass from the first sending on.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const ALL: Duration = Duration::from_secs(4);
/// The delay before the first sending is at most this (RFC 8415, INF_MAX_DELAY).
const MAX_DELAY: Duration = Duration::from_secs(1);

const PORTS: Ports = Ports {
    client: CLIENT_PORT,
    server: SERVER_PORT,
    everybody: IpAddr::V6(MULTICAST),
};

/// Asks as a Windows client does over IPv6: from the link-local address.
#[derive(Debug, Clone)]
pub struct Dhcp6 {
    interface: Option<String>,
}

impl Dhcp6 {
    /// On that interface, or on every wired one that has a link-local address.
    pub fn new(interface: Option<&str>) -> Self {
        Self {
            interface: interface.map(str::to_owned),
        }
    }
}

impl Transport for Dhcp6 {
    fn place(&self) -> String {
        super::on("DHCPv6", self.interface.as_deref())
    }

    fn timetable(&self) -> Timetable {
        let [delay, shift] = random().unwrap_or([0, 128]);
        timetable(delay, shift)
    }

    fn begin(&self, request: &Request) -> Result<Box<dyn Exchange + '_>, TransportError> {
        let interfaces = choose(self.interface.as_deref(), Needs::V6)?;
        let xid = random()?;
        let ways = interfaces
            .iter()
            .map(|interface| Way::open(interface, xid, request));
        Ok(Box::new(UnderWay {
            ways: super::usable(ways)?,
        }))
    }
}

/// The times with what chance adds: a part of the longest delay, and up to a tenth more or less of
/// the first wait.
fn timetable(delay: u8, shift: u8) -> Timetable {
    let tenth = FIRST_WAIT / 10;
    let first = FIRST_WAIT - tenth + 2 * tenth * u32::from(shift) / 255;
    Timetable {
        delay: MAX_DELAY * u32::from(delay) / 255,
        waits: vec![first, ALL.saturating_sub(first)],
    }
}

/// One interface, and the request as it goes out there.
struct Way {
    interface: String,
    socket: Socket,
    request: Request6,
    packet: Vec<u8>,
}

impl Way {
    fn open(
        interface: &Interface,
        xid: [u8; 3],
        request: &Request,
    ) -> Result<Self, TransportError> {
        /// A DUID of the kind that is a link-layer address, of Ethernet (RFC 8415, section 11.4).
        const DUID_LL: [u8; 4] = [0, 3, 0, 1];
        let none = || TransportError::NoAddress {
            what: format!("{} has no IPv6 link-local address", interface.name),
        };
        let address = interface.v6.ok_or_else(none)?;
        let request = Request6 {
            relays: Vec::new(),
            xid,
            client: Some([&DUID_LL[..], &interface.mac].concat()),
            request: request.clone(),
        };
        Ok(Self {
            interface: interface.name.clone(),
            socket: Socket::open(interface, address.into(), &PORTS)?,
            packet: request.encode(),
            request,
        })
    }
}

struct UnderWay {
    ways: Vec<Way>,
}

impl Exchange for UnderWay {
    fn send(&mut self) -> Result<(), TransportError> {
        let ways = self.ways.iter();
        super::send_all(ways.map(|way| (way.interface.as_str(), &way.socket, &way.packet[..])))
    }

    fn receive(&mut self, until: Instant) -> Result<Option<Received>, TransportError> {
        let sockets: Vec<_> = self.ways.iter().map(|way| &way.socket).collect();
        let Some((number, datagram, from)) = next_datagram(&sockets, until)? else {
            return Ok(None);
        };
        let from = from.to_string();
        Ok(self
            .ways
            .get(number)
            .map(|way| match Reply6::parse(&datagram) {
                Ok(reply) if reply.answers(&way.request) => Received::Reply {
                    reply: reply.sealed,
                    from,
                },
                Ok(_) => Received::Other {
                    what: "reply to another request".to_owned(),
                    from,
                },
                Err(fault) => Received::Other {
                    what: describe(&datagram, fault),
                    from,
                },
            }))
    }
}

/// What a DHCPv6 packet is that is no reply.
fn describe(datagram: &[u8], fault: Fault) -> String {
    match (fault, datagram.first()) {
        (Fault::NotOurs, Some(2)) => "DHCPv6 Advertise".to_owned(),
        (Fault::NotOurs, Some(7)) => "DHCPv6 Reply of a DHCP server".to_owned(),
        (Fault::NotOurs, _) => "packet that is no reply".to_owned(),
        _ => format!("BITLOCKER packet that is no reply ({fault})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_twice_within_the_time_of_the_specification() {
        for (delay, shift) in [(0, 0), (128, 128), (255, 255)] {
            let timetable = timetable(delay, shift);
            assert_eq!(timetable.waits.len(), 2);
            assert!((1800..=2200).contains(&timetable.waits[0].as_millis()));
            assert_eq!(timetable.waits.iter().sum::<Duration>(), ALL);
            assert!(timetable.delay <= MAX_DELAY);
        }
    }
}
