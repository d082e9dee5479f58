//! The command line that this process runs: as it was given, or as it was translated. A process that
//! starts itself again for a part of its work gives the other one the same.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

static ARGUMENTS: OnceLock<Vec<OsString>> = OnceLock::new();

/// Records the arguments, with the name of the program.
pub(crate) fn remember(arguments: &[OsString]) {
    let _ = ARGUMENTS.set(arguments.to_vec());
}

/// The arguments, without the name of the program.
pub(crate) fn arguments() -> impl Iterator<Item = &'static OsString> {
    ARGUMENTS.get().into_iter().flatten().skip(1)
}

/// This program, to be started again under its own name: another one may select another command line.
///
/// # Errors
/// The program cannot be found.
pub(crate) fn program() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0("fve");
    Ok(command)
}
