//! Which addresses of a request the policy must list, and where its reply goes
//! (docs/format-network-unlock.md §5.4 and §5.5).
//!
//! A requester can forge every one of these addresses. But the reply goes to one of them: for
//! DHCPv4 to the relay that the request names, for DHCPv6 to the source of the packet. So what a
//! DHCPv6 relay says about its client counts only if the packet comes from a relay that is believed;
//! otherwise every client could be its own relay. The policy prevents mistakes, and answers to other
//! networks; it does not stop an attacker in a network that it lists.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use super::record::Verdict;
use super::{BROADCAST, PolicyAddress, Settings};
use crate::network::message::dhcp4;
use crate::network::message::dhcp6::{MAX_RELAYS, Relay};
use crate::network::policy::{NamedSubnet, Rule};

/// A relay discards a DHCPv4 packet with a higher hop count (RFC 1542, section 4.1.1).
pub(super) const MAX_HOPS: u8 = 16;

/// Whether a relay can have this address. A reply to any other would go to hosts that did not ask.
pub(super) fn may_be_relay(address: Ipv4Addr) -> bool {
    !(address.is_broadcast()
        || address.is_multicast()
        || address.is_loopback()
        || address.octets()[0] == 0)
}

/// Whether these layers can be those of relays, the outermost first: each relay adds one to the hop
/// count of what it received, and none forwards what passed [`MAX_RELAYS`] (RFC 8415, section 19.1).
/// Only the order is required, because relays exist that begin with one.
pub(super) fn may_be_relayed(relays: &[Relay]) -> bool {
    let in_order = relays
        .windows(2)
        .all(|pair| matches!(pair, [outer, inner] if outer.hops > inner.hops));
    let first = relays.first();
    in_order && first.is_none_or(|outermost| usize::from(outermost.hops) <= MAX_RELAYS)
}

