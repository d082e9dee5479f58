//! `fve completions` and `fve man`: made from the same definitions as the command line.

use clap::CommandFactory;

use crate::cli::args::{Cli, CompletionsArgs, ManArgs};
use crate::cli::{Failure, term};
use crate::error::Error;
use crate::shown::ShowPath;

pub(in crate::cli) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fve", &mut script);
    term::print(&String::from_utf8_lossy(&script))
}

pub(in crate::cli) fn man(args: &ManArgs) -> Result<(), Failure> {
    let command = Cli::command();
    if let Some(directory) = &args.to {
        let fail = |error| Error::io(format!("cannot write to {}", directory.shown()), error);
        std::fs::create_dir_all(directory).map_err(fail)?;
        clap_mangen::generate_to(command, directory).map_err(fail)?;
        return Ok(());
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Error::io("cannot make the manual page", error))?;
    term::print(&String::from_utf8_lossy(&page))
}
