//! Random numbers, from the operating system.

use crate::error::{Error, Result};
use crate::guid::Guid;

/// Fills `bytes` from the system's random number generator.
///
/// # Errors
/// [`Error::Environment`] if the system gives no random numbers.
pub fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| Error::Environment {
        what: format!("the system gives no random numbers: {error}"),
        remedy: None,
    })
}

/// A new random GUID of version 4 (RFC 9562), as Windows makes them.
///
/// # Errors
/// As [`fill`].
pub fn identifier() -> Result<Guid> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    // The third group, bytes 6 and 7, is little-endian on disk, so the version is in byte 7. Byte 8
    // has the variant.
    bytes[7] = bytes[7] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    Ok(Guid::from_disk(bytes))
}
