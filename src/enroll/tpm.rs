//! New TPM protectors in the form of Windows 10 and 11 (docs/format-tpm.md §1.1 and §6): TPM only, with
//! PIN, with startup key, or with both.
//!
//! With the TPM only, the sealed object contains the VMK. Otherwise it contains a random intermediate
//! key, encrypted with the stretched PIN if there is one. The intermediate key, XORed with the startup
//! key if there is one, seals the VMK. Backups of the PIN's hash and of the startup key are sealed with
//! the VMK, so that the protector can be sealed again later.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::seal::Sealer;
use super::{uncreatable, unfit};
use crate::crypto::hash::HashAlgorithm;
use crate::crypto::random;
use crate::error::{Error, Remedy, Result};
use crate::format::datum::{key_types, roles};
use crate::format::encode::{self, DatumBytes, tpm as layout};
use crate::format::protector::description_with_srk_name;
use crate::format::tpm_blob::SealedObject;
use crate::secret::{ExternalKey, IntermediateKey, SecretBytes, StretchedKey};
use crate::tpm::{LABEL, LOCK, ObjectSealer, Pcrs, Pin, Policy, TpmError, selection, tpm_password};
use crate::unlock::tpm::join;

/// How many PCRs the TPM of a PC has.
const PCRS: u8 = 24;

/// A TPM, and the PCR values for which it is to release a key.
#[derive(Clone)]
pub struct TpmBinding {
    tpm: Arc<dyn ObjectSealer>,
    policy: Policy,
    /// Numbers of the PCRs in the policy.
    pcrs: Vec<u8>,
    /// The PCR digest: the hash over their values.
    digest: Vec<u8>,
}

impl TpmBinding {
    /// The PCRs that Windows uses on a computer with Secure Boot.
    pub const DEFAULT_PCRS: [u8; 2] = [7, LOCK];

    /// Binds a key to the present values of these PCRs.
    ///
    /// # Errors
    /// [`Error::Environment`] when the TPM does not answer; [`Error::Uncreatable`] when it does not
    /// have this bank, or when `pcrs` has PCR 11 and it is not zero.
    pub fn to_current(
        tpm: Arc<dyn ObjectSealer>,
        bank: HashAlgorithm,
        pcrs: &[u8],
    ) -> Result<Self> {
        check_pcrs(pcrs)?;
        let values = tpm
            .pcrs(bank, pcrs)
            .map_err(unsealable)?
            .unwrap_or_default();
        if values.len() < selected(pcrs) {
            return Err(Error::Uncreatable {
                what: format!("the TPM has no {} bank of PCRs", bank.name()),
                remedy: Some(Remedy::ChooseBank),
            });
        }
        if values
            .get(&LOCK)
            .is_some_and(|value| value.iter().any(|byte| *byte != 0))
        {
            return Err(Error::Uncreatable {
                what: "PCR 11 was extended in this boot, but must be zero when a key is released"
                    .to_owned(),
                remedy: Some(Remedy::LeaveOutPcr11),
            });
        }
        Self::to_values(tpm, bank, values)
    }

    /// Binds a key to given PCR values, such as those of a future boot. PCR 11 is taken as zero,
    /// whatever its value in `values`.
    ///
    /// # Errors
    /// [`Error::Uncreatable`] for values of another length than those of the bank.
    pub fn to_values(
        tpm: Arc<dyn ObjectSealer>,
        bank: HashAlgorithm,
        mut values: Pcrs,
    ) -> Result<Self> {
        let pcrs: Vec<_> = values.keys().copied().collect();
        check_pcrs(&pcrs)?;
        if let Some(lock) = values.get_mut(&LOCK) {
            *lock = vec![0; bank.digest_len()];
        }
        if values
            .values()
            .any(|value| value.len() != bank.digest_len())
        {
            return Err(uncreatable(format!(
                "a PCR value of the {} bank must have {} bytes",
                bank.name(),
                bank.digest_len()
            )));
        }
        let policy = Policy {
            hash: HashAlgorithm::Sha256,
            bank,
        };
        let digest = policy
            .pcr_digest(&values)
            .ok_or_else(|| uncreatable("its policy has no digest"))?;
        Ok(Self {
            tpm,
            policy,
            pcrs,
            digest,
        })
    }

