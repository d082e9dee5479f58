//! A new key protector together with its secret, which is stored or handed over before the volume depends
//! on it.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{NewProtector, TpmBinding};
use super::{RecoveryFile, StartupKeyFile, save_key};
use crate::crypto::random;
#[cfg(feature = "certificates")]
use crate::crypto::rsa_key::Padding;
use crate::error::{Error, Result};
use crate::format::protector::ProtectorKind;
use crate::guid::Guid;
use crate::output::check_new;
use crate::recovery_password::RecoveryPassword;
use crate::secret::{ExternalKey, SecretBytes, SecretText};
use crate::tpm::Pin;
#[cfg(feature = "certificates")]
use crate::unlock::certificate::read_certificate;

/// A new protector, and the secret that goes with it.
#[derive(Debug)]
pub struct Enrollment {
    protector: NewProtector,
    secret: NewSecret,
}

/// The secret of a new protector, and where it will be stored.
#[derive(Debug)]
pub struct NewSecret {
    protector: Guid,
    kind: ProtectorKind,
    secret: Secret,
}

pub(super) enum Secret {
    /// The user has it already.
    Known,
    /// A recovery password, and the file or directory to save it in; shown once if `None`.
    RecoveryPassword(RecoveryPassword, Option<PathBuf>),
    /// The content of a file, and its path.
    File(SecretBytes, PathBuf),
}

/// What was done with the secret of a new protector.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandedOver {
    /// Nothing: the user has it already.
    Nothing,
    /// It was saved in this file, on stable storage.
    Saved(PathBuf),
    /// Only the caller has it: a recovery password to show once.
    Show(RecoveryPassword),
}

impl Enrollment {
    pub(super) fn new(protector: NewProtector, secret: Secret) -> Self {
        let secret = NewSecret {
            protector: protector.id(),
            kind: protector.kind(),
            secret,
        };
        Self { protector, secret }
    }

    /// A new random recovery password, to be saved in the new file `path` (or in the directory `path`,
    /// under the name that Windows uses), or to be shown once if `path` is `None`.
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn recovery_password(path: Option<&Path>) -> Result<Self> {
        let (password, protector) = NewProtector::new_recovery_password()?;
        let secret = Secret::RecoveryPassword(password, path.map(Path::to_owned));
        Ok(Self::new(protector, secret))
    }

    /// A password that the user chose.
    ///
    /// # Errors
    /// [`Error::BadCredential`] for an empty password; those of [`NewProtector::password`].
    pub fn password(text: &SecretText) -> Result<Self> {
        if text.expose().is_empty() {
            return Err(Error::bad_credential("new password", "it is empty"));
        }
        Ok(Self::new(NewProtector::password(text)?, Secret::Known))
    }

    /// A new random startup key, to be saved as a `.BEK` file in `directory`.
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn startup_key(directory: &Path) -> Result<Self> {
        let protector = NewProtector::new_startup_key()?;
        let secret = match protector.startup_key_file(None)? {
            Some(file) => Secret::startup_key(file, directory),
            None => Secret::Known,
        };
        Ok(Self::new(protector, secret))
    }

    /// The certificate in a file (PEM, DER, or PFX without a password). The key is encrypted with PKCS #1
    /// padding, which is most likely what Windows expects.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::BadCredential`] when it holds no
    /// certificate; [`Error::Uncreatable`] for a key that is too short.
    #[cfg(feature = "certificates")]
    pub fn certificate(path: &Path) -> Result<Self> {
        let certificate = read_certificate(path)?;
        let protector = NewProtector::certificate(certificate, Padding::Pkcs1)?;
        Ok(Self::new(protector, Secret::Known))
    }

    /// A clear key: anyone can unlock the volume until protection is resumed.
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn clear_key() -> Result<Self> {
        Ok(Self::new(NewProtector::suspension(0)?, Secret::Known))
    }

    /// A TPM protector, with a PIN if there is one, and with a new startup key to be saved in the
    /// directory `startup_key_to` if there is one. The key is also returned.
    ///
    /// # Errors
    /// As [`NewProtector::tpm`].
    pub fn tpm(
        binding: TpmBinding,
        pin: Option<Pin>,
        startup_key_to: Option<&Path>,
    ) -> Result<(Self, Option<ExternalKey>)> {
        let (key, copy) = match startup_key_to {
            Some(_) => {
                let mut bytes = Zeroizing::new([0; ExternalKey::LEN]);
                random::fill(&mut bytes[..])?;
                let key = ExternalKey::from_bytes(&bytes);
                let copy = ExternalKey::from_bytes(key.expose());
                (Some(key), Some(copy))
            }
            None => (None, None),
        };
        let protector = NewProtector::tpm(binding, pin, key)?;
        let secret = match (protector.startup_key_file(None)?, startup_key_to) {
            (Some(file), Some(directory)) => Secret::startup_key(file, directory),
            _ => Secret::Known,
        };
        Ok((Self::new(protector, secret), copy))
    }

    /// The identifier of the protector.
    pub fn id(&self) -> Guid {
        self.secret.protector
    }

    /// Checks that the secret can be stored where it will go, without storing it. Call this before a
    /// volume is written.
    ///
    /// # Errors
    /// Those of [`NewSecret::hand_over`].
    pub fn check_place(&self) -> Result<()> {
        match self.secret.file() {
            Some(path) => check_new(&path),
            None => Ok(()),
        }
    }

    /// The protector for the volume, and its secret.
    pub fn into_parts(self) -> (NewProtector, NewSecret) {
        (self.protector, self.secret)
    }
}

impl NewSecret {
    /// The file that the secret will be stored in.
    fn file(&self) -> Option<PathBuf> {
        match &self.secret {
            Secret::Known | Secret::RecoveryPassword(_, None) => None,
            Secret::RecoveryPassword(_, Some(path)) => {
                Some(RecoveryFile::path_in(path, self.protector))
            }
            Secret::File(_, path) => Some(path.clone()),
        }
    }

    /// The identifier and kind of the protector.
    pub fn protector(&self) -> (Guid, ProtectorKind) {
        (self.protector, self.kind)
    }

    /// Stores the secret, if it goes into a file. Call this before the volume is written: otherwise an
    /// interruption could leave a volume whose key was not saved.
    ///
    /// # Errors
    /// [`Error::OutputRefused`] when a file of that name exists; [`Error::Io`] when it cannot be written.
    pub fn hand_over(&self) -> Result<HandedOver> {
        match &self.secret {
            Secret::Known => Ok(HandedOver::Nothing),
            Secret::RecoveryPassword(password, None) => Ok(HandedOver::Show(
                RecoveryPassword::from_key(&password.to_key()),
            )),
            Secret::RecoveryPassword(password, Some(path)) => {
                let file = RecoveryFile::new(self.protector, password);
                let path = RecoveryFile::path_in(path, self.protector);
                save_key(&path, &file.content)?;
                Ok(HandedOver::Saved(path))
            }
            Secret::File(content, path) => {
                save_key(path, content)?;
                Ok(HandedOver::Saved(path.clone()))
            }
        }
    }
}

impl Secret {
    /// The `.BEK` file, in the form that every version of Windows reads.
    fn startup_key(file: StartupKeyFile, directory: &Path) -> Self {
        Self::File(file.content, directory.join(file.name))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Known => "Known",
            Self::RecoveryPassword(..) => "RecoveryPassword",
            Self::File(..) => "File",
        })
    }
}
