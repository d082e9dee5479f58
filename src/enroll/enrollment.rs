//! The kinds of protector that can be made, as the command line offers them.
//!
//! To offer another: its [`NewKind`] here. `create` and `protector add` take their options from
//! the table [`NEW_KINDS`].

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

/// A kind of protector that can be put on a volume.
pub struct NewKind {
    /// Option of the command line, without dashes.
    pub option: &'static str,
    /// What stands for its value in the help; none for an option that takes none.
    pub value: Option<&'static str>,
    /// One line of help.
    pub help: &'static str,
    /// What it makes.
    pub kind: ProtectorKind,
    /// Makes it.
    pub make: Make,
}

/// How a protector is made.
#[derive(Clone, Copy)]
pub enum Make {
    /// From the option's value, a path; or from none.
    Given(fn(&Path) -> Result<Enrolment>),
    /// From a new password: what the file holds that the option's value names, or what a person
    /// types where the option has none.
    Password(fn(&SecretText) -> Result<Enrolment>),
}

/// Every kind that can be made, in the order in which they come onto a volume.
pub const NEW_KINDS: &[NewKind] = &[
    NewKind {
        option: "recovery-password",
        value: None,
        help: "A new recovery password, printed once on standard output",
        kind: ProtectorKind::RecoveryPassword,
        make: Make::Given(|_| recovery_password(None)),
    },
    NewKind {
        option: "recovery-password-to",
        value: Some("FILE"),
        help: "A new recovery password, saved in a new file as Windows saves it; in a directory, under the name that Windows gives it",
        kind: ProtectorKind::RecoveryPassword,
        make: Make::Given(|path| recovery_password(Some(path))),
    },
    NewKind {
        option: "new-password-file",
        value: Some("FILE"),
        help: "A password, read from a file ('-' = standard input); one trailing newline is not part of it",
        kind: ProtectorKind::Password,
        make: Make::Password(password),
    },
    NewKind {
        option: "new-password",
        value: None,
        help: "A password, asked for twice on the terminal",
        kind: ProtectorKind::Password,
        make: Make::Password(password),
    },
    NewKind {
        option: "startup-key-to",
        value: Some("DIR"),
        help: "A new startup key, saved as a .BEK file in this directory",
        kind: ProtectorKind::ExternalKey,
        make: Make::Given(startup_key),
    },
    #[cfg(feature = "certificates")]
    NewKind {
        option: "new-certificate",
        value: Some("FILE"),
        help: "A certificate (PEM, DER, or PFX without a password), whose private key is to open the volume. That Windows takes it is not proven",
        kind: ProtectorKind::Certificate,
        make: Make::Given(certificate),
    },
    NewKind {
        option: "clear-key",
        value: None,
        help: "A clear key: anybody can open the volume until protection is resumed",
        kind: ProtectorKind::ClearKey,
        make: Make::Given(|_| Ok(Enrolment::new(NewProtector::suspension(0)?, Secret::Known))),
    },
];

/// A protector that was made, and the secret that opens it.
#[derive(Debug)]
pub struct Enrolment {
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

impl Enrolment {
    pub(super) fn new(protector: NewProtector, secret: Secret) -> Self {
        let secret = NewSecret {
            protector: protector.id(),
            kind: protector.kind(),
            secret,
        };
        Self { protector, secret }
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

fn recovery_password(path: Option<&Path>) -> Result<Enrolment> {
    let (password, protector) = NewProtector::new_recovery_password()?;
    let secret = Secret::RecoveryPassword(password, path.map(Path::to_owned));
    Ok(Enrolment::new(protector, secret))
}

/// A password as somebody chose it.
fn password(text: &SecretText) -> Result<Enrolment> {
    if text.expose().is_empty() {
        return Err(Error::bad_credential("new password", "it is empty"));
    }
    Ok(Enrolment::new(NewProtector::password(text)?, Secret::Known))
}

fn startup_key(directory: &Path) -> Result<Enrolment> {
    let protector = NewProtector::new_startup_key()?;
    let secret = match protector.startup_key_file(None)? {
        Some(file) => Secret::startup_key(file, directory),
        None => Secret::Known,
    };
    Ok(Enrolment::new(protector, secret))
}

/// With the padding that is likeliest to be that of Windows.
#[cfg(feature = "certificates")]
fn certificate(path: &Path) -> Result<Enrolment> {
    let certificate = read_certificate(path)?;
    let protector = NewProtector::certificate(certificate, Padding::Pkcs1)?;
    Ok(Enrolment::new(protector, Secret::Known))
}
