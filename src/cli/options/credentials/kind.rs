//! How a kind of credential is described for the command line.

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
    /// The section of the help that lists it.
    pub(crate) group: Group,
    /// Placeholder of its value in the help.
    pub(crate) value: &'static str,
    /// Whether the option may be given without a value.
    pub(crate) value_is_optional: bool,
    /// Options that belong to this one and have no effect without it.
    pub(crate) additions: &'static [Addition],
    /// One sentence of help.
    pub(crate) help: &'static str,
    /// Name of its file in a systemd credentials directory.
    pub(crate) systemd: Option<&'static str>,
    /// Environment variable that gives the value if the option has none.
    pub(crate) environment: Option<&'static str>,
    /// Builds the credential from the value of the option.
    pub(crate) read: Read,
    /// Builds it from what the user types, if it can be typed.
    pub(crate) typed: Option<Build<SecretText>>,
    /// The kinds of key protector that it unlocks.
    pub(crate) opens: &'static [ProtectorKind],
}

/// Builds a credential from the value of its option, or from typed text.
pub(crate) type Build<T> = fn(&T) -> Result<Box<dyn Credential>>;

/// How a credential is built from its option.
#[derive(Clone, Copy)]
pub(crate) enum Read {
    /// The value is a path.
    Path(Build<Path>),
    /// It needs more than a path: a value of another form, or other options.
    Options(fn(&OptionValues<'_>) -> Result<Box<dyn Credential>>),
    /// The same, with values of a form that is checked first: a value that does not have it is an error of
    /// the command line, not a credential that does not fit.
    #[cfg_attr(not(feature = "pkcs11"), allow(dead_code))]
    Address {
        check: fn(&OptionValues<'_>) -> Result<()>,
        read: fn(&OptionValues<'_>) -> Result<Box<dyn Credential>>,
    },
}

/// A section of the help. A command has some forty options for credentials, and few users need more
/// than the first section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
// A build without these features has no option in some of the sections.
#[cfg_attr(
    not(all(feature = "certificates", feature = "network")),
    allow(dead_code)
)]
pub(crate) enum Group {
    /// What most users have.
    Common,
    Tpm,
    Certificate,
    Network,
    Directory,
    AutoUnlock,
    /// Keys that were recovered by other means.
    Examiner,
}

impl Group {
    /// The heading of the section.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Common => "Credentials",
            Self::Tpm => "TPM details",
            Self::Certificate => "Certificates and smart cards",
            Self::Network => "Network Unlock",
            Self::Directory => "Directory look-up",
            Self::AutoUnlock => "Data volumes that Windows unlocks automatically",
            Self::Examiner => "Keys for examiners",
        }
    }
}

/// An option that belongs to a kind of credential.
pub(crate) struct Addition {
    /// Option of the command line, without dashes.
    pub(crate) option: &'static str,
    /// The section of the help that lists it.
    pub(crate) group: Group,
    /// Placeholder of its value in the help; `None` for an option without a value.
    pub(crate) value: Option<&'static str>,
    /// One sentence of help.
    pub(crate) help: &'static str,
    /// Name of its file in a systemd credentials directory.
    pub(crate) systemd: Option<&'static str>,
}

/// The options that were given for a credential.
#[derive(Clone, Copy, Default)]
pub(crate) struct OptionValues<'a> {
    /// Value of its own option; `None` if it was given without one.
    pub(crate) value: Option<&'a Path>,
    /// Every other given option, without dashes, with its value.
    pub(crate) others: &'a [(&'static str, PathBuf)],
    /// Asks the user for what is missing, such as a PIN.
    pub(crate) prompt: Option<&'a Arc<dyn Prompt>>,
    /// The keys of the system volume, if the option names one.
    pub(crate) system: Option<&'a SystemVolume>,
}

impl<'a> OptionValues<'a> {
    /// The value of another option; empty for an option without a value.
    pub(crate) fn other(&self, option: &str) -> Option<&'a Path> {
        let mut others = self.others.iter();
        let (_, value) = others.find(|(name, _)| *name == option)?;
        Some(value)
    }
}

impl CredentialKind {
    /// Checks the form of the values, without reading anything.
    ///
    /// # Errors
    /// A value is malformed.
    pub(crate) fn check(&self, given: &OptionValues<'_>) -> Result<()> {
        match self.read {
            Read::Address { check, .. } => check(given),
            Read::Path(_) | Read::Options(_) => Ok(()),
        }
    }

    /// Builds the credential from the given options.
    ///
    /// # Errors
    /// A value cannot be read, or is malformed.
    pub(crate) fn build(&self, given: &OptionValues<'_>) -> Result<Box<dyn Credential>> {
        match self.read {
            Read::Path(read) => read(given.value.unwrap_or(Path::new(""))),
            Read::Options(read) | Read::Address { read, .. } => read(given),
        }
    }
}
