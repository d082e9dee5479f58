//! Looking at the devices in a process of its own. A read from a device that does not answer cannot be
//! canceled, and the process that made it ends only with it. So the process that the user started does not
//! read: it prints what the other one found, and leaves it behind.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::process::Stdio;

use fve::error::Error;

use crate::cli::failure::Failure;
use crate::cli::invocation;
use crate::cli::output::term;

/// What the other process writes after the list. No list has this byte.
const DONE: u8 = 0;

/// Runs this command again in another process, and prints what that prints.
pub(super) fn run() -> Result<(), Failure> {
    let fail = |error| Error::io("cannot start the process that looks at the devices", error);
    let mut child = invocation::program()
        .map_err(fail)?
        .args(invocation::arguments().filter(|word| *word != "--"))
        .arg("--apart")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(fail)?;
    let mut said = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        // The child closes the pipe when it is done, or ends.
        pipe.read_to_end(&mut said).map_err(fail)?;
    }
    let is_done = said.pop_if(|last| *last == DONE).is_some();
    term::print(&String::from_utf8_lossy(&said))?;
    match is_done {
        true => Ok(()),
        false => {
            let ended = child.wait().map_err(fail)?;
            let who = "the process that looks at the devices";
            Err(Failure::Silent(term::status_of_failed(ended, who)))
        }
    }
}

/// In the child: says that it is done, and keeps nothing open that another program may wait for.
pub(super) fn finish() -> Result<(), Failure> {
    let leave = || {
        let mut out = io::stdout().lock();
        out.write_all(&[DONE])?;
        out.flush()?;
        let nowhere = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        rustix::stdio::dup2_stdout(&nowhere)?;
        rustix::stdio::dup2_stderr(&nowhere)?;
        Ok(())
    };
    leave().map_err(|error| Error::io("cannot write to standard output", error).into())
}
