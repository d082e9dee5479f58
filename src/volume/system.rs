//! What a system volume stores for the automatic unlocking of data volumes
//! (docs/format-recovery.md §4.4).

use std::sync::Arc;

use super::{MasterKey, UnlockOptions, Unlocked, Volume};
use crate::error::{Error, Result};
use crate::files::FilePath;
use crate::format::datum::key_types;
use crate::secret::{AutoUnlockKey, Vmk};
use crate::unlock::RawVmk;
use crate::unlock::auto_unlock::HIVE_PATH;
use crate::unlock::open_key;

/// Limit on the size of a registry hive in bytes. Those of old installations have some tens of MiB.
pub const MAX_HIVE_LEN: u64 = 256 << 20;

impl Volume {
    /// The auto-unlock key: the key that encrypts the keys of the data volumes in the registry.
    ///
    /// # Errors
    /// [`Error::BadCredential`] when the volume has none: it is not a system volume, or no data
    /// volume is set to unlock automatically.
    pub fn auto_unlock_key(&self, key: &MasterKey) -> Result<AutoUnlockKey> {
        let blocks = self.copies().readable();
        let block = blocks
            .into_iter()
            .find(|block| block.position == key.position());
        let sealed = block.and_then(|block| block.sealed_auto_unlock_key());
        let none = |why: &str| Error::BadCredential {
            credential: "auto-unlock key".to_owned(),
            why: why.to_owned(),
            remedy: Some(
                "name the system volume of a computer that unlocks its data volumes automatically"
                    .into(),
            ),
        };
        let sealed =
            sealed.ok_or_else(|| none("the volume has no auto-unlock key for other volumes"))?;
        open_key(sealed, key.expose().expose(), &[key_types::EXTERNAL_KEY])
            .and_then(|key| AutoUnlockKey::from_slice(key.data.expose()))
            .ok_or_else(|| none("the auto-unlock key does not open with the volume master key"))
    }

    /// The content of the registry hive `SYSTEM` of the Windows on the volume.
    ///
    /// # Errors
    /// Those of [`Volume::unlock`] and [`Unlocked::files`]; [`Error::Io`] when there is no such file, or
    /// it has more than [`MAX_HIVE_LEN`] bytes.
    pub fn system_hive(&self, key: &MasterKey, options: &UnlockOptions) -> Result<Vec<u8>> {
        let again = RawVmk::new(Vmk::from_bytes(key.expose().expose()));
        let unlocked: Unlocked = self.unlock(&[Box::new(again)], options)?;
        let path = FilePath::from_names(HIVE_PATH.map(Into::into).to_vec());
        let read = Arc::new(unlocked).files()?.read(&path, MAX_HIVE_LEN);
        read.map_err(|fault| {
            let what = format!("cannot read {} inside the volume", HIVE_PATH.join("/"));
            Error::io(what, fault.into())
        })
    }
}
