//! Reads key packages from files: binary, or as base64 or hex digits, as Active Directory tools print
//! them.

use std::path::Path;

use base64ct::{Base64, Encoding};

use super::raw_key;
use crate::error::{Error, Remedy, Result};
use crate::format::FormatError;
use crate::format::key_package::KeyPackage;
use crate::secret::SecretBytes;
use crate::shown::ShowPath;

/// The kind of file.
pub(crate) const NAME: &str = "key package";

/// Reads a key package from a file.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::BadCredential`] if it is not a key package.
pub fn read(path: &Path) -> Result<KeyPackage> {
    let bytes = crate::input::read(path, NAME)?;
    parse(bytes.expose()).map_err(|fault| Error::BadCredential {
        credential: NAME.to_owned(),
        why: format!("{} is not a key package: {fault}", path.shown()),
        remedy: Some(Remedy::ExportKeyPackage),
    })
}

/// Parses the content of a file.
pub(crate) fn parse(bytes: &[u8]) -> std::result::Result<KeyPackage, FormatError> {
    let text = from_text(bytes);
    KeyPackage::parse(text.as_ref().map_or(bytes, SecretBytes::expose))
}

/// The bytes that a text encodes; `None` if it is neither hex digits nor base64.
fn from_text(bytes: &[u8]) -> Option<SecretBytes> {
    let hex = raw_key::from_hex(bytes);
    hex.or_else(|| {
        let text: String = bytes
            .iter()
            .filter(|byte| !byte.is_ascii_whitespace())
            .map(|byte| char::from(*byte))
            .collect();
        Base64::decode_vec(&text).ok().map(SecretBytes::new)
    })
    .filter(|bytes| !bytes.is_empty())
}
