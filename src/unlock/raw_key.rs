//! Raw keys that an examiner recovered elsewhere: the volume master key (VMK) or the full volume
//! encryption key (FVEK).
//!
//! A key file contains the bytes of the key, or the same in hex digits.

use std::path::Path;
use std::sync::Arc;

use super::{Answer, Context, Credential, VolumeKey, open_key};
use crate::crypto::sector::Method;
use crate::error::{Error, Failure, Reason, Result};
use crate::format::block::ValidationHash;
use crate::format::datum::key_types;
use crate::format::protector::KeyProtector;
use crate::secret::{SecretBytes, Vmk};
use crate::shown::ShowPath;

/// A volume master key that the user gives. The datums that it unseals prove it.
///
/// Cloning is cheap: the clones share one copy of the secret.
#[derive(Debug, Clone)]
pub struct RawVmk(Arc<Vmk>);

impl RawVmk {
    /// This volume master key.
    pub fn new(key: Vmk) -> Self {
        Self(Arc::new(key))
    }

    /// The 32 bytes in a file, or the same in hex digits.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::BadCredential`] when it holds no such
    /// key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let bytes = read_key(path.as_ref(), "volume master key", &[Vmk::LEN])?;
        Vmk::from_slice(bytes.expose())
            .map(Self::new)
            .ok_or_else(|| Error::bad_credential("volume master key", "it does not have 32 bytes"))
    }
}

impl Credential for RawVmk {
    fn name(&self) -> &str {
        "volume master key"
    }

    fn try_on(&self, _protector: &KeyProtector, _context: &Context<'_>) -> Answer {
        Answer::NotMine
    }

    fn without_protector(&self, context: &Context<'_>) -> Option<Result<VolumeKey, Failure>> {
        let block = context.block;
        let methods: Vec<u16> = crate::crypto::sector::METHODS
            .iter()
            .map(|method| method.code)
            .collect();
        let opens_fvek = block
            .sealed_fvek()
            .is_some_and(|sealed| open_key(sealed, self.0.expose(), &methods).is_some());
        let opens_hash = match &block.validation.hash {
            ValidationHash::Sealed(sealed) => {
                open_key(sealed, self.0.expose(), &[key_types::VALIDATION_HASH]).is_some()
            }
            _ => false,
        };
        Some(if opens_fvek || opens_hash {
            Ok(VolumeKey::Vmk(self.0.duplicate()))
        } else {
            Err(Failure::new(
                Reason::WrongKey,
                "it does not unseal the keys of this volume: it belongs to another volume, or the volume was given a new master key since",
            ))
        })
    }
}

/// A full volume encryption key (sector key) that the user gives. Nothing on the volume proves it,
/// so the volume is only unlocked if the first sector decrypts to a boot sector.
///
/// Cloning is cheap: the clones share one copy of the secret.
#[derive(Debug, Clone)]
pub struct RawFvek(Arc<SecretBytes>);

impl RawFvek {
    /// Accepted lengths in bytes: those that the key has on disk, 32 also for the used halves of a
    /// key with diffuser as cryptsetup prints it, and that of dislocker's files: the encryption
    /// method in two bytes, then 64 bytes for the key.
    const LENGTHS: &[usize] = &[16, 32, 64, Self::DISLOCKER_LEN];
    const DISLOCKER_LEN: usize = 66;

    /// A key of these bytes.
    pub fn new(key: SecretBytes) -> Self {
        Self(Arc::new(key))
    }

    /// The 16 to 64 bytes in a file, or the same in hex digits; dislocker's form of 66 bytes, too.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::BadCredential`] when it holds no such
    /// key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        read_key(path.as_ref(), "sector key", Self::LENGTHS).map(Self::new)
    }
}

impl Credential for RawFvek {
    fn name(&self) -> &str {
        "sector key"
    }

    fn try_on(&self, _protector: &KeyProtector, _context: &Context<'_>) -> Answer {
        Answer::NotMine
    }

