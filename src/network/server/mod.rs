//! The Network Unlock server: which requests are answered, with what, and where replies are sent.
//!
//! [`Core::handle`] is the whole decision without sockets: a datagram and its origin go in; a reply,
//! or the reason why there is none, comes out. [`ListenOptions::open`] opens the sockets, and
//! [`Sockets::serve`] connects them with a [`Core`].
//!
//! The order of the checks is part of the security design: every check that costs little comes
//! before the private key is used. A refused requester receives nothing, whatever the reason.

mod counters;
mod decide;
mod keys;
mod limits;
mod make;
mod record;
mod run;
mod settings;
mod socket;
mod tap;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use sha2::{Digest, Sha256};

use self::decide::{Address, Address4, Address6};
use self::limits::{AnsweredRequests, Earlier, RateDecision, RequestDigest, TokenBuckets};
use super::crypto::{self, Decryptor};
use super::message::dhcp4::{self, Form, Request4};
use super::message::dhcp6::{self, Request6};
use super::message::{Fault, Request, SealedReply, Thumbprint};
use super::policy::Policy;
use crate::secret::{NetworkKey, SessionKey};

pub use counters::Counters;
pub use keys::{KeyFiles, ServedCertificate, ServedCertificates, read_certificates};
pub use limits::Rate;
pub use make::NewCertificate;
pub use record::{Level, Record, Verdict};
pub use run::{Event, ListenOptions, SocketMode, Sockets};
pub use settings::{PolicyAddress, Replay, Settings};

/// How many requesters have a rate limit of their own at a time. If there are more, those that asked
/// longest ago get a full one again, which only favors them. A host that makes up requesters is
/// stopped by the limit of the network that it sends from.
const MAX_SOURCES: usize = 4096;
/// How many networks have one.
const MAX_NETWORKS: usize = 4096;
/// How many certificates have one; no server is expected to serve more.
const MAX_CERTIFICATES: usize = 256;

/// The policy that was read last.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PolicyState {
    /// The server has no policy file: every address is served.
    Unrestricted,
    /// The policy file is valid.
    Valid(Policy),
    /// The policy file cannot be read or is invalid, for this reason: no request is answered.
    Invalid(String),
}

/// Certificates and policy: what the server reads from files and replaces as a whole.
#[derive(Debug)]
#[non_exhaustive]
pub struct Configuration {
    /// The certificates that are served, with their private keys.
    pub certificates: Arc<ServedCertificates>,
    /// Which addresses they are served to.
    pub policy: PolicyState,
}

impl Configuration {
    /// A configuration with these certificates and this policy.
    pub fn new(certificates: impl Into<Arc<ServedCertificates>>, policy: PolicyState) -> Self {
        Self {
            certificates: certificates.into(),
            policy,
        }
    }
}

/// Where a datagram came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// The protocol of the port that it was sent to.
    pub protocol: Protocol,
    /// The source address and port in its IP and UDP headers.
    pub source: SocketAddr,
}

impl Origin {
    /// From this address to the server port of this protocol.
    pub fn new(protocol: Protocol, source: SocketAddr) -> Self {
        Self { protocol, source }
    }
}

/// The protocol that a datagram is parsed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// DHCPv4.
    Dhcp4,
    /// DHCPv6.
    Dhcp6,
}

impl Protocol {
    /// Its stable word on the command line and in the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dhcp4 => "dhcp4",
            Self::Dhcp6 => "dhcp6",
        }
    }
}

/// The same as [`Protocol::word`].
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        [Self::Dhcp4, Self::Dhcp6]
            .into_iter()
            .find(|protocol| protocol.word() == text)
            .ok_or(UnknownProtocol)
    }
}

/// Text that names no [`Protocol`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol; use dhcp4 or dhcp6")]
pub struct UnknownProtocol;

/// A reply, and where to send it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The UDP payload.
    pub payload: Vec<u8>,
    /// The destination address and port.
    pub to: SocketAddr,
}

/// What the server does about a datagram.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Decision {
    /// The reply, unless the request is refused.
    pub reply: Option<Reply>,
    /// The log entry; `None` for DHCP messages that are not of this protocol.
    pub record: Option<Record>,
}

