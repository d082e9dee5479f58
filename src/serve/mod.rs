//! Ways out: an unlocked volume shown to the world as a file in a mount, or written to one.
//!
//! Nothing here parses metadata or sees a key.

pub mod export;
#[cfg(feature = "fuse")]
pub mod fuse;
