//! The `fve` command.

// As in the library: not for the tests, which may give up as they like.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
