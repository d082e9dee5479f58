//! New RSA keys with self-signed certificates for Network Unlock, with the extensions that
//! Microsoft's instructions give them.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use p12_keystore::{
    EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain,
};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    KeyPair, KeyUsagePurpose, PKCS_RSA_SHA512,
};
use x509_cert::der::pem::{LineEnding, encode_string};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::network::certificate::Certificate;
use crate::secret::{SecretBytes, SecretText};

/// The extended key usage of Network Unlock, 1.3.6.1.4.1.311.67.1.1.
const USAGE: [u64; 10] = [1, 3, 6, 1, 4, 1, 311, 67, 1, 1];
/// Microsoft's extension for application policies (1.3.6.1.4.1.311.21.10), which its instructions
/// fill with the same usage.
const APPLICATION_POLICIES: [u64; 9] = [1, 3, 6, 1, 4, 1, 311, 21, 10];
/// The value of that extension in DER: a list of one policy, the usage above.
const POLICY: [u8; 16] = [
    0x30, 14, 0x30, 12, 6, 10, 0x2B, 6, 1, 4, 1, 0x82, 0x37, 0x43, 1, 1,
];
/// Iterations of the key derivation of a PKCS#12 file. Many, because the password may be short and
/// the file is decrypted only when the server reads its keys.
const ROUNDS: u32 = 100_000;

/// A new certificate with its private key.
#[derive(Debug)]
pub struct NewCertificate {
    certificate: Certificate,
    key: SecretBytes,
}

impl NewCertificate {
    /// Makes a key of 2048 bits and a certificate for it, valid for `days` from today. `subject` is
    /// its common name.
    ///
    /// # Errors
    /// [`Error::Environment`] if AWS-LC makes no key, or if the last day is after the year 9999.
    pub fn make(subject: &str, days: u32) -> Result<Self> {
        let failed = |what: &str| Error::Environment {
            what: format!("cannot make {what}"),
            remedy: None,
        };
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048)
            .and_then(|key| AsDer::<Pkcs8V1Der<'_>>::as_der(&key))
            .map_err(|_| failed("an RSA key"))?;
        let key = SecretBytes::new(key.as_ref().to_vec());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key.expose().into(), &PKCS_RSA_SHA512)
            .map_err(|_| failed("a certificate with the new key"))?;
        let signed = parameters(subject, days)
            .ok_or_else(|| failed("a certificate with so long a validity"))?
            .self_signed(&pair)
            .map_err(|_| failed("a certificate"))?;
        let certificate =
            Certificate::from_der(signed.der()).map_err(|_| failed("a valid certificate"))?;
        Ok(Self { certificate, key })
    }

    /// The new certificate, without its private key.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Certificate and key in PEM. The key is not encrypted.
    ///
    /// # Errors
    /// [`Error::Environment`] if the encoder fails.
    pub fn pem(&self) -> Result<SecretBytes> {
        let armoured = |label, bytes| {
            encode_string(label, LineEnding::LF, bytes)
                .map(Zeroizing::new)
                .map_err(|_| Error::Environment {
                    what: "cannot write PEM".to_owned(),
                    remedy: None,
                })
        };
        let certificate = armoured("CERTIFICATE", self.certificate.der())?;
        let key = armoured("PRIVATE KEY", self.key.expose())?;
        Ok(SecretBytes::new(
            [certificate.as_bytes(), key.as_bytes()].concat(),
        ))
    }

    /// Certificate and key in PKCS#12, encrypted with AES-256. With `legacy`, with Triple DES, for
    /// Windows before Windows 10 version 1709 and Windows Server 2019.
    ///
    /// # Errors
    /// [`Error::Environment`] if the encoder fails.
    pub fn pkcs12(&self, password: &SecretText, legacy: bool) -> Result<SecretBytes> {
        let failed = |error: p12_keystore::error::Error| Error::Environment {
            what: format!("cannot write PKCS#12: {error}"),
            remedy: None,
        };
        let key = PrivateKey::from_der(self.key.expose()).map_err(failed)?;
        let certificate =
            p12_keystore::Certificate::from_der(self.certificate.der()).map_err(failed)?;
        let chain = PrivateKeyChain::new(
            &self.certificate.thumbprint().as_bytes()[..],
            key,
            [certificate],
        );
        let mut store = KeyStore::new();
        store.add_entry("network-unlock", KeyStoreEntry::PrivateKeyChain(chain));
        let (encryption, mac) = match legacy {
            true => (
                EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc,
                MacAlgorithm::HmacSha1,
            ),
            false => (
                EncryptionAlgorithm::PbeWithHmacSha256AndAes256,
                MacAlgorithm::HmacSha256,
            ),
        };
        let written = store
            .writer(password.expose())
            .encryption_algorithm(encryption)
            .encryption_iterations(ROUNDS)
            .mac_algorithm(mac)
            .mac_iterations(ROUNDS)
            .write()
            .map_err(failed)?;
        Ok(SecretBytes::new(written))
    }
}

fn parameters(subject: &str, days: u32) -> Option<CertificateParams> {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let last = today.checked_add(i64::from(days).days()).ok()?;
    // The year is at most 9999, jiff's last, which is also the last that a certificate can express.
    let day = |date: jiff::civil::Date| {
        rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
    };
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, subject);
    let mut parameters = CertificateParams::default();
    parameters.not_before = day(today);
    parameters.not_after = day(last);
    parameters.distinguished_name = name;
    parameters.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(USAGE.to_vec())];
    parameters.custom_extensions = vec![CustomExtension::from_oid_content(
        &APPLICATION_POLICIES,
        POLICY.to_vec(),
    )];
    Some(parameters)
}
