//! Access for other programs: an unlocked volume as a file in a FUSE mount, through NBD, or exported to a
//! file.
//!
//! Nothing here parses metadata or handles keys.

pub mod export;
#[cfg(feature = "fuse")]
pub mod fuse;
pub mod nbd;
