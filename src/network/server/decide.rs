//! Which addresses of a request count, and where its reply goes (docs/format-network-unlock.md §5.4
//! and §5.5).
//!
//! None of the addresses is proved: the policy is a fence against mistakes, not against somebody on
//! the wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use super::record::Verdict;
use super::{EVERYBODY, PolicyAddress, Settings};
use crate::network::message::dhcp4;
use crate::network::policy::{Named, Rule};

/// More relays than this no DHCPv4 packet passes (RFC 1542, section 4.1.1).
pub(super) const MAX_HOPS: u8 = 16;

/// Whether a relay can have this address: anything else would have the server send packets astray.
pub(super) fn may_be_relay(address: Ipv4Addr) -> bool {
    !(address.is_broadcast()
        || address.is_multicast()
        || address.is_loopback()
        || address.octets()[0] == 0)
}

/// The addresses that a request names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Address {
    V4(Address4),
    V6(Address6),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Address4 {
    /// In the IP header.
    pub(super) source: Ipv4Addr,
    /// In the DHCP header.
    pub(super) client: Ipv4Addr,
    pub(super) relay: Ipv4Addr,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Address6 {
    pub(super) source: Ipv6Addr,
    /// Link and peer address, as the relay next to the client has them.
    pub(super) relay: Option<(Ipv6Addr, Ipv6Addr)>,
}

impl Address4 {
    /// Refuses a client that says it has another address than it sends from.
    pub(super) fn consistent(&self, counts: PolicyAddress) -> Result<(), Verdict> {
        let direct = self.relay.is_unspecified();
        let both = !self.source.is_unspecified() && !self.client.is_unspecified();
        match direct && both && counts == PolicyAddress::All && self.source != self.client {
            true => Err(Verdict::Subnet {
                address: self.client.into(),
                claim: "ciaddr",
            }),
            false => Ok(()),
        }
    }

    /// What must be in the list: each with its name in the log.
    fn claims(&self, counts: PolicyAddress) -> Vec<(IpAddr, &'static str)> {
        let source = match self.relay.is_unspecified() {
            true => (self.source.into(), "source"),
            false => (self.relay.into(), "giaddr"),
        };
        let client = (self.client.into(), "ciaddr");
        match counts {
            PolicyAddress::Source => vec![source],
            PolicyAddress::Client => vec![client],
            PolicyAddress::All if self.client.is_unspecified() => vec![source],
            PolicyAddress::All => vec![source, client],
        }
    }

    pub(super) fn reply_to(&self) -> SocketAddrV4 {
        if !self.relay.is_unspecified() {
            SocketAddrV4::new(self.relay, dhcp4::SERVER_PORT)
        } else if !self.source.is_unspecified() {
            SocketAddrV4::new(self.source, dhcp4::CLIENT_PORT)
        } else if !self.client.is_unspecified() {
            SocketAddrV4::new(self.client, dhcp4::CLIENT_PORT)
        } else {
            EVERYBODY
        }
    }
}

impl Address6 {
    fn claims(&self, answer_link_local: bool) -> Vec<(IpAddr, &'static str)> {
        let (link, peer) = match self.relay {
            None => (None, (self.source, "source")),
            Some((link, peer)) => (
                (!link.is_unspecified()).then_some((link.into(), "link-address")),
                (peer, "peer-address"),
            ),
        };
        let mut claims: Vec<_> = link.into_iter().collect();
        // A link-local address says nothing of the network: the relay's does, or else the setting.
        let vouched = !claims.is_empty() || answer_link_local;
        if !(peer.0.is_unicast_link_local() && vouched) {
            claims.push((peer.0.into(), peer.1));
        }
        claims
    }
}

impl Address {
    /// Whether the rule lets the request through.
    pub(super) fn admitted(&self, rule: &Rule, settings: &Settings) -> Result<(), Verdict> {
        let subnets = match rule {
            Rule::Everybody => return Ok(()),
            Rule::Nobody => return Err(Verdict::Disabled),
            Rule::Only(subnets) => subnets,
        };
        let v4 = matches!(self, Self::V4(_));
        let of_family = |named: &Named| named.subnet.is_v4() == v4;
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
