//! `fve decrypt`: the whole decrypted volume to a file or to standard output.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::cli::args::DecryptArgs;
use crate::cli::exit::Status;
use crate::cli::{Failure, source, term};
use crate::error::Error;
use crate::serve::export::{Export, Exported, Zeros, ddrescue_map};

pub(in crate::cli) fn run(args: &DecryptArgs) -> Result<(), Failure> {
    let to_stdout = args.output == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        return Err(Failure::usage(
            "the decrypted volume is not for a terminal: redirect standard output, or name a file",
        ));
    }
    if !to_stdout {
        check_output(args)?;
    }
    check_map(args)?;
    let source::OpenedToShow {
        opened,
        hold: _hold,
    } = source::open_to_show(&args.source)?;
    let unlocked = args.credentials.unlock(&opened.volume)?;
    let bar = term::progress(unlocked.available());
    let mut export = Export {
        volume: &unlocked,
        zeros: Zeros::Written,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        hash: args.sha256,
        skip_unreadable: args.error_map.is_some(),
        progress: &|done| bar.inc(done),
    };
    let exported = if to_stdout {
        export.to_stream(&mut io::stdout().lock())
    } else {
        let output = Output::create(&args.output)?;
        export.zeros = output.zeros;
        let exported = if output.is_stream {
            export.to_stream(&mut &output.file)
        } else {
            export.to_file(&output.file)
        };
        output.finish(exported, unlocked.available())
    };
    bar.finish_and_clear();
    match exported {
        Ok(exported) => {
            save_map(args, &exported, unlocked.size())?;
            tell_hash(args, &exported)?;
            complain_of_missing(&exported, unlocked.size())
        }
        Err(Error::Io { source, .. }) if to_stdout && is_broken_pipe(&source) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What could not be had, in the form of ddrescue's map files.
fn save_map(args: &DecryptArgs, exported: &Exported, size: u64) -> Result<(), Error> {
    let Some(path) = &args.error_map else {
        return Ok(());
    };
    std::fs::write(path, ddrescue_map(exported, size))
        .map_err(|error| Error::io(format!("cannot write {}", path.display()), error))
}

/// As sha256sum prints it; on standard error where standard output has the volume.
fn tell_hash(args: &DecryptArgs, exported: &Exported) -> Result<(), Failure> {
    let Some(hash) = exported.sha256 else {
        return Ok(());
    };
    let digits = base16ct::lower::encode_string(&hash);
    let line = format!("{digits}  {}", args.output.display());
    if args.output == Path::new("-") {
        term::note(line);
        return Ok(());
    }
    term::print(&format!("{line}\n"))
}

fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Refuses before the credential is asked for.
fn check_output(args: &DecryptArgs) -> Result<(), Failure> {
    let path = &args.output;
    let Ok(there) = path.metadata() else {
        return Ok(());
    };
    let refuse = |what: String, help: Option<&str>| Failure::Other {
        status: Status::Io,
        what,
        help: help.map(str::to_owned),
    };
    if there.is_dir() {
        return Err(refuse(
            format!("{} is a directory", path.display()),
            Some("name a file in it"),
        ));
    }
    let source = args.source.source.metadata();
    if source.is_ok_and(|source| is_same(&source, &there)) {
        return Err(refuse(
            format!("{} is the volume itself", path.display()),
            Some("decrypt to another file: the source is never written to"),
        ));
    }
    if !args.force {
        return Err(refuse(
            format!("{} exists", path.display()),
            Some("--force writes over it"),
        ));
    }
    Ok(())
}

/// Refuses a map that would be written over something.
fn check_map(args: &DecryptArgs) -> Result<(), Failure> {
    let Some(path) = &args.error_map else {
        return Ok(());
    };
    let refuse = |what: &str, help: &str| {
        Err(Failure::Other {
            status: Status::Io,
            what: format!("{} {what}", path.display()),
            help: Some(help.to_owned()),
        })
    };
    match path.metadata() {
        Ok(meta) if !meta.is_file() => refuse("is no file", "--error-map takes a file"),
        Ok(map) => {
            let others = [&args.source.source, &args.output];
            let same = |other: &&std::path::PathBuf| {
                other.metadata().is_ok_and(|other| is_same(&map, &other))
            };
            if others.iter().any(same) {
                return refuse(
                    "is read or written already",
                    "name another file for the map",
                );
            }
            match args.force {
                true => Ok(()),
                false => refuse("exists", "--force writes over it"),
            }
        }
        Err(_) if *path == args.output => {
            refuse("is written already", "name another file for the map")
        }
        Err(_) => Ok(()),
    }
}

/// Whether two paths lead to one file, or to one device under two names.
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    let devices = one.file_type().is_block_device() && other.file_type().is_block_device();
    (one.dev(), one.ino()) == (other.dev(), other.ino()) || (devices && one.rdev() == other.rdev())
}

/// The file that is written, and what to do with it when that fails.
struct Output<'a> {
    path: &'a Path,
    file: File,
    zeros: Zeros,
    created: bool,
    /// A pipe or the like: it has no places to write at.
    is_stream: bool,
}

impl<'a> Output<'a> {
    fn create(path: &'a Path) -> Result<Self, Error> {
        let fail = |error| Error::io(format!("cannot create {}", path.display()), error);
        let existing = path.metadata().ok();
        let kind = existing.as_ref().map(Metadata::file_type);
        let is_device = kind.is_some_and(|kind| kind.is_block_device());
        let is_file = kind.is_none_or(|kind| kind.is_file());
        let mut options = OpenOptions::new();
        options.write(true);
        if existing.is_none() {
            options.create_new(true);
        } else if is_file {
            options.truncate(true);
        }
        Ok(Self {
            path,
            file: options.open(path).map_err(fail)?,
            zeros: if is_file {
                Zeros::Holes
            } else {
                Zeros::Written
            },
            created: existing.is_none(),
            is_stream: !is_file && !is_device,
        })
    }

    /// Makes sure that what was written is on the disk. A file that is not complete does not stay
    /// behind to be taken for one that is.
    fn finish(&self, exported: Result<Exported, Error>, len: u64) -> Result<Exported, Error> {
        let synced = exported.and_then(|exported| {
            if self.is_stream {
                return Ok(exported);
            }
            self.file
                .sync_all()
                .map(|()| exported)
                .map_err(|error| Error::io("cannot write the output", error))
        });
        synced.map_err(|error| self.give_up(error, len))
    }

    fn give_up(&self, error: Error, len: u64) -> Error {
        let Error::Io { what, source } = error else {
            return error;
        };
        let full = source.kind() == io::ErrorKind::StorageFull;
        let removed = self.created && std::fs::remove_file(self.path).is_ok();
        let mut what = format!("{what} {}", self.path.display());
        if full {
            what += &format!(", which takes up to {}", term::human_size(len));
        }
        if removed {
            what += " (removed again)";
        }
        Error::io(what, source)
    }
}

fn complain_of_missing(exported: &Exported, size: u64) -> Result<(), Failure> {
    let missing = exported.missing_bytes();
    if missing == 0 {
        return Ok(());
    }
    /// More are for the map.
    const MOST: usize = 16;
    let mut places: Vec<_> = exported
        .missing
        .iter()
        .take(MOST)
        .map(|range| format!("{} to {}", range.start, range.end))
        .collect();
    let more = exported.missing.len() - places.len();
    if more > 0 {
        places.push(format!("and {more} other places"));
    }
    Err(Failure::Other {
        status: Status::Io,
        what: format!(
            "all that is there was written; {missing} of the volume's {size} bytes are missing: {}",
            places.join(", ")
        ),
        help: None,
    })
}
