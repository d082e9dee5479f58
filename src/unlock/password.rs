//! The volume's password (docs/format.md §4.1).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::{Answer, Context, Credential, open_vmk};
use crate::crypto::stretch::InitialHash;
use crate::error::{Failure, Reason, Result};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::secret::SecretText;

const NAME: &str = "password";

/// A password. Any text is accepted: the rules that Windows has for new passwords may be stricter
/// than those that an old password was chosen under.
///
/// Cloning is cheap: the clones share one copy of the secret.
#[derive(Clone)]
pub struct Password(Arc<InitialHash>);

impl Password {
    /// A password as the user types it.
    pub fn new(text: &SecretText) -> Self {
        Self(Arc::new(InitialHash::of_password(text.expose())))
    }

    /// The first line of a file; `-` is standard input.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io) when the file cannot be read,
    /// [`Error::BadCredential`](crate::error::Error::BadCredential) when it is not text.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(&crate::input::read_line(path.as_ref(), NAME)?))
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
        match open_stretched(protector, &self.0) {
            Answer::Failed(failure) if failure.reason == Reason::WrongKey => {
                Answer::Failed(Failure::new(Reason::WrongKey, "wrong password"))
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
