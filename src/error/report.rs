//! What became of each credential.

use std::fmt;

use super::{Reason, Remedy};
use crate::guid::Guid;

/// Every credential that was offered, every protector it met, and what came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnlockReport {
    /// In the order in which they were made.
    pub attempts: Vec<Attempt>,
    /// What can be done, where the attempts alone do not say it.
    pub remedy: Option<Remedy>,
}

impl UnlockReport {
    /// The report's own remedy, or that of the first attempt that has one.
    pub(super) fn first_remedy(&self) -> Option<&Remedy> {
        let mut attempts = self.attempts.iter();
        self.remedy
            .as_ref()
            .or_else(|| attempts.find_map(|attempt| attempt.failure.as_ref()?.remedy.as_ref()))
    }
}

impl fmt::Display for UnlockReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.attempts
            .iter()
            .try_for_each(|attempt| write!(f, "\n  {attempt}"))
    }
}

/// One credential tried on one protector (or on the volume as a whole).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// What kind of credential it was.
    pub credential: String,
    /// The protector it was tried on, if there was one.
    pub protector: Option<Guid>,
    /// Why it did not open; nothing when it did.
    pub failure: Option<Failure>,
}

impl Attempt {
    /// A credential, the key protector that it was tried on, and why it failed if it did.
    pub fn new(
        credential: impl Into<String>,
        protector: Option<Guid>,
        failure: Option<Failure>,
    ) -> Self {
        Self {
            credential: credential.into(),
            protector,
            failure,
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.credential)?;
        if let Some(id) = &self.protector {
            write!(f, " on protector {id:X}")?;
        }
        match &self.failure {
            Some(failure) => write!(f, ": {}", failure.message),
            None => f.write_str(": opened"),
        }
    }
}

/// Why a credential did not open a protector.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// Why, for programs.
    pub reason: Reason,
    /// Why, in a sentence for a person.
    pub message: String,
    /// What can be done about it.
    pub remedy: Option<Remedy>,
}

impl Failure {
    /// A failure with its reason and its sentence.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            remedy: None,
        }
    }

    /// The same with what can be done about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<Remedy>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}
