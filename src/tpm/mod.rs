//! TPM 2.0 for BitLocker: what a sealed object is bound to, whether the PCRs of this computer match, and
//! access to a TPM (docs/format-tpm.md).
//!
//! [`Unsealer`] is the interface to a TPM. [`Tss`] reaches a TPM through libtss2; [`Payload`] returns
//! what a TPM released earlier, captured elsewhere; a program can implement its own. [`ObjectSealer`]
//! also seals. The credential that uses them is [`TpmUnlock`](crate::unlock::tpm::TpmUnlock).

mod explain;
pub mod forecast;
#[cfg(feature = "tpm")]
mod libtss2;
mod payload;
mod pin;
mod policy;
pub(crate) mod refusal;
#[cfg(feature = "tpm")]
mod tss;
mod unsealer;

pub use explain::{Explanation, KeyRelease};
pub use payload::Payload;
pub use pin::{LABEL, Pin, tpm_password};
pub use policy::{LOCK, Pcrs, Policy, selection};
pub use refusal::tries_left;
#[cfg(feature = "tpm")]
pub use tss::{CreatedSrk, Tss, TssOptions};
pub use unsealer::{Lockout, ObjectSealer, Sealed, TpmDescription, TpmError, Unsealer};
