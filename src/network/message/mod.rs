//! The content of requests and replies, and their encoding in DHCPv4 and DHCPv6 packets.
//!
//! The encoders and parsers in [`dhcp4`] and [`dhcp6`] are part of this crate, because no DHCP crate
//! was found that keeps the order of options, joins the parts of a split option (RFC 3396) when
//! other options are between them, and parses option 125.
//!
//! The parsers panic on no input.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod dhcp4;
pub mod dhcp6;
mod fields;

use std::fmt;
use std::str::FromStr;

use sha1::{Digest, Sha1};
use sha2::Sha256;

/// The vendor class of requests and replies, which distinguishes them from other DHCP messages.
pub const VENDOR_CLASS: &[u8] = b"BITLOCKER";
/// Microsoft's enterprise number, in the vendor options of DHCPv6 and in option 125 of DHCPv4.
const ENTERPRISE: u32 = 311;
/// The longest datagram that is parsed, in bytes: the payload of an Ethernet frame. The longest
/// message of this protocol has about 550 bytes, plus what relays add.
pub const MAX_DATAGRAM: usize = 1500;

/// Vendor suboption of requests: the thumbprint (MS-NKPU 2.2.1.1, 2.2.2.1).
const THUMBPRINT: u8 = 1;
/// Vendor suboption of requests: the key protector, in DHCPv4 its first half.
const KEY_PROTECTOR: u8 = 2;
/// Vendor suboption of replies: the encrypted key (MS-NKPU 2.2.1.4, 2.2.2.3).
const SEALED: u8 = 2;
/// Vendor suboption in option 125 of DHCPv4 requests: the second half of the key protector.
const SECOND_HALF: u8 = 1;

/// The SHA-1 of a certificate as it is stored. It selects a certificate and proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; 20]);

impl Thumbprint {
    /// Length in bytes.
    pub const LEN: usize = 20;

    /// The thumbprint of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha1::digest(der).into())
    }

    /// The thumbprint with these bytes.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes in the order of the message.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

impl FromStr for Thumbprint {
    type Err = NotAThumbprint;

    fn from_str(text: &str) -> Result<Self, NotAThumbprint> {
        let mut bytes = [0; Self::LEN];
        if text.len() != 2 * Self::LEN || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotAThumbprint);
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| NotAThumbprint)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NotAThumbprint)?;
        }
        Ok(Self(bytes))
    }
}

/// Text that is not a thumbprint: 40 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a thumbprint has 40 hexadecimal digits without separators")]
pub struct NotAThumbprint;

/// The client's two keys, encrypted with the server's public key: the key protector of MS-NKPU.
///
/// Must not be logged, because anyone who has it can ask the server again. For logs there is
/// [`Self::digest`].
#[derive(Clone, PartialEq, Eq)]
pub struct SealedRequest(Box<[u8; Self::LEN]>);

impl SealedRequest {
    /// Length in bytes: that of an RSA modulus of 2048 bits.
    pub const LEN: usize = 256;

    /// The key protector with these bytes.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        Self(Box::new(*bytes))
    }

    /// The bytes: a big-endian number, as RSA libraries return it.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The first eight bytes of its SHA-256, to distinguish key protectors in logs.
    pub fn digest(&self) -> [u8; 8] {
        let hash: [u8; 32] = Sha256::digest(&self.0[..]).into();
        let mut digest = [0; 8];
        digest.copy_from_slice(&hash[..8]);
        digest
    }

    fn halves(&self) -> (&[u8], &[u8]) {
        self.0.split_at(Self::LEN / 2)
    }

    fn from_halves(first: &[u8; Self::LEN / 2], second: &[u8; Self::LEN / 2]) -> Self {
        let mut bytes = Box::new([0; Self::LEN]);
        let (to_first, to_second) = bytes.split_at_mut(Self::LEN / 2);
        to_first.copy_from_slice(first);
        to_second.copy_from_slice(second);
        Self(bytes)
    }
}

impl fmt::Debug for SealedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedRequest(")?;
        self.digest()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ")")
    }
}

/// A request, independent of the protocol that carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The certificate whose public key encrypted the keys.
    pub thumbprint: Thumbprint,
    /// The encrypted keys.
    pub key_protector: SealedRequest,
}

/// The encrypted key in a reply: a tag of 16 bytes, then 44 bytes of ciphertext.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealedReply([u8; Self::LEN]);

impl SealedReply {
    /// Length in bytes, according to MS-NKPU 3.2.1 and the known implementations. The structures and
    /// examples in MS-NKPU say 32.
    pub const LEN: usize = 60;

    /// The encrypted key with these bytes.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes in the order of the message.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for SealedReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedReply({} bytes)", Self::LEN)
    }
}

/// Why a datagram is not a valid message of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It belongs to another protocol, such as ordinary DHCP.
    #[error("not a Network Unlock message")]
    NotOurs,
    /// It has the vendor class, but a DHCP message type that the protocol does not use.
    #[error("DHCP message type {0}, which Network Unlock does not use")]
    MessageType(u8),
    /// It has the vendor class, but this part of it is malformed.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_exactly_forty_digits_as_a_thumbprint() {
        let text = "b44bf9cee0e91c92b027a18dea2d3573bd7f8506";
        assert_eq!(text.parse::<Thumbprint>().unwrap().to_string(), text);
        assert!(text.to_uppercase().parse::<Thumbprint>().is_ok());
        for bad in [
            "",
            &text[1..],
            "b4 4bf9cee0e91c92b027a18dea2d3573bd7f850",
            "+44bf9cee0e91c92b027a18dea2d3573bd7f8506",
            "ääääääääääääääääääää",
        ] {
            assert!(bad.parse::<Thumbprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_output_shows_no_encrypted_bytes() {
        let shown = format!("{:?}", SealedRequest::from_bytes(&[0xA5; 256]));
        assert_eq!(shown.len(), "SealedRequest(0123456789abcdef)".len());
        assert_eq!(
            format!("{:?}", SealedReply::from_bytes([0xA5; 60])),
            "SealedReply(60 bytes)"
        );
    }
}
