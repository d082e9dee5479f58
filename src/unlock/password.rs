//! The volume's password (docs/format.md §4.1).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::{Answer, Context, Credential, open_vmk};
use crate::crypto::stretch::InitialHash;
use crate::error::{Error, Failure, Reason, Remedy, Result};
use crate::format::bek::BekFile;
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::recovery_password::RecoveryPassword;
use crate::secret::SecretText;
use crate::shown::ShowPath;

const NAME: &str = "password";

/// A password. Any text is accepted: the rules that Windows has for new passwords may be stricter
/// than those that an old password was chosen under.
///
/// Cloning is cheap: the clones share one copy of the secret.
#[derive(Clone)]
pub struct Password {
    hash: Arc<InitialHash>,
    doubt: Option<Doubt>,
}

/// Why a password that does not fit may not be what the user meant.
#[derive(Clone, Copy)]
enum Doubt {
    /// It begins or ends with a blank.
    Blank,
    /// It is a recovery password.
    RecoveryPassword,
}

impl Password {
    /// A password as the user types it.
    pub fn new(text: &SecretText) -> Self {
        let text = text.expose();
        let doubt = if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace)
        {
            Some(Doubt::Blank)
        } else if RecoveryPassword::parse(text).is_ok() {
            Some(Doubt::RecoveryPassword)
        } else {
            None
        };
        Self {
            hash: Arc::new(InitialHash::of_password(text)),
            doubt,
        }
    }

    /// The only line of a file; `-` is standard input.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io) when the file cannot be read,
    /// [`Error::BadCredential`](crate::error::Error::BadCredential) when it is empty, or not one line of
    /// text.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let content = crate::input::read(path, NAME)?;
        if BekFile::parse(content.expose()).is_ok() {
            return Err(Error::BadCredential {
                credential: NAME.to_owned(),
                why: format!("{} is a startup key", path.shown()),
                remedy: Some(Remedy::GiveAsStartupKey),
            });
        }
        Ok(Self::new(&crate::input::line_of(&content, path, NAME)?))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl Credential for Password {
    fn name(&self) -> &str {
        NAME
    }

    fn only_costs_time(&self) -> bool {
        true
    }

    fn try_on(&self, protector: &KeyProtector, _context: &Context<'_>) -> Answer {
        if protector.kind() != ProtectorKind::Password {
            return Answer::NotMine;
        }
        match open_stretched(protector, &self.hash) {
            Answer::Failed(failure) if failure.reason == Reason::WrongKey => {
                let wrong = |message: &str| Failure::new(Reason::WrongKey, message);
                Answer::Failed(match self.doubt {
                    None => wrong("wrong password"),
                    Some(Doubt::Blank) => {
                        wrong("wrong password; the given one begins or ends with a blank")
                    }
                    Some(Doubt::RecoveryPassword) => {
                        wrong("wrong password; the given one is a recovery password")
                            .with_remedy(Remedy::GiveAsRecoveryPassword)
                    }
                })
            }
            answer => answer,
        }
    }
}

/// Stretches a secret with the salt of the key protector, and unseals its VMK with the result.
pub(super) fn open_stretched(protector: &KeyProtector, secret: &InitialHash) -> Answer {
    let Some(stretch) = protector.stretch() else {
        return Answer::Failed(Failure::new(
            Reason::DamagedProtector,
            "the protector contains no salt for stretching the secret",
        ));
    };
    if stretch.flags & crate::format::datum::STRETCH_FLAG_PBKDF2 != 0 {
        return Answer::Failed(Failure::new(
            Reason::UnsupportedStretch,
            "the protector stretches its secret with PBKDF2 (FIPS mode), whose inputs are not documented",
        ));
    }
    open_vmk(protector, secret.stretch(&stretch.salt).expose())
}
