//! A new recovery password, in the form of Windows 8.1 and later. The stretched password seals the VMK.
//! Backups of the stretched key and of the password's 128 bits are sealed with the VMK, so that the
//! protector can be sealed again and the digits can be shown.

use super::seal::Sealer;
use super::unfit;
use crate::crypto::random;
use crate::crypto::stretch::InitialHash;
use crate::error::Result;
use crate::format::datum::{key_types, roles};
use crate::format::encode::{self, DatumBytes};
use crate::secret::{RecoveryKey, StretchedKey};

pub(super) struct Form {
    key: RecoveryKey,
    salt: [u8; 16],
    stretched: StretchedKey,
}

impl Form {
    pub(super) fn new(key: &RecoveryKey) -> Result<Self> {
        let mut salt = [0; 16];
        random::fill(&mut salt)?;
        Ok(Self {
            key: RecoveryKey::from_bytes(key.expose()),
            salt,
            stretched: InitialHash::of_recovery_key(key).stretch(&salt),
        })
    }
}

impl super::Form for Form {
    fn code(&self) -> u16 {
        0x0800
    }

    fn parts(&self, sealer: &mut Sealer<'_>) -> Result<Vec<DatumBytes>> {
        let key = self.stretched.expose();
        let backups = [
            sealer.with_vmk(
                roles::RECOVERY_KEY_BACKUP,
                key_types::RECOVERY_KEY,
                self.key.expose(),
            )?,
            sealer.with_vmk(
                roles::STRETCHED_KEY_BACKUP,
                key_types::STRETCHED_RECOVERY,
                key,
            )?,
        ];
        Ok(vec![
            encode::stretch(key_types::RECOVERY_KEY, &self.salt, &backups).map_err(unfit)?,
            sealer.vmk_with(key)?,
        ])
    }
}
