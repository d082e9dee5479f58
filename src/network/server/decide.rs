//! Which addresses of a request the policy must list, and where its reply goes
//! (docs/format-network-unlock.md §5.4 and §5.5).
//!
//! A requester can forge every one of these addresses. The policy prevents mistakes; it does not
//! stop an attacker on the network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use super::record::Verdict;
use super::{BROADCAST, PolicyAddress, Settings};
use crate::network::message::dhcp4;
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
    /// The link-address and the peer-address that the relay next to the client wrote.
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
    /// The addresses that must be in the list, each with its name in the log.
    fn claims(&self, answer_link_local: bool) -> Vec<(IpAddr, &'static str)> {
        let (link, peer) = match self.relay {
            None => (None, (self.source, "source")),
            Some((link, peer)) => (
                (!link.is_unspecified()).then_some((link.into(), "link-address")),
                (peer, "peer-address"),
            ),
        };
        let mut claims: Vec<_> = link.into_iter().collect();
        // A link-local address does not show which network it is in. It may be left out if the
        // relay's address is checked instead, or if the settings permit it.
        let may_omit = !claims.is_empty() || answer_link_local;
        if !(peer.0.is_unicast_link_local() && may_omit) {
            claims.push((peer.0.into(), peer.1));
        }
        claims
    }
}

impl Address {
    /// Checks the addresses against a certificate's rule.
    pub(super) fn authorize(&self, rule: &Rule, settings: &Settings) -> Result<(), Verdict> {
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
            Self::V4(address) => address.claims(settings.policy_address),
            Self::V6(address) => address.claims(settings.answer_link_local),
        };
        let outside = claims
            .into_iter()
            .find(|(address, _)| !subnets.iter().any(|named| named.subnet.contains(*address)));
        match outside {
            Some((address, claim)) => Err(Verdict::Subnet { address, claim }),
            None => Ok(()),
        }
    }
}
