//! What a request and a reply carry, whichever protocol brings them.
//!
//! [`dhcp4`] and [`dhcp6`] put them into packets and take them out again. Both are our own: of the
//! DHCP crates none keeps the order of options, joins the pieces of one that was split (RFC 3396)
//! and looks into option 125, all of which this protocol needs.
//!
//! No input makes a parser panic; what it accepts is consistent.

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

/// What tells these messages from other DHCP: the vendor class of requests and replies.
pub const VENDOR_CLASS: &[u8] = b"BITLOCKER";
/// Microsoft's enterprise number, under which the DHCPv6 options and DHCPv4 option 125 lie.
const ENTERPRISE: u32 = 311;
/// The longest datagram that is looked at: nothing of the protocol comes near an Ethernet frame.
pub const MAX_DATAGRAM: usize = 1500;

/// Vendor suboption of a request: the thumbprint (MS-NKPU 2.2.1.1, 2.2.2.1).
const THUMBPRINT: u8 = 1;
/// Vendor suboption of a request: the key protector (in DHCPv4 its first half).
const KEY_PROTECTOR: u8 = 2;
/// Vendor suboption of a reply: the sealed key (MS-NKPU 2.2.1.4, 2.2.2.3).
const SEALED: u8 = 2;
/// Vendor suboption of DHCPv4 option 125: the second half of the key protector.
const SECOND_HALF: u8 = 1;

/// SHA-1 of a whole certificate as it is stored: an index of certificates, no security feature.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; 20]);

impl Thumbprint {
    /// Length in bytes.
    pub const LEN: usize = 20;

    /// Of the certificate in this DER.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha1::digest(der).into())
    }

    /// These bytes as a thumbprint.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes.
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

/// Text that is not 40 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a thumbprint is 40 hexadecimal digits with nothing between them")]
pub struct NotAThumbprint;

/// The client's two keys under the server's public key: the key protector of MS-NKPU.
///
/// Never to be logged: whoever has it can ask the server again. [`Self::digest`] names one.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedRequest(Box<[u8; Self::LEN]>);

impl SealedRequest {
    /// Length in bytes: that of the modulus, for which the packets have room.
    pub const LEN: usize = 256;

    /// These bytes as a key protector.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        Self(Box::new(*bytes))
    }

    /// The bytes, big-endian as RSA libraries give them.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The first eight bytes of its SHA-256: tells key protectors apart in logs.
    pub fn digest(&self) -> [u8; 8] {
        let hash: [u8; 32] = Sha256::digest(&self.0[..]).into();
        let mut digest = [0; 8];
        digest.copy_from_slice(&hash[..8]);
        digest
    }

    fn halves(&self) -> (&[u8], &[u8]) {
        self.0.split_at(Self::LEN / 2)
    }

    fn of_halves(first: &[u8; Self::LEN / 2], second: &[u8; Self::LEN / 2]) -> Self {
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

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The certificate that the key protector was made for.
    pub thumbprint: Thumbprint,
    /// The sealed keys.
    pub key_protector: SealedRequest,
}

/// What a server answers: the tag, 16 bytes, in front of 44 bytes of ciphertext.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealedReply([u8; Self::LEN]);

impl SealedReply {
    /// Length in bytes. MS-NKPU's structures and examples say 32; its section 3.2.1 and every
    /// implementation say this.
    pub const LEN: usize = 60;

    /// These bytes as a reply.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for SealedReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedReply({} bytes)", Self::LEN)
    }
}

/// Why a datagram is no message of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Somebody else's DHCP, or nothing like it.
    #[error("not a Network Unlock message")]
    NotOurs,
    /// It says BITLOCKER, and is a DHCP message of another type.
    #[error("DHCP message type {0}, which Network Unlock does not use")]
    MessageType(u8),
    /// It says BITLOCKER, and this part of it is not as it must be.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_is_forty_digits_and_nothing_else() {
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
    fn debug_shows_neither_blob() {
        let shown = format!("{:?}", SealedRequest::from_bytes(&[0xA5; 256]));
        assert_eq!(shown.len(), "SealedRequest(0123456789abcdef)".len());
        assert_eq!(
            format!("{:?}", SealedReply::from_bytes([0xA5; 60])),
            "SealedReply(60 bytes)"
        );
    }
}
