//! `fve info`: shows everything that can be known without a key.

use clap::Args;

use crate::cli::describe;
use crate::cli::failure::Failure;
use crate::cli::options::source::{self, SourceArgs};
use crate::cli::output::term;
use crate::cli::run::{FailureDocument, Run};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Describe a partition:
    fve info /dev/sda3
  Describe partition 3 of a disk image, as JSON:
    fve info disk.img --partition 3 --json")]
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

    fn failure_document(&self) -> Option<FailureDocument> {
        self.json.then_some(crate::cli::output::json::failure)
    }
}

fn run(args: &InfoArgs) -> Result<(), Failure> {
    let opened = source::open(&args.source).print_notes()?;
    let report = describe::Report::of(&opened);
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
                term::note(format_args!("error: {message}"));
            }
            Err(Failure::Silent(failure.status()))
        }
        Err(error) => Err(error.into()),
    }
}
