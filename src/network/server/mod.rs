//! The server: who is answered, with what, and where it is sent.
//!
//! [`Core::judge`] is the whole of it without sockets: a datagram and where it came from go in; a
//! reply, or the reason why there is none, comes out. [`run`] puts sockets around it.
//!
//! The order of its steps is the security design: whatever costs nothing is checked before the
//! private key is used. And what the requester sees of any refusal is silence.

pub mod counters;
mod decide;
pub mod keys;
mod limits;
pub mod make;
pub mod record;
pub mod run;
mod socket;
mod tap;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use self::counters::Counters;
use self::decide::{Address, Address4, Address6};
use self::keys::Keys;
use self::limits::{Answered, Before, Buckets, Passage, RequestDigest};

use self::record::{Record, Verdict};
use super::crypto::{self, Decryptor};
use super::message::dhcp4::{self, Form, Request4};
use super::message::dhcp6::{self, Request6};
use super::message::{Fault, Request, SealedReply, Thumbprint};
use super::policy::Policy;
use crate::secret::{NetworkKey, SessionKey};

pub use limits::Rate;

/// How many requesters are told apart by the rate limit.
const SOURCES: usize = 4096;
/// How many certificates are; more are not served at once.
const CERTIFICATES: usize = 256;

/// How the server behaves. The defaults are for a site that knows nothing special.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Answer DHCPINFORM, too, which no client is known to send.
    pub accept_inform: bool,
    /// Which of the addresses that a request names count for the policy.
    pub policy_address: PolicyAddress,
    /// Answer IPv6 link-local addresses whatever the policy lists, as Windows servers do.
    pub answer_link_local: bool,
    /// A certificate that lists subnets of one family only is open to the other.
    pub per_family_lists: bool,
    /// Send an empty option 125, for a client that insists.
    pub reply_option_125: bool,
    /// What to do about a request that was answered before.
    pub replay: Replay,
    /// For each requester.
    pub per_source: Rate,
    /// For each certificate.
    pub per_certificate: Rate,
    /// For all.
    pub total: Rate,
    /// The identifier (DUID) of the server in DHCPv6.
    pub identifier: Vec<u8>,
}

impl Default for Settings {
    fn default() -> Self {
        let rate = |per_second, burst| Rate { per_second, burst };
        Self {
            accept_inform: false,
            policy_address: PolicyAddress::All,
            answer_link_local: true,
            per_family_lists: false,
            reply_option_125: false,
            replay: Replay::Log,
            per_source: rate(2.0, 8.0),
            // A building that gets its power back.
            per_certificate: rate(50.0, 500.0),
            total: rate(200.0, 1000.0),
            identifier: Vec::new(),
        }
    }
}

/// Which of the addresses that a request names must be in the policy's list. None is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyAddress {
    /// Every one that it names.
    All,
    /// The one in the DHCPv4 header (`ciaddr`).
    Client,
    /// Where it came from, or the relay's.
    Source,
}

/// What to do about a request that was answered before and is no retransmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Answer, and say so in the log: a client that lost power may not know that it asked.
    Log,
    /// Answer.
    Allow,
    /// Stay silent for this long after the answer.
    Refuse(Duration),
}

/// The policy as it was read last.
#[derive(Debug, Clone)]
pub enum PolicyState {
    /// None was asked for: everybody is served.
    Unrestricted,
    /// This one holds.
    Valid(Policy),
    /// One was asked for and cannot be used: nobody is served. With the reason.
    Invalid(String),
}

/// What is replaced as a whole when the server reads its files again.
pub struct Configuration {
    /// The certificates.
    pub keys: Arc<Keys>,
    /// The policy.
    pub policy: PolicyState,
}

/// Where a datagram came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// Which protocol its port belongs to.
    pub transport: Transport,
    /// The address in its IP header.
    pub source: SocketAddr,
}

/// What a datagram is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// DHCPv4.
    Dhcp4,
    /// DHCPv6.
    Dhcp6,
}

impl Transport {
    /// What the command line and the log call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dhcp4 => "dhcp4",
            Self::Dhcp6 => "dhcp6",
        }
    }
}

/// A reply, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The UDP payload.
    pub payload: Vec<u8>,
    /// Address and port.
    pub to: SocketAddr,
}

/// What came of a datagram.
#[derive(Debug)]
pub struct Judgement {
    /// The reply, if there is one.
    pub answer: Option<Answer>,
    /// What the log is to say; nothing for somebody else's DHCP.
    pub record: Option<Record>,
}

/// The server without its sockets. Shared by as many threads as there are.
pub struct Core {
    settings: Settings,
    configuration: RwLock<Arc<Configuration>>,
    memory: Mutex<Memory>,
    counters: Counters,
}

