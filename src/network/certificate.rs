//! Certificates of Network Unlock servers: what one says, and whether it is fit for the purpose.
//!
//! The thumbprint is the SHA-1 of the certificate as it is stored. So the bytes are kept as they
//! came, and never encoded again.

use std::time::{Duration, SystemTime};

use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5912::RSA_ENCRYPTION;
use x509_cert::der::pem::decode_vec;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage};

use super::message::{SealedRequest, Thumbprint};
use crate::crypto::rsa_key::{PublicKey, pem};

/// The extended key usage of Network Unlock, `1.3.6.1.4.1.311.67.1.1`.
pub const NETWORK_UNLOCK_USAGE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.67.1.1");
/// No certificate file is longer; a chain of them is a few kilobytes.
pub const MAX_FILE: u64 = 1 << 20;

/// A certificate with a key that the protocol can use.
#[derive(Debug, Clone)]
pub struct Certificate {
    der: Vec<u8>,
    thumbprint: Thumbprint,
    key: PublicKey,
    subject: String,
    not_before: SystemTime,
    not_after: SystemTime,
    key_encipherment: Option<bool>,
    network_unlock_usage: Option<bool>,
}

impl Certificate {
    /// The certificate in this file's content, DER or PEM; of several in a PEM file, the first.
    pub fn parse(content: &[u8]) -> Result<Self, BadCertificate> {
        if content.first() == Some(&0x30) {
            return Self::from_der(content);
        }
        for block in pem::blocks(content) {
            let (label, der) = decode_vec(block).map_err(|_| BadCertificate::Pem)?;
            if label == "CERTIFICATE" {
                return Self::from_der(&der);
            }
        }
        Err(BadCertificate::None)
    }

    /// The certificate in this DER.
    pub fn from_der(der: &[u8]) -> Result<Self, BadCertificate> {
        let parsed = x509_cert::Certificate::from_der(der).map_err(|_| BadCertificate::Encoding)?;
        let content = parsed.tbs_certificate();
        let public = content.subject_public_key_info();
        if public.algorithm.oid != RSA_ENCRYPTION {
            return Err(BadCertificate::NotRsa);
        }
        let info = public.to_der().map_err(|_| BadCertificate::Encoding)?;
        let key = PublicKey::from_info(&info).ok_or(BadCertificate::Key)?;
        if key.bits() as usize != SealedRequest::LEN * 8 {
            return Err(BadCertificate::Size(key.bits()));
        }
        let usage = content
            .get_extension::<KeyUsage>()
            .map_err(|_| BadCertificate::Encoding)?;
        let extended = content
            .get_extension::<ExtendedKeyUsage>()
            .map_err(|_| BadCertificate::Encoding)?;
        let time = |time: x509_cert::time::Time| SystemTime::UNIX_EPOCH + time.to_unix_duration();
        Ok(Self {
            thumbprint: Thumbprint::of(der),
            key,
            subject: content.subject().to_string(),
            not_before: time(content.validity().not_before),
            not_after: time(content.validity().not_after),
            key_encipherment: usage.map(|(_, usage)| usage.key_encipherment()),
            network_unlock_usage: extended
                .map(|(_, usages)| usages.0.contains(&NETWORK_UNLOCK_USAGE)),
            der: der.to_vec(),
        })
    }

    /// The certificate, byte for byte as it was stored.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-1 of it.
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// Its key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Whom it was made for: text from a file, to be escaped before it goes to a terminal.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// From when on it is valid.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// Until when it is valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether it names Network Unlock as a purpose.
    pub fn is_for_network_unlock(&self) -> bool {
        self.network_unlock_usage == Some(true)
    }

    /// What Windows may object to. Nobody knows how strictly its boot manager looks; the protocol
    /// itself needs only the key.
    pub fn doubts(&self, now: SystemTime) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        match self.network_unlock_usage {
            Some(true) => {}
            Some(false) => doubts.push(Doubt::OtherPurpose),
            None => doubts.push(Doubt::NoPurpose),
        }
        if self.key_encipherment == Some(false) {
            doubts.push(Doubt::NoKeyEncipherment);
        }
        if now < self.not_before {
            doubts.push(Doubt::NotYetValid);
        }
        if now > self.not_after {
            doubts.push(Doubt::Expired);
        }
        doubts
    }

    /// How long it is valid yet; nothing if it is not any more.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        self.not_after.duration_since(now).ok()
    }
}

/// Something about a certificate that is not as Microsoft's recipes have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    /// No extended key usage at all.
    #[error("it names no purpose (extended key usage 1.3.6.1.4.1.311.67.1.1 is missing)")]
    NoPurpose,
    /// Extended key usages, and not this.
    #[error(
        "it was made for another purpose (extended key usage 1.3.6.1.4.1.311.67.1.1 is missing)"
    )]
    OtherPurpose,
    /// A key usage without key encipherment.
    #[error("its key usage does not have key encipherment")]
    NoKeyEncipherment,
    /// The clock is before its first day.
    #[error("it is not valid yet")]
    NotYetValid,
    /// The clock is behind its last day.
    #[error("it has expired")]
    Expired,
}

impl Doubt {
    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoPurpose => "no-purpose",
            Self::OtherPurpose => "other-purpose",
            Self::NoKeyEncipherment => "no-key-encipherment",
            Self::NotYetValid => "not-yet-valid",
            Self::Expired => "expired",
        }
    }
}

/// Why a file gives no certificate that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadCertificate {
    /// There is none in it.
    #[error("there is no certificate in it (neither DER nor PEM)")]
    None,
    /// PEM armour that does not hold.
    #[error("its PEM armour is broken")]
    Pem,
    /// Not X.509.
    #[error("it is not an X.509 certificate, or a damaged one")]
    Encoding,
    /// Another kind of key.
    #[error("its key is not an RSA key")]
    NotRsa,
    /// A modulus or exponent that is none, or a modulus of less than 1024 bits.
    #[error("its RSA key is damaged, or too short to be one")]
    Key,
    /// The packets have room for 2048 bits and nothing else.
    #[error(
        "its RSA key has {0} bits, and the messages of Network Unlock have room for exactly 2048"
    )]
    Size(u32),
}
