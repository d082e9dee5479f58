//! New key protectors, for new and for existing volumes.
//!
//! Each kind is a `Form`, which has the code of the kind on disk and encodes its parts with a `Sealer`. A
//! new kind needs a file here with its `Form`, and a constructor of [`NewProtector`]; ARCHITECTURE.md has
//! the complete list.

#[cfg(feature = "certificates")]
mod certificate;
mod clear_key;
mod external_key;
#[cfg(feature = "network")]
mod network;
mod password;
mod recovery_file;
mod recovery_password;
pub(crate) mod seal;
mod tpm;

// Key files are created for their owner alone, in a way that is only known for Linux.
#[cfg(target_os = "linux")]
mod enrollment;
#[cfg(target_os = "linux")]
mod pending;
#[cfg(target_os = "linux")]
mod save;

#[cfg(target_os = "linux")]
pub use enrollment::{Enrollment, HandedOver, NewSecret};
#[cfg(target_os = "linux")]
pub use pending::PendingSecrets;
pub use recovery_file::RecoveryFile;
#[cfg(target_os = "linux")]
pub use save::save_key;
pub use tpm::TpmBinding;

use std::time::SystemTime;

use zeroize::Zeroizing;

use self::seal::Sealer;
use crate::crypto::random;
#[cfg(feature = "certificates")]
use crate::crypto::rsa_key::{Certificate, Padding};
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::bek::BekFile;
use crate::format::encode::{self, DatumBytes, ProtectorHeader};
use crate::format::protector::ProtectorKind;
use crate::format::time::FileTime;
use crate::guid::Guid;
use crate::recovery_password::RecoveryPassword;
use crate::secret::{ClearKey, ExternalKey, RecoveryKey, SecretBytes, SecretText};
use crate::tpm::Pin;

/// The form of a `.BEK` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartupKeyForm {
    /// 156 bytes: every version of Windows since Vista.
    Short,
    /// 180 bytes: also has the identifier of the volume, as files of Windows 11 do.
    NamesVolume,
}

/// The file of a startup key.
#[derive(Debug)]
#[non_exhaustive]
pub struct StartupKeyFile {
    /// The file name that Windows uses: the identifier of the protector and `.BEK`.
    pub name: String,
    /// The content of the file.
    pub content: SecretBytes,
}

/// The content of a key protector of one kind (docs/format.md §3.13).
///
/// The constructor of a form generates everything random and does everything slow (stretching), so that
/// encoding is fast and gives the same keys each time.
trait Form: Send + Sync {
    /// The kind as stored (docs/format.md §3.8).
    fn code(&self) -> u16;

    /// The nested datums of the protector, in order. Of the sealed datums directly in it, the sealed VMK
    /// is the last.
    fn parts(&self, sealer: &mut Sealer<'_>) -> Result<Vec<DatumBytes>>;

    /// The key for a `.BEK` file, if the kind uses one.
    fn startup_key(&self) -> Option<&ExternalKey> {
        None
    }
}

/// A new key protector, for a [`NewVolume`](crate::create::NewVolume) or a
/// [`Change`](crate::manage::Change).
pub struct NewProtector {
    id: Guid,
    created: FileTime,
    pub(crate) flags: u16,
    form: Box<dyn Form>,
}

impl NewProtector {
    /// A password, as it is typed. Stretching it takes as long as an attempt to unlock with it.
    ///
    /// # Errors
    /// [`Error::Environment`] when the system returns no random numbers.
    pub fn password(text: &SecretText) -> Result<Self> {
        Self::new(password::Form::new(text)?)
    }

    /// A recovery password, given by the 128 bits that its digits encode. Stretching it takes as long as
    /// an attempt to unlock with it.
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn recovery_password(key: &RecoveryKey) -> Result<Self> {
        Self::new(recovery_password::Form::new(key)?)
    }

    /// A new random recovery password, which is also returned.
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn new_recovery_password() -> Result<(RecoveryPassword, Self)> {
        let mut bytes = Zeroizing::new([0; RecoveryKey::LEN]);
        random::fill(&mut bytes[..])?;
        let key = RecoveryKey::from_bytes(&bytes);
        let protector = Self::recovery_password(&key)?;
        Ok((RecoveryPassword::from_key(&key), protector))
    }

