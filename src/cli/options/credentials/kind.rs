//! What a kind of credential is on the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fve::error::Result;
use fve::format::protector::ProtectorKind;
use fve::secret::SecretText;
use fve::unlock::auto_unlock::SystemVolume;
use fve::unlock::{Credential, Prompt};

/// A kind of credential that the command line offers.
pub(crate) struct CredentialKind {
    /// Option of the command line, without dashes.
    pub(crate) option: &'static str,
    /// What stands for its value in the help.
    pub(crate) value: &'static str,
    /// Whether the option may stand without its value.
    pub(crate) value_is_optional: bool,
    /// Options that add to this one and mean nothing alone.
    pub(crate) additions: &'static [Addition],
    /// One line of help.
    pub(crate) help: &'static str,
    /// Name in a systemd credentials directory.
    pub(crate) systemd: Option<&'static str>,
    /// Environment variable that stands for a value left out.
    pub(crate) environment: Option<&'static str>,
    /// Builds the credential from the option's value.
    pub(crate) read: Read,
    /// Builds it from what a person types, where a person can type it.
    pub(crate) typed: Option<Build<SecretText>>,
    /// The kinds of protector that it opens.
    pub(crate) opens: &'static [ProtectorKind],
}

/// Builds a credential from what stands for it.
pub(crate) type Build<T> = fn(&T) -> Result<Box<dyn Credential>>;

/// How a credential comes from its option.
#[derive(Clone, Copy)]
pub(crate) enum Read {
    /// The value is a path.
    Path(Build<Path>),
    /// It takes all that was given: its own value, which may be no path, and other options.
    Given(fn(&Given<'_>) -> Result<Box<dyn Credential>>),
}

/// An option that adds to a kind of credential.
pub(crate) struct Addition {
    /// Option of the command line, without dashes.
    pub(crate) option: &'static str,
    /// What stands for its value in the help; nothing for an option that takes none.
    pub(crate) value: Option<&'static str>,
    /// One line of help.
    pub(crate) help: &'static str,
    /// Name in a systemd credentials directory.
    pub(crate) systemd: Option<&'static str>,
}

/// What was given for a credential.
#[derive(Clone, Copy, Default)]
pub(crate) struct Given<'a> {
    /// Value of its own option; nothing where it stood without one.
    pub(crate) value: Option<&'a Path>,
    /// Every other option that was given, without dashes, with its value.
    pub(crate) others: &'a [(&'static str, PathBuf)],
    /// Who can be asked for what is missing.
    pub(crate) prompt: Option<&'a Arc<dyn Prompt>>,
    /// What was read of the volume that the option names, where it names one.
    pub(crate) system: Option<&'a SystemVolume>,
}

impl<'a> Given<'a> {
    /// The value of another option; empty for one that takes none.
    pub(crate) fn other(&self, option: &str) -> Option<&'a Path> {
        let mut others = self.others.iter();
        let (_, value) = others.find(|(name, _)| *name == option)?;
        Some(value)
    }
}

impl CredentialKind {
    /// Builds the credential from what was given.
    ///
    /// # Errors
    /// What was given cannot be read, or is not what it should be.
    pub(crate) fn build(&self, given: &Given<'_>) -> Result<Box<dyn Credential>> {
        match self.read {
            Read::Path(read) => read(given.value.unwrap_or(Path::new(""))),
            Read::Given(read) => read(given),
        }
    }
}
