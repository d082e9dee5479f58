//! Requests and replies as DHCPv6 packets (MS-NKPU 2.2.2; docs/format-network-unlock.md §2.3,
//! §2.4).
//!
//! | option | request: Information-Request, 11 | reply: Reply, 7 |
//! |---|---|---|
//! | 1, client identifier | the client's DUID | copied |
//! | 2, server identifier | – | the server's DUID; Windows ignores replies without it |
//! | 16, vendor class of enterprise 311 | `BITLOCKER` | `BITLOCKER` |
//! | 17, vendor options of enterprise 311 | 1: thumbprint; 2: key protector | 2: the encrypted key |
//!
//! Each relay wraps the request in a Relay-forward message (12), and expects the reply wrapped in a
//! Relay-reply message (13) (RFC 8415, section 9).

use std::net::Ipv6Addr;

use super::fields::{Fields, put_long};
use super::{
    ENTERPRISE, Fault, MAX_DATAGRAM, Request, SealedReply, SealedRequest, Thumbprint, VENDOR_CLASS,
};

/// The UDP port of servers and relays (RFC 8415, section 7.2).
pub const SERVER_PORT: u16 = 547;
/// The UDP port of clients.
pub const CLIENT_PORT: u16 = 546;
/// The group that clients send to: the servers and relays on the link
/// (`All_DHCP_Relay_Agents_and_Servers`, RFC 8415, section 7.1).
pub const MULTICAST: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// The groups that servers join: the one above, and the one that relays send to unless they are
/// configured with an address (`All_DHCP_Servers`, RFC 8415, section 7.1).
pub const GROUPS: [Ipv6Addr; 2] = [MULTICAST, Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3)];
/// The shortest datagram that is parsed, in bytes; a message with a vendor class is not shorter.
pub const MIN_DATAGRAM: usize = 40;
/// How many relays a request may have passed (HOP_COUNT_LIMIT, RFC 8415, section 7.6).
pub const MAX_RELAYS: usize = 8;

const REPLY: u8 = 7;
const INFORMATION_REQUEST: u8 = 11;
const RELAY_FORWARD: u8 = 12;
const RELAY_REPLY: u8 = 13;

const CLIENT_IDENTIFIER: u16 = 1;
const SERVER_IDENTIFIER: u16 = 2;
const ELAPSED_TIME: u16 = 8;
const RELAY_MESSAGE: u16 = 9;
const CLASS: u16 = 16;
const VENDOR_OPTIONS: u16 = 17;
const INTERFACE_ID: u16 = 18;

const THUMBPRINT: u16 = super::THUMBPRINT as u16;
const KEY_PROTECTOR: u16 = super::KEY_PROTECTOR as u16;
const SEALED: u16 = super::SEALED as u16;

/// The fields that one relay added around a message (RFC 8415, section 9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// `hop-count`: how many relays the message passed before this one.
    pub hops: u8,
    /// `link-address`: an address on the link of the client or of the previous relay; may be `::`.
    pub link: Ipv6Addr,
    /// `peer-address`: the address that the client or the previous relay sent from.
    pub peer: Ipv6Addr,
    /// Interface-Id (option 18): by which the relay recognizes the interface for the reply.
    pub interface: Option<Vec<u8>>,
}

/// A request as a DHCPv6 message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request6 {
    /// The relays that it passed. The first is the one nearest to the server.
    pub relays: Vec<Relay>,
    /// The transaction identifier, 24 bits, which the reply repeats.
    pub xid: [u8; 3],
    /// The client's identifier (DUID, RFC 8415, section 11), if it sends one.
    pub client: Option<Vec<u8>>,
    /// The certificate and the encrypted keys.
    pub request: Request,
}

impl Request6 {
    /// The UDP payload, byte for byte as in docs/format-network-unlock.md §2.3.
    pub fn encode(&self) -> Vec<u8> {
        let mut packet = vec![INFORMATION_REQUEST];
        packet.extend(self.xid);
        if let Some(client) = &self.client {
            put_long(&mut packet, CLIENT_IDENTIFIER, client);
        }
        put_long(&mut packet, ELAPSED_TIME, &[0, 0]);
        put_class(&mut packet);
        let mut vendor = ENTERPRISE.to_be_bytes().to_vec();
        put_long(&mut vendor, THUMBPRINT, self.request.thumbprint.as_bytes());
        put_long(
            &mut vendor,
            KEY_PROTECTOR,
            self.request.key_protector.as_bytes(),
        );
        put_long(&mut packet, VENDOR_OPTIONS, &vendor);
        wrap(packet, &self.relays, RELAY_FORWARD)
    }

