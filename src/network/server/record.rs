//! What the log says of a request: never a key, and of the sealed keys only a digest.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Origin, Transport};
use crate::network::message::dhcp4::Request4;
use crate::network::message::dhcp6::Request6;
use crate::network::message::{Request, Thumbprint};

/// One request, and what came of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Record {
    /// Which protocol.
    pub transport: Transport,
    /// The address in the IP header.
    pub source: SocketAddr,
    /// The address that a DHCPv4 client says it has.
    pub client: Option<IpAddr>,
    /// The relay next to the client.
    pub relay: Option<IpAddr>,
    /// The client's address as that relay saw it (DHCPv6).
    pub peer: Option<IpAddr>,
    /// The client's hardware address (DHCPv4), or its identifier (DHCPv6).
    pub hardware: Vec<u8>,
    /// The transaction.
    pub xid: Option<u32>,
    /// The certificate that was asked for.
    pub thumbprint: Option<Thumbprint>,
    /// Tells this request's sealed keys from others.
    pub key_protector: Option<[u8; 8]>,
    /// Where the reply went.
    pub to: Option<SocketAddr>,
    /// What came of it.
    pub verdict: Verdict,
    /// How long that took.
    pub duration: Duration,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// A reply was made. Whether it unlocked anything, a server cannot know.
    Answered,
    /// The same reply as a moment ago.
    Retransmitted,
    /// A reply to a request that was answered before.
    AnsweredAgain,
    /// A DHCP message type that the protocol does not use.
    MessageType(u8),
    /// This part is not as it must be.
    Malformed(&'static str),
    /// The relay's address, or the number of relays, cannot be true.
    Relay,
    /// Asks for a certificate that is not here: the client has another one.
    UnknownThumbprint,
    /// The policy disables the certificate.
    Disabled,
    /// The policy does not list an address that counts.
    Subnet {
        /// The address.
        address: IpAddr,
        /// Where the request names it.
        claim: &'static str,
    },
    /// The policy file is invalid: nobody is answered.
    PolicyInvalid,
    /// Too many requests.
    Rate {
        /// Whether it is the first since there was room.
        first: bool,
    },
    /// Answered before, and repeats are refused.
    Replay,
    /// Not sealed to the certificate that it names, or not as it must be.
    Decrypt,
}

/// How loud a verdict is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Not for the log.
    Quiet,
    /// The normal course.
    Info,
    /// Worth a look.
    Notice,
    /// Something is wrong with the requester.
    Warning,
    /// Something is wrong here.
    Error,
}

impl Level {
    /// Its number in syslog, which systemd takes in front of a line.
    pub fn syslog(self) -> u8 {
        match self {
            Self::Quiet => 7,
            Self::Info => 6,
            Self::Notice => 5,
            Self::Warning => 4,
            Self::Error => 3,
        }
    }
}

impl Verdict {
    /// Whether a reply goes out.
    pub fn is_answer(self) -> bool {
        matches!(
            self,
            Self::Answered | Self::Retransmitted | Self::AnsweredAgain
        )
    }

    /// The decision, a stable word.
    pub fn decision(self) -> &'static str {
        match self.is_answer() {
            true => "answered",
            false => "refused",
        }
    }

    /// The reason, a stable word. [`Self::detail`] says more.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Answered => "valid",
            Self::Retransmitted => "retransmission",
            Self::AnsweredAgain => "repeated",
            Self::MessageType(_) => "message-type",
            Self::Malformed(_) => "malformed",
            Self::Relay => "relay",
            Self::UnknownThumbprint => "unknown-thumbprint",
            Self::Disabled => "policy-disabled",
            Self::Subnet { .. } => "policy-subnet",
            Self::PolicyInvalid => "policy-invalid",
            Self::Rate { .. } => "rate",
            Self::Replay => "replay",
            Self::Decrypt => "decrypt",
        }
    }

    /// All reasons, for counters that begin at zero.
    pub const REASONS: [&str; 13] = [
        "valid",
        "retransmission",
        "repeated",
        "message-type",
        "malformed",
        "relay",
        "unknown-thumbprint",
        "policy-disabled",
        "policy-subnet",
        "policy-invalid",
        "rate",
        "replay",
        "decrypt",
    ];

    /// What the reason alone does not say.
    pub fn detail(self) -> Option<String> {
        match self {
            Self::MessageType(code) => Some(code.to_string()),
            Self::Malformed(field) => Some(field.to_owned()),
            Self::Subnet { address, claim } => Some(format!("{claim} {address}")),
            _ => None,
        }
    }

    /// How loud it is.
    pub fn level(self) -> Level {
        match self {
            Self::Rate { first: false } => Level::Quiet,
            Self::Answered
            | Self::Retransmitted
            | Self::MessageType(_)
            | Self::Malformed(_)
            | Self::Relay => Level::Info,
            Self::AnsweredAgain
            | Self::UnknownThumbprint
            | Self::Disabled
            | Self::Subnet { .. }
            | Self::Replay => Level::Notice,
            Self::Rate { first: true } | Self::Decrypt => Level::Warning,
            Self::PolicyInvalid => Level::Error,
        }
    }
}

