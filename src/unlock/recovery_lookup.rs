//! A recovery password that is looked up where it was saved, and used without being shown. What is
//! looked through is the business of [`crate::escrow`].

use std::sync::Mutex;

use super::recovery_password::RecoveryPasswords;
use super::{Answer, Context, Credential};
use crate::error::{Failure, Reason, Result};
use crate::escrow::{Place, Query};
use crate::format::protector::{KeyProtector, ProtectorKind};

const NAME: &str = "recovery lookup";

/// Where to look; what was found there is kept for the protectors to come.
pub struct RecoveryLookup {
    place: Place,
    found: Mutex<Option<Result<RecoveryPasswords, String>>>,
}

impl RecoveryLookup {
    /// Looks there, once the volume turns out to have recovery passwords.
    pub fn new(place: Place) -> Self {
        Self {
            place,
            found: Mutex::new(None),
        }
    }

    fn look(&self, context: &Context<'_>) -> Result<RecoveryPasswords, String> {
        let protectors = context.block.protectors();
        let ids = protectors
            .filter(|protector| protector.kind() == ProtectorKind::RecoveryPassword)
            .map(|protector| protector.id);
        let query = Query::Protectors(ids.collect());
        let found = self
            .place
            .search(&query)
            .map_err(|error| error.to_string())?;
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
        match found.get_or_insert_with(|| self.look(context)) {
            Err(why) => Answer::Failed(Failure::new(Reason::LookupFailed, why.clone())),
            Ok(passwords) => match passwords.try_on(protector, context) {
                Answer::Failed(failure) if failure.reason == Reason::NoPasswordForProtector => {
                    Answer::Failed(Failure::new(
                        failure.reason,
                        format!("{} has no password for it", self.place.name()),
                    ))
                }
                answer => answer,
            },
        }
    }
}