/// The addresses in a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Address {
    V4(Address4),
    V6(Address6),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Address4 {
    /// The source address in the IP header.
    pub(super) source: Ipv4Addr,
    /// `ciaddr` in the DHCP header; 0.0.0.0 if the client has no address.
    pub(super) client: Ipv4Addr,
    /// `giaddr` in the DHCP header; 0.0.0.0 if there is no relay.
    pub(super) relay: Ipv4Addr,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Address6 {
    /// The source address in the IP header.
    pub(super) source: Ipv6Addr,
    /// The client's link-address, and its peer-address, as the relays wrote them. The first is `::`
    /// if no relay wrote one.
    pub(super) relay: Option<(Ipv6Addr, Ipv6Addr)>,
}

impl Address4 {
    /// Refuses a client without a relay whose `ciaddr` is not the address that it sends from.
    pub(super) fn check_consistency(&self, policy_address: PolicyAddress) -> Result<(), Verdict> {
        let direct = self.relay.is_unspecified();
        let both = !self.source.is_unspecified() && !self.client.is_unspecified();
        match direct && both && policy_address == PolicyAddress::All && self.source != self.client {
            true => Err(Verdict::Subnet {
                address: self.client.into(),
                claim: "ciaddr",
            }),
            false => Ok(()),
        }
    }

    /// The addresses that must be in the list, each with its name in the log.
    fn claims(&self, policy_address: PolicyAddress) -> Vec<(IpAddr, &'static str)> {
        let source = match self.relay.is_unspecified() {
            true => (self.source.into(), "source"),
            false => (self.relay.into(), "giaddr"),
        };
        let client = (self.client.into(), "ciaddr");
        match policy_address {
            PolicyAddress::Source => vec![source],
            PolicyAddress::Client => vec![client],
            PolicyAddress::All if self.client.is_unspecified() => vec![source],
            PolicyAddress::All => vec![source, client],
        }
    }

    /// The destination of the reply (RFC 2131, section 4.1).
    pub(super) fn reply_to(&self) -> SocketAddrV4 {
        if !self.relay.is_unspecified() {
            SocketAddrV4::new(self.relay, dhcp4::SERVER_PORT)
        } else if !self.source.is_unspecified() {
            SocketAddrV4::new(self.source, dhcp4::CLIENT_PORT)
        } else if !self.client.is_unspecified() {
            SocketAddrV4::new(self.client, dhcp4::CLIENT_PORT)
        } else {
            BROADCAST
        }
    }
}

impl Address6 {
    /// The addresses of a request that passed these relays, the outermost first. The link is that of
    /// the relay next to the client that names one: a switch that only adds its own identifier
    /// writes `::` (RFC 8415, section 13.1; RFC 6221).
    pub(super) fn new(source: Ipv6Addr, relays: &[Relay]) -> Self {
        let link = relays.iter().rev().map(|relay| relay.link);
        let link = link.into_iter().find(|link| !link.is_unspecified());
        let relay = relays
            .last()
            .map(|nearest| (link.unwrap_or(Ipv6Addr::UNSPECIFIED), nearest.peer));
        Self { source, relay }
    }

    /// Whether a relay with the source address of the packet is believed: if it is listed, or if it
    /// is on the server's own link, where clients are answered anyway.
    fn check_relay(
        &self,
        rule: &Rule,
        relays: &[NamedSubnet],
        answer_link_local: bool,
    ) -> Result<(), Verdict> {
        let source = IpAddr::V6(self.source);
        let is_listed = rule.lists(source)
            || relays.iter().any(|named| named.subnet.contains(source))
            || (answer_link_local && self.source.is_unicast_link_local());
        match self.relay.is_none() || is_listed {
            true => Ok(()),
            false => Err(Verdict::Subnet {
                address: source,
                claim: "relay",
            }),
        }
    }

    /// The addresses that must be in the list, each with its name in the log.
    fn claims(&self, answer_link_local: bool) -> Vec<(IpAddr, &'static str)> {
        // A link-local address does not show which network it is in.
        let on_own_link = self.source.is_unicast_link_local() && answer_link_local;
        let of_link_local = |address: Ipv6Addr| address.is_unicast_link_local();
        match self.relay {
            None if on_own_link => Vec::new(),
            None => vec![(self.source.into(), "source")],
            // No relay says which link it is. Then it can only be the server's own.
            Some((link, peer)) if link.is_unspecified() => {
                match (on_own_link, of_link_local(peer)) {
                    (true, true) => Vec::new(),
                    (true, false) => vec![(peer.into(), "peer-address")],
                    (false, _) => vec![(link.into(), "link-address")],
                }
            }
            Some((link, peer)) if of_link_local(peer) => vec![(link.into(), "link-address")],
            Some((link, peer)) => {
                vec![(link.into(), "link-address"), (peer.into(), "peer-address")]
            }
        }
    }
}

impl Address {
    /// Checks the addresses against a certificate's rule, and DHCPv6 relays against those that are
    /// believed besides.
    pub(super) fn authorize(
        &self,
        rule: &Rule,
        relays: &[NamedSubnet],
        settings: &Settings,
    ) -> Result<(), Verdict> {
        let subnets = match rule {
            Rule::Unrestricted => return Ok(()),
            Rule::Disabled => return Err(Verdict::Disabled),
            Rule::Subnets(subnets) => subnets,
        };
        let v4 = matches!(self, Self::V4(_));
        let of_family = |named: &NamedSubnet| named.subnet.is_v4() == v4;
        if settings.per_family_lists && !subnets.iter().any(of_family) {
            return Ok(());
        }
        let claims = match self {
            Self::V4(address) => {
                // The reply would go to every host of that subnet.
                if !address.relay.is_unspecified() && rule.lists_as_broadcast(address.relay) {
                    return Err(Verdict::Relay);
                }
                address.claims(settings.policy_address)
            }
            Self::V6(address) => {
                address.check_relay(rule, relays, settings.answer_link_local)?;
                address.claims(settings.answer_link_local)
            }
        };
        let outside = claims
            .into_iter()
            .find(|(address, _)| !rule.lists(*address));
        match outside {
            Some((address, claim)) => Err(Verdict::Subnet { address, claim }),
            None => Ok(()),
        }
    }
}