    /// Parses a UDP payload.
    ///
    /// # Errors
    /// [`Fault`] if it is not a valid request.
    pub fn parse(datagram: &[u8]) -> Result<Self, Fault> {
        let (relays, xid, options) = open(datagram, INFORMATION_REQUEST, RELAY_FORWARD)?;
        let malformed = Fault::Malformed("option 17");
        let [(THUMBPRINT, thumbprint), (KEY_PROTECTOR, protector)] = options.vendor()? else {
            return Err(malformed);
        };
        let thumbprint = thumbprint.try_into().map_err(|_| malformed)?;
        let protector = protector.try_into().map_err(|_| malformed)?;
        Ok(Self {
            relays,
            xid,
            client: options.client()?,
            request: Request {
                thumbprint: Thumbprint::from_bytes(thumbprint),
                key_protector: SealedRequest::from_bytes(protector),
            },
        })
    }

    /// The reply to this request, from the server with the identifier (DUID) `server`.
    pub fn reply(&self, server: &[u8], sealed: SealedReply) -> Reply6 {
        Reply6 {
            relays: self.relays.clone(),
            xid: self.xid,
            client: self.client.clone(),
            server: server.to_vec(),
            sealed,
        }
    }
}

/// A reply as a DHCPv6 message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply6 {
    /// The relays that it passes. The first is the one nearest to the server.
    pub relays: Vec<Relay>,
    /// The transaction identifier of the request.
    pub xid: [u8; 3],
    /// The client identifier of the request.
    pub client: Option<Vec<u8>>,
    /// The server's identifier (DUID).
    pub server: Vec<u8>,
    /// The encrypted key.
    pub sealed: SealedReply,
}

impl Reply6 {
    /// The UDP payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut packet = vec![REPLY];
        packet.extend(self.xid);
        if let Some(client) = &self.client {
            put_long(&mut packet, CLIENT_IDENTIFIER, client);
        }
        put_long(&mut packet, SERVER_IDENTIFIER, &self.server);
        put_class(&mut packet);
        let mut vendor = ENTERPRISE.to_be_bytes().to_vec();
        put_long(&mut vendor, SEALED, self.sealed.as_bytes());
        put_long(&mut packet, VENDOR_OPTIONS, &vendor);
        wrap(packet, &self.relays, RELAY_REPLY)
    }

    /// Parses a UDP payload. [`Self::answers`] says whether it is the reply to a given request.
    ///
    /// # Errors
    /// [`Fault`] if it is not a valid reply.
    pub fn parse(datagram: &[u8]) -> Result<Self, Fault> {
        let (relays, xid, options) = open(datagram, REPLY, RELAY_REPLY)?;
        let malformed = Fault::Malformed("option 17");
        let [(SEALED, sealed)] = options.vendor()? else {
            return Err(malformed);
        };
        let sealed = sealed.try_into().map_err(|_| malformed)?;
        let servers: Vec<_> = options.all(SERVER_IDENTIFIER).collect();
        let [server] = servers[..] else {
            return Err(Fault::Malformed("option 2"));
        };
        Ok(Self {
            relays,
            xid,
            client: options.client()?,
            server: server.to_vec(),
            sealed: SealedReply::from_bytes(sealed),
        })
    }

    /// Whether this is a reply to `request`: the transaction is the same, and so is the client, if the
    /// reply names one.
    pub fn answers(&self, request: &Request6) -> bool {
        self.xid == request.xid && (self.client.is_none() || self.client == request.client)
    }
}

/// Parses the relays, the transaction identifier and the options of a message of this protocol.
fn open(
    datagram: &[u8],
    kind: u8,
    relayed: u8,
) -> Result<(Vec<Relay>, [u8; 3], Options<'_>), Fault> {
    if !(MIN_DATAGRAM..=MAX_DATAGRAM).contains(&datagram.len()) {
        return Err(Fault::NotOurs);
    }
    let mut relays = Vec::new();
    let mut message = datagram;
    // If a relay's message cannot be unwrapped, there is no way to know which protocol is inside.
    while message.first() == Some(&relayed) {
        if relays.len() == MAX_RELAYS {
            return Err(Fault::NotOurs);
        }
        let (relay, inner) = unwrap(message).ok_or(Fault::NotOurs)?;
        relays.push(relay);
        message = inner;
    }
    let mut fields = Fields::new(message);
    if fields.u8() != Some(kind) {
        return Err(Fault::NotOurs);
    }
    let xid = fields.array().ok_or(Fault::NotOurs)?;
    let options = Options::collect(fields);
    if !options.all(CLASS).any(is_ours) {
        return Err(Fault::NotOurs);
    }
    if options.cut_off {
        return Err(Fault::Malformed("options"));
    }
    Ok((relays, xid, options))
}

