//! `fve completions` and `fve man`, generated from the same definitions as the command line.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process;

use clap::{Args, Command, ValueHint};
use clap_complete::Shell;
use fve::error::Error;
use fve::shown::ShowPath;

use crate::cli::compat;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::manual;
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
  Read the manual page of a command:
    fve man mount
  Read that of the mount helper, for fstab:
    fve man mount.fve
  Write all pages to a directory:
    fve man --to man")]
pub(crate) struct ManArgs {
    /// Command whose page is shown; without it, the page of fve. In a pipe, it is in the language of troff
    #[arg(value_name = "COMMAND", value_hint = ValueHint::Other)]
    pub(crate) command: Vec<String>,

    /// Write one page for each command, and mount.fve(8), to this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "command")]
    pub(crate) to: Option<PathBuf>,
}

pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "fve", &mut script);
    term::print(&String::from_utf8_lossy(&script))
}

pub(crate) fn man(args: &ManArgs, command: Command) -> Result<(), Failure> {
    if let Some(directory) = &args.to {
        return write_pages(directory, command);
    }
    let page = page_of(&args.command, command)?;
    match std::io::stdout().is_terminal() {
        true => show(&page),
        false => term::print(&page),
    }
}

fn write_pages(directory: &Path, command: Command) -> Result<(), Failure> {
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
    std::fs::write(directory.join("fve-compat.1"), compat::page()).map_err(fail)?;
    for page in manual::pages(command) {
        std::fs::write(directory.join(page.file()), page.text).map_err(fail)?;
    }
    Ok(())
}

/// The page of the command with these words.
fn page_of(words: &[String], command: Command) -> Result<String, Failure> {
    #[cfg(feature = "fuse")]
    if words == ["mount.fve"] {
        return Ok(crate::cli::mount_helper::page(&command));
    }
    if words == ["compat"] {
        return Ok(compat::page());
    }
    let none = || Failure::Other {
        status: Status::Usage,
        what: "there is no command with this name".to_owned(),
        help: Some("'fve --help' lists the commands".to_owned()),
    };
    let mut name = "fve".to_owned();
    let mut below = &command;
    for word in words {
        // An alias has the page of its command.
        below = below.find_subcommand(word).ok_or_else(none)?;
        name = format!("{name}-{}", below.get_name());
    }
    let mut pages = manual::pages(command.clone()).into_iter();
    let page = pages.find(|page| page.name == name).ok_or_else(none)?;
    Ok(page.text)
}

/// Removes the bold letters of a formatted page, which are printed twice.
const WITHOUT_STYLES: &str = "col -bx";
/// The same, for the pager that man(1) would start.
const PLAIN_PAGER: &str = "sh -c 'col -bx | ${MANPAGER:-${PAGER:-less}}'";

/// Shows a page with man(1), which formats it and starts the pager.
fn show(page: &str) -> Result<(), Failure> {
    let cannot = |error| Error::io("cannot show the manual page with man(1)", error);
    let mut man = process::Command::new("man");
    // man(1) and its pager know neither NO_COLOR nor, on such a terminal, how to do without bold letters.
    match (term::is_dumb(), term::wants_styles()) {
        (true, _) => man.args(["-P", WITHOUT_STYLES]),
        (false, false) => man.args(["-P", PLAIN_PAGER]),
        (false, true) => &mut man,
    };
    man.args(["-l", "-"]).stdin(process::Stdio::piped());
    let mut man = match man.spawn() {
        Ok(man) => man,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            term::print(page)?;
            term::note(
                "this is the source of the manual page, because the program man is not installed",
            );
            return Ok(());
        }
        Err(error) => return Err(cannot(error).into()),
    };
    if let Some(mut input) = man.stdin.take() {
        match input.write_all(page.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                return Err(cannot(error).into());
            }
            _ => {}
        }
    }
    // The user has seen what man has to say.
    man.wait().map(drop).map_err(|error| cannot(error).into())
}
