//! Adding, changing and removing key protectors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod command;
#[path = "../common/mod.rs"]
mod common;
mod kept;
mod library;
mod peers;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::harness::main()
}