impl Record {
    pub(super) fn new(origin: &Origin) -> Self {
        Self {
            transport: origin.transport,
            source: origin.source,
            client: None,
            relay: None,
            peer: None,
            hardware: Vec::new(),
            xid: None,
            thumbprint: None,
            key_protector: None,
            to: None,
            verdict: Verdict::Answered,
            duration: Duration::ZERO,
        }
    }

    pub(super) fn client4(&mut self, request: &Request4) {
        let header = &request.header;
        let named = |address: std::net::Ipv4Addr| {
            (!address.is_unspecified()).then_some(IpAddr::V4(address))
        };
        self.client = named(header.client);
        self.relay = named(header.relay);
        self.hardware = header.hardware().to_vec();
        self.xid = Some(header.xid);
        self.asks(&request.request);
    }

    pub(super) fn client6(&mut self, request: &Request6) {
        if let Some(relay) = request.relays.last() {
            self.relay = Some(relay.link.into());
            self.peer = Some(relay.peer.into());
        }
        // An identifier has at most 130 bytes (RFC 8415, section 11.1); a longer one is nobody's.
        let client = request.client.as_deref().unwrap_or_default();
        self.hardware = client.iter().take(130).copied().collect();
        let [high, middle, low] = request.xid;
        self.xid = Some(u32::from_be_bytes([0, high, middle, low]));
        self.asks(&request.request);
    }

    fn asks(&mut self, request: &Request) {
        self.thumbprint = Some(request.thumbprint);
        self.key_protector = Some(request.key_protector.digest());
    }

    /// The hardware address or identifier in hexadecimal.
    pub fn hardware_text(&self) -> String {
        let mut text = String::new();
        for byte in &self.hardware {
            if !text.is_empty() {
                text.push(':');
            }
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// The digest of the sealed keys in hexadecimal.
    pub fn key_protector_text(&self) -> Option<String> {
        let digest = self.key_protector?;
        Some(base16ct::lower::encode_string(&digest))
    }
}

/// The record as a line of `key=value` words, none of which needs quotes.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "decision={} reason={}",
            self.verdict.decision(),
            self.verdict.reason()
        )?;
        if let Some(detail) = self.verdict.detail() {
            write!(f, " detail={}", detail.replace(' ', ":"))?;
        }
        write!(
            f,
            " transport={} source={}",
            self.transport.word(),
            self.source.ip()
        )?;
        for (name, address) in [
            ("client", self.client),
            ("relay", self.relay),
            ("peer", self.peer),
        ] {
            if let Some(address) = address {
                write!(f, " {name}={address}")?;
            }
        }
        if !self.hardware.is_empty() {
            write!(f, " hardware={}", self.hardware_text())?;
        }
        if let Some(xid) = self.xid {
            write!(f, " xid={xid:08x}")?;
        }
        if let Some(thumbprint) = self.thumbprint {
            write!(f, " thumbprint={thumbprint}")?;
        }
        if let Some(digest) = self.key_protector_text() {
            write!(f, " key_protector={digest}")?;
        }
        if let Some(to) = self.to {
            write!(f, " to={to}")?;
        }
        write!(f, " microseconds={}", self.duration.as_micros())
    }
}
