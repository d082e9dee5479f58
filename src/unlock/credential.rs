//! What a credential is, and what comes of trying one.

use std::sync::Arc;

use crate::error::{Error, Failure, Result};
use crate::format::block::MetadataBlock;
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::guid::Guid;
use crate::secret::{SecretBytes, Vmk};

/// A credential.
pub trait Credential: Send + Sync {
    /// What it is called in reports: `recovery password`, `startup key`.
    fn name(&self) -> &str;

    /// Tries to open one protector.
    ///
    /// Called for every protector of the volume in the order on disk, until one opens. Must not
    /// do anything costly before it knows that the protector is of its kind.
    fn try_on(&self, protector: &KeyProtector, context: &Context<'_>) -> Answer;

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

/// No credential at all, where a function takes some.
pub const NO_CREDENTIAL: &[&dyn Credential] = &[];

macro_rules! forwarded {
    ($($of:ty),*) => {$(
        impl<T: Credential + ?Sized> Credential for $of {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn try_on(&self, protector: &KeyProtector, context: &Context<'_>) -> Answer {
                (**self).try_on(protector, context)
            }

            fn only_costs_time(&self) -> bool {
                (**self).only_costs_time()
            }

            fn without_protector(
                &self,
                context: &Context<'_>,
            ) -> Option<Result<VolumeKey, Failure>> {
                (**self).without_protector(context)
            }
        }
    )*};
}

forwarded!(&T, Box<T>, Arc<T>);

/// What a credential may look at besides the protector in hand.
pub struct Context<'a> {
    /// The metadata that the protector comes from.
    pub block: &'a MetadataBlock,
}

/// What came of trying a credential on a protector.
#[derive(Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The protector is of another kind; nothing to report.
    NotMine,
    /// The volume master key, proved by the tag of the datum that it was sealed in.
    Opened(Vmk),
    /// The protector is of the right kind but did not open.
    Failed(Failure),
    /// Whoever keeps the key cannot be asked: unlocking ends with this error, and nothing else is
    /// tried. A service that does not answer in time is neither a wrong key nor a missing one.
    Abort(Error),
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
