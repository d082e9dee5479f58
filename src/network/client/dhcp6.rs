//! The transport over DHCPv6: an Information-Request to the multicast group of servers and relays,
//! on every interface at once.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::dhcp::{DhcpExchange, DhcpRequest, InterfaceExchange};
use super::interfaces::{RequiredAddress, choose};
use super::sockets::Ports;
use super::{Exchange, Schedule, Transport, TransportError, random};
use crate::network::message::Fault;
use crate::network::message::dhcp6::{CLIENT_PORT, MULTICAST, Reply6, Request6, SERVER_PORT};
use crate::network::{Request, SealedReply};

/// The start of a DUID-LL for Ethernet: type 3, hardware type 1 (RFC 8415, section 11.4).
const DUID_LL: [u8; 4] = [0, 3, 0, 1];

/// The timers of MS-NKPU (docs/format-network-unlock.md §4): the wait after the first transmission,
/// and the time from the first transmission to the end.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const TOTAL: Duration = Duration::from_secs(4);
/// The longest random delay before the first transmission (INF_MAX_DELAY, RFC 8415, section 7.6).
const MAX_DELAY: Duration = Duration::from_secs(1);

const PORTS: Ports = Ports {
    client: CLIENT_PORT,
    server: SERVER_PORT,
    destination: IpAddr::V6(MULTICAST),
};

/// Asks over DHCPv6 as a Windows client does, from the link-local address.
#[derive(Debug, Clone)]
pub struct Dhcp6 {
    interface: Option<String>,
}

impl Dhcp6 {
    /// Asks on that interface; with `None`, on every wired interface that has an IPv6 link-local
    /// address, or on the wireless ones if there are no such.
    pub fn new(interface: Option<&str>) -> Self {
        Self {
            interface: interface.map(str::to_owned),
        }
    }
}

impl Transport for Dhcp6 {
    fn name(&self) -> String {
        super::transport_name("DHCPv6", self.interface.as_deref())
    }

    fn schedule(&self) -> Schedule {
        // Without random numbers: no delay, and a wait in the middle of its range.
        let [delay, shift] = random().unwrap_or([0, 128]);
        schedule(delay, shift)
    }

    fn begin(&self, request: &Request) -> Result<Box<dyn Exchange + '_>, TransportError> {
        let interfaces = choose(self.interface.as_deref(), RequiredAddress::Ipv6LinkLocal)?;
        let xid = random()?;
        let exchanges = interfaces.iter().map(|interface| {
            let address = interface.v6.unwrap_or(Ipv6Addr::UNSPECIFIED);
            let request = Request6 {
                relays: Vec::new(),
                xid,
                client: Some([&DUID_LL[..], &interface.mac].concat()),
                request: request.clone(),
            };
            let packet = request.encode();
            InterfaceExchange::open(interface, address.into(), &PORTS, packet, request)
        });
        Ok(Box::new(DhcpExchange::new(exchanges)?))
    }
}

/// The schedule for two random bytes: the delay as a fraction of [`MAX_DELAY`], and the first wait
/// changed by up to a tenth (RAND, RFC 8415, section 15).
fn schedule(delay: u8, shift: u8) -> Schedule {
    let tenth = FIRST_WAIT / 10;
    let first = FIRST_WAIT - tenth + 2 * tenth * u32::from(shift) / 255;
    Schedule::new(
        MAX_DELAY * u32::from(delay) / 255,
        [first, TOTAL.saturating_sub(first)],
    )
}

impl DhcpRequest for Request6 {
    fn parse_reply(&self, datagram: &[u8]) -> Result<(SealedReply, bool), Fault> {
        let reply = Reply6::parse(datagram)?;
        Ok((reply.sealed, reply.answers(self)))
    }

    fn describe(&self, datagram: &[u8], fault: Fault) -> String {
        describe(datagram, fault)
    }
}

/// Describes a DHCPv6 packet that is not a reply.
fn describe(datagram: &[u8], fault: Fault) -> String {
    match (fault, datagram.first()) {
        (Fault::NotOurs, Some(2)) => "DHCPv6 Advertise".to_owned(),
        (Fault::NotOurs, Some(7)) => "DHCPv6 Reply of a DHCP server".to_owned(),
        (Fault::NotOurs, _) => "packet that is not a reply".to_owned(),
        _ => format!("BITLOCKER packet that is not a reply ({fault})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_twice_within_four_seconds() {
        for (delay, shift) in [(0, 0), (128, 128), (255, 255)] {
            let schedule = schedule(delay, shift);
            assert_eq!(schedule.waits.len(), 2);
            assert!((1800..=2200).contains(&schedule.waits[0].as_millis()));
            assert_eq!(schedule.waits.iter().sum::<Duration>(), TOTAL);
            assert!(schedule.delay <= MAX_DELAY);
        }
    }
}
