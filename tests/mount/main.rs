//! The plaintext of a volume as a mount shows it, and as `fve decrypt` writes it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod apart;
mod command;
#[path = "../common/mod.rs"]
mod common;
mod decrypt;
mod driver;
mod edges;
mod every_volume;
mod files;
mod layers;
mod stop;
mod unanswered;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::let_children_receive_hup();
    common::harness::main()
}
