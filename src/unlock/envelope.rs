//! Keys that are sealed in a key protector.

use super::credential::Answer;
use crate::crypto::envelope;
use crate::error::{Failure, Reason};
use crate::format::datum::{Body, Datum, Key, SealedDatum, key_types};
use crate::format::protector::KeyProtector;
use crate::secret::Vmk;

/// Opens a protector's sealed VMK with the protector's own key.
pub fn open_vmk(protector: &KeyProtector, key: &[u8; 32]) -> Answer {
    let Some(sealed) = protector.sealed_vmk() else {
        return Answer::Failed(Failure::new(
            Reason::DamagedProtector,
            "the protector holds no sealed volume master key",
        ));
    };
    // Windows writes 0x2003; one published sample (hashcat's) carries 0x2000.
    match open_key(sealed, key, &[key_types::VMK, key_types::CLEAR_KEY]) {
        Some(key) => match Vmk::from_slice(key.data.expose()) {
            Some(vmk) => Answer::Opened(vmk),
            None => Answer::Failed(Failure::new(
                Reason::DamagedProtector,
                "the sealed volume master key does not have 32 bytes",
            )),
        },
        None => Answer::Failed(Failure::new(Reason::WrongKey, "it does not fit")),
    }
}

/// Opens a sealed KEY datum of one of these types; `None` when the tag does not match or something
/// else was sealed. The role inside is ignored: it varies (docs/format.md §3.3).
pub(crate) fn open_key(sealed: &SealedDatum, key: &[u8; 32], wanted: &[u16]) -> Option<Key> {
    let content = envelope::open(key, &sealed.nonce, &sealed.tag, &sealed.ciphertext)?;
    let datum = Datum::parse_one(content.expose()).ok()?;
    match datum.body {
        Body::Key(key) if wanted.contains(&key.key_type) => Some(key),
        _ => None,
    }
}
