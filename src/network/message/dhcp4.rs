//! Requests and replies as DHCPv4 packets (MS-NKPU 2.2.1; docs/format-network-unlock.md §2.1,
//! §2.2).
//!
//! | option | request | reply |
//! |---|---|---|
//! | 60, vendor class | `BITLOCKER` | `BITLOCKER` |
//! | 43, vendor options | 1: thumbprint; 2: first half of the key protector | 2: the sealed key |
//! | 125, of enterprise 311 | 1: second half of the key protector | – |
//! | 53, message type | Windows: absent; the specification: 1 (DISCOVER) | absent |
//!
//! The order of the options is free; pieces of a split option are joined (RFC 3396). Offsets in
//! this file count from the start of the UDP payload.

use std::net::Ipv4Addr;

use super::fields::{Fields, put_short};
use super::{
    ENTERPRISE, Fault, KEY_PROTECTOR, MAX_DATAGRAM, Request, SEALED, SECOND_HALF, SealedReply,
    SealedRequest, THUMBPRINT, Thumbprint, VENDOR_CLASS,
};

/// UDP port of servers.
pub const SERVER_PORT: u16 = 67;
/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;
/// The shortest datagram that is looked at: BOOTP's fixed size (RFC 951).
pub const MIN_DATAGRAM: usize = 300;

/// The header in front of the magic cookie.
const HEADER_LEN: usize = 236;
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
/// The flag that asks for a broadcast. Set in replies: a relay that unicasts to yiaddr, which is
/// zero here, would lose them otherwise.
const BROADCAST: u16 = 0x8000;
/// The header's field has this many bytes.
const HARDWARE_ADDRESS_LEN: usize = 16;

const PAD: u8 = 0;
const VENDOR_OPTIONS: u8 = 43;
const MESSAGE_TYPE: u8 = 53;
const CLASS: u8 = 60;
const RELAY_INFORMATION: u8 = 82;
const VENDOR_IDENTIFYING: u8 = 125;
const END: u8 = 255;

/// What the header says, of a request or a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Kind of the hardware address: 1 for Ethernet.
    pub hardware_type: u8,
    /// How many bytes of `hardware_address` count; at most 16.
    pub hardware_len: u8,
    /// How many relays the packet passed.
    pub hops: u8,
    /// Tells exchanges apart.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The broadcast flag, and 15 bits that are zero.
    pub flags: u16,
    /// The address that the client says it has.
    pub client: Ipv4Addr,
    /// The address that a server gives.
    pub yours: Ipv4Addr,
    /// The relay's address in the client's network; zero where there is none.
    pub relay: Ipv4Addr,
    /// The client's hardware address, filled up with zeros.
    pub hardware_address: [u8; HARDWARE_ADDRESS_LEN],
}

impl Header {
    /// Of a request from an Ethernet interface that has the address `client`.
    pub fn ethernet(xid: u32, mac: [u8; 6], client: Ipv4Addr) -> Self {
        let mut hardware_address = [0; HARDWARE_ADDRESS_LEN];
        hardware_address[..6].copy_from_slice(&mac);
        Self {
            hardware_type: 1,
            hardware_len: 6,
            hops: 0,
            xid,
            secs: 0,
            flags: 0,
            client,
            yours: Ipv4Addr::UNSPECIFIED,
            relay: Ipv4Addr::UNSPECIFIED,
            hardware_address,
        }
    }

    /// The bytes of the hardware address that count.
    pub fn hardware(&self) -> &[u8] {
        let len = usize::from(self.hardware_len).min(HARDWARE_ADDRESS_LEN);
        self.hardware_address.get(..len).unwrap_or_default()
    }

    fn parse(fields: &mut Fields<'_>) -> Option<(u8, Self)> {
        let operation = fields.u8()?;
        let header = Self {
            hardware_type: fields.u8()?,
            hardware_len: fields.u8()?,
            hops: fields.u8()?,
            xid: fields.u32()?,
            secs: fields.u16()?,
            flags: fields.u16()?,
            client: fields.array::<4>()?.into(),
            yours: fields.array::<4>()?.into(),
            relay: {
                let _next_server = fields.array::<4>()?;
                fields.array::<4>()?.into()
            },
            hardware_address: fields.array()?,
        };
        // Server name and boot file: not used, and options that overflowed into them not needed.
        fields.take(64 + 128)?;
        (fields.array()? == COOKIE).then_some((operation, header))
    }

    fn encode(&self, operation: u8) -> Vec<u8> {
        let mut packet = Vec::with_capacity(576);
        packet.extend([operation, self.hardware_type, self.hardware_len, self.hops]);
        packet.extend(self.xid.to_be_bytes());
        packet.extend(self.secs.to_be_bytes());
        packet.extend(self.flags.to_be_bytes());
        packet.extend(self.client.octets());
        packet.extend(self.yours.octets());
        packet.extend([0; 4]);
        packet.extend(self.relay.octets());
        packet.extend(self.hardware_address);
        packet.resize(HEADER_LEN, 0);
        packet.extend(COOKIE);
        packet
    }
}

