//! What a volume that was opened for writing is written to.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::source::WriteAt;

/// What an opened volume is written to. All that is unlocked from the volume share it.
#[derive(Clone)]
pub(super) struct Target {
    source: Arc<dyn WriteAt>,
    /// Whether a writer has it.
    claimed: Arc<AtomicBool>,
}

impl Target {
    pub(super) fn new(source: Arc<dyn WriteAt>) -> Self {
        Self {
            source,
            claimed: Arc::default(),
        }
    }

    /// Takes it for one writer; `None` while another has it. Each writer locks ranges for itself, so
    /// two of them would lose changes to sectors that both write in part.
    pub(super) fn claim(&self) -> Option<ClaimedTarget> {
        let is_free = !self.claimed.swap(true, Ordering::SeqCst);
        // Not `then_some`: that would create and drop a claim in any case, and so end the other one.
        is_free.then(|| ClaimedTarget(self.clone()))
    }
}

/// A [`Target`] that no other writer has. Dropping it frees the target.
pub(super) struct ClaimedTarget(Target);

impl Deref for ClaimedTarget {
    type Target = dyn WriteAt;

    fn deref(&self) -> &Self::Target {
        self.0.source.as_ref()
    }
}

impl Drop for ClaimedTarget {
    fn drop(&mut self) {
        self.0.claimed.store(false, Ordering::SeqCst);
    }
}
