//! `fve info`: everything that can be known without a key.

use crate::cli::describe;
use crate::cli::failure::Failure;
use crate::cli::options::source;
use crate::cli::options::source::SourceArgs;
use crate::cli::output::term;
use crate::cli::run::{FailureDocument, Run};
use clap::Args;

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
    let opened = source::open(&args.source).tell()?;
    let report = describe::Report::of(&opened);
    if args.json {
        term::print(&report.json())?;
    } else {
        term::print(&report.text())?;
    }
    // All that could be shown was shown; the status tells that it was not enough.
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
