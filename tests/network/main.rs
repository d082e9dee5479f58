//! Network Unlock: client and server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod client;
#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "network-server")]
mod server;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before a second thread starts: a thread enters a namespace only for itself and its children.
    #[cfg(feature = "network-server")]
    server::net::isolate();
    common::harness::main()
}