struct Memory {
    sources: Buckets<Source>,
    certificates: Buckets<Thumbprint>,
    total: Buckets<()>,
    answered: Answered,
}

/// Who counts as one requester: behind a relay the relay's address would be that of all.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Source {
    Direct(IpAddr),
    Relayed(IpAddr, Vec<u8>),
}

impl Core {
    /// A server with these settings and certificates.
    pub fn new(settings: Settings, configuration: Configuration) -> Self {
        let memory = Memory {
            sources: Buckets::new(settings.per_source, SOURCES),
            certificates: Buckets::new(settings.per_certificate, CERTIFICATES),
            total: Buckets::new(settings.total, 1),
            answered: Answered::new(),
        };
        Self {
            settings,
            configuration: RwLock::new(Arc::new(configuration)),
            memory: Mutex::new(memory),
            counters: Counters::default(),
        }
    }

    /// Puts another configuration in place. Requests that are being judged are judged by the old
    /// one to their end.
    pub fn replace(&self, configuration: Configuration) {
        let mut place = self
            .configuration
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(configuration);
    }

    /// Puts another policy in place, and leaves the certificates.
    pub fn replace_policy(&self, policy: PolicyState) {
        let keys = self.configuration().keys.clone();
        self.replace(Configuration { keys, policy });
    }

    /// The configuration that holds now.
    pub fn configuration(&self) -> Arc<Configuration> {
        let place = self
            .configuration
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        place.clone()
    }

