//! NBD: what the clients of libnbd and QEMU read from the server, and the servers of QEMU and nbdkit as
//! sources.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod liar;
mod serve;
mod server;
mod source;
mod write;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::let_children_receive_hup();
    common::harness::main()
}
