//! The results of trying credentials on a volume.

use std::fmt;
use std::sync::Arc;

use super::{Reason, Remedy};
use crate::guid::Guid;
use crate::shown::WithCauses;

/// Every credential that was tried, on which key protector, and the result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnlockReport {
    /// The attempts, in the order in which they were made.
    pub attempts: Vec<Attempt>,
    /// What the user can do, where no single attempt says it.
    pub remedy: Option<Remedy>,
}

impl UnlockReport {
    /// The remedy of the report, or that of the first attempt that has one.
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

/// One credential tried on one key protector, or on the volume as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// Name of the credential, such as `recovery password`.
    pub credential: String,
    /// The key protector that it was tried on; `None` for the volume as a whole.
    pub protector: Option<Guid>,
    /// Why it failed; `None` where it unlocked the volume.
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
            Some(failure) => write!(f, ": {}", failure.with_causes()),
            None => f.write_str(": unlocked"),
        }
    }
}

/// Why a credential did not unlock a key protector.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// Why, for programs.
    pub reason: Reason,
    /// Why, in one sentence for the user; [`Failure::with_causes`] adds the cause.
    pub message: String,
    /// What the user can do about it.
    pub remedy: Option<Remedy>,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// A failure with its reason and a sentence for the user.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            remedy: None,
            cause: None,
        }
    }

    /// The same failure with a remedy.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<Remedy>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The same failure with the error that caused it, such as a timeout of a key service.
    /// [`source`](std::error::Error::source) returns it, so the message need not repeat it.
    #[must_use]
    pub fn with_source(
        mut self,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.cause = Some(cause.into().into());
        self
    }

    /// The message and all its causes in one line, each once.
    pub fn with_causes(&self) -> WithCauses<'_> {
        WithCauses(self)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let cause = self.cause.as_deref()?;
        Some(cause)
    }
}

/// Causes are compared by their texts: errors in general cannot be compared.
impl PartialEq for Failure {
    fn eq(&self, other: &Self) -> bool {
        self.reason == other.reason
            && self.remedy == other.remedy
            && self.with_causes().to_string() == other.with_causes().to_string()
    }
}

impl Eq for Failure {}
