//! Keys that are sealed in a key protector (AES-CCM, docs/format.md §4.6).

use super::credential::Answer;
use crate::crypto::envelope;
use crate::error::{Failure, Reason};
use crate::format::datum::{Body, Datum, Key, SealedDatum, key_types};
use crate::format::protector::KeyProtector;
use crate::secret::Vmk;

/// Unseals the VMK of a key protector with the key that its credential leads to.
pub fn open_vmk(protector: &KeyProtector, key: &[u8; 32]) -> Answer {
    let Some(sealed) = protector.sealed_vmk() else {
        return Answer::Failed(Failure::new(
            Reason::DamagedProtector,
            "the protector contains no sealed volume master key",
        ));
    };
    // Windows writes the key type 0x2003; one published sample (hashcat's) has 0x2000.
    match open_key(sealed, key, &[key_types::VMK, key_types::CLEAR_KEY]) {
        Some(key) => match Vmk::from_slice(key.data.expose()) {
            Some(vmk) => Answer::Opened(vmk),
            None => Answer::Failed(Failure::new(
                Reason::DamagedProtector,
                "the sealed volume master key does not have 32 bytes",
            )),
        },
        None => Answer::Failed(Failure::new(Reason::WrongKey, "wrong key")),
    }
}

/// Unseals a KEY datum of one of these types; `None` if the tag does not match, or the content is not
/// such a datum. The role of the inner datum is ignored, because it varies (docs/format.md §3.3).
pub(crate) fn open_key(sealed: &SealedDatum, key: &[u8; 32], wanted: &[u16]) -> Option<Key> {
    let content = envelope::open(key, &sealed.nonce, &sealed.tag, &sealed.ciphertext)?;
    let datum = Datum::parse_one(content.expose()).ok()?;
    match datum.body {
        Body::Key(key) if wanted.contains(&key.key_type) => Some(key),
        _ => None,
    }
}
