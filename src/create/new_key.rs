//! Keys for new protectors, drawn from the system's random number generator.
//!
//! All fail with [`Error::Environment`](crate::Error::Environment) when it gives none.

use zeroize::Zeroizing;

use super::fill_random;
use crate::error::Result;
use crate::secret::{ClearKey, ExternalKey, RecoveryKey};

/// The 128 bits of a recovery password.
pub fn recovery_key() -> Result<RecoveryKey> {
    Ok(RecoveryKey::from_bytes(&*random()?))
}

/// The key of a `.BEK` file.
pub fn external_key() -> Result<ExternalKey> {
    Ok(ExternalKey::from_bytes(&*random()?))
}

/// A key that will lie on the disk in the open.
pub fn clear_key() -> Result<ClearKey> {
    Ok(ClearKey::from_bytes(&*random()?))
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    fill_random(&mut bytes[..])?;
    Ok(bytes)
}
