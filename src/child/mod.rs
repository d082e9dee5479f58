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

#[cfg(target_os = "linux")]
mod conversation;
#[cfg(target_os = "linux")]
mod failure;
mod fields;
#[cfg(target_os = "linux")]
mod frames;
#[cfg(target_os = "linux")]
mod parent;
#[cfg(target_os = "linux")]
mod serve;
#[cfg(target_os = "linux")]
mod service;

#[cfg(target_os = "linux")]
pub(crate) use conversation::Conversation;
#[cfg(target_os = "linux")]
pub use failure::ChildFailure;
pub(crate) use fields::{Reader, Writer};
#[cfg(target_os = "linux")]
pub(crate) use parent::Child;
#[cfg(target_os = "linux")]
pub(crate) use serve::serve;
#[cfg(target_os = "linux")]
pub(crate) use service::{Environment, Limits, Service, prepare};

/// Where code runs that cannot be trusted to return.
#[cfg(target_os = "linux")]
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