/// The fields that one relay added, and the message that it relays.
fn unwrap(message: &[u8]) -> Option<(Relay, &[u8])> {
    let mut fields = Fields::new(message);
    let _kind = fields.u8()?;
    let hops = fields.u8()?;
    let link = fields.array::<16>()?.into();
    let peer = fields.array::<16>()?.into();
    let options = Options::collect(fields);
    let mut inner = options.all(RELAY_MESSAGE);
    let mut interfaces = options.all(INTERFACE_ID);
    let relay = Relay {
        hops,
        link,
        peer,
        interface: interfaces.next().map(<[u8]>::to_vec),
    };
    let message = inner.next()?;
    let is_valid = inner.next().is_none() && interfaces.next().is_none() && !options.cut_off;
    is_valid.then_some((relay, message))
}

/// Wraps a packet in a message for each relay.
fn wrap(packet: Vec<u8>, relays: &[Relay], kind: u8) -> Vec<u8> {
    relays.iter().rev().fold(packet, |inner, relay| {
        let mut outer = vec![kind, relay.hops];
        outer.extend(relay.link.octets());
        outer.extend(relay.peer.octets());
        if let Some(interface) = &relay.interface {
            put_long(&mut outer, INTERFACE_ID, interface);
        }
        put_long(&mut outer, RELAY_MESSAGE, &inner);
        outer
    })
}

fn put_class(to: &mut Vec<u8>) {
    let mut class = ENTERPRISE.to_be_bytes().to_vec();
    class.extend((VENDOR_CLASS.len() as u16).to_be_bytes());
    class.extend(VENDOR_CLASS);
    put_long(to, CLASS, &class);
}

/// Whether a vendor class has Microsoft's enterprise number and `BITLOCKER` among its strings
/// (RFC 8415, section 21.16).
fn is_ours(content: &[u8]) -> bool {
    let mut fields = Fields::new(content);
    if fields.u32() != Some(ENTERPRISE) {
        return false;
    }
    while let Some(len) = fields.u16() {
        match fields.take(len.into()) {
            Some(class) if class == VENDOR_CLASS => return true,
            Some(_) => {}
            None => return false,
        }
    }
    false
}

/// All options in their order.
struct Options<'a> {
    list: Vec<(u16, &'a [u8])>,
    /// Whether an option runs past the end of the packet.
    cut_off: bool,
}

impl<'a> Options<'a> {
    fn collect(mut fields: Fields<'a>) -> Self {
        let mut options = Self {
            list: Vec::new(),
            cut_off: false,
        };
        while !fields.is_empty() {
            let Some(option) = fields.long_option() else {
                options.cut_off = true;
                break;
            };
            options.list.push(option);
        }
        options
    }

    fn all(&self, code: u16) -> impl Iterator<Item = &'a [u8]> {
        self.list
            .iter()
            .filter(move |(found, _)| *found == code)
            .map(|(_, content)| *content)
    }

    /// The client identifier. Two different ones make the message malformed.
    fn client(&self) -> Result<Option<Vec<u8>>, Fault> {
        let mut all = self.all(CLIENT_IDENTIFIER);
        let first = all.next();
        if all.any(|other| Some(other) != first) {
            return Err(Fault::Malformed("option 1"));
        }
        Ok(first.map(<[u8]>::to_vec))
    }

    /// The suboptions of Microsoft's only vendor options, of which there must be exactly `N`.
    fn vendor<const N: usize>(&self) -> Result<[(u16, &'a [u8]); N], Fault> {
        let malformed = Fault::Malformed("option 17");
        let enterprise = ENTERPRISE.to_be_bytes();
        let mut blocks = self
            .all(VENDOR_OPTIONS)
            .filter_map(|content| content.strip_prefix(&enterprise));
        let (Some(block), None) = (blocks.next(), blocks.next()) else {
            return Err(malformed);
        };
        let inner = Options::collect(Fields::new(block));
        if inner.cut_off {
            return Err(malformed);
        }
        inner.list.try_into().map_err(|_| malformed)
    }
}
