//! Writing to an unlocked volume: what is written, what is refused, and what a crash leaves.

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
