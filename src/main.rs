//! The `fve` command.

// As in the library. The tests may use all three.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cli;

fn main() -> std::process::ExitCode {
    fve::child_main::run_if_requested();
    cli::run()
}
