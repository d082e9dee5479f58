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
pub mod key_package;
#[cfg(feature = "network")]
pub mod network;
pub mod password;
mod prompt;
pub mod raw_key;
pub mod recovery_lookup;
pub mod recovery_password;
pub mod search;
mod side_by_side;
pub mod startup_key;
pub mod tpm;

pub use prompt::{Prompt, Silent};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::auto_unlock::SystemVolume;
use crate::crypto::envelope;
use crate::error::{Attempt, Failure, Result, UnlockReport};
use crate::format::block::MetadataBlock;
use crate::format::datum::{Datum, Key, SealedDatum, key_types};
use crate::format::protector::{Protector, ProtectorKind};
use crate::guid::Guid;
use crate::secret::{SecretBytes, SecretText, Vmk};

/// A credential.
pub trait KeyProtector: Send + Sync {
    /// What it is called in reports: `recovery password`, `startup key`.
    fn name(&self) -> &str;

    /// Tries to open one protector.
    ///
    /// Called for every protector of the volume in the order on disk, until one opens. Must not
    /// do anything costly before it knows that the protector is of its kind.
    fn try_on(&self, protector: &Protector, context: &Context<'_>) -> Answer;

    /// Whether an attempt costs time and nothing else, so that several protectors may be tried at
    /// once. Not (the default) where somebody is asked or attempts are counted, as a TPM does.
    fn only_costs_time(&self) -> bool {
        false
    }

    /// For credentials that need no protector, such as a raw key: `None` (the default) says that
    /// this is not one of them. Called once, before any protector is tried.
    fn without_protector(&self, _context: &Context<'_>) -> Option<Result<VolumeKey, Failure>> {
        None
    }
}

/// What a credential may look at besides the protector in hand.
pub struct Context<'a> {
    /// The metadata that the protector comes from.
    pub block: &'a MetadataBlock,
}

/// What came of trying a credential on a protector.
pub enum Answer {
    /// The protector is of another kind; nothing to report.
    NotMine,
    /// The volume master key, proved by the tag of the datum that it was sealed in.
    Opened(Vmk),
    /// The protector is of the right kind but did not open.
    Failed(Failure),
}

/// A key to the volume.
#[derive(Debug)]
pub enum VolumeKey {
    /// The volume master key: opens the sector key and proves the metadata.
    Vmk(Vmk),
    /// The sector key itself, brought from elsewhere: proves nothing.
    Fvek(SecretBytes),
}

/// A volume opened: by what, and with which key.
#[derive(Debug)]
pub struct Opening {
    /// The key.
    pub key: VolumeKey,
    /// Name of the credential.
    pub credential: String,
    /// The protector that it opened, and its kind; none for raw keys.
    pub protector: Option<(Guid, ProtectorKind)>,
}

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

/// Restricts unlocking to some protectors.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// A protector's identifier or its first eight or more hex digits; every protector if none.
    pub protector: Option<String>,
}

impl Selection {
    /// Whether this protector may be tried.
    pub fn allows(&self, protector: &Protector) -> bool {
        self.protector
            .as_deref()
            .is_none_or(|name| protector.id.is_named_by(name))
    }
}

/// Offers each credential to each protector of the block, in order, until one opens. Every attempt
/// goes into `report`.
pub fn try_all(
    block: &MetadataBlock,
    credentials: &[Box<dyn KeyProtector>],
    selection: &Selection,
    report: &mut UnlockReport,
) -> Option<Opening> {
    let context = Context { block };
    credentials
        .iter()
        .find_map(|credential| try_one(credential.as_ref(), &context, selection, report))
}

fn try_one(
    credential: &dyn KeyProtector,
    context: &Context<'_>,
    selection: &Selection,
    report: &mut UnlockReport,
) -> Option<Opening> {
    let name = credential.name();
    let mut record = |protector, failure| {
        report.attempts.push(Attempt {
            credential: name.to_owned(),
            protector,
            failure,
        });
    };
    match credential.without_protector(context) {
        Some(Ok(key)) => {
            record(None, None);
            return Some(Opening {
                key,
                credential: name.to_owned(),
                protector: None,
            });
        }
        Some(Err(failure)) => {
            record(None, Some(failure));
            return None;
        }
        None => {}
    }
    let allowed: Vec<_> = context
        .block
        .protectors()
        .filter(|protector| selection.allows(protector))
        .collect();
    let attempt = |protector: &&Protector| credential.try_on(protector, context);
    let opened = |answer: &Answer| matches!(answer, Answer::Opened(_));
    let answers: Box<dyn Iterator<Item = Answer>> = if credential.only_costs_time() {
        Box::new(side_by_side::in_order(&allowed, attempt, opened).into_iter())
    } else {
        Box::new(allowed.iter().map(attempt))
    };
    let mut met = false;
    for (protector, answer) in allowed.iter().zip(answers) {
        match answer {
            Answer::NotMine => {}
            Answer::Failed(failure) => {
                met = true;
                record(Some(protector.id), Some(failure));
            }
            Answer::Opened(vmk) => {
                record(Some(protector.id), None);
                return Some(Opening {
                    key: VolumeKey::Vmk(vmk),
                    credential: name.to_owned(),
                    protector: Some((protector.id, protector.kind())),
                });
            }
        }
    }
    if !met {
        let message = match &selection.protector {
            Some(id) => format!("protector {id} is not of a kind that takes it"),
            None => "the volume has no protector that takes it".to_owned(),
        };
        record(None, Some(Failure::new("no-such-protector", message)));
    }
    None
}

/// Opens a protector's sealed VMK with the protector's own key.
pub fn open_vmk(protector: &Protector, key: &[u8; 32]) -> Answer {
    let Some(sealed) = protector.sealed_vmk() else {
        return Answer::Failed(Failure::new(
            "damaged-protector",
            "the protector holds no sealed volume master key",
        ));
    };
    // Windows writes 0x2003; one published sample (hashcat's) carries 0x2000.
    match open_key(sealed, key, &[key_types::VMK, key_types::CLEAR_KEY]) {
        Some(key) => match Vmk::from_slice(key.data.expose()) {
            Some(vmk) => Answer::Opened(vmk),
            None => Answer::Failed(Failure::new(
                "damaged-protector",
                "the sealed volume master key does not have 32 bytes",
            )),
        },
        None => Answer::Failed(Failure::new("wrong-key", "it does not fit")),
    }
}

/// Opens a sealed KEY datum of one of these types; `None` when the tag does not match or something
/// else was sealed. The role inside is ignored: it varies (format page, section 3.3).
pub(crate) fn open_key(sealed: &SealedDatum, key: &[u8; 32], wanted: &[u16]) -> Option<Key> {
    let content = envelope::open(key, &sealed.nonce, &sealed.tag, &sealed.ciphertext)?;
    let datum = Datum::parse_one(content.expose()).ok()?;
    match datum.body {
        crate::format::datum::Body::Key(key) if wanted.contains(&key.key_type) => Some(key),
        _ => None,
    }
}
