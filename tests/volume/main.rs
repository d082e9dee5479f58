//! Volumes that are opened and read: those of Windows and our own, whole, damaged and forged.

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
#[cfg(feature = "ntfs")]
mod inside_ntfs;
mod peers;
mod readonly;
mod trust;
mod vectors;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::harness::main()
}
