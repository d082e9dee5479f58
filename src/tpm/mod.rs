//! The TPM 2.0 side of BitLocker, without unlocking a volume: what an object is sealed to, whether
//! this computer meets it, and who gives a TPM's answers (docs/format-tpm.md).
//!
//! [`Unsealer`] is the interface to a TPM: [`Tss`] reaches one through libtss2, [`Payload`] holds what
//! one released, captured elsewhere, and a program can bring its own. [`ObjectSealer`] seals.
//! The credential that opens a protector with them is [`crate::unlock::tpm::TpmUnlock`].

pub mod explain;
pub mod forecast;
mod payload;
mod pin;
mod policy;
pub(crate) mod refusal;
#[cfg(feature = "tpm")]
mod tss;
mod unsealer;

pub use payload::Payload;
pub use pin::{LABEL, Pin, tpm_password};
pub use policy::{LOCK, Pcrs, Policy, selection};
pub use refusal::tries_left;
#[cfg(feature = "tpm")]
pub use tss::{Tss, TssOptions};
pub use unsealer::{Lockout, ObjectSealer, Sealed, TpmError, Unsealer};
