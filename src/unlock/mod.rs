//! From credentials to the volume master key.
//!
//! A credential is a type that implements [`Credential`]. Given one key protector of the volume, it
//! answers *not mine*, *here is the VMK*, or *mine, but it does not unlock* with the reason.
//! [`try_all`] tries every credential on every key protector, in order, and reports each attempt.
//!
//! A new credential is a file in this directory and a line in the list of modules below.
//! ARCHITECTURE.md describes how to offer it on the command line.

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
mod options;
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

pub use credential::{Answer, Context, Credential, NO_CREDENTIAL, Opening, VolumeKey};
pub use driver::try_all;
pub(crate) use envelope::open_key;
pub use envelope::open_vmk;
pub use options::UnlockOptions;