    /// Binds a key to the same PCR values as an existing object, for a change of the PIN.
    ///
    /// # Errors
    /// [`Error::Uncreatable`] when the object's policy is not known, or does not use SHA-256: its PCR
    /// digest then cannot be used in the new policy, which does.
    pub fn like(tpm: Arc<dyn ObjectSealer>, object: &SealedObject) -> Result<Self> {
        let policy = Policy::solve(object).filter(|policy| policy.hash == HashAlgorithm::Sha256);
        let policy = policy.ok_or_else(|| Error::Uncreatable {
            what:
                "the existing sealed object does not use SHA-256, so its PCR values are not known"
                    .to_owned(),
            remedy: Some(Remedy::Reseal),
        })?;
        Ok(Self {
            tpm,
            policy,
            pcrs: object.pcrs(),
            digest: object.pcr_digest.clone(),
        })
    }

    /// Seals `content` in the TPM, and returns the datum with the sealed object, and the name of the
    /// storage root key.
    fn seal(
        &self,
        content: &DatumBytes,
        stretched: Option<&StretchedKey>,
    ) -> Result<(DatumBytes, Option<Vec<u8>>)> {
        let selection = selection(&self.pcrs);
        let policy = self
            .policy
            .digest(&selection, &self.digest)
            .ok_or_else(|| uncreatable("its policy has no digest"))?;
        let password = stretched.map(|key| tpm_password(key, &LABEL));
        let content = SecretBytes::new(content.expose().to_vec());
        let object = self
            .tpm
            .seal(&content, &policy, password.as_ref())
            .map_err(unsealable)?;
        let datum = layout::blob(&object.private, &object.public, &self.digest, selection);
        Ok((datum.map_err(unfit)?, object.srk_name))
    }
}

impl std::fmt::Debug for TpmBinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TpmBinding({}, PCRs {:?})", self.tpm.place(), self.pcrs)
    }
}

/// Checks that there is at least one PCR, and that all exist.
fn check_pcrs(pcrs: &[u8]) -> Result<()> {
    if pcrs.is_empty() || pcrs.iter().any(|pcr| *pcr >= PCRS) {
        return Err(uncreatable(format!(
            "a TPM protector needs at least one PCR, from 0 to {}",
            PCRS - 1
        )));
    }
    Ok(())
}

/// How many different PCRs are selected: a user may name one twice.
fn selected(pcrs: &[u8]) -> usize {
    let set: std::collections::BTreeSet<_> = pcrs.iter().collect();
    set.len()
}

fn unsealable(error: TpmError) -> Error {
    let remedy = match error {
        TpmError::NoSrk => Remedy::CreateStorageRootKey,
        _ => Remedy::ShowTpm,
    };
    Error::Environment {
        what: format!("the TPM cannot seal the key: {error}"),
        remedy: Some(remedy),
    }
}

pub(super) struct Form {
    binding: TpmBinding,
    pin: Option<StretchedPin>,
    startup_key: Option<ExternalKey>,
    /// The intermediate key, which the TPM releases unless it releases the VMK itself.
    own: IntermediateKey,
}

struct StretchedPin {
    pin: Pin,
    salt: [u8; 16],
    key: StretchedKey,
}

impl Form {
    pub(super) fn new(
        binding: TpmBinding,
        pin: Option<Pin>,
        startup_key: Option<ExternalKey>,
    ) -> Result<Self> {
        let mut own = Zeroizing::new([0; IntermediateKey::LEN]);
        random::fill(&mut own[..])?;
        let pin = match pin {
            Some(pin) => {
                let mut salt = [0; 16];
                random::fill(&mut salt)?;
                let key = pin.stretch(&salt);
                Some(StretchedPin { pin, salt, key })
            }
            None => None,
        };
        Ok(Self {
            binding,
            pin,
            startup_key,
            own: IntermediateKey::from_bytes(&own),
        })
    }

