//! A new password. The stretched password seals the VMK; a backup of it is sealed with the VMK.

use super::seal::Sealer;
use super::unfit;
use crate::crypto::random;
use crate::crypto::stretch::InitialHash;
use crate::error::Result;
use crate::format::datum::{key_types, roles};
use crate::format::encode::{self, DatumBytes};
use crate::secret::{SecretText, StretchedKey};

pub(super) struct Form {
    salt: [u8; 16],
    stretched: StretchedKey,
}

impl Form {
    pub(super) fn new(text: &SecretText) -> Result<Self> {
        let mut salt = [0; 16];
        random::fill(&mut salt)?;
        let stretched = InitialHash::of_password(text.expose()).stretch(&salt);
        Ok(Self { salt, stretched })
    }
}

impl super::Form for Form {
    fn code(&self) -> u16 {
        0x2000
    }

    fn parts(&self, sealer: &mut Sealer<'_>) -> Result<Vec<DatumBytes>> {
        let key = self.stretched.expose();
        let backup = sealer.with_vmk(roles::PROPERTY, key_types::STRETCHED_PASSWORD, key)?;
        Ok(vec![
            encode::stretch(key_types::PASSWORD, &self.salt, &[backup]).map_err(unfit)?,
            sealer.vmk_with(key)?,
        ])
    }
}
