//! A new master key for a volume: everything that was sealed with the old one, or holds it, is
//! sealed again in its own place; all else stays as it is, byte for byte (docs/format.md §7.4).

use super::keys::own_key;
use super::named;
use crate::crypto::envelope;
use crate::enroll::seal::Sealer;
use crate::enroll::unfit;
use crate::error::{Error, Remedy, Result};
use crate::format::datum::{Body, Datum, SealedDatum, roles};
use crate::format::encode::DatumBytes;
use crate::format::protector::KeyProtector;
use crate::secret::{SecretBytes, Vmk};

/// Where the key begins in a KEY datum, and how long the datum of a master key is.
const KEY_AT: usize = 12;
const VMK_DATUM_LEN: usize = KEY_AT + Vmk::LEN;

/// Whether the protector can be given another master key without its owner, its TPM or its card.
pub(super) fn can_follow(protector: &KeyProtector, vmk: &Vmk) -> bool {
    own_key(protector, vmk).is_some()
}

/// Seals one top-level datum, whose bytes are `bytes`, for the master key of `sealer`.
///
/// # Errors
/// [`Error::Unchangeable`] for a protector whose own key cannot be had, and for forms of sealing
/// that are not known; [`Error::Damaged`] when the sector key does not open with the old key.
pub(super) fn reseal(
    datum: &Datum,
    bytes: &mut DatumBytes,
    old: &Vmk,
    sealer: &mut Sealer<'_>,
) -> Result<()> {
    match &datum.body {
        Body::Sealed(sealed) => {
            let resealed = reseal_content(sealed, old, sealer)?;
            if resealed.is_none() && datum.role == roles::FVEK {
                return Err(Error::Damaged {
                    what: "the sector key does not open with the volume master key".to_owned(),
                    copies: Vec::new(),
                });
            }
            put(datum, datum, bytes, resealed)
        }
        Body::KeyProtector(protector) => {
            reseal_vmk(datum, protector, bytes, old, sealer)?;
            reseal_nested(datum, datum, bytes, old, sealer)
        }
        Body::CbcHmac(_) => Err(Error::unchangeable(
            "the metadata holds a datum sealed in a way that is not known, which may depend on the volume master key",
            "changes that need no new master key are possible",
        )),
        _ => reseal_nested(datum, datum, bytes, old, sealer),
    }
}

/// Gives a protector the new master key, under the protector's own key.
fn reseal_vmk(
    top: &Datum,
    protector: &KeyProtector,
    bytes: &mut DatumBytes,
    old: &Vmk,
    sealer: &mut Sealer<'_>,
) -> Result<()> {
    let parts = protector.parts.iter().rev();
    let holder = parts.into_iter().find(|part| part.sealed().is_some());
    let found = holder.zip(own_key(protector, old));
    let content = found.and_then(|(part, key)| {
        let sealed = part.sealed()?;
        let content = envelope::open(&key, &sealed.nonce, &sealed.tag, &sealed.ciphertext)?;
        Some((part, key, content))
    });
    let Some((part, key, content)) = content.filter(|(.., content)| content.len() == VMK_DATUM_LEN)
    else {
        return Err(bound(protector));
    };
    // Its head stays: Windows writes more than one role there.
    let (head, _) = content.expose().split_at(KEY_AT);
    let content = SecretBytes::new([head, sealer.vmk().expose()].concat());
    let resealed = sealer.seal_content(&key, content.expose())?;
    put(top, part, bytes, Some(resealed))
}

/// A protector that nobody but its own TPM, server or card can give another master key.
pub(super) fn bound(protector: &KeyProtector) -> Error {
    Error::unchangeable(
        format!(
            "a removal takes a new volume master key, and {} cannot be given one here: only what it is bound to could seal it",
            named(protector.id, protector.kind())
        ),
        Remedy::RemoveBoundProtector,
    )
}

/// Backups below the top level: sealed with the master key, or not ours to touch.
fn reseal_nested(
    top: &Datum,
    datum: &Datum,
    bytes: &mut DatumBytes,
    old: &Vmk,
    sealer: &mut Sealer<'_>,
) -> Result<()> {
    for nested in datum.nested() {
        if let Some(sealed) = nested.sealed() {
            let resealed = reseal_content(sealed, old, sealer)?;
            put(top, nested, bytes, resealed)?;
        }
        reseal_nested(top, nested, bytes, old, sealer)?;
    }
    Ok(())
}

/// What was sealed with the old master key, sealed with the new; `None` for what was sealed with
/// another key.
fn reseal_content(
    sealed: &SealedDatum,
    old: &Vmk,
    sealer: &mut Sealer<'_>,
) -> Result<Option<SealedDatum>> {
    let content = envelope::open(old.expose(), &sealed.nonce, &sealed.tag, &sealed.ciphertext);
    let new = sealer.vmk();
    content
        .map(|content| sealer.seal_content(new.expose(), content.expose()))
        .transpose()
}

/// Puts what was resealed into the place of `datum` in the bytes of `top`.
fn put(
    top: &Datum,
    datum: &Datum,
    bytes: &mut DatumBytes,
    resealed: Option<SealedDatum>,
) -> Result<()> {
    let Some(resealed) = resealed else {
        return Ok(());
    };
    let at = datum.position.saturating_sub(top.position);
    bytes
        .reseal(usize::try_from(at).unwrap_or(usize::MAX), &resealed)
        .map_err(unfit)
}
