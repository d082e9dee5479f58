//! The numerical recovery password as a credential (docs/format.md §4.2).
//! [`crate::recovery_password`] reads and checks the 48 digits.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::parallel::in_order;
use super::password::open_stretched;
use super::{Answer, Context, Credential};
use crate::crypto::stretch::InitialHash;
use crate::error::{Error, Failure, Reason, Remedy, Result};
use crate::format::bek::BekFile;
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::guid::Guid;
use crate::recovery_password::{
    Check, Malformed, Options, Outcome, RecoveryPassword, check_bytes, document_kind,
};
use crate::shown::ShowPath;

const NAME: &str = "recovery password";

/// Most passwords that are tried on a key protector whose identifier none of them has. Each takes a
/// tenth of a second.
const MAX_GUESSES: usize = 16;

/// With fewer digits, a text was hardly meant as a recovery password: those of three blocks.
const ENOUGH_DIGITS: usize = 18;

/// One or more recovery passwords. A password with the identifier of a key protector is tried on
/// that one only; a password without an identifier is tried on all.
///
/// Cloning is cheap: the clones share one copy of the secrets.
#[derive(Clone)]
pub struct RecoveryPasswords {
    passwords: Arc<[(Option<Guid>, InitialHash)]>,
}

impl RecoveryPasswords {
    /// A single password, tried on every recovery password protector.
    pub fn new(password: &RecoveryPassword) -> Self {
        Self {
            passwords: Arc::new([(None, InitialHash::of_recovery_key(&password.to_key()))]),
        }
    }

    /// Passwords with the identifiers of their key protectors, where known.
    pub fn identified<'a>(
        passwords: impl Iterator<Item = (Option<Guid>, &'a RecoveryPassword)>,
    ) -> Self {
        let hashed =
            passwords.map(|(id, password)| (id, InitialHash::of_recovery_key(&password.to_key())));
        Self {
            passwords: hashed.collect(),
        }
    }

    /// The well-formed passwords in a text: 48 digits as typed, or the content of a file that Windows
    /// saved or printed, in UTF-8 or UTF-16.
    ///
    /// ```
    /// use fve::RecoveryPasswords;
    ///
    /// let typed = "000011-000022-000033-000044-000055-000066-000077-000088";
    /// let password = RecoveryPasswords::from_text(typed)?;
    /// # Ok::<(), fve::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::BadCredential`] where the text holds no well-formed password; the message names the
    /// block that is wrong.
    pub fn from_text(text: impl AsRef<[u8]>) -> Result<Self> {
        let check = check_bytes(text.as_ref(), &Options::default())
            .map_err(|error| Error::bad_credential(NAME, error.to_string()))?;
        Self::found(&check)
    }

    /// The well-formed passwords in a file, as Windows saves or prints one, in UTF-8 or UTF-16; `-`
    /// is standard input.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::BadCredential`] when it holds no
    /// well-formed password.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let content = crate::input::read(path, NAME)?;
        let content = content.expose();
        let instead = |what: String, remedy| Error::BadCredential {
            credential: NAME.to_owned(),
            why: format!("{} {what}", path.shown()),
            remedy: Some(remedy),
        };
        let found = Self::from_text(content);
        let Err(error) = found else {
            return found;
        };
        if content.is_empty() {
            return Err(instead(
                "is empty".to_owned(),
                "put the 48 digits into the file".to_owned().into(),
            ));
        }
        if BekFile::parse(content).is_ok() {
            return Err(instead(
                "is a startup key".to_owned(),
                Remedy::GiveAsStartupKey,
            ));
        }
        if let Some(kind) = document_kind(content) {
            return Err(instead(
                format!("is {kind}, whose text fve does not read"),
                Remedy::CopyDigits,
            ));
        }
        // A file that has no digits and one line may hold the password of the volume.
        let is_line = std::str::from_utf8(content).is_ok_and(|text| {
            let text = text.trim();
            !text.contains('\n')
                && text.chars().filter(char::is_ascii_digit).count() < ENOUGH_DIGITS
        });
        Err(match is_line {
            true => error.with_remedy(Remedy::GiveAsPassword),
            false => error,
        })
    }

    /// The well-formed passwords of a text that was checked before.
    ///
    /// # Errors
    /// As for [`Self::from_text`].
    pub fn found(check: &Check) -> Result<Self> {
        let mut problem = None;
        let mut passwords = Vec::new();
        for found in &check.passwords {
            match found.to_password() {
                Ok(password) => passwords.push((
                    found.identifier,
                    InitialHash::of_recovery_key(&password.to_key()),
                )),
                Err(malformed) => problem = problem.or(Some(malformed)),
            }
        }
        if passwords.is_empty() {
            return Err(malformed(check.result, problem));
        }
        Ok(Self {
            passwords: passwords.into(),
        })
    }
}

