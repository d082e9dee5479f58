//! Secrets in the keyrings of the kernel: keys of the type "user" (keyrings(7)), found by their description.

use std::io;
use std::path::Path;

use fve::error::{Error, Result};
use fve::input::line_in;
use fve::secret::{SecretBytes, SecretText};
use linux_keyutils::{Key, KeyError, KeyRing, KeyRingIdentifier};
use zeroize::Zeroizing;

/// Most bytes of a key of this type (user_key_type in keyrings(7)).
const MAX_LEN: usize = 32_767;

/// The keyrings that are searched, in this order, with those that are linked to them. The keyring of the
/// user is usually linked to that of the session, but not to that of a service.
const RINGS: [KeyRingIdentifier; 4] = [
    KeyRingIdentifier::Thread,
    KeyRingIdentifier::Process,
    KeyRingIdentifier::Session,
    KeyRingIdentifier::User,
];

/// The text in the key with this description, without one newline at its end. The description is in no
/// message: a user may have typed the secret in its place.
///
/// # Errors
/// [`Error::BadCredential`] where there is no such key, or it is not one line of text; [`Error::Io`] where
/// it cannot be read.
pub(super) fn line(description: Option<&Path>, credential: &str) -> Result<SecretText> {
    line_in(
        &read(description, credential)?,
        "key",
        "the key",
        credential,
    )
}

/// The content of the key with this description.
///
/// # Errors
/// As [`line`].
pub(super) fn read(description: Option<&Path>, credential: &str) -> Result<SecretBytes> {
    let unreadable = |what: &str| {
        Error::io(
            format!("cannot read the {credential} from a keyring of the kernel"),
            io::Error::other(what.to_owned()),
        )
    };
    let description = description.and_then(Path::to_str).unwrap_or_default();
    let mut failure = None;
    for ring in RINGS {
        let found = KeyRing::from_special_id(ring, false).and_then(|ring| ring.search(description));
        match found.and_then(content) {
            Ok(content) => return Ok(content),
            Err(KeyError::KeyDoesNotExist | KeyError::KeyringDoesNotExist) => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(match failure {
        None => Error::bad_credential(
            credential,
            "no key of the type \"user\" with this description is in the keyrings of this process, session or user; 'keyctl padd user DESCRIPTION @u' adds one and reads the secret from standard input",
        ),
        Some(KeyError::KeyExpired) => unreadable("the key has expired"),
        Some(KeyError::KeyRevoked) => unreadable("the key was revoked"),
        Some(KeyError::AccessDenied) => unreadable(
            "this process may not read the key; it must be in a keyring of the process or the session, or permit its user to read it",
        ),
        Some(error) => unreadable(&error.to_string()),
    })
}

fn content(key: Key) -> std::result::Result<SecretBytes, KeyError> {
    let mut bytes = Zeroizing::new(vec![0; MAX_LEN]);
    // The kernel returns the length of the whole key, also if it is longer than the buffer.
    let len = key.read(&mut *bytes)?;
    let content = bytes.get(..len).ok_or(KeyError::OutOfMemory)?;
    Ok(SecretBytes::new(content.to_vec()))
}
