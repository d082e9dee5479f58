//! A request under way over DHCP: on every interface at once, each with a packet of its own.

use std::net::IpAddr;
use std::time::Instant;

use super::interfaces::Interface;
use super::sockets::{Ports, Socket, next_datagram};
use super::{Exchange, Received, TransportError};
use crate::network::SealedReply;
use crate::network::message::Fault;

/// A request as one protocol knows it.
pub(super) trait Asked {
    /// The reply in a datagram, and whether it answers this request.
    fn reply(&self, datagram: &[u8]) -> Result<(SealedReply, bool), Fault>;

    /// What a datagram is that is no reply, in words of our own.
    fn describe(&self, datagram: &[u8], fault: Fault) -> String;
}

/// One interface, and the request as it goes out there.
pub(super) struct Way<A> {
    interface: String,
    socket: Socket,
    packet: Vec<u8>,
    asked: A,
}

impl<A: Asked> Way<A> {
    pub(super) fn open(
        interface: &Interface,
        from: IpAddr,
        ports: &Ports,
        packet: Vec<u8>,
        asked: A,
    ) -> Result<Self, TransportError> {
        Ok(Self {
            interface: interface.name.clone(),
            socket: Socket::open(interface, from, ports)?,
            packet,
            asked,
        })
    }
}

/// All ways of one request.
pub(super) struct UnderWay<A>(Vec<Way<A>>);

impl<A> UnderWay<A> {
    /// By the ways that can be opened; an error only where none can.
    pub(super) fn by(
        ways: impl Iterator<Item = Result<Way<A>, TransportError>>,
    ) -> Result<Self, TransportError> {
        usable(ways).map(Self)
    }
}

impl<A: Asked> Exchange for UnderWay<A> {
    fn send(&mut self) -> Result<(), TransportError> {
        let sent = self.0.iter().map(|way| {
            way.socket
                .send(&way.packet)
                .map_err(|source| TransportError::Io {
                    what: format!("cannot send on {}", way.interface),
                    remedy: None,
                    source,
                })
        });
        usable(sent).map(drop)
    }

    fn receive(&mut self, until: Instant) -> Result<Option<Received>, TransportError> {
        let sockets: Vec<_> = self.0.iter().map(|way| &way.socket).collect();
        let Some((number, datagram, from)) = next_datagram(&sockets, until)? else {
            return Ok(None);
        };
        let from = from.to_string();
        Ok(self.0.get(number).map(|way| {
            let what = match way.asked.reply(&datagram) {
                Ok((reply, true)) => return Received::Reply { reply, from },
                Ok((_, false)) => "reply to another request".to_owned(),
                Err(fault) => way.asked.describe(&datagram, fault),
            };
            Received::Other { what, from }
        }))
    }
}

/// What was made; the reason of the first failure where nothing was.
fn usable<T>(
    all: impl Iterator<Item = Result<T, TransportError>>,
) -> Result<Vec<T>, TransportError> {
    let (mut made, mut failed) = (Vec::new(), None);
    for one in all {
        match one {
            Ok(one) => made.push(one),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        Some(error) if made.is_empty() => Err(error),
        _ => Ok(made),
    }
}
