//! The `fve` command: everything is in [`fve::cli`].

fn main() -> std::process::ExitCode {
    fve::cli::run()
}
