//! Requests and replies as DHCPv4 packets (MS-NKPU 2.2.1; docs/format-network-unlock.md §2.1,
//! §2.2).
//!
//! | option | request | reply |
//! |---|---|---|
//! | 60, vendor class | `BITLOCKER` | `BITLOCKER` |
//! | 43, vendor options | 1: thumbprint; 2: first half of the key protector | 2: the encrypted key |
//! | 125, of enterprise 311 | 1: second half of the key protector | – |
//! | 53, message type | Windows: absent; MS-NKPU: 1 (DISCOVER) | absent |
//!
//! Options may have any order, and the parts of a split option are joined (RFC 3396). Offsets in
//! this file count from the start of the UDP payload.

use std::net::Ipv4Addr;

use super::fields::{Fields, put_short};
use super::{
    ENTERPRISE, Fault, KEY_PROTECTOR, MAX_DATAGRAM, Request, SEALED, SECOND_HALF, SealedReply,
    SealedRequest, THUMBPRINT, Thumbprint, VENDOR_CLASS,
};

/// The UDP port of servers and relays (RFC 2131, section 4.1).
pub const SERVER_PORT: u16 = 67;
/// The UDP port of clients.
pub const CLIENT_PORT: u16 = 68;
/// The shortest datagram that is parsed, in bytes: the fixed size of BOOTP (RFC 951).
pub const MIN_DATAGRAM: usize = 300;

/// The length of the header before the magic cookie (RFC 2131, section 2).
const HEADER_LEN: usize = 236;
/// The magic cookie before the options (RFC 2131, section 3).
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
/// The flag that asks for a broadcast (RFC 2131, section 2). Replies set it, because a relay would
/// otherwise send them to `yiaddr`, which is zero in this protocol.
const BROADCAST: u16 = 0x8000;
/// The length of `chaddr` in the header.
const HARDWARE_ADDRESS_LEN: usize = 16;

const PAD: u8 = 0;
const VENDOR_OPTIONS: u8 = 43;
const MESSAGE_TYPE: u8 = 53;
const CLASS: u8 = 60;
const RELAY_INFORMATION: u8 = 82;
const VENDOR_IDENTIFYING: u8 = 125;
const END: u8 = 255;

/// The DHCP header of a request or a reply (RFC 2131, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `htype`: the kind of the hardware address, 1 for Ethernet.
    pub hardware_type: u8,
    /// `hlen`: how many bytes of `hardware_address` are used; at most 16.
    pub hardware_len: u8,
    /// `hops`: how many relays the packet passed.
    pub hops: u8,
    /// `xid`: the transaction identifier, which the reply repeats.
    pub xid: u32,
    /// `secs`: seconds since the client began.
    pub secs: u16,
    /// `flags`: the broadcast flag in the highest bit; the others are zero.
    pub flags: u16,
    /// `ciaddr`: the client's address, 0.0.0.0 if it has none.
    pub client: Ipv4Addr,
    /// `yiaddr`: the address that a DHCP server assigns; 0.0.0.0 in this protocol.
    pub yours: Ipv4Addr,
    /// `giaddr`: the relay's address in the client's network; 0.0.0.0 without a relay.
    pub relay: Ipv4Addr,
    /// `chaddr`: the client's hardware address, padded with zeros.
    pub hardware_address: [u8; HARDWARE_ADDRESS_LEN],
}

impl Header {
    /// The header of a request from an Ethernet interface with the address `client`.
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

    /// The used bytes of the hardware address.
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
        // `sname` and `file`. DHCP may put options there (option overload, RFC 2132, section 9.3);
        // this protocol does not.
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

/// The DHCP message type (option 53) of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// None, as in the requests of Windows.
    Bootp,
    /// DHCPDISCOVER, as MS-NKPU prescribes.
    Discover,
    /// DHCPINFORM. No client is known to send it, and servers answer it only if configured to.
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

/// A request as a DHCPv4 message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request4 {
    /// The DHCP header.
    pub header: Header,
    /// The message type.
    pub form: Form,
    /// The information that a relay added (option 82, RFC 3046), which the reply must repeat.
    pub relay_information: Option<Vec<u8>>,
    /// The certificate and the encrypted keys.
    pub request: Request,
}

impl Request4 {
    /// The UDP payload, byte for byte as in docs/format-network-unlock.md §2.1: 543 bytes in the
    /// form that Windows sends.
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

    /// Parses a UDP payload.
    ///
    /// # Errors
    /// [`Fault`] if it is not a valid request.
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
                key_protector: SealedRequest::from_halves(&first, &second),
            },
        })
    }

    /// The reply to this request, with the encrypted key.
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

/// A reply as a DHCPv4 message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply4 {
    /// The DHCP header.
    pub header: Header,
    /// The relay information of the request (option 82), which the relay removes again.
    pub relay_information: Option<Vec<u8>>,
    /// Whether there is an empty option 125. MS-NKPU requires it in one place and omits it in
    /// another; the servers of Windows omit it.
    pub option_125: bool,
    /// The encrypted key.
    pub sealed: SealedReply,
}

impl Reply4 {
    /// The UDP payload: 316 bytes without relay information.
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
        // Last, as RFC 3046, section 2.1, prescribes.
        if let Some(information) = &self.relay_information {
            put_split(&mut packet, RELAY_INFORMATION, information);
        }
        packet.push(END);
        packet
    }

    /// Parses a UDP payload. [`Self::answers`] says whether it is the reply to a given request.
    ///
    /// # Errors
    /// [`Fault`] if it is not a valid reply.
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

    /// Whether this is a reply to `request`: the transaction and the client are the same.
    pub fn answers(&self, request: &Request4) -> bool {
        self.header.xid == request.header.xid && self.header.hardware() == request.header.hardware()
    }
}

/// Parses the header and the options of a message of this protocol.
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

/// The options that this protocol uses.
#[derive(Default)]
struct Options {
    classes: Vec<Vec<u8>>,
    message_types: Vec<Vec<u8>>,
    /// Option 43 with its parts joined; empty if there is none.
    vendor: Vec<u8>,
    /// Option 125 with its parts joined; empty if there is none.
    identifying: Vec<u8>,
    relay_information: Option<Vec<u8>>,
    /// Whether an option runs past the end of the packet.
    cut_off: bool,
}

impl Options {
    /// Reads the options up to the end option, or up to the end of the packet if that is missing.
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

    /// The message type. Two different ones make the message malformed.
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

/// The two suboptions in option 43 of a request: exactly these, in this order.
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

/// The only suboption of Microsoft's block in option 125 of a request. There may be blocks of other
/// enterprises (RFC 3925, section 4).
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

/// Appends an option, split into parts of at most 255 bytes (RFC 3396).
fn put_split(to: &mut Vec<u8>, code: u8, content: &[u8]) {
    if content.is_empty() {
        put_short(to, code, content);
    }
    for part in content.chunks(255) {
        put_short(to, code, part);
    }
}
