//! `fve info`: shows everything that can be known without a key.

mod saved;
mod several;

use clap::Args;
use fve::error::{Candidate, Error};

use crate::cli::describe;
use crate::cli::failure::Failure;
use crate::cli::options::source::{self, Opened, SourceArgs};
use crate::cli::output::term;
use crate::cli::run::Run;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Describe a partition, or every volume of a disk:
    fve info /dev/sda3
    fve info /dev/sda
  Describe partition 3 of a disk image, as JSON:
    fve info disk.img --partition 3 --json
  Say to which key protector a startup key belongs, or what a key package or backup holds:
    fve info 1DCD9676-F6D7-4348-B11E-068CE8937049.BEK
    fve info metadata.bak")]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

impl Run for InfoArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &InfoArgs) -> Result<(), Failure> {
    match source::open(&args.source).print_notes() {
        Ok(opened) => print_one(args, &opened),
        Err(Failure::Volume(Error::Ambiguous {
            candidates, notes, ..
        })) if candidates.iter().all(is_partition) => several::print(args, &candidates, &notes),
        Err(failure) if may_be_saved(args, &failure) => match saved::print(args)? {
            true => Ok(()),
            false => Err(failure),
        },
        Err(failure) => Err(failure),
    }
}

/// Whether SOURCE may be a file that was saved of a volume: it was not found to be one, and no option
/// says where the volume is.
fn may_be_saved(args: &InfoArgs, failure: &Failure) -> bool {
    let source = &args.source;
    let is_plain = source.offset.is_none()
        && source.partition.is_none()
        && source.lost.metadata.is_none()
        && source.lost.volume_start.is_none();
    is_plain && matches!(failure, Failure::Volume(Error::NotBitLocker { .. }))
}

/// Whether it is a partition, rather than one of the places at which a single volume may begin.
fn is_partition(candidate: &Candidate) -> bool {
    candidate.partition.is_some()
}

fn print_one(args: &InfoArgs, opened: &Opened) -> Result<(), Failure> {
    let report = describe::Report::of(opened);
    if args.json {
        term::print(&report.json())?;
    } else {
        term::print(&report.text())?;
    }
    // The report was printed as far as possible; only the status says that the metadata is damaged.
    match opened.volume.metadata() {
        Ok(_) => Ok(()),
        Err(error) if args.json => {
            let failure = Failure::from(error);
            if let Some(message) = failure.message() {
                term::say(format_args!("error: {message}"));
            }
            Err(Failure::Silent(failure.status()))
        }
        Err(error) => Err(error.into()),
    }
}
