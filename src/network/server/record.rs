//! The log entry of a request. It holds no key, and only a digest of the encrypted keys.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Origin, Protocol};
use crate::network::message::dhcp4::Request4;
use crate::network::message::dhcp6::Request6;
use crate::network::message::{Request, Thumbprint};

/// A request, and how the server decided.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Record {
    /// The protocol that it was sent over.
    pub protocol: Protocol,
    /// The source address and port in its IP and UDP headers.
    pub source: SocketAddr,
    /// DHCPv4: the client's address in the DHCP header (`ciaddr`), unless it is 0.0.0.0.
    pub client: Option<IpAddr>,
    /// The address of the relay next to the client (`giaddr`, link-address).
    pub relay: Option<IpAddr>,
    /// DHCPv6: the client's address as that relay saw it (peer-address).
    pub peer: Option<IpAddr>,
    /// The client's hardware address (DHCPv4) or identifier (DUID, DHCPv6).
    pub hardware: Vec<u8>,
    /// The transaction identifier: 32 bits in DHCPv4, 24 bits in DHCPv6.
    pub xid: Option<u32>,
    /// The thumbprint of the certificate in the request.
    pub thumbprint: Option<Thumbprint>,
    /// The first eight bytes of the SHA-256 of the encrypted keys, to recognize them elsewhere.
    pub key_protector: Option<[u8; 8]>,
    /// Where the reply was sent.
    pub to: Option<SocketAddr>,
    /// How the server decided, and why.
    pub verdict: Verdict,
    /// How long the server worked on the request.
    pub duration: Duration,
}

/// How the server decided about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Answered. The server does not learn whether the client could use the reply.
    Answered,
    /// A retransmission, answered with the stored reply.
    Retransmitted,
    /// Answered, although the same request was answered before.
    AnsweredAgain,
    /// Refused: a DHCP message type that the protocol does not use.
    MessageType(u8),
    /// Refused: this part of the message is malformed.
    Malformed(&'static str),
    /// Refused: a relay cannot have this address, or there are too many relays.
    Relay,
    /// Refused: the server does not have the certificate that the client was given.
    UnknownThumbprint,
    /// Refused: the policy disables the certificate.
    Disabled,
    /// Refused: the policy does not list an address of the request.
    Subnet {
        /// The address that is not listed.
        address: IpAddr,
        /// The field of the request that holds it, such as `ciaddr`.
        claim: &'static str,
    },
    /// Refused, like every request while the policy file is invalid.
    PolicyInvalid,
    /// Refused: the rate limit was exceeded.
    Rate {
        /// Whether this is the first refusal since a request was let through.
        first: bool,
    },
    /// Refused: the same request was answered before, and the settings refuse replays.
    Replay,
    /// Refused: the private key of the certificate does not decrypt the key protector.
    Decrypt,
}

/// How severe a log entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Level {
    /// Not logged.
    Quiet,
    /// Normal operation.
    Info,
    /// Unusual, and not an error.
    Notice,
    /// A requester may be faulty or hostile.
    Warning,
    /// The server cannot work as it is configured.
    Error,
}

impl Level {
    /// Its syslog priority, which systemd reads at the start of a line (sd-daemon(3)).
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
    /// Whether a reply is sent.
    pub fn is_answer(self) -> bool {
        matches!(
            self,
            Self::Answered | Self::Retransmitted | Self::AnsweredAgain
        )
    }

    /// The stable word for the decision: `answered` or `refused`.
    pub fn decision(self) -> &'static str {
        match self.is_answer() {
            true => "answered",
            false => "refused",
        }
    }

    /// The stable word for the reason. [`Self::detail`] adds to it.
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

    /// Every reason, so that each has a counter from the start.
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

    /// Details of the reason: the message type, the malformed part, or the address.
    pub fn detail(self) -> Option<String> {
        match self {
            Self::MessageType(code) => Some(code.to_string()),
            Self::Malformed(field) => Some(field.to_owned()),
            Self::Subnet { address, claim } => Some(format!("{claim} {address}")),
            _ => None,
        }
    }

    /// The severity of its log entry.
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
            protocol: origin.protocol,
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

    pub(super) fn describe_dhcp4(&mut self, request: &Request4) {
        let header = &request.header;
        let specified = |address: std::net::Ipv4Addr| {
            (!address.is_unspecified()).then_some(IpAddr::V4(address))
        };
        self.client = specified(header.client);
        self.relay = specified(header.relay);
        self.hardware = header.hardware().to_vec();
        self.xid = Some(header.xid);
        self.describe_request(&request.request);
    }

    pub(super) fn describe_dhcp6(&mut self, request: &Request6) {
        if let Some(relay) = request.relays.last() {
            self.relay = Some(relay.link.into());
            self.peer = Some(relay.peer.into());
        }
        // A DUID has at most 130 bytes (RFC 8415, section 11.1). A longer one is invalid and must
        // not fill the log.
        let client = request.client.as_deref().unwrap_or_default();
        self.hardware = client.iter().take(130).copied().collect();
        let [high, middle, low] = request.xid;
        self.xid = Some(u32::from_be_bytes([0, high, middle, low]));
        self.describe_request(&request.request);
    }

    fn describe_request(&mut self, request: &Request) {
        self.thumbprint = Some(request.thumbprint);
        self.key_protector = Some(request.key_protector.digest());
    }

    /// The hardware address or identifier in hexadecimal, with colons.
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

    /// [`Record::key_protector`] in hexadecimal.
    pub fn key_protector_text(&self) -> Option<String> {
        let digest = self.key_protector?;
        Some(base16ct::lower::encode_string(&digest))
    }
}

/// One line of `key=value` pairs, none of which needs quotes.
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
            self.protocol.word(),
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