fn malformed(result: Outcome, problem: Option<Malformed>) -> Error {
    let why = match problem {
        Some(problem) => problem.to_string(),
        None if result == Outcome::NotFound => "the text contains no recovery password".to_owned(),
        None => result.to_string(),
    };
    Error::BadCredential {
        credential: NAME.to_owned(),
        why,
        remedy: Some(Remedy::CheckRecoveryPassword),
    }
}

impl fmt::Debug for RecoveryPasswords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.passwords.iter().map(|(id, _)| id);
        f.debug_tuple("RecoveryPasswords")
            .field(&ids.collect::<Vec<_>>())
            .finish()
    }
}

impl Credential for RecoveryPasswords {
    fn name(&self) -> &str {
        NAME
    }

    fn only_costs_time(&self) -> bool {
        true
    }

    fn belongs_to(&self) -> Vec<Guid> {
        self.passwords.iter().filter_map(|(id, _)| *id).collect()
    }

    fn try_on(&self, protector: &KeyProtector, context: &Context<'_>) -> Answer {
        if protector.kind() != ProtectorKind::RecoveryPassword {
            return Answer::NotMine;
        }
        let named: Vec<_> = self.of_protector(protector.id).collect();
        let candidates = if named.is_empty() {
            self.of_no_protector(context)
        } else {
            named
        };
        let mut failure = Failure::new(
            Reason::NoPasswordForProtector,
            "none of the given passwords belongs to this key protector",
        );
        let attempt = |password: &&InitialHash| open_stretched(protector, password);
        // Anything but a wrong key ends the search: success, or a defect of the key protector itself.
        let is_verdict = |answer: &Answer| !matches!(answer, Answer::Failed(why) if why.reason == Reason::WrongKey);
        for answer in in_order(&candidates, context.threads, attempt, is_verdict) {
            match answer {
                Answer::Failed(reason) if reason.reason == Reason::WrongKey => {
                    failure = Failure::new(Reason::WrongKey, "wrong recovery password")
                        .with_remedy(Remedy::CompareIdentifier {
                            protector: protector.id,
                        });
                }
                answer => return answer,
            }
        }
        Answer::Failed(failure)
    }
}

impl RecoveryPasswords {
    fn of_protector(&self, id: Guid) -> impl Iterator<Item = &InitialHash> {
        self.passwords
            .iter()
            .filter(move |(named, _)| *named == Some(id))
            .map(|(_, password)| password)
    }

    /// Passwords that name no key protector of this volume: without an identifier, or with that of
    /// another volume. An identifier near the password in a text may not be its own, so those are
    /// tried, too, after the ones without.
    fn of_no_protector(&self, context: &Context<'_>) -> Vec<&InitialHash> {
        let ids: Vec<_> = context.block.protectors().map(|other| other.id).collect();
        let (unnamed, named): (Vec<_>, Vec<_>) = self
            .passwords
            .iter()
            .filter(|(named, _)| named.is_none_or(|id| !ids.contains(&id)))
            .partition(|(named, _)| named.is_none());
        unnamed
            .into_iter()
            .chain(named)
            .map(|(_, password)| password)
            .take(MAX_GUESSES)
            .collect()
    }
}
