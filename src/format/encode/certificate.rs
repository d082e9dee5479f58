//! The datums of a certificate protector (docs/format.md §3.13).

use super::{DatumBytes, STORED, datum, fault};
use crate::format::FormatError;
use crate::format::datum::{roles, types};

/// Kind of a certificate record that holds a thumbprint.
const THUMBPRINT: u32 = 2;

/// The intermediate key, encrypted with the public key.
pub(crate) fn wrapped_key(encrypted: &[u8]) -> Result<DatumBytes, FormatError> {
    datum(
        roles::PROPERTY,
        types::ASYMMETRIC_BLOB,
        STORED,
        &[encrypted],
        &[],
    )
}

/// The public key as a `BCRYPT_RSAPUBLIC_BLOB`: magic, bits, lengths of exponent and modulus, two zero
/// lengths for the primes, exponent, modulus.
pub(crate) fn public_key(
    bits: u32,
    exponent: &[u8],
    modulus: &[u8],
) -> Result<DatumBytes, FormatError> {
    let sizes = [bits, len(exponent)?, len(modulus)?, 0, 0].map(u32::to_le_bytes);
    let fixed: [&[u8]; 4] = [b"RSA1", sizes.as_flattened(), exponent, modulus];
    let role = roles::RECIPIENT_KEY;
    datum(role, types::EXPORTED_PUBLIC_KEY, STORED, &fixed, &[])
}

/// The certificate, identified by the SHA-1 of its DER form.
pub(crate) fn certificate(thumbprint: &[u8; 20]) -> Result<DatumBytes, FormatError> {
    /// Length of the record: `gsin`, three sizes, thumbprint, a zero byte.
    const LEN: u32 = 0x25;
    let sizes = [LEN, THUMBPRINT, len(thumbprint)?].map(u32::to_le_bytes);
    let fixed: [&[u8]; 4] = [b"gsin", sizes.as_flattened(), thumbprint, &[0]];
    datum(roles::PROPERTY, types::PUBLIC_KEY_INFO, STORED, &fixed, &[])
}

/// A length as a 32-bit field.
fn len(bytes: &[u8]) -> Result<u32, FormatError> {
    u32::try_from(bytes.len()).map_err(|_| fault("certificate", format!("{} bytes", bytes.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::datum::{Body, Datum};

    #[test]
    fn has_the_sizes_of_the_sample_and_reads_back() {
        let (modulus, exponent) = ([0xA5; 256], [1, 0, 1]);
        let key = public_key(2048, &exponent, &modulus).unwrap();
        let record = certificate(&[7; 20]).unwrap();
        assert_eq!(wrapped_key(&[1; 256]).unwrap().len(), 0x108);
        assert_eq!((key.len(), record.len()), (0x123, 0x2D));
        let key = Datum::parse_one(key.expose()).unwrap();
        let Body::PublicKey(read) = &key.body else {
            panic!("{key:?}");
        };
        assert_eq!((read.bits, key.role), (2048, roles::RECIPIENT_KEY));
        assert_eq!(
            (&read.exponent[..], &read.modulus[..]),
            (&exponent[..], &modulus[..])
        );
        let record = Datum::parse_one(record.expose()).unwrap();
        let Body::Certificate(read) = &record.body else {
            panic!("{record:?}");
        };
        assert_eq!((read.kind, &read.thumbprint[..]), (2, &[7; 20][..]));
    }
}
