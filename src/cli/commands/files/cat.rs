//! `fve cat`: writes the content of files to standard output.

use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::mpsc::sync_channel;

use clap::{Args, ValueHint};
use fve::error::Error;
use fve::files::{Content, FilePath, Files};

use super::place::{self, cannot, read_error};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::file_system;
use crate::cli::options::source::SourceArgs;
use crate::cli::output::stdout;
use crate::cli::run::Run;

/// Bytes that are read at a time: reads of this size are decrypted on all cores.
const PIECE: u64 = 4 << 20;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Show a text file:
    fve cat /dev/sda3 Users/user/notes.txt
  Show where a downloaded file is from, which Windows keeps in a stream of it:
    fve cat /dev/sda3 'Users/user/Downloads/setup.exe:Zone.Identifier'
  Compute the hash of a file in a disk image:
    fve cat disk.vhdx 'C:\\pagefile.sys' --password-file pw | sha256sum")]
pub(crate) struct CatArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// File of the volume, with '/' or '\' between names; 'NAME:STREAM' is a stream of a file
    #[arg(value_name = "PATH", value_hint = ValueHint::Other, required = true)]
    pub(crate) paths: Vec<OsString>,

    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
}

impl Run for CatArgs {
    fn run(&self) -> Result<(), Failure> {
        stdout::check_open()?;
        place::check_order(&self.source.source, &self.paths)?;
        let paths = place::paths(&self.paths)?;
        let opened = file_system::open(&self.source, &self.credentials)?;
        for path in &paths {
            show(&opened.files, path)?;
        }
        Ok(())
    }
}

fn show(files: &Files, path: &FilePath) -> Result<(), Failure> {
    let found = place::find(files, path)?;
    let content = files
        .open(found.id, found.stream.as_ref())
        .map_err(|fault| cannot("read", path, &fault))?;
    let mut out = io::stdout().lock();
    write_content(content.as_ref(), path, &mut out)?;
    let flushed = out.flush();
    flushed.map_err(|error| Error::io("cannot write to standard output", error).into())
}

/// Writes the content while the next piece of it is read.
fn write_content(
    content: &dyn Content,
    path: &FilePath,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let size = content.size();
    let read = |offset: u64| -> Result<Vec<u8>, Failure> {
        let len = usize::try_from(PIECE.min(size - offset)).unwrap_or(0);
        let mut piece = vec![0; len];
        match content.read_exact_at(offset, &mut piece) {
            Ok(()) => Ok(piece),
            Err(error) => Err(incomplete(path, offset, size, &error)),
        }
    };
    let mut write = |piece: &[u8]| {
        let written = out.write_all(piece);
        written.map_err(|error| Failure::from(Error::io("cannot write to standard output", error)))
    };
    if size <= PIECE {
        return write(&read(0)?);
    }
    let (sender, receiver) = sync_channel(1);
    std::thread::scope(|scope| {
        let step = usize::try_from(PIECE).unwrap_or(usize::MAX);
        let read_all = move || {
            for offset in (0..size).step_by(step) {
                let piece = read(offset);
                let failed = piece.is_err();
                if sender.send(piece).is_err() || failed {
                    return;
                }
            }
        };
        let reader = std::thread::Builder::new().spawn_scoped(scope, read_all);
        reader.map_err(|error| Error::io("cannot start a thread", error))?;
        for piece in receiver {
            write(&piece?)?;
        }
        Ok(())
    })
}

fn incomplete(path: &FilePath, offset: u64, size: u64, error: &io::Error) -> Failure {
    let what = match offset {
        0 => format!("cannot read {path}: {}", read_error(error)),
        _ => format!(
            "cannot read {path}: only the first {offset} of its {size} bytes were written: {}",
            read_error(error)
        ),
    };
    Failure::Other {
        status: Status::Io,
        what,
        help: None,
    }
}
