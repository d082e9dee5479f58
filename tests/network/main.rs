//! Network Unlock: the client, and the server.

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
    // Before there is a second thread: namespaces hold for the thread that enters them.
    #[cfg(feature = "network-server")]
    server::net::isolate();
    common::harness::main()
}
