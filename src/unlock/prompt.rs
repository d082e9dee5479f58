//! How a credential asks a person.

use crate::secret::SecretText;

/// Somebody who can be told and asked. A daemon has [`Silent`].
pub trait Prompt: Send + Sync {
    /// Says something that the person should know before answering.
    fn tell(&self, text: &str);

    /// Asks for a secret, without showing what is typed; `None` where nobody can be asked.
    fn secret(&self, question: &str) -> Option<SecretText>;
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Prompt for Silent {
    fn tell(&self, _text: &str) {}

    fn secret(&self, _question: &str) -> Option<SecretText> {
        None
    }
}
