//! A new external key. It seals the VMK without stretching; a backup of it is sealed with the VMK.

use super::seal::Sealer;
use super::unfit;
use crate::error::Result;
use crate::format::datum::{key_types, roles};
use crate::format::encode::{self, DatumBytes, bek};
use crate::secret::ExternalKey;

pub(super) struct Form(ExternalKey);

impl Form {
    pub(super) fn new(key: ExternalKey) -> Self {
        Self(key)
    }
}

impl super::Form for Form {
    fn code(&self) -> u16 {
        0x0200
    }

    fn parts(&self, sealer: &mut Sealer<'_>) -> Result<Vec<DatumBytes>> {
        let key = self.0.expose();
        let backup = sealer.with_vmk(roles::PROPERTY, key_types::EXTERNAL_KEY, key)?;
        Ok(vec![
            encode::text(roles::PROPERTY, bek::KEY_NAME).map_err(unfit)?,
            encode::use_key(key_types::EXTERNAL_KEY, &[backup]).map_err(unfit)?,
            sealer.vmk_with(key)?,
        ])
    }

    fn startup_key(&self) -> Option<&ExternalKey> {
        Some(&self.0)
    }
}
