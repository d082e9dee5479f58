//! Replaces the VMK in the metadata: every datum that is sealed with the old VMK or contains it is sealed
//! again in place; all other bytes stay the same (docs/format.md §7.4).

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

/// Offset of the key in a KEY datum, and length of a KEY datum with a VMK, in bytes.
const KEY_AT: usize = 12;
const VMK_DATUM_LEN: usize = KEY_AT + Vmk::LEN;

/// Whether the protector can be given a new VMK without its credential, TPM or smart card: the metadata
/// has a backup of its key.
pub(super) fn can_follow(protector: &KeyProtector, vmk: &Vmk) -> bool {
    own_key(protector, vmk).is_some()
}

/// Seals what a top-level datum holds again, for the VMK of `sealer`. `bytes` are the bytes of the datum.
///
/// # Errors
/// [`Error::Unchangeable`] for a protector whose own key is not known, and for unknown forms of sealing;
/// [`Error::Damaged`] when the FVEK does not open with the old VMK.
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
            "the metadata has a datum sealed in an unknown way, which may depend on the master key",
            "make a change that needs no new master key",
        )),
        _ => reseal_nested(datum, datum, bytes, old, sealer),
    }
}

/// Seals the new VMK with the protector's own key, in the place of the old VMK.
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
    // The header of the KEY datum is kept, because Windows writes different types there.
    let (head, _) = content.expose().split_at(KEY_AT);
    let content = SecretBytes::new([head, sealer.vmk().expose()].concat());
    let resealed = sealer.seal_content(&key, content.expose())?;
    put(top, part, bytes, Some(resealed))
}

/// The error for a protector for which only its TPM, server or smart card could seal a new VMK.
pub(super) fn bound(protector: &KeyProtector) -> Error {
    Error::unchangeable(
        format!(
            "removing a protector needs a new master key, which {} cannot be given: only the TPM, server or card that it is bound to could seal it",
            named(protector.id, protector.kind())
        ),
        Remedy::RemoveBoundProtector,
    )
}

/// Seals again the nested backups that are sealed with the VMK. Those sealed with another key stay.
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

/// Opens a sealed datum with the old VMK and seals its content with the new one; `None` if it was sealed
/// with another key.
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

/// Overwrites `datum`, in the bytes of the top-level datum `top` around it, with what was resealed.
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
