//! Sealed data that a TPM released earlier, captured on the bus, from firmware or from a virtual TPM
//! (docs/format-tpm.md §3.6).

use std::path::Path;

use zeroize::Zeroizing;

use super::policy::{Pcrs, Policy};
use super::unsealer::{Lockout, TpmError, Unsealer};
use crate::crypto::hash::HashAlgorithm;
use crate::error::{Error, Result};
use crate::format::tpm_blob::SealedObject;
use crate::secret::{SecretBytes, TpmPassword};
use crate::shown::ShowPath;

const NAME: &str = "TPM payload";

/// Length of a KEY datum with a key of 32 bytes.
const KEY_DATUM: usize = 44;
/// Length of such a datum sealed with the key of a PIN.
const SEALED_DATUM: usize = 80;
/// Length of a key alone.
const KEY: usize = 32;
/// The header of a KEY datum with a key of 32 bytes, and of such a datum sealed. Some programs save the
/// released datum without it.
const HEADERS: [[u8; 8]; 2] = [
    [KEY_DATUM as u8, 0, 0, 0, 1, 0, 0, 0],
    [SEALED_DATUM as u8, 0, 0, 0, 5, 0, 0, 0],
];

/// The data that a TPM released.
#[derive(Debug)]
pub struct Payload(SecretBytes);

impl Payload {
    /// A payload from its bytes: a datum of 44 or 80 bytes, with or without the two bytes of its length
    /// before it (TPM2B), the same without its header of 8 bytes, or the 32 bytes of a key. `None` for
    /// anything else.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let bytes = match bytes {
            [0, len, rest @ ..]
                if usize::from(*len) == rest.len()
                    && [KEY_DATUM, SEALED_DATUM].contains(&rest.len()) =>
            {
                rest
            }
            whole => whole,
        };
        for header in HEADERS {
            if bytes.len() + header.len() == usize::from(header[0]) {
                return Some(Self(SecretBytes::new([&header, bytes].concat())));
            }
        }
        [KEY, KEY_DATUM, SEALED_DATUM]
            .contains(&bytes.len())
            .then(|| Self(SecretBytes::new(bytes.to_vec())))
    }

    /// A payload from a file, in binary or in hex digits.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::BadCredential`] when it holds something else.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = crate::input::read(path, NAME)?;
        let found = Self::new(bytes.expose())
            .or_else(|| from_hex(bytes.expose()).and_then(|bytes| Self::new(&bytes)));
        found.ok_or_else(|| Error::BadCredential {
            credential: NAME.to_owned(),
            why: format!("{} does not contain what a TPM released", path.shown()),
            remedy: Some(
                "give the 44 bytes that the TPM released, 80 with a PIN, the same without their header of 8 bytes, or the 32 bytes of the key, in binary or hex".into(),
            ),
        })
    }
}

impl Unsealer for Payload {
    fn name(&self) -> &str {
        NAME
    }

    fn place(&self) -> String {
        "the captured payload".to_owned()
    }

    fn needs_pin(&self) -> bool {
        self.0.len() == SEALED_DATUM
    }

    fn lockout(&self) -> Result<Option<Lockout>, TpmError> {
        Ok(None)
    }

    fn pcrs(&self, _bank: HashAlgorithm, _wanted: &[u8]) -> Result<Option<Pcrs>, TpmError> {
        Ok(None)
    }

    fn check(&self, _object: &SealedObject, _srk_name: Option<&[u8]>) -> Result<(), TpmError> {
        Ok(())
    }

    fn unseal(
        &self,
        _object: &SealedObject,
        _policy: &Policy,
        _password: Option<&TpmPassword>,
        _srk_name: Option<&[u8]>,
    ) -> Result<SecretBytes, TpmError> {
        Ok(SecretBytes::new(self.0.expose().to_vec()))
    }
}

/// Bytes from hex digits, which may be separated by white space or colons and begin with `0x`.
pub(super) fn from_hex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digits: Zeroizing<Vec<u8>> = Zeroizing::new(
        text.iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace() && *byte != b':')
            .collect(),
    );
    let digits = digits.strip_prefix(b"0x").unwrap_or(&digits);
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.chunks_exact(2) {
        let [high, low] = pair else { return None };
        bytes.push(u8::try_from(nibble(*high)? << 4 | nibble(*low)?).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_in_which_captures_come() {
        assert!(Payload::new(&[1; 44]).is_some());
        assert!(Payload::new(&[1; 45]).is_none());
        for (len, datum, pin) in [(36, 44, false), (72, 80, true)] {
            let payload = Payload::new(&vec![1; len]).unwrap();
            assert_eq!((payload.0.len(), payload.needs_pin()), (datum, pin));
        }
        let with_length = [&[0, 44][..], &[1; 44]].concat();
        assert_eq!(Payload::new(&with_length).unwrap().0.len(), 44);
        assert!(Payload::new(&[0; 80]).unwrap().needs_pin());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "2c 00".to_owned() + &" 00".repeat(42) + "\n").unwrap();
        assert_eq!(Payload::read(file.path()).unwrap().0.len(), 44);
        std::fs::write(file.path(), "not a payload").unwrap();
        assert!(Payload::read(file.path()).is_err());
    }
}
