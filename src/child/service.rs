//! What child processes do, one [`Service`] for each kind, and whether this program can start any.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Conversation;

/// The first argument of a child process. The second is the name of its service.
pub(super) const ARGUMENT: &str = "fve-child-process";

/// What one kind of child process does, and how far it is limited.
pub(crate) struct Service {
    /// The second argument of the process.
    pub(crate) name: &'static str,
    /// The environment variables that the process inherits.
    pub(crate) environment: Environment,
    /// Most bytes of a request.
    pub(crate) max_request: usize,
    /// Most bytes of an answer.
    pub(crate) max_answer: usize,
    /// What the process limits itself to before it reads a request.
    pub(crate) limits: Limits,
    /// Answers requests in the child process until there is none left.
    pub(crate) serve: fn(&mut Conversation),
}

/// The environment variables that a child process inherits.
pub(crate) enum Environment {
    /// These, where they are set.
    #[cfg_attr(not(feature = "directory"), allow(dead_code))]
    Only(&'static [&'static str]),
    /// All, and the working directory, to which values may be relative: which ones a PKCS#11 library
    /// reads is not known.
    #[cfg_attr(not(feature = "pkcs11"), allow(dead_code))]
    All,
}

/// Limits of a child process.
pub(crate) struct Limits {
    /// Most bytes of address space.
    pub(crate) memory: u64,
    /// Most seconds of processor time.
    pub(crate) processor_seconds: u64,
    /// Most open files.
    pub(crate) files: u64,
    /// Whether the process may write to files.
    pub(crate) writes_files: bool,
    /// Whether a process that root started changes to a user without rights.
    pub(crate) becomes_unprivileged: bool,
    /// Whether the process keeps its capabilities, so that root can open the files of other users.
    pub(crate) keeps_capabilities: bool,
}

/// Whether this program can start child processes: it called `run_if_requested` and is none itself.
static PREPARED: AtomicBool = AtomicBool::new(false);

/// Records that this program calls `run_if_requested`.
pub(crate) fn prepare() {
    PREPARED.store(true, Ordering::Relaxed);
}

pub(super) fn is_prepared() -> bool {
    PREPARED.load(Ordering::Relaxed)
}
