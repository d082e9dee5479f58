//! Access for other programs: an unlocked volume as a file in a FUSE mount, through NBD, as a
//! device of the kernel, or exported to a file.
//!
//! Nothing here parses metadata, and only the mapping handles a key: the kernel needs it.

pub mod export;
#[cfg(feature = "fuse")]
pub mod fuse;
pub mod mapping;
pub mod nbd;
