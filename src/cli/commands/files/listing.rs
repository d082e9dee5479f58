//! The output of `fve ls` and `fve find`, written while the volume is read, and the errors on the way.

use std::io::{self, BufWriter, Stdout, Write};

use fve::error::Error;
use fve::files::{FileError, FilePath, Files};
use serde_json::{Value, json};

use super::describe;
use super::place::in_words;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::{json, stdout, term};

/// Why a listing ends early.
pub(super) enum Ended {
    /// The reader of the output has enough.
    Closed,
    Failed(Failure),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(Error::io("cannot write to standard output", error).into()),
        }
    }
}

/// A listing on standard output.
pub(super) struct Listing {
    out: BufWriter<Stdout>,
    /// Whether the output is one JSON document.
    is_json: bool,
    entries: u64,
    errors: Vec<Value>,
    failed: u64,
}

impl Listing {
    /// Begins the output: in JSON, with what is known of the file system.
    pub(super) fn begin(files: &Files, is_json: bool) -> Result<Self, Ended> {
        stdout::check_open().map_err(Ended::Failed)?;
        let mut listing = Self {
            out: BufWriter::with_capacity(1 << 16, io::stdout()),
            is_json,
            entries: 0,
            errors: Vec::new(),
            failed: 0,
        };
        if is_json {
            let properties = files.properties();
            let head = json::document(&json!({
                "file_system": {
                    "kind": properties.kind,
                    "label": properties.label,
                    "serial": format!("{:X}", properties.serial),
                    "size": properties.size,
                    "cluster_size": properties.cluster_size,
                },
            }));
            let open = head.trim_end().trim_end_matches('}').trim_end();
            write!(listing.out, "{open},\n  \"entries\": [")?;
        }
        Ok(listing)
    }

    /// Writes text in which everything from the volume is escaped.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Ended> {
        Ok(self.out.write_all(text.as_bytes())?)
    }

    /// Writes bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        Ok(self.out.write_all(bytes)?)
    }

    /// Writes an entry of the JSON document.
    pub(super) fn entry(&mut self, entry: &Value) -> Result<(), Ended> {
        if self.entries > 0 {
            self.out.write_all(b",")?;
        }
        self.entries += 1;
        self.object(entry)
    }

    fn object(&mut self, object: &Value) -> Result<(), Ended> {
        for line in json::text(object).lines() {
            write!(self.out, "\n    {line}")?;
        }
        Ok(())
    }

    /// Reports that something could not be read. The listing goes on.
    pub(super) fn failed(&mut self, path: &FilePath, fault: &FileError) {
        self.failed += 1;
        // In order with the names before it, if both are on the terminal.
        let _ = self.out.flush();
        term::say(format_args!(
            "error: cannot read {path}: {}",
            in_words(fault)
        ));
        if self.is_json {
            self.errors.push(describe::error(path, fault));
        }
    }

    /// Ends the output.
    pub(super) fn end(mut self) -> Result<(), Ended> {
        if self.is_json {
            let end = if self.entries > 0 { "\n  ]" } else { "]" };
            write!(self.out, "{end},\n  \"errors\": [")?;
            let errors = std::mem::take(&mut self.errors);
            for (number, error) in errors.iter().enumerate() {
                if number > 0 {
                    self.out.write_all(b",")?;
                }
                self.object(error)?;
            }
            let end = if errors.is_empty() { "]" } else { "\n  ]" };
            write!(self.out, "{end}\n}}\n")?;
        }
        self.out.flush()?;
        match self.failed {
            0 => Ok(()),
            // Each message was printed already.
            _ => Err(Ended::Failed(Failure::Silent(Status::Io))),
        }
    }
}

/// The result of a command whose listing ended.
pub(super) fn result(listed: Result<(), Ended>) -> Result<(), Failure> {
    match listed {
        // As for other listings: a reader that has enough is no failure.
        Ok(()) | Err(Ended::Closed) => Ok(()),
        Err(Ended::Failed(failure)) => Err(failure),
    }
}
