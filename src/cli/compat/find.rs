//! dislocker-find: prints the devices or files that are BitLocker volumes. The exit status is their number.

use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use fve::error::Error;
use fve::source::FileSource;
use fve::volume::Volume;
use serde_json::Value;

use super::words::{Form, Given, Takes};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::invocation;
use crate::cli::output::term::{self, escaped};

pub(super) const FORMS: &[Form] = &[('h', "help", Takes::Nothing)];

pub(super) fn run(given: &Given) -> Result<ExitCode, Failure> {
    let places: Vec<_> = given.words.iter().chain(&given.rest).collect();
    let found = match places.is_empty() {
        true => of_this_machine()?,
        false => {
            let paths = places.iter().map(|word| PathBuf::from(word.os()));
            paths.filter(is_volume).collect()
        }
    };
    for path in &found {
        print(path)?;
    }
    Ok(ExitCode::from(u8::try_from(found.len()).unwrap_or(u8::MAX)))
}

/// Prints a path so that a script can open it, whatever bytes it has.
fn print(path: &Path) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    if out.is_terminal() {
        return term::print(&format!("{}\n", escaped(&path.to_string_lossy())));
    }
    let mut line = path.as_os_str().as_bytes().to_vec();
    line.push(b'\n');
    out.write_all(&line)
        .and_then(|()| out.flush())
        .map_err(|error| Error::io("cannot write to standard output", error).into())
}

/// Whether a volume begins at the first byte. What cannot be read is none.
fn is_volume(path: &PathBuf) -> bool {
    let source = FileSource::open(path);
    source.is_ok_and(|source| matches!(Volume::probe(&source), Ok(Some(_))))
}

/// The devices that are volumes. Another process looks at them, since one of them may not answer.
fn of_this_machine() -> Result<Vec<PathBuf>, Failure> {
    let fail = |error| Error::io("cannot start the process that looks at the devices", error);
    let mut list = invocation::program().map_err(fail)?;
    let listed = list
        .args(["list", "--json"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = listed.output().map_err(fail)?;
    if !output.status.success() {
        // It has said why.
        return Err(Failure::Silent(Status::of_process(output.status)));
    }
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let volumes = document.get("volumes").and_then(Value::as_array);
    let whole = volumes.into_iter().flatten().filter(|volume| {
        volume.get("offset").and_then(Value::as_i64) == Some(0)
            && volume.get("partition").is_none_or(Value::is_null)
    });
    let devices = whole.filter_map(|volume| volume.get("device")?.as_str().map(PathBuf::from));
    Ok(devices.collect())
}