/// The server without its sockets, which any number of threads may share.
pub struct Core {
    settings: Settings,
    configuration: RwLock<Arc<Configuration>>,
    memory: Mutex<Memory>,
    counters: Counters,
}

/// What is remembered between requests.
struct Memory {
    sources: TokenBuckets<Source>,
    networks: TokenBuckets<Network>,
    certificates: TokenBuckets<Thumbprint>,
    total: TokenBuckets<()>,
    answered: AnsweredRequests,
}

/// What counts as one requester for the rate limit. All clients of a relay send from its address,
/// so a relayed client is identified by its hardware address or its address on the link, too.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Source {
    Direct(IpAddr),
    Relayed(IpAddr, Vec<u8>),
}

/// Where requests come from, as far as the sender cannot simply write it: a limit for all of them
/// together stops a sender who makes up requesters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Network {
    /// An IPv4 relay, by the source address of its packets.
    Relay(Ipv4Addr),
    /// The hosts of a subnet: an address without its last bits. IPv6 relays count as hosts, because a
    /// host has as many IPv6 addresses as it likes.
    Subnet(IpAddr),
}

impl Network {
    fn of(source: IpAddr, relayed: bool) -> Self {
        match source {
            IpAddr::V4(relay) if relayed => Self::Relay(relay),
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::Subnet(Ipv4Addr::new(a, b, c, 0).into())
            }
            IpAddr::V6(v6) => Self::Subnet(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into()),
        }
    }
}

