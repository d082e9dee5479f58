//! The `fve` command.
fn main() {}
