//! DHCPv6: an Information-Request to all servers of the link, on every interface at once.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::interfaces::{Needs, choose};
use super::sockets::Ports;
use super::under_way::{Asked, UnderWay, Way};
use super::{Exchange, Timetable, Transport, TransportError, random};
use crate::network::message::Fault;
use crate::network::message::dhcp6::{CLIENT_PORT, MULTICAST, Reply6, Request6, SERVER_PORT};
use crate::network::{Request, SealedReply};

/// A DUID of the kind that is a link-layer address, of Ethernet (RFC 8415, section 11.4).
const DUID_LL: [u8; 4] = [0, 3, 0, 1];

/// MS-NKPU's timers (docs/format-network-unlock.md §4): the first wait, which the second doubles,
/// and all that may pass from the first sending on.
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
        let ways = interfaces.iter().map(|interface| {
            let address = interface.v6.unwrap_or(Ipv6Addr::UNSPECIFIED);
            let request = Request6 {
                relays: Vec::new(),
                xid,
                client: Some([&DUID_LL[..], &interface.mac].concat()),
                request: request.clone(),
            };
            let packet = request.encode();
            Way::open(interface, address.into(), &PORTS, packet, request)
        });
        Ok(Box::new(UnderWay::by(ways)?))
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

impl Asked for Request6 {
    fn reply(&self, datagram: &[u8]) -> Result<(SealedReply, bool), Fault> {
        let reply = Reply6::parse(datagram)?;
        Ok((reply.sealed, reply.answers(self)))
    }

    fn describe(&self, datagram: &[u8], fault: Fault) -> String {
        describe(datagram, fault)
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
