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
mod clear_key;
mod credential;
mod driver;
mod envelope;
pub mod key_package;
#[cfg(feature = "network")]
pub mod network;
mod options;
mod parallel;
mod password;
mod prompt;
mod raw_key;
mod recovery_lookup;
mod recovery_password;
pub mod search;
mod startup_key;
pub mod tpm;

pub use credential::{Answer, Context, Credential, NO_CREDENTIAL, Opening, VolumeKey};
pub use driver::try_all;
pub(crate) use envelope::open_key;
pub use envelope::open_vmk;
pub use options::UnlockOptions;
pub use prompt::{Prompt, Silent};

// Credentials.
pub use clear_key::Suspended;
pub use password::Password;
pub use raw_key::{RawFvek, RawVmk};
pub use recovery_lookup::RecoveryLookup;
pub use recovery_password::RecoveryPasswords;
pub use startup_key::StartupKey;
