//! The sector ciphers and key stretching, on every engine. This test program needs no feature of
//! the library, so that it can also be built for an emulator, or with AES in software.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, unreachable_pub, unused_imports)]
#[path = "../common"]
mod common {
    pub mod harness;
}
mod sectors;
mod stretch;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::harness::main()
}
