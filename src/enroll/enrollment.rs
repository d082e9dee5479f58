//! A new key protector together with the secret that opens it, and how that secret is handed over
//! before the volume depends on it.

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

/// A protector that was made, and the secret that opens it.
#[derive(Debug)]
pub struct Enrollment {
    protector: NewProtector,
    secret: NewSecret,
}

/// What opens a new protector, and where it is to go.
#[derive(Debug)]
pub struct NewSecret {
    protector: Guid,
    kind: ProtectorKind,
    secret: Secret,
}

pub(super) enum Secret {
    /// Whoever asked for the protector has it.
    Known,
    RecoveryPassword(RecoveryPassword, Option<PathBuf>),
    /// That content, in a file there.
    File(SecretBytes, PathBuf),
}

/// What became of a new protector's secret.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandedOver {
    /// Its owner has it already.
    Nothing,
    /// It is in that file, on stable storage.
    Saved(PathBuf),
    /// Nobody has it yet but the caller: the digits to be shown, once.
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

    /// A new recovery password, to be saved in the new file `path` (in a directory, under the name
    /// that Windows gives it), or to be shown once.
    ///
    /// # Errors
    /// As [`NewProtector::password`]; so for the others.
    pub fn recovery_password(path: Option<&Path>) -> Result<Self> {
        let (password, protector) = NewProtector::new_recovery_password()?;
        let secret = Secret::RecoveryPassword(password, path.map(Path::to_owned));
        Ok(Self::new(protector, secret))
    }

    /// A password as somebody chose it.
    ///
    /// # Errors
    /// [`Error::BadCredential`] for an empty one.
    pub fn password(text: &SecretText) -> Result<Self> {
        if text.expose().is_empty() {
            return Err(Error::bad_credential("new password", "it is empty"));
        }
        Ok(Self::new(NewProtector::password(text)?, Secret::Known))
    }

    /// A new startup key, to be saved as a `.BEK` file in `directory`.
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

    /// The certificate in a file (PEM, DER, or PFX without a password), with the padding that is
    /// likeliest to be that of Windows.
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

    /// A clear key: anybody can open the volume until protection is resumed.
    ///
    /// # Errors
    /// As [`NewProtector::password`].
    pub fn clear_key() -> Result<Self> {
        Ok(Self::new(NewProtector::suspension(0)?, Secret::Known))
    }

    /// A TPM protector, with a PIN, with a startup key that is to be saved in a directory, or with
    /// both; and that key.
    ///
    /// # Errors
    /// As [`NewProtector::tpm`].
    pub fn tpm(
        binding: TpmBinding,
        pin: Option<Pin>,
        startup_key_to: Option<&Path>,
    ) -> Result<(Self, Option<ExternalKey>)> {
        let (key, again) = match startup_key_to {
            Some(_) => {
                let mut bytes = Zeroizing::new([0; ExternalKey::LEN]);
                random::fill(&mut bytes[..])?;
                let key = ExternalKey::from_bytes(&bytes);
                let again = ExternalKey::from_bytes(key.expose());
                (Some(key), Some(again))
            }
            None => (None, None),
        };
        let protector = NewProtector::tpm(binding, pin, key)?;
        let secret = match (protector.startup_key_file(None)?, startup_key_to) {
            (Some(file), Some(directory)) => Secret::startup_key(file, directory),
            _ => Secret::Known,
        };
        Ok((Self::new(protector, secret), again))
    }

    /// Identifier of the protector.
    pub fn id(&self) -> Guid {
        self.secret.protector
    }

    /// Finds out, before a volume is written, whether the secret could be stored where it is to go.
    /// It stores nothing.
    ///
    /// # Errors
    /// Those of [`NewSecret::hand_over`].
    pub fn check_place(&self) -> Result<()> {
        match self.secret.file() {
            Some(path) => check_new(&path),
            None => Ok(()),
        }
    }

    /// What goes onto the volume, and what opens it.
    pub fn into_parts(self) -> (NewProtector, NewSecret) {
        (self.protector, self.secret)
    }
}

impl NewSecret {
    /// The file that it is to be stored in.
    fn file(&self) -> Option<PathBuf> {
        match &self.secret {
            Secret::Known | Secret::RecoveryPassword(_, None) => None,
            Secret::RecoveryPassword(_, Some(path)) => {
                Some(RecoveryFile::path_in(path, self.protector))
            }
            Secret::File(_, path) => Some(path.clone()),
        }
    }

    /// The protector that it opens, and its kind.
    pub fn protector(&self) -> (Guid, ProtectorKind) {
        (self.protector, self.kind)
    }

    /// Stores it, before the volume is written: a key that exists nowhere opens nothing.
    ///
    /// # Errors
    /// [`Error::OutputRefused`] where there is a file of that name already; [`Error::Io`] when it
    /// cannot be stored.
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
    /// A `.BEK` file of the form that every Windows takes.
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
