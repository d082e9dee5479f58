//! How the server behaves.

use std::time::Duration;

use super::Rate;

/// How the server behaves. The defaults suit a site without special needs.
///
/// ```
/// use std::time::Duration;
///
/// use fve::network::server::{Replay, Settings};
///
/// let settings = Settings::new()
///     .per_family_lists(true)
///     .replay(Replay::Refuse(Duration::from_secs(300)));
/// ```
#[derive(Debug, Clone)]
pub struct Settings {
    pub(super) accept_inform: bool,
    pub(super) policy_address: PolicyAddress,
    pub(super) answer_link_local: bool,
    pub(super) per_family_lists: bool,
    pub(super) reply_option_125: bool,
    pub(super) replay: Replay,
    pub(super) per_source: Rate,
    pub(super) per_network: Rate,
    pub(super) per_certificate: Rate,
    pub(super) total: Rate,
    pub(super) identifier: Vec<u8>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            accept_inform: false,
            policy_address: PolicyAddress::All,
            answer_link_local: true,
            per_family_lists: false,
            reply_option_125: false,
            replay: Replay::Log,
            per_source: Rate::new(2.0, 8.0),
            // Less than for a certificate, so that others are answered beside one network that asks
            // for more than that.
            per_network: Rate::new(30.0, 400.0),
            // After a power failure, all clients of a site boot at once: 500 requests in one burst.
            per_certificate: Rate::new(50.0, 500.0),
            total: Rate::new(200.0, 1000.0),
            identifier: Vec::new(),
        }
    }
}

impl Settings {
    /// The default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to answer DHCPINFORM messages, too. No client is known to send them. Default: no.
    pub fn accept_inform(mut self, accept: bool) -> Self {
        self.accept_inform = accept;
        self
    }

    /// Which of the addresses in a DHCPv4 request the policy must list. Default:
    /// [`PolicyAddress::All`].
    pub fn policy_address(mut self, address: PolicyAddress) -> Self {
        self.policy_address = address;
        self
    }

    /// Whether to answer IPv6 link-local addresses that the policy does not list, as Windows
    /// servers do. Default: yes.
    pub fn answer_link_local(mut self, answer: bool) -> Self {
        self.answer_link_local = answer;
        self
    }

    /// Whether a certificate whose list has subnets of one address family only is served to every
    /// address of the other. Default: no.
    pub fn per_family_lists(mut self, per_family: bool) -> Self {
        self.per_family_lists = per_family;
        self
    }

    /// Whether DHCPv4 replies carry an empty option 125, for clients that require it. Default: no.
    pub fn reply_option_125(mut self, reply: bool) -> Self {
        self.reply_option_125 = reply;
        self
    }

    /// What to do about a repeated request. Default: [`Replay::Log`].
    pub fn replay(mut self, replay: Replay) -> Self {
        self.replay = replay;
        self
    }

    /// The limit for each requester. Default: 2 a second, 8 at once.
    pub fn per_source(mut self, rate: Rate) -> Self {
        self.per_source = rate;
        self
    }

    /// The limit for each network that requests come from: for each IPv4 relay, by the address that it
    /// sends from, and for each subnet of other senders (the first 24 bits of an IPv4 address, the
    /// first 64 of an IPv6 address). Hardware addresses, and the addresses that a relay
    /// writes into a message, are what the sender says; these are where it is. Default: 30 a second,
    /// 400 at once.
    pub fn per_network(mut self, rate: Rate) -> Self {
        self.per_network = rate;
        self
    }

    /// The limit for each certificate. Default: 50 a second, 500 at once.
    pub fn per_certificate(mut self, rate: Rate) -> Self {
        self.per_certificate = rate;
        self
    }

    /// The limit for all requests together. Default: 200 a second, 1000 at once.
    pub fn total(mut self, rate: Rate) -> Self {
        self.total = rate;
        self
    }

    /// The server's DHCPv6 identifier (DUID, RFC 8415, section 11), which DHCPv6 replies must
    /// carry. Default: empty.
    pub fn identifier(mut self, duid: impl Into<Vec<u8>>) -> Self {
        self.identifier = duid.into();
        self
    }
}

/// Which of the addresses in a DHCPv4 request the policy must list. The sender can forge each of
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyAddress {
    /// Every address in the request.
    All,
    /// The client's address in the DHCP header (`ciaddr`).
    Client,
    /// The source address of the packet, or the relay's (`giaddr`) if there is a relay.
    Source,
}

/// What to do about a request that was answered before and is not a retransmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replay {
    /// Answer, and log it: a client that lost power may not know that it sent the request before.
    Log,
    /// Answer, and log it like a first request.
    Allow,
    /// Refuse for this long after the answer.
    Refuse(Duration),
}
