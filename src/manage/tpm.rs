//! TPM protectors sealed anew: with another PIN, or to another state of the computer. The metadata
//! keeps the hash of the PIN and the startup key, sealed with the master key, so that nobody has to
//! be asked for them again (docs/format-tpm.md §1.1).

use super::keys::external_key;
use super::named;
use crate::enroll::{NewProtector, TpmBinding};
use crate::error::{Error, Remedy, Result};
use crate::format::datum::{Datum, key_types};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::secret::{ExternalKey, PinHash, Vmk};
use crate::tpm::Pin;
use crate::unlock::open_key;

/// A protector sealed anew, and what opens it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rebound {
    /// For [`Change::replace`](super::Change::replace).
    pub protector: NewProtector,
    /// Its PIN, as far as it is known.
    pub pin: Option<Pin>,
    /// Its startup key.
    pub startup_key: Option<ExternalKey>,
}

/// The same protector bound to `binding`, with another PIN where one is given.
///
/// # Errors
/// [`Error::Unchangeable`] for a protector of another kind, for a PIN where it takes none, and when
/// the metadata keeps no backup of what it takes.
pub fn rebound(
    protector: &KeyProtector,
    vmk: &Vmk,
    binding: TpmBinding,
    new_pin: Option<Pin>,
) -> Result<Rebound> {
    let name = named(protector.id, protector.kind());
    let (takes_pin, takes_startup_key) = match protector.kind() {
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
            format!("the metadata keeps no {what} for {name}"),
            "remove the protector and add a new one",
        )
    };
    let pin = match (takes_pin, new_pin) {
        (true, Some(pin)) => Some(pin),
        (true, None) => Some(kept_pin(protector, vmk).ok_or_else(|| lost("PIN"))?),
        (false, None) => None,
        (false, Some(_)) => {
            return Err(Error::unchangeable(
                format!("{name} takes no PIN"),
                Remedy::AddTpmPinProtector,
            ));
        }
    };
    let startup_key = match takes_startup_key {
        true => Some(external_key(protector, vmk).ok_or_else(|| lost("startup key"))?),
        false => None,
    };
    let pin_again = pin
        .as_ref()
        .map(|pin| PinHash::from_bytes(pin.hash().expose()));
    let key_again = startup_key
        .as_ref()
        .map(|key| ExternalKey::from_bytes(key.expose()));
    Ok(Rebound {
        protector: NewProtector::tpm(binding, pin_again.map(Pin::of_backup), key_again)?,
        pin,
        startup_key,
    })
}

/// The PIN, hashed once, as the protector keeps it.
fn kept_pin(protector: &KeyProtector, vmk: &Vmk) -> Option<Pin> {
    let mut backups = protector.stretch()?.nested.iter().filter_map(Datum::sealed);
    backups.find_map(|sealed| {
        let key = open_key(sealed, vmk.expose(), &[key_types::PIN])?;
        PinHash::from_slice(key.data.expose()).map(Pin::of_backup)
    })
}
