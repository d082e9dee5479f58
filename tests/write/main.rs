//! Writing to an unlocked volume: the data that is written, requests that are refused, and the
//! state after a crash.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

#[path = "../common/mod.rs"]
mod common;
mod crash;
mod gate;
mod volume;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::harness::main()
}
