//! Secrets of key protectors that are not on a volume yet.

use std::path::{Path, PathBuf};

use crate::enroll::{HandedOver, NewSecret};
use crate::error::Result;
use crate::guid::Guid;
use crate::secret::SecretText;

/// Secrets that were handed over before their key protectors are written.
///
/// A key must be stored before the volume needs it: if the program ended in between, the volume
/// would be locked for good. If the volume is not written after all, a stored key would unlock
/// nothing and only mislead. So dropping this removes the key files, unless [`PendingSecrets::keep`]
/// was called.
///
/// A write that fails may still have reached the disk. After a failed write, call `keep` unless it is
/// certain that no volume is there.
#[derive(Debug, Default)]
pub struct PendingSecrets {
    saved: Vec<(Guid, PathBuf)>,
    /// Digits that are stored nowhere: the caller shows them.
    shown: Vec<(Guid, SecretText)>,
    kept: bool,
}

impl PendingSecrets {
    /// Stores a secret in its file, or keeps its digits to be shown.
    ///
    /// # Errors
    /// As [`NewSecret::hand_over`].
    pub fn hand_over(&mut self, secret: &NewSecret) -> Result<()> {
        let (id, _) = secret.protector();
        match secret.hand_over()? {
            HandedOver::Nothing => {}
            HandedOver::Saved(path) => self.saved.push((id, path)),
            HandedOver::Show(password) => self.shown.push((id, password.expose_digits())),
        }
        Ok(())
    }

    /// The file that holds the secret of this key protector, if it was stored in one.
    pub fn file_of(&self, id: Guid) -> Option<&Path> {
        let found = self.saved.iter().find(|(other, _)| *other == id);
        found.map(|(_, path)| path.as_path())
    }

    /// The digits of this recovery password, if they are stored nowhere and must be shown.
    pub fn digits_of(&self, id: Guid) -> Option<&SecretText> {
        let found = self.shown.iter().find(|(other, _)| *other == id);
        found.map(|(_, digits)| digits)
    }

    /// The key protectors are, or may be, on the volume: the files stay.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for PendingSecrets {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for (_, path) in &self.saved {
            let _ = std::fs::remove_file(path);
        }
    }
}