    /// A new random startup key; [`NewProtector::startup_key_file`] returns its file.
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn new_startup_key() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; ExternalKey::LEN]);
        random::fill(&mut bytes[..])?;
        Self::startup_key(ExternalKey::from_bytes(&bytes))
    }

    /// A clear key that suspends protection: anyone can unlock the volume until protection is resumed, or
    /// until Windows was started from it `reboots` times (at most 15; 0: until protection is resumed).
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn suspension(reboots: u8) -> Result<Self> {
        /// Flag: the high byte of the flags is a count of restarts (docs/format.md §3.1).
        const COUNTED: u16 = 0x0004;
        let mut bytes = Zeroizing::new([0; ClearKey::LEN]);
        random::fill(&mut bytes[..])?;
        let mut protector = Self::clear_key(ClearKey::from_bytes(&bytes))?;
        if reboots > 0 {
            protector.flags |= COUNTED | u16::from(reboots.min(15)) << 8;
        }
        Ok(protector)
    }

    /// A given startup key; [`NewProtector::startup_key_file`] returns its file.
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn startup_key(key: ExternalKey) -> Result<Self> {
        Self::new(external_key::Form::new(key))
    }

    /// A clear key: the volume is encrypted, but anyone can unlock it until protection is resumed.
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn clear_key(key: ClearKey) -> Result<Self> {
        Self::new(clear_key::Form::new(key))
    }

    /// A TPM, alone or with a PIN, a startup key or both. The TPM seals the key when the protector is
    /// added to a volume. Stretching a PIN takes as long as an attempt to unlock with it.
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn tpm(
        binding: TpmBinding,
        pin: Option<Pin>,
        startup_key: Option<ExternalKey>,
    ) -> Result<Self> {
        Self::new(tpm::Form::new(binding, pin, startup_key)?)
    }

    /// A certificate: its private key, in a file or on a smart card, unlocks the volume. It is not proven
    /// that Windows accepts it, nor which padding Windows needs.
    ///
    /// # Errors
    /// As [`NewProtector::password`], and [`Error::Uncreatable`]
    /// for a key that is too short.
    #[cfg(feature = "certificates")]
    pub fn certificate(certificate: Certificate, padding: Padding) -> Result<Self> {
        Self::new(certificate::Form::new(certificate, padding)?)
    }

    fn new(form: impl Form + 'static) -> Result<Self> {
        Ok(Self {
            id: random::identifier()?,
            created: FileTime::from_system_time(SystemTime::now()),
            flags: encode::STORED,
            form: Box::new(form),
        })
    }

    /// The identifier; for a recovery password, the password ID.
    pub fn id(&self) -> Guid {
        self.id
    }

    /// The kind of protector.
    pub fn kind(&self) -> ProtectorKind {
        ProtectorKind::of_code(self.form.code())
    }

    pub(crate) fn summary(&self) -> (Guid, ProtectorKind) {
        (self.id(), self.kind())
    }

    pub(crate) fn external_key(&self) -> Option<&ExternalKey> {
        self.form.startup_key()
    }

    /// The `.BEK` file of a startup key: 180 bytes with the identifier of the volume, as Windows 11 writes
    /// it, or 156 bytes without. `None` for kinds without a startup key. Store it before the volume is
    /// written.
    ///
    /// # Errors
    /// None in practice: the content always fits the format.
    pub fn startup_key_file(&self, volume: Option<Guid>) -> Result<Option<StartupKeyFile>> {
        let Some(key) = self.external_key() else {
            return Ok(None);
        };
        let content = encode::bek::bek(&BekFile {
            id: self.id,
            created: self.created,
            written: self.created,
            volume,
            key: ExternalKey::from_bytes(key.expose()),
        })
        .map_err(unfit)?;
        Ok(Some(StartupKeyFile {
            name: format!("{:X}.BEK", self.id),
            content,
        }))
    }

    /// The datum on disk, with the time of its last change.
    pub(super) fn datum(&self, changed: FileTime, sealer: &mut Sealer<'_>) -> Result<DatumBytes> {
        self.datum_of(self.id, changed, sealer)
    }

    /// The datum on disk with another identifier; its time of change is when this protector was made.
    pub(crate) fn datum_as(&self, id: Guid, sealer: &mut Sealer<'_>) -> Result<DatumBytes> {
        self.datum_of(id, self.created, sealer)
    }

    fn datum_of(&self, id: Guid, changed: FileTime, sealer: &mut Sealer<'_>) -> Result<DatumBytes> {
        let parts = self.form.parts(sealer)?;
        let head = ProtectorHeader {
            id,
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

/// The error for structures that do not fit into a metadata region.
pub(crate) fn unfit(fault: FormatError) -> Error {
    uncreatable(fault.to_string())
}

pub(crate) fn uncreatable(what: impl Into<String>) -> Error {
    Error::Uncreatable {
        what: what.into(),
        remedy: None,
    }
}