    fn without_protector(&self, context: &Context<'_>) -> Option<Result<VolumeKey, Failure>> {
        let code = context.block.dataset.method;
        let Some(method) = Method::by_code(code) else {
            return Some(Err(Failure::new(
                Reason::UnknownMethod,
                format!("the encryption method {code:#06x} of the volume is unknown"),
            )));
        };
        let key = match self.0.expose() {
            [low, high, key @ ..] if self.0.len() == Self::DISLOCKER_LEN => {
                let of_file = u16::from_le_bytes([*low, *high]);
                if of_file != code {
                    return Some(Err(of_another_method(of_file, method)));
                }
                key.get(..method.key_len).unwrap_or(key)
            }
            key => key,
        };
        Some(if key.len() == method.key_len {
            Ok(VolumeKey::Fvek(SecretBytes::new(key.to_vec())))
        } else if let Some(stored) = method.stored_key(key) {
            Ok(VolumeKey::Fvek(stored))
        } else {
            Err(Failure::new(
                Reason::WrongLength,
                format!(
                    "{} needs a key of {} bytes, but this one has {}",
                    method.name,
                    method.key_len,
                    key.len()
                ),
            ))
        })
    }
}

/// The failure for a key file that is for the encryption method with the code `of_file`.
fn of_another_method(of_file: u16, of_volume: &Method) -> Failure {
    let name = Method::by_code(of_file).map_or_else(
        || format!("the unknown method {of_file:#06x}"),
        |method| method.name.to_owned(),
    );
    Failure::new(
        Reason::WrongLength,
        format!(
            "the file has a key for {name}, but the volume has {}",
            of_volume.name
        ),
    )
}

/// Reads a key that has one of `lengths` bytes, in binary or in hex digits.
pub(super) fn read_key(path: &Path, name: &str, lengths: &[usize]) -> Result<SecretBytes> {
    let bytes = crate::input::read(path, name)?;
    let bytes_in_file = bytes.len();
    // Hex first: a binary key of 16 bytes or more does not consist of hex digits by chance.
    from_hex(bytes.expose())
        .or(Some(bytes))
        .filter(|key| lengths.contains(&key.len()))
        .ok_or_else(|| Error::BadCredential {
            credential: name.to_owned(),
            why: format!(
                "{} has {} bytes, which is not the length of a key",
                path.shown(),
                bytes_in_file
            ),
            remedy: Some(
                format!(
                    "the file must contain {} bytes, or the same in hex digits",
                    lengths
                        .iter()
                        .map(usize::to_string)
                        .collect::<Vec<_>>()
                        .join(" or ")
                )
                .into(),
            ),
        })
}

/// Decodes hex digits; white space and colons are ignored.
pub(super) fn from_hex(text: &[u8]) -> Option<SecretBytes> {
    let digits = text
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace() && **byte != b':');
    let mut bytes = Vec::with_capacity(text.len() / 2 + 1);
    let mut high = None;
    for digit in digits {
        let value = u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
        match high.take() {
            None => high = Some(value),
            Some(first) => bytes.push(first << 4 | value),
        }
    }
    high.is_none().then(|| SecretBytes::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_keys_in_binary_and_in_hex() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |content: &[u8]| {
            std::fs::write(file.path(), content).unwrap();
            read_key(file.path(), "key", &[16]).map(|key| key.expose().to_vec())
        };
        let key: Vec<u8> = (0..16).collect();
        assert_eq!(read(&key).unwrap(), key);
        assert_eq!(read(b"000102030405060708090a0b0c0d0e0f\n").unwrap(), key);
        assert_eq!(
            read(b"00:01:02:03:04:05:06:07\n08 09 0A 0B 0C 0D 0E 0F").unwrap(),
            key
        );
        for bad in [
            &b"000"[..],
            b"0001",
            b"zz0102030405060708090a0b0c0d0e0f",
            b"",
        ] {
            assert!(read(bad).is_err());
        }
    }
}
