//! The command line: the only room that talks to a person.
//!
//! docs/command-line.md says what scripts depend on. Errors become one sentence on standard
//! error and an exit status.

mod args;
mod checkpoint;
mod commands;
mod confirm;
mod credentials;
mod digits;
mod exit;
mod file;
mod hardening;
mod json;
#[cfg(feature = "fuse")]
mod mount_helper;
mod new_network;
mod new_protectors;
mod new_tpm;
#[cfg(feature = "tpm")]
mod quiet;
mod readable;
mod report;
mod signals;
mod source;
mod stdout;
mod term;
mod threads;
mod unrepeated;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use self::args::{Cli, Command};
use self::exit::Status;
use crate::error::Error;

/// Why a command ends without having done what it was asked to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error of the library.
    Volume(Error),
    /// One that only the command line knows; with its exit status.
    Other {
        status: Status,
        what: String,
        help: Option<String>,
    },
    /// Everything was said already.
    Silent(Status),
}

/// What is advised where the command line is wrong.
const SEE_HELP: &str = "see 'fve --help'";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Volume(error)
    }
}

impl Failure {
    fn usage(what: impl Into<String>) -> Self {
        Self::Other {
            status: Status::Usage,
            what: what.into(),
            help: Some(SEE_HELP.to_owned()),
        }
    }

    /// The same with the command's own help in place of that of all commands.
    fn of_command(mut self, command: &str) -> Self {
        if let Self::Other {
            help: Some(help), ..
        } = &mut self
            && help == SEE_HELP
        {
            *help = format!("see 'fve {command}--help'");
        }
        self
    }

    fn status(&self) -> Status {
        match self {
            Self::Volume(error) => error.into(),
            Self::Other { status, .. } | Self::Silent(status) => *status,
        }
    }

    fn message(&self) -> Option<String> {
        match self {
            Self::Volume(error) => Some(error.to_string()),
            Self::Other { what, .. } => Some(what.clone()),
            Self::Silent(_) => None,
        }
        .map(|message| unrepeated::without_secrets(&message).into_owned())
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Volume(error) => error.help(),
            Self::Other { help, .. } => help.clone(),
            Self::Silent(_) => None,
        }
        .map(|help| unrepeated::without_secrets(&help).into_owned())
    }

    /// Whether the message would have repeated a word that may be a secret.
    fn keeps_a_word_back(&self) -> bool {
        match self {
            Self::Volume(error) => unrepeated::has_secrets(&error.to_string()),
            Self::Other { what, .. } => unrepeated::has_secrets(what),
            Self::Silent(_) => false,
        }
    }
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    #[cfg(feature = "tpm")]
    quiet::quiet_libtss2();
    let arguments: Vec<_> = std::env::args_os().collect();
    #[cfg(feature = "fuse")]
    let arguments = match mount_helper::translate(arguments) {
        Ok(arguments) => arguments,
        Err(failure) => return end(&failure),
    };
    let (cli, command) = match parse(arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are asked for, and are no error.
            let status = if error.use_stderr() {
                Status::Usage
            } else {
                Status::Done
            };
            let _ = unrepeated::without_values(error).print();
            return status.into();
        }
    };
    start_logging(cli.verbose);
    hardening::keep_secrets_in_memory();
    let json = cli.command.json_failure();
    match dispatch(cli.command).map_err(|failure| failure.of_command(&command)) {
        Ok(()) => Status::Done.into(),
        Err(failure) => {
            if let (Some(document), Some(_)) = (json, failure.message()) {
                let _ = term::print(&document(&failure));
            }
            end(&failure)
        }
    }
}

/// Reads the arguments, and keeps in mind which of them no message may repeat. Besides the command
/// the words that name it, each with a blank behind it.
fn parse(arguments: Vec<OsString>) -> Result<(Cli, String), clap::Error> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    unrepeated::remember(&command, &matches);
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => Ok((cli, command_words(&matches))),
        Err(error) => Err(error.format(&mut command)),
    }
}

fn command_words(mut matches: &ArgMatches) -> String {
    let mut words = String::new();
    while let Some((name, inner)) = matches.subcommand() {
        words.push_str(name);
        words.push(' ');
        matches = inner;
    }
    words
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Info(args) => commands::info::run(&args),
        Command::Unlock(args) => commands::unlock::run(&args),
        #[cfg(feature = "fuse")]
        Command::Mount(args) => commands::mount::run(&args),
        #[cfg(feature = "fuse")]
        Command::Unmount(args) => commands::unmount::run(&args),
        Command::Decrypt(args) => commands::decrypt::run(&args),
        Command::Create(args) => commands::create::run(&args),
        Command::Recovery(args) => commands::recovery::run(&args),
        Command::Report(args) => commands::report::run(&args),
        Command::Tpm(args) => commands::tpm::run(&args),
        Command::NetworkUnlock(args) => commands::network_unlock::run(&args),
        Command::Protector(args) => commands::protector::run(&args),
        Command::Metadata(args) => commands::metadata::run(&args),
        Command::Repair(args) => commands::repair::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Completions(args) => commands::generate::completions(&args),
        Command::Man(args) => commands::generate::man(&args),
    }
}

fn end(failure: &Failure) -> ExitCode {
    tell(failure);
    failure.status().into()
}

/// Says on standard error what went wrong, and what to do.
fn tell(failure: &Failure) {
    if let Some(message) = failure.message() {
        term::note(format_args!("error: {message}"));
    }
    if let Some(help) = failure.help() {
        term::note(format_args!("help: {help}"));
    }
    if failure.keeps_a_word_back() {
        term::note(format_args!(
            "help: what was typed there names no file, and is not repeated because it may be a secret; {}",
            unrepeated::ADVICE
        ));
    }
}

fn start_logging(verbosity: u8) {
    let level = match verbosity {
        0 => return,
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}
