//! Secrets from the command line: overwritten there, and passed on in a pipe.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, IntoRawFd};

use fve::error::Error;
use zeroize::{Zeroize, Zeroizing};

use super::argv;
use super::words::Word;
use crate::cli::failure::Failure;
use crate::cli::output::term;
use crate::cli::process::DESCRIPTORS;

/// Longest secret: a pipe takes it without anyone reading, and no secret of BitLocker is that long.
const MAX_LEN: usize = 4000;

/// The arguments of the process, and the secrets that were found in them.
pub(super) struct Secrets<'a> {
    arguments: Vec<&'a [u8]>,
}

impl<'a> Secrets<'a> {
    pub(super) fn new(arguments: Vec<&'a [u8]>) -> Self {
        Self { arguments }
    }

    /// Overwrites the secret in the command line.
    pub(super) fn overwrite(&self, secret: &Word) {
        argv::overwrite(&self.arguments, secret.number, secret.range.clone());
    }

    /// Warns of secrets on the command line. `instead` says what else is possible.
    pub(super) fn warn(name: &str, instead: &str) {
        term::note(format_args!(
            "warning: {name}: every user of this computer can see a secret on the command line while the command \
             starts, and the shell keeps it in its history; {instead}"
        ));
    }
}

/// The first line of standard input, without its end.
pub(super) fn line_of_standard_input() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let fail = |error| Error::io("cannot read standard input", error);
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LEN));
    let mut input = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map(File::from)
        .map_err(fail)?;
    let mut byte = [0];
    // Not more than the line: the rest is for others.
    while line.len() < MAX_LEN && input.read(&mut byte).map_err(fail)? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    byte.zeroize();
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// The option of fve that reads this secret from a pipe, which the processes that this one starts inherit.
pub(super) fn pipe(secret: &[u8], option: &str) -> Result<OsString, Failure> {
    if secret.len() > MAX_LEN {
        return Err(Failure::usage(format!(
            "the secret is longer than {MAX_LEN} bytes"
        )));
    }
    let fail = |error| Error::io("cannot pass a secret on", error);
    let (reader, mut writer) = std::io::pipe().map_err(fail)?;
    writer.write_all(secret).map_err(fail)?;
    // One newline at the end is ignored, so that the secret may end in one.
    writer.write_all(b"\n").map_err(fail)?;
    rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::empty())
        .map_err(|error| fail(error.into()))?;
    Ok(format!("--{option}={DESCRIPTORS}{}", reader.into_raw_fd()).into())
}
