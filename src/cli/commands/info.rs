//! `fve info`: everything that can be known without a key.

use crate::cli::args::InfoArgs;
use crate::cli::{Failure, report, source, term};

pub(in crate::cli) fn run(args: &InfoArgs) -> Result<(), Failure> {
    let opened = source::open(&args.source)?;
    let report = report::Report::of(&opened);
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
