//! From credentials to the volume master key.
//!
//! A credential is anything that implements [`KeyProtector`]: it looks at one protector of the
//! volume and answers *not mine*, *here is the VMK*, or *mine, but it did not open* with the
//! reason. [`try_all`] offers every credential to every protector, in order, and keeps account of
//! each attempt.
//!
//! To add a credential: a file beside this one, and its row in [`BUILT_IN`]. The command line
//! takes its options from that table.

pub mod auto_unlock;
#[cfg(feature = "certificates")]
pub mod certificate;
pub mod clear_key;
mod credential;
mod driver;
mod envelope;
pub mod key_package;
#[cfg(feature = "network")]
pub mod network;
mod parallel;
pub mod password;
mod prompt;
pub mod raw_key;
pub mod recovery_lookup;
pub mod recovery_password;
pub mod search;
pub mod startup_key;
pub mod tpm;

pub use prompt::{Prompt, Silent};

pub use credential::{Answer, Context, KeyProtector, Opening, VolumeKey};
pub use driver::{Selection, try_all};
pub(crate) use envelope::open_key;
pub use envelope::open_vmk;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::auto_unlock::SystemVolume;
use crate::error::Result;
use crate::format::protector::ProtectorKind;
use crate::secret::SecretText;

/// A kind of credential that the command line offers.
pub struct CredentialKind {
    /// Option of the command line, without dashes.
    pub option: &'static str,
    /// What stands for its value in the help.
    pub value: &'static str,
    /// Whether the option may stand without its value.
    pub value_is_optional: bool,
    /// Options that add to this one and mean nothing alone.
    pub additions: &'static [Addition],
    /// One line of help.
    pub help: &'static str,
    /// Name in a systemd credentials directory.
    pub systemd: Option<&'static str>,
    /// Environment variable that stands for a value left out.
    pub environment: Option<&'static str>,
    /// Builds the credential from the option's value.
    pub read: Read,
    /// Builds it from what a person types, where a person can type it.
    pub typed: Option<Build<SecretText>>,
    /// The kinds of protector that it opens.
    pub opens: &'static [ProtectorKind],
}

/// Builds a credential from what stands for it.
pub type Build<T> = fn(&T) -> Result<Box<dyn KeyProtector>>;

/// How a credential comes from its option.
#[derive(Clone, Copy)]
pub enum Read {
    /// The value is a path.
    File(Build<Path>),
    /// It takes all that was given: its own value, which may be no path, and other options.
    Given(fn(&Given<'_>) -> Result<Box<dyn KeyProtector>>),
}

/// An option that adds to a kind of credential.
pub struct Addition {
    /// Option of the command line, without dashes.
    pub option: &'static str,
    /// What stands for its value in the help; nothing for an option that takes none.
    pub value: Option<&'static str>,
    /// One line of help.
    pub help: &'static str,
    /// Name in a systemd credentials directory.
    pub systemd: Option<&'static str>,
}

/// What was given for a credential.
#[derive(Clone, Copy, Default)]
pub struct Given<'a> {
    /// Value of its own option; nothing where it stood without one.
    pub value: Option<&'a Path>,
    /// Every other option that was given, without dashes, with its value.
    pub others: &'a [(&'static str, PathBuf)],
    /// Who can be asked for what is missing.
    pub prompt: Option<&'a Arc<dyn Prompt>>,
    /// What was read of the volume that the option names, where it names one.
    pub system: Option<&'a SystemVolume>,
}

impl<'a> Given<'a> {
    /// The value of an option alone.
    pub fn only(value: &'a Path) -> Self {
        Self {
            value: Some(value),
            others: &[],
            prompt: None,
            system: None,
        }
    }

    /// The value of another option; empty for one that takes none.
    pub fn other(&self, option: &str) -> Option<&'a Path> {
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
    pub fn build(&self, given: &Given<'_>) -> Result<Box<dyn KeyProtector>> {
        match self.read {
            Read::File(read) => read(given.value.unwrap_or(Path::new(""))),
            Read::Given(read) => read(given),
        }
    }
}

/// Every kind of credential, in the order in which they are tried.
pub const BUILT_IN: &[CredentialKind] = &[
    recovery_password::KIND,
    recovery_lookup::KIND,
    password::KIND,
    startup_key::KIND,
    tpm::KIND,
    tpm::PAYLOAD,
    #[cfg(feature = "certificates")]
    certificate::KIND,
    #[cfg(feature = "certificates")]
    certificate::PKCS11,
    auto_unlock::KIND,
    #[cfg(feature = "network")]
    network::KIND,
    raw_key::VMK,
    raw_key::FVEK,
];
