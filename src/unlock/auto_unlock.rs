//! Auto-unlock: the system volume of a computer stores the keys of its fixed data volumes
//! (docs/format-recovery.md §4.3 and §4.4).
//!
//! ```text
//! system volume ─ its VMK ─ auto-unlock key (metadata) ─┐
//!               ─ its files ─ registry hive ─ sealed external keys ─ the data volume's protector
//! ```
//! The registry values have the same format as published values of real computers. No pair of
//! volumes was published, so it is not proven that the whole chain unlocks a volume of Windows. The
//! keys of removable volumes are stored elsewhere, sealed under the Windows password of a user, and
//! are not read.

use super::{Answer, Context, Credential, open_key, open_vmk};
use crate::error::{Error, Failure, Reason, Remedy, Result};
use crate::format::FormatError;
use crate::format::datum::{Body, Datum, ExternalKeyInfo, key_types};
use crate::format::hive::{Hive, Key};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::guid::Guid;
use crate::secret::{AutoUnlockKey, ExternalKey};

const NAME: &str = "auto-unlock key";

/// The path of the registry hive on the system volume.
pub const HIVE_PATH: [&str; 4] = ["Windows", "System32", "config", "SYSTEM"];

/// The value of each key below `FVEAutoUnlock`.
const VALUE: &str = "Data";

/// What is read from an unlocked system volume.
#[derive(Debug)]
pub struct SystemVolume {
    /// The auto-unlock key, under which the keys of the data volumes are sealed.
    pub key: AutoUnlockKey,
    /// Content of the registry hive `SYSTEM`.
    pub hive: Vec<u8>,
}

/// The keys of data volumes that a system volume stores.
#[derive(Debug)]
pub struct AutoUnlock {
    keys: Vec<StoredKey>,
    /// Whether the hive is complete: newer changes may still be in its log files.
    is_settled: bool,
}

#[derive(Debug)]
struct StoredKey {
    protector: Guid,
    /// `None` if the auto-unlock key does not unseal it.
    key: Option<ExternalKey>,
}

impl AutoUnlock {
    /// Unseals the keys in the hive of a system volume.
    ///
    /// # Errors
    /// [`Error::BadCredential`] where the hive is not a registry hive, or is damaged.
    pub fn new(system: &SystemVolume) -> Result<Self> {
        let damaged = |fault: FormatError| Error::BadCredential {
            credential: NAME.to_owned(),
            why: format!("the registry hive of the system volume cannot be read: {fault}"),
            remedy: Some(Remedy::GiveHive),
        };
        let hive = Hive::parse(&system.hive).map_err(damaged)?;
        let values = values(&hive).map_err(damaged)?;
        let keys = values.iter().filter_map(|value| {
            let info = external_key_info(value)?;
            let sealed = info.nested.iter().find_map(Datum::sealed);
            let key = sealed.and_then(|sealed| {
                open_key(sealed, system.key.expose(), &[key_types::EXTERNAL_KEY])
            });
            Some(StoredKey {
                protector: info.id,
                key: key.and_then(|key| ExternalKey::from_slice(key.data.expose())),
            })
        });
        Ok(Self {
            keys: keys.collect(),
            is_settled: hive.is_settled(),
        })
    }

    fn has_no_key(&self, protector: &KeyProtector) -> Failure {
        let ids: Vec<_> = self
            .keys
            .iter()
            .map(|stored| format!("{:X}", stored.protector))
            .collect();
        let others = match ids.as_slice() {
            [] => "it stores no key at all".to_owned(),
            ids => format!("it stores those of {}", ids.join(", ")),
        };
        let failure = Failure::new(
            Reason::NotAutoUnlocked,
            format!(
                "the system volume stores no key of the protector {:X}: {others}",
                protector.id
            ),
        );
        if self.is_settled {
            return failure;
        }
        failure.with_remedy("start Windows and shut it down again, if possible: its registry hive is incomplete (Windows was not shut down, or hibernates), and fve does not read the log files of the hive")
    }
}

impl Credential for AutoUnlock {
    fn name(&self) -> &str {
        NAME
    }

