//! Recovery passwords: parsing, checking, searching and looking them up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

#[path = "../common/mod.rs"]
mod common;
mod liars;
mod lookup;
mod password;
mod search;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::let_children_receive_hup();
    common::harness::main()
}