/// Who asks, for the rate limits.
struct Requester {
    source: Source,
    network: Network,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("settings", &self.settings)
            .field("configuration", &self.configuration())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Core {
    /// A server with these settings, certificates and policy.
    pub fn new(settings: Settings, configuration: Configuration) -> Self {
        let memory = Memory {
            sources: TokenBuckets::new(settings.per_source, MAX_SOURCES),
            networks: TokenBuckets::new(settings.per_network, MAX_NETWORKS),
            certificates: TokenBuckets::new(settings.per_certificate, MAX_CERTIFICATES),
            total: TokenBuckets::new(settings.total, 1),
            answered: AnsweredRequests::new(),
        };
        Self {
            settings,
            configuration: RwLock::new(Arc::new(configuration)),
            memory: Mutex::new(memory),
            counters: Counters::default(),
        }
    }

    /// Replaces the configuration. Requests in progress finish with the old one.
    pub fn replace(&self, configuration: Configuration) {
        let mut current = self
            .configuration
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(configuration);
    }

    /// Replaces the policy and keeps the certificates.
    pub fn replace_policy(&self, policy: PolicyState) {
        let certificates = self.configuration().certificates.clone();
        self.replace(Configuration {
            certificates,
            policy,
        });
    }

    /// The current configuration.
    pub fn configuration(&self) -> Arc<Configuration> {
        let current = self
            .configuration
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    /// Whether all files could be used when they were read last.
    pub fn healthy(&self) -> bool {
        let policy = &self.configuration().policy;
        !matches!(policy, PolicyState::Invalid(_)) && !self.counters.last_reload_failed()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Decides about one datagram that arrived at `now`.
    pub fn handle(&self, datagram: &[u8], origin: &Origin, now: Instant) -> Decision {
        let started = Instant::now();
        self.counters.datagram();
        let mut decision = match origin.protocol {
            Protocol::Dhcp4 => self.handle_dhcp4(datagram, origin, now),
            Protocol::Dhcp6 => self.handle_dhcp6(datagram, origin, now),
        };
        if let Some(record) = &mut decision.record {
            record.duration = started.elapsed();
            self.counters.request(record);
        }
        decision
    }

    fn handle_dhcp4(&self, datagram: &[u8], origin: &Origin, now: Instant) -> Decision {
        let mut record = Record::new(origin);
        let parsed = match Request4::parse(datagram) {
            Ok(parsed) => parsed,
            Err(fault) => return Decision::unparsed(record, fault),
        };
        record.describe_dhcp4(&parsed);
        if parsed.form == Form::Inform && !self.settings.accept_inform {
            // 8 is DHCPINFORM (RFC 2132, section 9.6).
            return Decision::refused(record, Verdict::MessageType(8));
        }
        let IpAddr::V4(source) = origin.source.ip() else {
            return Decision::refused(record, Verdict::Malformed("source address"));
        };
        if source.is_broadcast() || source.is_multicast() {
            return Decision::refused(record, Verdict::Malformed("source address"));
        }
        let header = &parsed.header;
        let address = Address4 {
            source,
            client: header.client,
            relay: header.relay,
        };
        let relayed = !header.relay.is_unspecified();
        if relayed && (!decide::may_be_relay(header.relay) || header.hops > decide::MAX_HOPS) {
            return Decision::refused(record, Verdict::Relay);
        }
        if let Err(verdict) = address.check_consistency(self.settings.policy_address) {
            return Decision::refused(record, verdict);
        }
        let who = match relayed {
            true => Source::Relayed(header.relay.into(), header.hardware().to_vec()),
            // Clients without an address all send from 0.0.0.0.
            false if source.is_unspecified() => {
                Source::Relayed(source.into(), header.hardware().to_vec())
            }
            false => Source::Direct(source.into()),
        };
        let requester = Requester {
            source: who,
            network: Network::of(source.into(), relayed),
        };
        let sealed = match self.seal(&parsed.request, Address::V4(address), &requester, now) {
            Ok((sealed, verdict)) => {
                record.verdict = verdict;
                sealed
            }
            Err(verdict) => return Decision::refused(record, verdict),
        };
        let mut reply = parsed.reply(sealed);
        reply.option_125 = self.settings.reply_option_125;
        let reply = Reply {
            payload: reply.encode(),
            to: address.reply_to().into(),
        };
        Decision::answered(record, reply)
    }

    fn handle_dhcp6(&self, datagram: &[u8], origin: &Origin, now: Instant) -> Decision {
        let mut record = Record::new(origin);
        let parsed = match Request6::parse(datagram) {
            Ok(parsed) => parsed,
            Err(fault) => return Decision::unparsed(record, fault),
        };
        record.describe_dhcp6(&parsed);
        let SocketAddr::V6(source) = origin.source else {
            return Decision::refused(record, Verdict::Malformed("source address"));
        };
        if source.ip().is_multicast() || source.ip().is_unspecified() {
            return Decision::refused(record, Verdict::Malformed("source address"));
        }
        if !decide::may_be_relayed(&parsed.relays) {
            return Decision::refused(record, Verdict::Relay);
        }
        let address = Address6::new(*source.ip(), &parsed.relays);
        let requester = Requester {
            source: match address.relay {
                Some((link, peer)) => Source::Relayed(link.into(), peer.octets().to_vec()),
                None => Source::Direct(address.source.into()),
            },
            network: Network::of(address.source.into(), address.relay.is_some()),
        };
        let sealed = match self.seal(&parsed.request, Address::V6(address), &requester, now) {
            Ok((sealed, verdict)) => {
                record.verdict = verdict;
                sealed
            }
            Err(verdict) => return Decision::refused(record, verdict),
        };
        // A relay listens on the server port (RFC 8415, section 19.3).
        let port = match parsed.relays.is_empty() {
            true => dhcp6::CLIENT_PORT,
            false => dhcp6::SERVER_PORT,
        };
        let reply = Reply {
            payload: parsed.reply(&self.settings.identifier, sealed).encode(),
            to: SocketAddrV6::new(*source.ip(), port, 0, source.scope_id()).into(),
        };
        Decision::answered(record, reply)
    }

    /// The steps that both protocols share, from the certificate's thumbprint to the sealed reply.
    fn seal(
        &self,
        request: &Request,
        address: Address,
        requester: &Requester,
        now: Instant,
    ) -> Result<(SealedReply, Verdict), Verdict> {
        let configuration = self.configuration();
        let served = configuration
            .certificates
            .get(&request.thumbprint)
            .ok_or(Verdict::UnknownThumbprint)?;
        match &configuration.policy {
            PolicyState::Unrestricted => {}
            PolicyState::Valid(policy) => {
                let rule = policy.rule(&request.thumbprint);
                address.authorize(rule, policy.relays(), &self.settings)?;
            }
            PolicyState::Invalid(_) => return Err(Verdict::PolicyInvalid),
        }
        let digest = digest(request);
        let earlier = self.admit(request, requester, &digest, now)?;
        // The same bytes again: no second use of the private key.
        if let Earlier::Retransmitted(reply) = earlier {
            return Ok((reply, Verdict::Retransmitted));
        }
        let verdict = match (earlier, self.settings.replay) {
            (Earlier::Replayed(ago), Replay::Refuse(time)) if ago < time => {
                return Err(Verdict::Replay);
            }
            (Earlier::Replayed(_), Replay::Log | Replay::Refuse(_)) => Verdict::AnsweredAgain,
            _ => Verdict::Answered,
        };
        let reply = self.decrypt_and_seal(&*served.key, request)?;
        self.memory().answered.remember(digest, reply, now);
        Ok((reply, verdict))
    }

    /// Checks the rate limits, and looks up whether the request was answered before. A refused
    /// request takes a token from its own requester only, so that a host that sends too much does not
    /// use up the share of others.
    fn admit(
        &self,
        request: &Request,
        requester: &Requester,
        digest: &RequestDigest,
        now: Instant,
    ) -> Result<Earlier, Verdict> {
        let mut memory = self.memory();
        let check = |decision| match decision {
            RateDecision::Allowed => Ok(()),
            RateDecision::Refused => Err(Verdict::Rate { first: true }),
            RateDecision::RefusedAgain => Err(Verdict::Rate { first: false }),
        };
        // Before anything is kept for a requester, who may be made up.
        check(memory.networks.check(&requester.network, now))?;
        check(memory.sources.take(&requester.source, now))?;
        check(memory.certificates.check(&request.thumbprint, now))?;
        check(memory.total.check(&(), now))?;
        memory.networks.take(&requester.network, now);
        memory.certificates.take(&request.thumbprint, now);
        memory.total.take(&(), now);
        Ok(memory.answered.look_up(digest, now))
    }

    /// The private RSA operation, and the sealing of the reply.
    fn decrypt_and_seal(
        &self,
        key: &dyn Decryptor,
        request: &Request,
    ) -> Result<SealedReply, Verdict> {
        let started = Instant::now();
        let keys = crypto::open_request(key, &request.key_protector);
        let decrypted = keys.is_some();
        // A reply is sealed in any case, so that a request that cannot be decrypted takes as long
        // as one that can: the time must not tell whether the padding was right.
        let keys = keys.unwrap_or_else(|| crypto::RequestKeys {
            network: NetworkKey::from_bytes(&[0; NetworkKey::LEN]),
            session: SessionKey::from_bytes(&[0; SessionKey::LEN]),
        });
        let reply = crypto::seal_reply(&keys);
        self.counters.private_operation(started.elapsed());
        reply.filter(|_| decrypted).ok_or(Verdict::Decrypt)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Decision {
    fn unparsed(record: Record, fault: Fault) -> Self {
        match fault {
            Fault::NotOurs => Self {
                reply: None,
                record: None,
            },
            Fault::MessageType(code) => Self::refused(record, Verdict::MessageType(code)),
            Fault::Malformed(field) => Self::refused(record, Verdict::Malformed(field)),
        }
    }

    fn refused(mut record: Record, verdict: Verdict) -> Self {
        record.verdict = verdict;
        Self {
            reply: None,
            record: Some(record),
        }
    }

    fn answered(mut record: Record, reply: Reply) -> Self {
        record.to = Some(reply.to);
        Self {
            reply: Some(reply),
            record: Some(record),
        }
    }
}

/// SHA-256 of the key protector and the thumbprint.
fn digest(request: &Request) -> RequestDigest {
    let mut hash = Sha256::new();
    hash.update(request.key_protector.as_bytes());
    hash.update(request.thumbprint.as_bytes());
    hash.finalize().into()
}

/// The destination of a reply to a DHCPv4 client that has no address yet.
const BROADCAST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, dhcp4::CLIENT_PORT);
