//! From credentials to the volume master key.
//!
//! A credential is anything that implements [`Credential`]: it looks at one protector of the
//! volume and answers *not mine*, *here is the VMK*, or *mine, but it did not open* with the
//! reason. [`try_all`] offers every credential to every protector, in order, and keeps account of
//! each attempt.
//!
//! To add a credential: a file beside this one, and its line in the list of modules below. For the
//! command line, see ARCHITECTURE.md.

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

pub use credential::{Answer, Context, Credential, NO_CREDENTIAL, Opening, VolumeKey};
pub use driver::{Selection, try_all};
pub(crate) use envelope::open_key;
pub use envelope::open_vmk;
