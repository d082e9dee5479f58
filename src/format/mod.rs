//! What the bytes on disk mean: BitLocker's structures as typed values, and back.
//!
//! ```text
//! boot record (boot)          sector 0: which flavor, and where the metadata copies lie
//! metadata block (block)      three copies: header, dataset, datums, validation
//!   datum (datum)             the entries; protectors (protector) are datums with datums inside
//! conversion map (conversion) encrypt-on-write: which chunks are encrypted already
//! .BEK file (bek)             a startup key: the same datums in a file of their own
//! key package (key_package)   the sealed keys of a volume, kept apart from it
//! registry hive (hive)        where the keys of data volumes lie on the system volume
//! event log (event_log)       what the firmware measured: not on the volume, but about its TPM
//! ```
//!
//! This module reads no file, sees no key and never panics: it turns byte slices into values that
//! are consistent in themselves, or says which structure, at which byte, is wrong. The format is
//! described in docs/format.md.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod bek;
pub mod block;
pub mod boot;
pub mod conversion;
pub mod copies;
pub mod datum;
pub mod event_log;
pub mod hive;
pub mod key_package;
pub mod protector;
pub mod selector;
pub mod time;
pub mod tpm_blob;

pub(crate) mod encode;
pub(crate) mod text;
pub(crate) mod wire;

/// A structure that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{structure} at {position:#x}: {what}")]
#[non_exhaustive]
pub struct FormatError {
    /// The structure's name.
    pub structure: &'static str,
    /// Where it lies, in bytes from the start of the volume or file.
    pub position: u64,
    /// What is wrong.
    pub what: String,
}
