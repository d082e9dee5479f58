//! A new clear key: a key in the metadata, unencrypted, that seals the VMK while protection is suspended.

use super::seal::Sealer;
use super::unfit;
use crate::error::Result;
use crate::format::datum::key_types;
use crate::format::encode::{self, DatumBytes};
use crate::secret::ClearKey;

pub(super) struct Form(ClearKey);

impl Form {
    pub(super) fn new(key: ClearKey) -> Self {
        Self(key)
    }
}

impl super::Form for Form {
    fn code(&self) -> u16 {
        0x0000
    }

    fn parts(&self, sealer: &mut Sealer<'_>) -> Result<Vec<DatumBytes>> {
        let key = self.0.expose();
        Ok(vec![
            encode::key(encode::STORED, key_types::CLEAR_KEY, key).map_err(unfit)?,
            sealer.vmk_with(key)?,
        ])
    }
}
