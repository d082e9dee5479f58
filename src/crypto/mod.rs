//! Algorithms: stretching what a person types, opening sealed keys, transforming sectors.
//!
//! Nothing here knows an on-disk structure beyond the bytes that it is handed, or does I/O.

pub mod envelope;
mod faults;
pub mod hash;
#[cfg(target_arch = "x86_64")]
mod memory;
pub mod random;
#[cfg(feature = "certificates")]
pub mod rsa_key;
pub mod sector;
pub mod stretch;

pub use faults::faults;