    /// The description that Windows stores for such a protector; for the TPM with a startup key, none
    /// is known.
    fn name(&self) -> Option<&'static str> {
        match (&self.pin, &self.startup_key) {
            (None, None) => Some("TPM Protection"),
            (Some(_), None) => Some("TPMAndPin"),
            (Some(_), Some(_)) => Some("TPMAndPinAndStartupKey"),
            (None, Some(_)) => None,
        }
    }

    /// The intermediate key in a KEY datum.
    fn own_datum(&self) -> Result<DatumBytes> {
        encode::key(encode::SEALED, key_types::CLEAR_KEY, self.own.expose()).map_err(unfit)
    }

    /// The datum with the sealed object, and those that Windows stores next to it; and the name of the
    /// storage root key.
    fn object(&self, sealer: &mut Sealer<'_>) -> Result<(Vec<DatumBytes>, Option<Vec<u8>>)> {
        if let Some(pin) = &self.pin {
            let hash = layout::pin_hash(pin.pin.hash().expose()).map_err(unfit)?;
            let backup = sealer.datum_with_vmk(roles::PROPERTY, &hash)?;
            let sealed = sealer.seal_content(pin.key.expose(), self.own_datum()?.expose())?;
            let content = layout::released(&sealed).map_err(unfit)?;
            let (object, srk_name) = self.binding.seal(&content, Some(&pin.key))?;
            let mut parts = vec![
                layout::pin_stretch(&pin.salt, backup).map_err(unfit)?,
                layout::zero(layout::SIMPLE_BEFORE).map_err(unfit)?,
                layout::hash_label(&LABEL).map_err(unfit)?,
                object,
            ];
            for kind in layout::SIMPLE_AFTER {
                parts.push(layout::zero(kind).map_err(unfit)?);
            }
            return Ok((parts, srk_name));
        }
        let content = match self.startup_key {
            Some(_) => self.own_datum()?,
            None => {
                encode::key(encode::SEALED, key_types::VMK, sealer.vmk().expose()).map_err(unfit)?
            }
        };
        let (object, srk_name) = self.binding.seal(&content, None)?;
        Ok((vec![object], srk_name))
    }
}

impl super::Form for Form {
    fn code(&self) -> u16 {
        let pin = if self.pin.is_some() { 0x0400 } else { 0 };
        let startup_key = if self.startup_key.is_some() {
            0x0200
        } else {
            0
        };
        0x0100 | pin | startup_key
    }

    fn parts(&self, sealer: &mut Sealer<'_>) -> Result<Vec<DatumBytes>> {
        let (object, srk_name) = self.object(sealer)?;
        let description = match (self.name(), srk_name) {
            (name, Some(srk_name)) => Some(description_with_srk_name(name, &srk_name)),
            (name, None) => name.map(str::to_owned),
        };
        let mut parts = Vec::new();
        if let Some(description) = description {
            parts.push(encode::text(roles::PROPERTY, &description).map_err(unfit)?);
        }
        parts.extend(object);
        match &self.startup_key {
            Some(key) => {
                let kind = key_types::EXTERNAL_KEY;
                let backup = sealer.with_vmk(roles::PROPERTY, kind, key.expose())?;
                parts.push(encode::use_key(kind, &[backup]).map_err(unfit)?);
                parts.push(sealer.vmk_with(&join(&self.own, key))?);
            }
            None if self.pin.is_some() => parts.push(sealer.vmk_with(self.own.expose())?),
            None => {}
        }
        Ok(parts)
    }

    fn startup_key(&self) -> Option<&ExternalKey> {
        self.startup_key.as_ref()
    }
}
