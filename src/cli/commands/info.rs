//! `fve info`: shows everything that can be known without a key.

use clap::Args;
use fve::error::Error;

use crate::cli::describe;
use crate::cli::failure::Failure;
use crate::cli::options::source::{self, SourceArgs};
use crate::cli::output::{json, term};
use crate::cli::run::Run;

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
}

fn run(args: &InfoArgs) -> Result<(), Failure> {
    let opened = match source::open(&args.source).print_notes() {
        Ok(opened) => opened,
        Err(failure) => return Err(describe_all(args, failure)),
    };
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
                term::say(format_args!("error: {message}"));
            }
            Err(Failure::Silent(failure.status()))
        }
        Err(error) => Err(error.into()),
    }
}

/// The most volumes of a disk that are described. The error lists all.
const MOST_DESCRIBED: usize = 4;

/// Describes every volume of a disk with several. The failure to choose one remains.
fn describe_all(args: &InfoArgs, failure: Failure) -> Failure {
    let Failure::Volume(Error::Ambiguous { candidates, .. }) = &failure else {
        return failure;
    };
    let partitions = candidates
        .iter()
        .filter_map(|candidate| candidate.partition);
    // One at a time: the metadata of each may need some MiB of memory.
    let volumes = partitions.take(MOST_DESCRIBED).filter_map(|number| {
        let mut source = args.source.clone();
        source.partition = Some(number);
        // A volume that cannot be opened is named in the message of the failure.
        let opened = source::open(&source).ignore_notes().ok()?;
        Some((number, opened))
    });
    if !args.json {
        for (number, opened) in volumes {
            let text = describe::Report::of(&opened).text();
            if let Err(failed) = term::print(&format!("Partition {number}\n\n{text}\n")) {
                return failed;
            }
        }
        return failure;
    }
    let described = volumes.map(|(_, opened)| describe::Report::of(&opened).json());
    let document = json::with_documents(&json::error(&failure), "volumes", described);
    if let Err(failed) = term::print(&document) {
        return failed;
    }
    term::print_failure(&failure);
    Failure::Silent(failure.status())
}
