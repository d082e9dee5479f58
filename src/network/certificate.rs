//! Certificates of Network Unlock servers: their content, and what Windows may object to.
//!
//! The thumbprint is the SHA-1 of the certificate as it is stored. So the original bytes are kept and
//! never encoded again.

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
/// The longest certificate or key file that is read, in bytes. A chain has a few kilobytes.
pub const MAX_FILE: u64 = 1 << 20;

/// A certificate whose key the protocol can use: RSA with 2048 bits.
#[derive(Debug, Clone)]
pub struct Certificate {
    der: Vec<u8>,
    thumbprint: Thumbprint,
    key: PublicKey,
    subject: String,
    not_before: SystemTime,
    not_after: SystemTime,
    /// Whether the key usage has key encipherment; `None` without that extension.
    key_encipherment: Option<bool>,
    /// Whether the extended key usage has Network Unlock; `None` without that extension.
    network_unlock_usage: Option<bool>,
}

impl Certificate {
    /// The certificate in the content of a DER or PEM file. Of several in a PEM file, the first.
    ///
    /// # Errors
    /// [`BadCertificate`] if there is none, or if its key cannot be used.
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

    /// Parses a certificate in DER.
    ///
    /// # Errors
    /// [`BadCertificate`] if it is not one, or if its key cannot be used.
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

    /// The certificate in DER, byte for byte as it was stored.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The SHA-1 of [`Self::der`].
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// The public key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The subject's distinguished name. It may hold control characters, which must be escaped for
    /// a terminal.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The time from which it is valid.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// The time until which it is valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether its extended key usage has [`NETWORK_UNLOCK_USAGE`].
    pub fn is_for_network_unlock(&self) -> bool {
        self.network_unlock_usage == Some(true)
    }

    /// What Windows may object to. How strict its boot manager is, is not documented; the protocol
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

    /// The time until it expires; `None` if it has expired.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        self.not_after.duration_since(now).ok()
    }
}

/// A difference from the certificates that Microsoft's instructions make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    /// There is no extended key usage.
    #[error("it has no extended key usage (1.3.6.1.4.1.311.67.1.1 is missing)")]
    NoPurpose,
    /// There is an extended key usage, without [`NETWORK_UNLOCK_USAGE`].
    #[error("it was made for another purpose (1.3.6.1.4.1.311.67.1.1 is missing)")]
    OtherPurpose,
    /// There is a key usage, without key encipherment.
    #[error("its key usage does not include key encipherment")]
    NoKeyEncipherment,
    /// Its validity begins later.
    #[error("it is not valid yet")]
    NotYetValid,
    /// Its validity has ended.
    #[error("it has expired")]
    Expired,
}

impl Doubt {
    /// Its stable word in JSON.
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

/// Why a file holds no usable certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadCertificate {
    /// There is no certificate in it.
    #[error("it holds no certificate in DER or PEM")]
    None,
    /// The PEM encoding is damaged.
    #[error("its PEM encoding is damaged")]
    Pem,
    /// It is not an X.509 certificate in DER.
    #[error("it is not an X.509 certificate, or is damaged")]
    Encoding,
    /// The key is not an RSA key.
    #[error("its key is not an RSA key")]
    NotRsa,
    /// The RSA key is invalid, or shorter than 1024 bits.
    #[error("its RSA key is damaged or shorter than 1024 bits")]
    Key,
    /// The RSA key does not have 2048 bits, for which the packets are made. With its bits.
    #[error("its RSA key has {0} bits; Network Unlock needs 2048")]
    Size(u32),
}
