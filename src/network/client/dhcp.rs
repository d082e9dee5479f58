//! A request over DHCP, sent on several interfaces at once. Each interface has its own packet,
//! because the packet names the interface's addresses.

use std::net::IpAddr;
use std::time::Instant;

use super::interfaces::Interface;
use super::sockets::{Ports, Socket, next_datagram};
use super::{Exchange, Received, TransportError};
use crate::network::SealedReply;
use crate::network::message::Fault;

/// A request in the form of DHCPv4 or DHCPv6.
pub(super) trait DhcpRequest {
    /// Parses a reply, and says whether it answers this request.
    fn parse_reply(&self, datagram: &[u8]) -> Result<(SealedReply, bool), Fault>;

    /// Describes a datagram that is not a reply, for messages, without quoting it.
    fn describe(&self, datagram: &[u8], fault: Fault) -> String;
}

/// The request on one interface.
pub(super) struct InterfaceExchange<R> {
    interface: String,
    socket: Socket,
    /// The encoded `request`.
    packet: Vec<u8>,
    request: R,
}

impl<R: DhcpRequest> InterfaceExchange<R> {
    /// Opens a socket that sends from the address `from` of the interface.
    pub(super) fn open(
        interface: &Interface,
        from: IpAddr,
        ports: &Ports,
        packet: Vec<u8>,
        request: R,
    ) -> Result<Self, TransportError> {
        Ok(Self {
            interface: interface.name.clone(),
            socket: Socket::open(interface, from, ports)?,
            packet,
            request,
        })
    }
}

/// The request on all its interfaces.
pub(super) struct DhcpExchange<R> {
    all: Vec<InterfaceExchange<R>>,
    /// Which one to receive from first, so that many packets on one interface do not keep replies on
    /// another waiting.
    first: usize,
}

impl<R> DhcpExchange<R> {
    /// Uses the interfaces that could be opened. An error only if there are none.
    pub(super) fn new(
        interfaces: impl Iterator<Item = Result<InterfaceExchange<R>, TransportError>>,
    ) -> Result<Self, TransportError> {
        any_successes(interfaces).map(|all| Self { all, first: 0 })
    }
}

impl<R: DhcpRequest> Exchange for DhcpExchange<R> {
    fn send(&mut self) -> Result<(), TransportError> {
        let sent = self.all.iter().map(|one| {
            one.socket
                .send(&one.packet)
                .map_err(|source| TransportError::Io {
                    what: format!("cannot send on {}", one.interface),
                    remedy: None,
                    source,
                })
        });
        any_successes(sent).map(drop)
    }

    fn receive(&mut self, until: Instant) -> Result<Option<Received>, TransportError> {
        let sockets: Vec<_> = self.all.iter().map(|one| &one.socket).collect();
        let Some((number, datagram, from)) = next_datagram(&sockets, self.first, until)? else {
            return Ok(None);
        };
        self.first = number + 1;
        let from = from.to_string();
        Ok(self.all.get(number).map(|one| {
            let what = match one.request.parse_reply(&datagram) {
                Ok((reply, true)) => return Received::Reply { reply, from },
                Ok((_, false)) => "reply to another request".to_owned(),
                Err(fault) => one.request.describe(&datagram, fault),
            };
            Received::Other { what, from }
        }))
    }
}

/// The successful results; the first error if there are none.
fn any_successes<T>(
    all: impl Iterator<Item = Result<T, TransportError>>,
) -> Result<Vec<T>, TransportError> {
    let (mut successes, mut first_error) = (Vec::new(), None);
    for one in all {
        match one {
            Ok(one) => successes.push(one),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    match first_error {
        Some(error) if successes.is_empty() => Err(error),
        _ => Ok(successes),
    }
}
