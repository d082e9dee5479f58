//! `fve completions` and `fve man`, generated from the same definitions as the command line.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, Command, ValueHint};
use clap_complete::Shell;
use fve::error::Error;
use fve::shown::ShowPath;

use crate::cli::failure::Failure;
use crate::cli::output::term;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Install completions for bash:
    fve completions bash > /etc/bash_completion.d/fve
  Print completions for zsh:
    fve completions zsh")]
pub(crate) struct CompletionsArgs {
    /// Shell to print completions for
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Read the manual page:
    fve man | man -l -
  Write the pages of all commands to a directory:
    fve man --to /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write one page for each command, and mount.fve(8), to this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) to: Option<PathBuf>,
}

pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "fve", &mut script);
    term::print(&String::from_utf8_lossy(&script))
}

pub(crate) fn man(args: &ManArgs, command: Command) -> Result<(), Failure> {
    if let Some(directory) = &args.to {
        let fail = |error| Error::io(format!("cannot write to {}", directory.shown()), error);
        if directory.exists() && !directory.is_dir() {
            return Err(fail(std::io::ErrorKind::NotADirectory.into()).into());
        }
        std::fs::create_dir_all(directory).map_err(fail)?;
        #[cfg(feature = "fuse")]
        std::fs::write(
            directory.join("mount.fve.8"),
            crate::cli::mount_helper::page(&command),
        )
        .map_err(fail)?;
        clap_mangen::generate_to(command, directory).map_err(fail)?;
        return Ok(());
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Error::io("cannot generate the manual page", error))?;
    term::print(&String::from_utf8_lossy(&page))?;
    if std::io::stdout().is_terminal() {
        term::note(
            "this is the source of the manual page; 'fve man | man -l -' shows it formatted",
        );
    }
    Ok(())
}