    fn try_on(&self, protector: &KeyProtector, _context: &Context<'_>) -> Answer {
        if protector.kind() != ProtectorKind::ExternalKey {
            return Answer::NotMine;
        }
        let mut named = self
            .keys
            .iter()
            .filter(|stored| stored.protector == protector.id)
            .peekable();
        if named.peek().is_none() {
            return Answer::Failed(self.has_no_key(protector));
        }
        for stored in named {
            let Some(key) = &stored.key else { continue };
            if let Answer::Opened(vmk) = open_vmk(protector, key.expose()) {
                return Answer::Opened(vmk);
            }
        }
        Answer::Failed(Failure::new(
            Reason::WrongKey,
            "the system volume stores a key of this protector, but it is outdated, or was sealed by another Windows installation",
        ))
    }
}

/// The external key in a registry value: a datum as in a `.BEK` file, but with a sealed key.
fn external_key_info(value: &[u8]) -> Option<ExternalKeyInfo> {
    let datums = Datum::parse_list(value, 0).ok()?;
    datums.into_iter().find_map(|datum| match datum.body {
        Body::ExternalKey(info) => Some(info),
        _ => None,
    })
}

/// Every value below `Control\FVEAutoUnlock` of the current control set, or of all control sets if the
/// hive does not name the current one.
fn values<'a>(hive: &Hive<'a>) -> Result<Vec<&'a [u8]>, FormatError> {
    let root = hive.root()?;
    let mut values = Vec::new();
    for set in control_sets(&root)? {
        let Some(control) = set.subkey("Control")? else {
            continue;
        };
        let Some(keys) = control.subkey("FVEAutoUnlock")? else {
            continue;
        };
        for key in keys.subkeys()? {
            values.extend(key.value(VALUE)?.map(|value| value.data));
        }
    }
    Ok(values)
}

fn control_sets<'a>(root: &Key<'a>) -> Result<Vec<Key<'a>>, FormatError> {
    let current = match root.subkey("Select")? {
        Some(select) => select.value("Current")?,
        None => None,
    };
    let number = current.and_then(|value| <[u8; 4]>::try_from(value.data).ok());
    if let Some(number) = number.map(u32::from_le_bytes)
        && let Some(set) = root.subkey(&format!("ControlSet{number:03}"))?
    {
        return Ok(vec![set]);
    }
    let mut sets = Vec::new();
    for key in root.subkeys()? {
        if key.name()?.to_lowercase().starts_with("controlset") {
            sets.push(key);
        }
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    /// Values of a real computer, from a public bug report (DSC Community, xBitlocker, issue 57). Their
    /// key is not known.
    const PUBLISHED: [[u8; 0x70]; 2] = [
        hex!(
            "7000000009000000 1EA6ADC19C9BEB45BE33C6CF8563FA11 E0C6B38E2031D701"
            "5000000005000100 8FE7B38E2031D701 01000010 9DE455A5E51F946034CFFDF58775E692"
            "1328ECE7D2E2985F36EFD4277591BAB573AC0D6D09E25664680512B34D4B8BFEB8C88194501D33BCD901B898"
        ),
        hex!(
            "7000000009000000 CAF1B914FCDE804FBD036592D6E9DAEC 6084138D2031D701"
            "5000000005000100 CA31158D2031D701 00000010 0E6A320E2D37BEA81A7669C57D503209"
            "53FFE768E44DA9190656E41EA39D8E6A27FE36ED6B031A2DF857DE11C069D09E48A3672094BBCFC9C4899BD2"
        ),
    ];

    #[test]
    fn reads_values_of_a_real_registry() {
        for value in PUBLISHED {
            let info = external_key_info(&value).unwrap();
            assert!(
                info.time.to_string().starts_with("2021-04-"),
                "{}",
                info.time
            );
            let [datum] = info.nested.as_slice() else {
                panic!("{info:?}")
            };
            let sealed = datum.sealed().unwrap();
            // The keys were sealed 0.8 and 11 milliseconds after they were created.
            let after = sealed.time().0 - info.time.0;
            assert!(after < 200_000, "{after}");
            assert_eq!(sealed.ciphertext.len(), 44);
        }
        let ids = PUBLISHED.map(|value| format!("{:X}", external_key_info(&value).unwrap().id));
        assert_eq!(ids[0], "C1ADA61E-9B9C-45EB-BE33-C6CF8563FA11");
        assert_eq!(ids[1], "14B9F1CA-DEFC-4F80-BD03-6592D6E9DAEC");
    }

    #[test]
    fn ignores_values_without_a_key() {
        assert!(external_key_info(&[]).is_none());
        assert!(external_key_info(&[0x70; 0x70]).is_none());
        assert!(external_key_info(&PUBLISHED[0][..0x30]).is_none());
    }
}
