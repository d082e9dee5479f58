//! How to unlock a volume.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::thread;

use crate::format::protector::KeyProtector;
use crate::format::selector::ProtectorSelector;

/// How to unlock a volume.
///
/// ```
/// use fve::{Guid, UnlockOptions};
///
/// let id: Guid = "8f595209-f5b9-49a0-85d4-cb8f80258c27".parse()?;
/// let options = UnlockOptions::new().protector(id).threads(1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct UnlockOptions {
    /// Which key protectors are tried: all of them where it is `None`.
    pub protector: Option<ProtectorSelector>,
    /// Most threads that unlocking and reading the plaintext use, the caller's own included; as
    /// many as there are CPUs where it is `None`.
    pub threads: Option<NonZeroUsize>,
    /// Whether to unlock although no metadata copy passes its checks, where the authentication tag
    /// of a credential proves the key.
    pub accept_damaged_metadata: bool,
}

impl UnlockOptions {
    /// Every key protector is tried, on all CPUs; damaged metadata is refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tries only the key protectors that this selects: an identifier ([`Guid`](crate::Guid)), the
    /// beginning of one, or a [`ProtectorKind`](crate::ProtectorKind).
    #[must_use]
    pub fn protector(mut self, selector: impl Into<ProtectorSelector>) -> Self {
        self.protector = Some(selector.into());
        self
    }

    /// Uses at most this many threads, the caller's own included. With 1 (or 0, which counts as 1),
    /// neither unlocking nor reading the plaintext starts a thread.
    #[must_use]
    pub fn threads(mut self, most: usize) -> Self {
        self.threads = Some(NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN));
        self
    }

    /// Whether to unlock although no metadata copy passes its checks (`false` by default).
    #[must_use]
    pub fn accept_damaged_metadata(mut self, accept: bool) -> Self {
        self.accept_damaged_metadata = accept;
        self
    }

    /// Whether this key protector may be tried.
    pub fn allows(&self, protector: &KeyProtector) -> bool {
        self.protector
            .is_none_or(|selector| selector.selects(protector))
    }

    /// How many threads may run at the same time, at least 1.
    pub(crate) fn parallelism(&self) -> usize {
        self.threads.map_or_else(cpus, NonZeroUsize::get)
    }
}

/// CPUs that this process may use. Asking the system takes microseconds, so the answer is kept.
fn cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| thread::available_parallelism().map_or(1, NonZeroUsize::get))
}
