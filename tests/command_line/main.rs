//! Properties of every command: limits, threads, secrecy, its output, and faults that were found
//! once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod advice;
mod cases;
#[path = "../common/mod.rs"]
mod common;
mod console;
mod disks;
mod json;
#[cfg(feature = "event-logs")]
mod limits;
mod lost_output;
mod names;
mod saved;
mod secrecy;
mod shell;
mod statuses;
mod terminal;
mod threads;
mod units;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::harness::main()
}
