//! A recovery password that is looked up in files or in a directory service, and used without being
//! shown. [`crate::escrow`] does the look-up.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::recovery_password::RecoveryPasswords;
use super::{Answer, Context, Credential};
use crate::error::{Error, Failure, Reason, Result};
use crate::escrow::{PasswordStore, Query};
use crate::format::protector::{KeyProtector, ProtectorKind};

const NAME: &str = "recovery lookup";

/// Recovery passwords from a place where they were saved. They are looked up once, when the first
/// recovery password protector is tried.
pub struct RecoveryLookup {
    place: PasswordStore,
    found: Mutex<Option<Result<RecoveryPasswords, Arc<Error>>>>,
}

impl fmt::Debug for RecoveryLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryLookup({:?})", self.place.name())
    }
}

impl RecoveryLookup {
    /// Looks there once the volume turns out to have recovery passwords.
    pub fn new(place: PasswordStore) -> Self {
        Self {
            place,
            found: Mutex::new(None),
        }
    }

    fn look_up(&self, context: &Context<'_>) -> Result<RecoveryPasswords, Arc<Error>> {
        let protectors = context.block.protectors();
        let ids = protectors
            .filter(|protector| protector.kind() == ProtectorKind::RecoveryPassword)
            .map(|protector| protector.id);
        let query = Query::Protectors(ids.collect());
        let found = self.place.search(&query)?;
        for note in &found.notes {
            tracing::warn!("{note}");
        }
        let entries = found.entries.iter().chain(&found.unnamed);
        Ok(RecoveryPasswords::identified(
            entries.map(|entry| (entry.id, &entry.password)),
        ))
    }
}

impl Credential for RecoveryLookup {
    fn name(&self) -> &str {
        NAME
    }

    fn try_on(&self, protector: &KeyProtector, context: &Context<'_>) -> Answer {
        if protector.kind() != ProtectorKind::RecoveryPassword {
            return Answer::NotMine;
        }
        let mut found = self
            .found
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match found.get_or_insert_with(|| self.look_up(context)) {
            Err(error) => Answer::Failed(
                Failure::new(Reason::LookupFailed, "the look-up failed").with_source(error.clone()),
            ),
            Ok(passwords) => match passwords.try_on(protector, context) {
                Answer::Failed(failure) if failure.reason == Reason::NoPasswordForProtector => {
                    Answer::Failed(Failure::new(
                        failure.reason,
                        format!(
                            "{} contains no recovery password for this key protector",
                            self.place.name()
                        ),
                    ))
                }
                answer => answer,
            },
        }
    }
}
