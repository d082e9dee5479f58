//! Opening and reading volumes, made by Windows and by fve: intact, damaged and forged.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod bad_input;
#[path = "../common/mod.rs"]
mod common;
mod conformance;
mod disks;
mod edges;
mod frozen;
mod inside_ntfs;
mod peers;
mod readonly;
#[cfg(feature = "fuse")]
mod threads;
mod trust;
mod vectors;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::harness::main()
}
