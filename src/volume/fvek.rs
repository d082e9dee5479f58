//! The key of the sectors, for what decrypts them outside this library.

use crate::crypto::sector::Method;
use crate::secret::SecretBytes;

/// The full volume encryption key (FVEK) of a volume, a secret: it decrypts all sectors,
/// whatever happens to the key protectors later. [`Volume::unlock_keeping_fvek`](super::Volume::unlock_keeping_fvek)
/// returns one.
#[derive(Debug)]
pub struct Fvek {
    method: &'static Method,
    key: SecretBytes,
}

impl Fvek {
    /// `None` if the key does not have the length that the method needs.
    pub(super) fn new(method: &'static Method, key: SecretBytes) -> Option<Self> {
        (key.len() == method.key_len).then_some(Self { method, key })
    }

    /// The encryption method that it is for.
    pub fn method(&self) -> &'static Method {
        self.method
    }

    /// The key as the metadata holds it (docs/format.md §4.7), [`Method::key_len`] bytes.
    pub fn expose(&self) -> &SecretBytes {
        &self.key
    }

    /// The bytes of it that the cipher uses, [`Method::used_len`] of them: what dm-crypt and cryptsetup
    /// take as the key.
    pub fn used(&self) -> SecretBytes {
        self.method.used_key(self.key.expose())
    }
}
