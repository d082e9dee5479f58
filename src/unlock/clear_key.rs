//! The clear key: while protection is suspended, a key to the VMK is stored unencrypted on the disk
//! (docs/format.md §5.7).

use super::{Answer, Context, Credential, open_vmk};
use crate::error::{Failure, Reason};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::secret::ClearKey;

/// Unlocks a volume whose protection is suspended, with the clear key that is stored on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Suspended;

impl Credential for Suspended {
    fn name(&self) -> &str {
        "clear key"
    }

    fn try_on(&self, protector: &KeyProtector, _context: &Context<'_>) -> Answer {
        if protector.kind() != ProtectorKind::ClearKey {
            return Answer::NotMine;
        }
        match protector.clear_key().and_then(ClearKey::from_slice) {
            Some(key) => open_vmk(protector, key.expose()),
            None => Answer::Failed(Failure::new(
                Reason::DamagedProtector,
                "the key protector contains no clear key",
            )),
        }
    }
}