/// How a request names its message type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Not at all, as Windows does.
    Bootp,
    /// As DISCOVER, as MS-NKPU says.
    Discover,
    /// As INFORM: nobody is known to do it, and servers answer only when told to.
    Inform,
}

impl Form {
    fn code(self) -> Option<u8> {
        match self {
            Self::Bootp => None,
            Self::Discover => Some(1),
            Self::Inform => Some(8),
        }
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request4 {
    /// The header.
    pub header: Header,
    /// How it names its type.
    pub form: Form,
    /// What a relay added (option 82), to be sent back to it.
    pub relay_information: Option<Vec<u8>>,
    /// What is asked.
    pub request: Request,
}

impl Request4 {
    /// The request as a UDP payload, byte for byte as in docs/format-network-unlock.md §2.1: 543
    /// bytes in the form of Windows.
    pub fn encode(&self) -> Vec<u8> {
        let mut packet = self.header.encode(BOOTREQUEST);
        if let Some(code) = self.form.code() {
            put_short(&mut packet, MESSAGE_TYPE, &[code]);
        }
        put_short(&mut packet, CLASS, VENDOR_CLASS);
        let (first, second) = self.request.key_protector.halves();
        let mut vendor = Vec::new();
        put_short(&mut vendor, THUMBPRINT, self.request.thumbprint.as_bytes());
        put_short(&mut vendor, KEY_PROTECTOR, first);
        put_short(&mut packet, VENDOR_OPTIONS, &vendor);
        let mut block = Vec::new();
        put_short(&mut block, SECOND_HALF, second);
        let mut identifying = ENTERPRISE.to_be_bytes().to_vec();
        identifying.push(block.len() as u8);
        identifying.extend(block);
        put_short(&mut packet, VENDOR_IDENTIFYING, &identifying);
        if let Some(information) = &self.relay_information {
            put_split(&mut packet, RELAY_INFORMATION, information);
        }
        packet.push(END);
        packet
    }

    /// The request in a UDP payload.
    pub fn parse(datagram: &[u8]) -> Result<Self, Fault> {
        let (header, options) = open(datagram, BOOTREQUEST)?;
        let form = match options.message_type()? {
            None => Form::Bootp,
            Some(1) => Form::Discover,
            Some(8) => Form::Inform,
            Some(other) => return Err(Fault::MessageType(other)),
        };
        if usize::from(header.hardware_len) > HARDWARE_ADDRESS_LEN {
            return Err(Fault::Malformed("hlen"));
        }
        let (thumbprint, first) =
            vendor_options(&options.vendor).ok_or(Fault::Malformed("option 43"))?;
        let second = second_half(&options.identifying).ok_or(Fault::Malformed("option 125"))?;
        Ok(Self {
            header,
            form,
            relay_information: options.relay_information,
            request: Request {
                thumbprint: Thumbprint::from_bytes(thumbprint),
                key_protector: SealedRequest::of_halves(&first, &second),
            },
        })
    }

    /// The reply to this request.
    pub fn reply(&self, sealed: SealedReply) -> Reply4 {
        Reply4 {
            header: Header {
                hops: 0,
                secs: 0,
                flags: BROADCAST,
                client: Ipv4Addr::UNSPECIFIED,
                yours: Ipv4Addr::UNSPECIFIED,
                ..self.header
            },
            relay_information: self.relay_information.clone(),
            option_125: false,
            sealed,
        }
    }
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply4 {
    /// The header.
    pub header: Header,
    /// What the relay added to the request, for it to take off again.
    pub relay_information: Option<Vec<u8>>,
    /// Whether there is an empty option 125. MS-NKPU asks for it in one place and leaves it out
    /// in another; Windows does without.
    pub option_125: bool,
    /// The answer.
    pub sealed: SealedReply,
}

impl Reply4 {
    /// The reply as a UDP payload: 316 bytes where no relay added anything.
    pub fn encode(&self) -> Vec<u8> {
        let mut packet = self.header.encode(BOOTREPLY);
        put_short(&mut packet, CLASS, VENDOR_CLASS);
        let mut vendor = Vec::new();
        put_short(&mut vendor, SEALED, self.sealed.as_bytes());
        put_short(&mut packet, VENDOR_OPTIONS, &vendor);
        if self.option_125 {
            let mut empty = ENTERPRISE.to_be_bytes().to_vec();
            empty.push(0);
            put_short(&mut packet, VENDOR_IDENTIFYING, &empty);
        }
        // Last, as RFC 3046 wants it.
        if let Some(information) = &self.relay_information {
            put_split(&mut packet, RELAY_INFORMATION, information);
        }
        packet.push(END);
        packet
    }

    /// The reply in a UDP payload. Whether it answers a certain request, its [`Header`] tells.
    pub fn parse(datagram: &[u8]) -> Result<Self, Fault> {
        let (header, options) = open(datagram, BOOTREPLY)?;
        let mut vendor = Fields::new(&options.vendor);
        let sealed = match (vendor.short_option(), vendor.is_empty()) {
            (Some((SEALED, content)), true) => content.try_into().ok(),
            _ => None,
        };
        let sealed = sealed.ok_or(Fault::Malformed("option 43"))?;
        Ok(Self {
            header,
            relay_information: options.relay_information,
            option_125: !options.identifying.is_empty(),
            sealed: SealedReply::from_bytes(sealed),
        })
    }

    /// Whether this answers `request`: the same exchange, the same client.
    pub fn answers(&self, request: &Request4) -> bool {
        self.header.xid == request.header.xid && self.header.hardware() == request.header.hardware()
    }
}

/// The header and the options of a message of this protocol.
fn open(datagram: &[u8], operation: u8) -> Result<(Header, Options), Fault> {
    if !(MIN_DATAGRAM..=MAX_DATAGRAM).contains(&datagram.len()) {
        return Err(Fault::NotOurs);
    }
    let mut fields = Fields::new(datagram);
    let header = match Header::parse(&mut fields) {
        Some((found, header)) if found == operation => header,
        _ => return Err(Fault::NotOurs),
    };
    let options = Options::collect(fields);
    if !options.classes.iter().any(|class| class == VENDOR_CLASS) {
        return Err(Fault::NotOurs);
    }
    if options.classes.iter().any(|class| class != VENDOR_CLASS) {
        return Err(Fault::Malformed("option 60"));
    }
    if options.cut_off {
        return Err(Fault::Malformed("options"));
    }
    Ok((header, options))
}

/// The options that this protocol looks at.
#[derive(Default)]
struct Options {
    classes: Vec<Vec<u8>>,
    message_types: Vec<Vec<u8>>,
    /// All pieces, joined; empty where there are none.
    vendor: Vec<u8>,
    identifying: Vec<u8>,
    relay_information: Option<Vec<u8>>,
    /// Whether one runs past the end of the packet.
    cut_off: bool,
}

impl Options {
    /// Up to the end mark. Where it is missing, the options may as well end with the packet.
    fn collect(mut fields: Fields<'_>) -> Self {
        let mut options = Self::default();
        while let Some(code) = fields.u8() {
            if code == PAD {
                continue;
            }
            if code == END {
                break;
            }
            let content = fields.u8().and_then(|len| fields.take(len.into()));
            let Some(content) = content else {
                options.cut_off = true;
                break;
            };
            match code {
                CLASS => options.classes.push(content.to_vec()),
                MESSAGE_TYPE => options.message_types.push(content.to_vec()),
                VENDOR_OPTIONS => options.vendor.extend(content),
                VENDOR_IDENTIFYING => options.identifying.extend(content),
                RELAY_INFORMATION => options
                    .relay_information
                    .get_or_insert_default()
                    .extend(content),
                _ => {}
            }
        }
        options
    }

    fn message_type(&self) -> Result<Option<u8>, Fault> {
        let Some(first) = self.message_types.first() else {
            return Ok(None);
        };
        match first.as_slice() {
            [code] if self.message_types.iter().all(|other| other == first) => Ok(Some(*code)),
            _ => Err(Fault::Malformed("option 53")),
        }
    }
}

type Half = [u8; SealedRequest::LEN / 2];

/// The two suboptions of a request's option 43, in this order and with nothing else.
fn vendor_options(content: &[u8]) -> Option<([u8; Thumbprint::LEN], Half)> {
    let mut fields = Fields::new(content);
    let (THUMBPRINT, thumbprint) = fields.short_option()? else {
        return None;
    };
    let (KEY_PROTECTOR, half) = fields.short_option()? else {
        return None;
    };
    fields.is_empty().then_some(())?;
    Some((thumbprint.try_into().ok()?, half.try_into().ok()?))
}

/// The one suboption of a request's option 125. Other enterprises may have blocks beside.
fn second_half(content: &[u8]) -> Option<Half> {
    let mut fields = Fields::new(content);
    let mut found = None;
    while !fields.is_empty() {
        let enterprise = fields.u32()?;
        let len = fields.u8()?;
        let block = fields.take(len.into())?;
        if enterprise == ENTERPRISE && found.replace(block).is_some() {
            return None;
        }
    }
    let mut block = Fields::new(found?);
    let (SECOND_HALF, half) = block.short_option()? else {
        return None;
    };
    block.is_empty().then_some(())?;
    half.try_into().ok()
}

/// Appends an option in as many pieces as it takes (RFC 3396).
fn put_split(to: &mut Vec<u8>, code: u8, content: &[u8]) {
    if content.is_empty() {
        put_short(to, code, content);
    }
    for piece in content.chunks(255) {
        put_short(to, code, piece);
    }
}
