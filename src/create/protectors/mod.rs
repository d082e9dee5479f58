//! Protectors of a new volume.
//!
//! Each kind is a [`Form`]: it knows its code on disk and lays out its parts, with the help of a
//! [`Sealer`]. To add one: a file beside this with its `Form`, and its constructor below.

mod clear_key;
mod external_key;
mod password;
mod recovery_password;

use super::seal::Sealer;
use super::{random_id, unfit};
use crate::error::Result;
use crate::format::encode::{self, DatumBytes, ProtectorHead};
use crate::format::protector::ProtectorKind;
use crate::format::time::FileTime;
use crate::guid::Guid;
use crate::secret::{ClearKey, ExternalKey, RecoveryKey, SecretText};

/// What one kind of protector has on disk (section 3.13).
///
/// A form is made complete: everything random is drawn when it is constructed, everything slow
/// (stretching) is done there.
trait Form: Send + Sync {
    /// The kind as stored (section 3.8).
    fn code(&self) -> u16;

    /// What is nested in the protector, in order. The sealed VMK comes last among the sealed datums
    /// directly in it.
    fn parts(&self, sealer: &mut Sealer<'_>) -> Result<Vec<DatumBytes>>;

    /// The key of a `.BEK` file, of those that need one.
    fn startup_key(&self) -> Option<&ExternalKey> {
        None
    }
}

/// A protector for a [`NewVolume`](super::NewVolume).
pub struct NewProtector {
    id: Guid,
    pub(super) flags: u16,
    form: Box<dyn Form>,
}

impl NewProtector {
    /// A password, as a person types it. Takes as long as one attempt to unlock.
    ///
    /// # Errors
    /// [`Error::Environment`](crate::error::Error::Environment) when the system gives no random
    /// numbers; so for all others.
    pub fn password(text: &SecretText) -> Result<Self> {
        Self::new(password::Form::new(text)?)
    }

    /// A recovery password, by the 128 bits behind its digits. Takes as long as one attempt to
    /// unlock.
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn recovery_password(key: &RecoveryKey) -> Result<Self> {
        Self::new(recovery_password::Form::new(key)?)
    }

    /// A startup key; [`NewVolume::startup_keys`](super::NewVolume::startup_keys) gives its file.
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn startup_key(key: ExternalKey) -> Result<Self> {
        Self::new(external_key::Form::new(key))
    }

    /// A clear key: the volume is encrypted, and anybody can open it until protection is resumed.
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn clear_key(key: ClearKey) -> Result<Self> {
        Self::new(clear_key::Form::new(key))
    }

    fn new(form: impl Form + 'static) -> Result<Self> {
        Ok(Self {
            id: random_id()?,
            flags: encode::STORED,
            form: Box::new(form),
        })
    }

    /// Its identifier; of a recovery password, the password ID.
    pub fn id(&self) -> Guid {
        self.id
    }

    /// What it takes.
    pub fn kind(&self) -> ProtectorKind {
        ProtectorKind::of_code(self.form.code())
    }

    pub(super) fn summary(&self) -> (Guid, ProtectorKind) {
        (self.id(), self.kind())
    }

    pub(super) fn external_key(&self) -> Option<&ExternalKey> {
        self.form.startup_key()
    }

    /// The datum on disk, last changed at that time.
    pub(super) fn datum(&self, changed: FileTime, sealer: &mut Sealer<'_>) -> Result<DatumBytes> {
        let parts = self.form.parts(sealer)?;
        let head = ProtectorHead {
            id: self.id,
            changed,
            code: self.form.code(),
            flags: self.flags,
        };
        encode::protector(&head, &parts).map_err(unfit)
    }
}

impl std::fmt::Debug for NewProtector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewProtector({} {:X})", self.kind().name(), self.id)
    }
}
