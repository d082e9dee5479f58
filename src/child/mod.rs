//! Runs code that cannot be trusted to return in a process of its own: the LDAP client, which believes
//! what a server sends, and the PKCS#11 library of a token. Its crash, its endless loop and the memory
//! that it takes end that process, and are an ordinary error here.
//!
//! ```text
//! Child::start ──► /proc/self/exe, started again ──► run_if_requested ──► limits, fewer rights
//! Child::ask   ──► request  ─── socket pair ───►  Service::serve
//!              ◄── answer   ◄──────────────────
//! ```
//! The process is this program, started again: [`run_if_requested`](crate::child_main::run_if_requested)
//! must be the first call in its `main`. Requests and answers, which may hold secrets, pass only through
//! the socket pair, each after its length. The process inherits no other descriptor.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod failure;
mod parent;
mod serve;
mod wire;

use std::sync::atomic::{AtomicBool, Ordering};

pub use failure::ChildFailure;
pub(crate) use parent::Child;
pub(crate) use serve::{Conversation, serve};
pub(crate) use wire::{Reader, Writer};

/// The first argument of a child process. The second is the name of its service.
pub(crate) const ARGUMENT: &str = "fve-child-process";

/// Where code runs that cannot be trusted to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Isolation {
    /// In a child process with little memory, few rights and a deadline. The program must call
    /// [`run_if_requested`](crate::child_main::run_if_requested) first in `main`; otherwise nothing is
    /// started, and the error is [`ChildFailure::NotPrepared`].
    #[default]
    ChildProcess,
    /// In this process. A hostile server or a faulty library can then abort the process, take all
    /// memory, or never return: nothing but the end of the process stops it.
    SameProcess,
}

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
    Only(&'static [&'static str]),
    /// All: which ones a PKCS#11 library reads is not known.
    #[cfg(feature = "pkcs11")]
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
}

/// Whether this program can start child processes: it called `run_if_requested` and is none itself.
static PREPARED: AtomicBool = AtomicBool::new(false);

/// Records that this program calls `run_if_requested`.
pub(crate) fn prepare() {
    PREPARED.store(true, Ordering::Relaxed);
}

fn is_prepared() -> bool {
    PREPARED.load(Ordering::Relaxed)
}
