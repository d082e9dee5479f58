//! Seals TPM protectors again, for another PIN or for other PCR values. The metadata holds backups of the
//! PIN's hash and of the startup key, sealed with the VMK, so neither has to be given again
//! (docs/format-tpm.md §1.1).

use super::keys::external_key;
use super::{Change, named};
use crate::enroll::{NewProtector, TpmBinding};
use crate::error::{Error, Remedy, Result};
use crate::format::datum::{Datum, key_types};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::secret::{ExternalKey, PinHash, Vmk};
use crate::tpm::Pin;
use crate::unlock::open_key;

/// A TPM protector that was sealed again, with the secrets that unlock it.
#[derive(Debug)]
#[non_exhaustive]
pub struct ResealedProtector {
    /// For [`Change::replace`](super::Change::replace).
    pub protector: NewProtector,
    /// Its PIN, if it has one.
    pub pin: Option<Pin>,
    /// Its startup key, if it has one.
    pub startup_key: Option<ExternalKey>,
}

/// Makes a replacement for a TPM protector, of the same kind: bound to `binding`, with the same startup
/// key, and with `new_pin` or the same PIN.
///
/// # Errors
/// [`Error::Unchangeable`] for a protector that is not bound to a TPM, for a new PIN for one without PIN,
/// and when the metadata has no backup of the PIN or the startup key.
pub fn reseal_tpm_protector(
    protector: &KeyProtector,
    vmk: &Vmk,
    binding: TpmBinding,
    new_pin: Option<Pin>,
) -> Result<ResealedProtector> {
    let name = named(protector.id, protector.kind());
    let (has_pin, has_startup_key) = match protector.kind() {
        ProtectorKind::Tpm => (false, false),
        ProtectorKind::TpmPin => (true, false),
        ProtectorKind::TpmStartupKey => (false, true),
        ProtectorKind::TpmPinStartupKey => (true, true),
        _ => {
            return Err(Error::unchangeable(
                format!("{name} is not bound to a TPM"),
                Remedy::NameTpmProtector,
            ));
        }
    };
    let lost = |what: &str| {
        Error::unchangeable(
            format!("the metadata has no backup of the {what} of {name}"),
            "remove the protector and add a new one",
        )
    };
    let pin = match (has_pin, new_pin) {
        (true, Some(pin)) => Some(pin),
        (true, None) => Some(kept_pin(protector, vmk).ok_or_else(|| lost("PIN"))?),
        (false, None) => None,
        (false, Some(_)) => {
            return Err(Error::unchangeable(
                format!("{name} has no PIN"),
                Remedy::AddTpmPinProtector,
            ));
        }
    };
    let startup_key = match has_startup_key {
        true => Some(external_key(protector, vmk).ok_or_else(|| lost("startup key"))?),
        false => None,
    };
    let pin_again = pin
        .as_ref()
        .map(|pin| PinHash::from_bytes(pin.hash().expose()));
    let key_again = startup_key
        .as_ref()
        .map(|key| ExternalKey::from_bytes(key.expose()));
    Ok(ResealedProtector {
        protector: NewProtector::tpm(binding, pin_again.map(Pin::of_backup), key_again)?,
        pin,
        startup_key,
    })
}

/// The change that removes every TPM protector, so that Windows asks for the recovery password at its next
/// start (docs/format-recovery.md §5.3). This needs no key.
///
/// # Errors
/// [`Error::Unchangeable`] when no protector uses a TPM, and when none would be left that the user can
/// give at the start of Windows: a recovery password, a startup key or a password.
pub fn removal_of_tpm_protectors(protectors: &[&KeyProtector]) -> Result<Change> {
    let kinds = || protectors.iter().map(|protector| protector.kind());
    if !kinds().any(ProtectorKind::uses_tpm) {
        return Err(Error::unchangeable(
            "the volume has no key protector that uses a TPM",
            Remedy::ListProtectors,
        ));
    }
    let usable = |kind| {
        matches!(
            kind,
            ProtectorKind::RecoveryPassword | ProtectorKind::ExternalKey | ProtectorKind::Password
        )
    };
    if !kinds().any(usable) {
        return Err(Error::unchangeable(
            "without its TPM protectors, the volume would have no recovery password and nothing else that the user can give at the start of Windows",
            Remedy::AddRecoveryPassword,
        ));
    }
    let bound = protectors
        .iter()
        .filter(|protector| protector.kind().uses_tpm());
    Ok(bound.fold(Change::new(), |change, protector| {
        change.remove(protector.id)
    }))
}

/// The hash of the PIN, from its backup.
fn kept_pin(protector: &KeyProtector, vmk: &Vmk) -> Option<Pin> {
    let mut backups = protector.stretch()?.nested.iter().filter_map(Datum::sealed);
    backups.find_map(|sealed| {
        let key = open_key(sealed, vmk.expose(), &[key_types::PIN])?;
        PinHash::from_slice(key.data.expose()).map(Pin::of_backup)
    })
}
