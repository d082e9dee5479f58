//! The trait of all credentials, and the results of trying one.

use std::sync::Arc;

use crate::error::{Error, Failure, Result};
use crate::format::block::MetadataBlock;
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::guid::Guid;
use crate::secret::{SecretBytes, Vmk};

/// What a user, a device or a service has to unlock a volume: a password, a startup key, a TPM.
pub trait Credential: Send + Sync {
    /// Its name in reports, such as `recovery password` or `startup key`.
    fn name(&self) -> &str;

    /// Tries to unlock one key protector.
    ///
    /// Called for every selected key protector of the volume in the order on disk, until one
    /// unlocks. Check the kind of the key protector first, and return [`Answer::NotMine`] before
    /// doing anything costly.
    fn try_on(&self, protector: &KeyProtector, context: &Context<'_>) -> Answer;

    /// Whether an attempt costs nothing but time, so that several key protectors may be tried at
    /// once. `false` (the default) where an attempt asks the user, or is counted, as by a TPM.
    fn only_costs_time(&self) -> bool {
        false
    }

    /// The identifiers of the key protectors that it belongs to, where it has them, as a saved recovery
    /// password and a startup key do. They are not proved. None is the default.
    fn belongs_to(&self) -> Vec<Guid> {
        Vec::new()
    }

    /// Unlocks the volume without any key protector, as a raw key does. `None` (the default) for
    /// every other credential. Called once, before any key protector is tried.
    fn without_protector(&self, _context: &Context<'_>) -> Option<Result<VolumeKey, Failure>> {
        None
    }
}

/// An empty list of credentials, for a volume whose protection is suspended or that is decrypted.
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

            fn belongs_to(&self) -> Vec<Guid> {
                (**self).belongs_to()
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

/// What a credential may use besides the key protector that it is tried on.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Context<'a> {
    /// The metadata block that the key protector belongs to.
    pub block: &'a MetadataBlock,
    /// Most threads that the credential may run on, its caller's own included; at least 1.
    pub threads: usize,
}

impl<'a> Context<'a> {
    /// For the key protectors of this metadata block, and one thread.
    pub fn new(block: &'a MetadataBlock) -> Self {
        Self { block, threads: 1 }
    }

    /// The same for at most this many threads.
    #[must_use]
    pub fn threads(mut self, most: usize) -> Self {
        self.threads = most.max(1);
        self
    }
}

/// The result of trying a credential on a key protector.
#[derive(Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The key protector is of another kind. Nothing is reported.
    NotMine,
    /// The volume master key. The authentication tag of the sealed datum proved it.
    Opened(Vmk),
    /// The key protector is of the right kind, but the credential does not unlock it.
    Failed(Failure),
    /// The device or service that holds the key cannot be reached. Unlocking stops with this error,
    /// and no other credential is tried: a timeout says nothing about whether a key is right. A user
    /// who cancels is [`Error::Interrupted`] here.
    Abort(Error),
}

/// A key to the volume.
#[derive(Debug)]
#[non_exhaustive]
pub enum VolumeKey {
    /// The volume master key, which unseals the FVEK and proves the metadata.
    Vmk(Vmk),
    /// The full volume encryption key, given by the user. It proves nothing about the metadata.
    Fvek(SecretBytes),
}

/// The key to a volume, and where it came from.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opening {
    /// The key that the credential unlocked.
    pub key: VolumeKey,
    /// Name of the credential.
    pub credential: String,
    /// The key protector that it unlocked, and its kind; `None` for raw keys.
    pub protector: Option<(Guid, ProtectorKind)>,
}
