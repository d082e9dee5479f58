//! New key protectors, for new volumes and for those that exist.
//!
//! Each kind is a `Form`: it knows its code on disk and lays out its parts, with the help of a
//! `Sealer`. To add one: a file beside this with its `Form`, and its constructor below. For the
//! command line, see ARCHITECTURE.md.

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

/// Which form of `.BEK` file to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartupKeyForm {
    /// 156 bytes: every Windows since Vista.
    Short,
    /// 180 bytes: names the volume too, as Windows 11 does.
    NamesVolume,
}

/// A startup key's file.
#[derive(Debug)]
#[non_exhaustive]
pub struct StartupKeyFile {
    /// What Windows would call it: the protector's identifier and `.BEK`.
    pub name: String,
    /// Its content.
    pub content: SecretBytes,
}

/// What one kind of protector has on disk (docs/format.md §3.13).
///
/// A form is made complete: everything random is drawn when it is constructed, everything slow
/// (stretching) is done there.
trait Form: Send + Sync {
    /// The kind as stored (docs/format.md §3.8).
    fn code(&self) -> u16;

    /// What is nested in the protector, in order. The sealed VMK comes last among the sealed datums
    /// directly in it.
    fn parts(&self, sealer: &mut Sealer<'_>) -> Result<Vec<DatumBytes>>;

    /// The key of a `.BEK` file, of those that need one.
    fn startup_key(&self) -> Option<&ExternalKey> {
        None
    }
}

/// A protector for a [`NewVolume`](crate::create::NewVolume).
pub struct NewProtector {
    id: Guid,
    made: FileTime,
    pub(crate) flags: u16,
    form: Box<dyn Form>,
}

impl NewProtector {
    /// A password, as a person types it. Takes as long as one attempt to unlock.
    ///
    /// # Errors
    /// [`Error::Environment`] when the system gives no random
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

    /// A recovery password drawn from the system's random numbers, with its digits.
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

    /// A startup key drawn from the system's random numbers;
    /// [`NewProtector::startup_key_file`] gives its file.
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn new_startup_key() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; ExternalKey::LEN]);
        random::fill(&mut bytes[..])?;
        Self::startup_key(ExternalKey::from_bytes(&bytes))
    }

    /// The suspension of protection: a new clear key, with which anybody can open the volume until
    /// protection is resumed, or until Windows was started `reboots` times from it (at most 15; 0:
    /// until it is resumed).
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn suspension(reboots: u8) -> Result<Self> {
        /// The flags' high byte counts (docs/format.md §3.1).
        const COUNTED: u16 = 0x0004;
        let mut bytes = Zeroizing::new([0; ClearKey::LEN]);
        random::fill(&mut bytes[..])?;
        let mut protector = Self::clear_key(ClearKey::from_bytes(&bytes))?;
        if reboots > 0 {
            protector.flags |= COUNTED | u16::from(reboots.min(15)) << 8;
        }
        Ok(protector)
    }

    /// A startup key; [`NewVolume::startup_keys`](crate::create::NewVolume::startup_keys) gives its file.
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

    /// A TPM, alone or with a PIN, a startup key or both. The TPM seals when the protector is put
    /// onto a volume. Takes as long as one attempt to unlock where there is a PIN.
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

    /// A certificate: whoever has its private key, in a file or on a card, opens the volume. That
    /// Windows takes it, and with which padding, is not proven.
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
            made: FileTime::from_system_time(SystemTime::now()),
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

    pub(crate) fn summary(&self) -> (Guid, ProtectorKind) {
        (self.id(), self.kind())
    }

    pub(crate) fn external_key(&self) -> Option<&ExternalKey> {
        self.form.startup_key()
    }

    /// The `.BEK` file of a startup key: 180 bytes where it names the volume as Windows 11 does,
    /// else 156. Nothing for other kinds. Store it before the volume is written.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn startup_key_file(&self, volume: Option<Guid>) -> Result<Option<StartupKeyFile>> {
        let Some(key) = self.external_key() else {
            return Ok(None);
        };
        let content = encode::bek::bek(&BekFile {
            id: self.id,
            created: self.made,
            volume,
            key: ExternalKey::from_bytes(key.expose()),
        })
        .map_err(unfit)?;
        Ok(Some(StartupKeyFile {
            name: format!("{:X}.BEK", self.id),
            content,
        }))
    }

    /// The datum on disk, last changed at that time.
    pub(super) fn datum(&self, changed: FileTime, sealer: &mut Sealer<'_>) -> Result<DatumBytes> {
        self.datum_of(self.id, changed, sealer)
    }

    /// The datum on disk under that identifier, last changed when this was made.
    pub(crate) fn datum_as(&self, id: Guid, sealer: &mut Sealer<'_>) -> Result<DatumBytes> {
        self.datum_of(id, self.made, sealer)
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

/// The structures cannot be laid out: too large for the region that Windows gives them.
pub(crate) fn unfit(fault: FormatError) -> Error {
    uncreatable(fault.to_string())
}

pub(crate) fn uncreatable(what: impl Into<String>) -> Error {
    Error::Uncreatable {
        what: what.into(),
        remedy: None,
    }
}