    /// Whether all that was read last could be used.
    pub fn healthy(&self) -> bool {
        let policy = &self.configuration().policy;
        !matches!(policy, PolicyState::Invalid(_)) && !self.counters.last_reload_failed()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Judges one datagram.
    pub fn judge(&self, datagram: &[u8], origin: &Origin, now: Instant) -> Judgement {
        let started = Instant::now();
        self.counters.datagram();
        let mut judgement = match origin.transport {
            Transport::Dhcp4 => self.judge4(datagram, origin, now),
            Transport::Dhcp6 => self.judge6(datagram, origin, now),
        };
        if let Some(record) = &mut judgement.record {
            record.duration = started.elapsed();
            self.counters.request(record);
        }
        judgement
    }

    fn judge4(&self, datagram: &[u8], origin: &Origin, now: Instant) -> Judgement {
        let mut record = Record::new(origin);
        let parsed = match Request4::parse(datagram) {
            Ok(parsed) => parsed,
            Err(fault) => return Judgement::unparsed(record, fault),
        };
        record.client4(&parsed);
        if parsed.form == Form::Inform && !self.settings.accept_inform {
            return Judgement::refused(record, Verdict::MessageType(8));
        }
        let IpAddr::V4(source) = origin.source.ip() else {
            return Judgement::refused(record, Verdict::Malformed("source address"));
        };
        let header = &parsed.header;
        let address = Address4 {
            source,
            client: header.client,
            relay: header.relay,
        };
        let relayed = !header.relay.is_unspecified();
        if relayed && (!decide::may_be_relay(header.relay) || header.hops > decide::MAX_HOPS) {
            return Judgement::refused(record, Verdict::Relay);
        }
        if let Err(verdict) = address.consistent(self.settings.policy_address) {
            return Judgement::refused(record, verdict);
        }
        let requester = match relayed {
            true => Source::Relayed(header.relay.into(), header.hardware().to_vec()),
            false if source.is_unspecified() => {
                Source::Relayed(source.into(), header.hardware().to_vec())
            }
            false => Source::Direct(source.into()),
        };
        let sealed = match self.open(&parsed.request, Address::V4(address), &requester, now) {
            Ok((sealed, verdict)) => {
                record.verdict = verdict;
                sealed
            }
            Err(verdict) => return Judgement::refused(record, verdict),
        };
        let mut reply = parsed.reply(sealed);
        reply.option_125 = self.settings.reply_option_125;
        let answer = Answer {
            payload: reply.encode(),
            to: address.reply_to().into(),
        };
        Judgement::answered(record, answer)
    }

    fn judge6(&self, datagram: &[u8], origin: &Origin, now: Instant) -> Judgement {
        let mut record = Record::new(origin);
        let parsed = match Request6::parse(datagram) {
            Ok(parsed) => parsed,
            Err(fault) => return Judgement::unparsed(record, fault),
        };
        record.client6(&parsed);
        let SocketAddr::V6(source) = origin.source else {
            return Judgement::refused(record, Verdict::Malformed("source address"));
        };
        let nearest = parsed.relays.last();
        let address = Address6 {
            source: *source.ip(),
            relay: nearest.map(|relay| (relay.link, relay.peer)),
        };
        let requester = match nearest {
            Some(relay) => Source::Relayed(relay.link.into(), relay.peer.octets().to_vec()),
            None => Source::Direct(address.source.into()),
        };
        let sealed = match self.open(&parsed.request, Address::V6(address), &requester, now) {
            Ok((sealed, verdict)) => {
                record.verdict = verdict;
                sealed
            }
            Err(verdict) => return Judgement::refused(record, verdict),
        };
        let port = match parsed.relays.is_empty() {
            true => dhcp6::CLIENT_PORT,
            false => dhcp6::SERVER_PORT,
        };
        let answer = Answer {
            payload: parsed.reply(&self.settings.identifier, sealed).encode(),
            to: SocketAddrV6::new(*source.ip(), port, 0, source.scope_id()).into(),
        };
        Judgement::answered(record, answer)
    }

    /// From the certificate to the reply: the steps that both protocols share.
    fn open(
        &self,
        request: &Request,
        address: Address,
        requester: &Source,
        now: Instant,
    ) -> Result<(SealedReply, Verdict), Verdict> {
        let configuration = self.configuration();
        let served = configuration
            .keys
            .get(&request.thumbprint)
            .ok_or(Verdict::UnknownThumbprint)?;
        match &configuration.policy {
            PolicyState::Unrestricted => {}
            PolicyState::Valid(policy) => {
                address.admitted(policy.rule(&request.thumbprint), &self.settings)?;
            }
            PolicyState::Invalid(_) => return Err(Verdict::PolicyInvalid),
        }
        let digest = digest(request);
        let before = self.admit(request, requester, &digest, now)?;
        if let Before::Retransmitted(reply) = before {
            return Ok((reply, Verdict::Retransmitted));
        }
        let verdict = match (before, self.settings.replay) {
            (Before::Replayed(ago), Replay::Refuse(time)) if ago < time => {
                return Err(Verdict::Replay);
            }
            (Before::Replayed(_), Replay::Log | Replay::Refuse(_)) => Verdict::AnsweredAgain,
            _ => Verdict::Answered,
        };
        let reply = self.reply(&*served.key, request)?;
        self.memory().answered.remember(digest, reply, now);
        Ok((reply, verdict))
    }

    /// Whether the rate limits let the request through, and whether it came before. A request that
    /// one limit refuses takes nothing from the next: what one requester sends too much of is not
    /// at the expense of others.
    fn admit(
        &self,
        request: &Request,
        requester: &Source,
        digest: &RequestDigest,
        now: Instant,
    ) -> Result<Before, Verdict> {
        let mut memory = self.memory();
        let pass = |passage| match passage {
            Passage::Free => Ok(()),
            Passage::Refused => Err(Verdict::Rate { first: true }),
            Passage::RefusedAgain => Err(Verdict::Rate { first: false }),
        };
        pass(memory.sources.take(requester, now))?;
        pass(memory.certificates.take(&request.thumbprint, now))?;
        pass(memory.total.take(&(), now))?;
        Ok(memory.answered.before(digest, now))
    }

    /// The private operation, and the sealing.
    fn reply(&self, key: &dyn Decryptor, request: &Request) -> Result<SealedReply, Verdict> {
        let started = Instant::now();
        let keys = crypto::open_request(key, &request.key_protector);
        let sound = keys.is_some();
        // What cannot be opened takes as long as what can.
        let keys = keys.unwrap_or_else(|| crypto::Keys {
            network: NetworkKey::from_bytes(&[0; NetworkKey::LEN]),
            session: SessionKey::from_bytes(&[0; SessionKey::LEN]),
        });
        let reply = crypto::seal_reply(&keys);
        self.counters.private_operation(started.elapsed());
        reply.filter(|_| sound).ok_or(Verdict::Decrypt)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Judgement {
    fn unparsed(record: Record, fault: Fault) -> Self {
        match fault {
            Fault::NotOurs => Self {
                answer: None,
                record: None,
            },
            Fault::MessageType(code) => Self::refused(record, Verdict::MessageType(code)),
            Fault::Malformed(field) => Self::refused(record, Verdict::Malformed(field)),
        }
    }

    fn refused(mut record: Record, verdict: Verdict) -> Self {
        record.verdict = verdict;
        Self {
            answer: None,
            record: Some(record),
        }
    }

    fn answered(mut record: Record, answer: Answer) -> Self {
        record.to = Some(answer.to);
        Self {
            answer: Some(answer),
            record: Some(record),
        }
    }
}

fn digest(request: &Request) -> RequestDigest {
    let mut hash = Sha256::new();
    hash.update(request.key_protector.as_bytes());
    hash.update(request.thumbprint.as_bytes());
    hash.finalize().into()
}

/// Where a reply goes whose client cannot be addressed.
const EVERYBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, dhcp4::CLIENT_PORT);
