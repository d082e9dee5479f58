//! Files inside file systems: the library, the commands and other programs show the same ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod cat;
mod command;
#[path = "../common/mod.rs"]
mod common;
mod compression;
mod corpus;
mod cp;
mod exfat;
mod fat;
mod find;
mod images;
mod ls;
mod mutants;
mod ntfs;
mod oracles;
mod windows;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(status) = mutants::child() {
        return status;
    }
    common::harness::main()
}
