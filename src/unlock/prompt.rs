//! How a credential asks the user.

use crate::secret::SecretText;

/// Asks the user for secrets, such as a PIN. A program without a user has [`Silent`].
pub trait Prompt: Send + Sync {
    /// Shows a text that the user should read before answering.
    fn tell(&self, text: &str);

    /// Asks for a secret, without echo; `None` if the user cannot be asked.
    fn secret(&self, question: &str) -> Option<SecretText>;
}

/// A prompt that shows nothing and has no answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Prompt for Silent {
    fn tell(&self, _text: &str) {}

    fn secret(&self, _question: &str) -> Option<SecretText> {
        None
    }
}
