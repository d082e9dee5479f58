//! The numerical recovery password as a credential (docs/format.md §4.2). What the 48 digits
//! mean is the business of [`crate::recovery_password`].

use std::path::Path;

use super::parallel::in_order;
use super::password::open_stretched;
use super::{Answer, Context, Credential};
use crate::crypto::stretch::InitialHash;
use crate::error::{Error, Failure, Reason, Remedy, Result};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::guid::Guid;
use crate::recovery_password::{
    Check, Malformed, Options, Outcome, RecoveryPassword, check_bytes, check_text,
};
use crate::secret::SecretText;

const NAME: &str = "recovery password";

/// Most passwords of a text that are tried on a protector which none of them is said to open:
/// each costs a tenth of a second.
const MAX_GUESSES: usize = 16;

/// One or more recovery passwords; those whose identifier fits a protector of the volume are tried
/// on it, and those without one on all.
pub struct RecoveryPasswords {
    passwords: Vec<(Option<Guid>, InitialHash)>,
}

impl RecoveryPasswords {
    /// A single password, tried on every recovery protector.
    pub fn new(password: &RecoveryPassword) -> Self {
        Self {
            passwords: vec![(None, InitialHash::of_recovery_key(&password.to_key()))],
        }
    }

    /// Passwords with the identifiers of their protectors, where those are known.
    pub fn identified<'a>(
        passwords: impl Iterator<Item = (Option<Guid>, &'a RecoveryPassword)>,
    ) -> Self {
        let hashed =
            passwords.map(|(id, password)| (id, InitialHash::of_recovery_key(&password.to_key())));
        Self {
            passwords: hashed.collect(),
        }
    }

    /// The well-formed passwords in a text, as a person types or saves one.
    ///
    /// # Errors
    /// [`Error::BadCredential`] when there is none, with the reason by block.
    pub fn from_text(text: &SecretText) -> Result<Self> {
        Self::found(&check_text(text.expose(), &Options::default()))
    }

    /// The well-formed passwords in a file, as Windows saves or prints one, in UTF-8 or UTF-16; `-`
    /// is standard input.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::BadCredential`] when it holds no
    /// well-formed password.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let bytes = crate::input::read(path.as_ref(), NAME)?;
        let check = check_bytes(bytes.expose(), &Options::default())
            .map_err(|error| Error::bad_credential(NAME, error.to_string()))?;
        Self::found(&check)
    }

    /// The well-formed passwords of a text.
    ///
    /// # Errors
    /// [`Error::BadCredential`] when there is none, with the reason by block.
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
        Ok(Self { passwords })
    }
}

fn malformed(result: Outcome, problem: Option<Malformed>) -> Error {
    let why = match problem {
        Some(problem) => problem.to_string(),
        None if result == Outcome::NotFound => "there is no recovery password in it".to_owned(),
        None => result.to_string(),
    };
    Error::BadCredential {
        credential: NAME.to_owned(),
        why,
        remedy: Some(Remedy::CheckRecoveryPassword),
    }
}

impl Credential for RecoveryPasswords {
    fn name(&self) -> &str {
        NAME
    }

    fn only_costs_time(&self) -> bool {
        true
    }

    fn try_on(&self, protector: &KeyProtector, context: &Context<'_>) -> Answer {
        if protector.kind() != ProtectorKind::RecoveryPassword {
            return Answer::NotMine;
        }
        let named: Vec<_> = self.of_protector(protector.id).collect();
        let candidates = if named.is_empty() {
            self.strays(context)
        } else {
            named
        };
        let mut failure = Failure::new(
            Reason::NoPasswordForProtector,
            "none of the passwords given is for this protector",
        );
        let attempt = |password: &&InitialHash| open_stretched(protector, password);
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

    /// Passwords that name no protector of this volume: without an identifier, or beside one that
    /// somebody else's text put there.
    fn strays(&self, context: &Context<'_>) -> Vec<&InitialHash> {
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
