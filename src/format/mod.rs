//! BitLocker's on-disk structures as typed values: parsed from bytes, and written back.
//!
//! ```text
//! boot record (boot)          sector 0: the kind of volume, and the offsets of the metadata copies
//! metadata block (block)      three copies: header, dataset, datums, validation
//!   datum (datum)             one entry; a key protector (protector) is a datum with nested datums
//! conversion map (conversion) encrypt-on-write: which chunks are already encrypted
//! .BEK file (bek)             an external key: the same datums, in a file
//! key package (key_package)   the sealed keys of a volume, exported from it
//! registry hive (hive)        on the system volume: the keys of data volumes that unlock with it
//! event log (event_log)       what the firmware measured into the TPM; not on the volume
//! ```
//!
//! Nothing here reads files, decrypts or panics. Each parser turns a byte slice into values that are
//! consistent in themselves, or returns a [`FormatError`] with the structure and the byte offset.
//! docs/format.md describes the format.
//!
//! Most programs need only [`protector`], [`time`] and [`boot`]; the rest, and [`datum`] most of
//! all, is for tools that show or check what is on the disk byte by byte.

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

/// A structure that breaks the rules of its format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{structure} at {position:#x}: {what}")]
#[non_exhaustive]
pub struct FormatError {
    /// The structure's name, for messages: `metadata block`, `datum`.
    pub structure: &'static str,
    /// Offset of the structure (or of the field that is wrong), in bytes from the start of the
    /// volume or file.
    pub position: u64,
    /// What is wrong, for messages.
    pub what: String,
}
