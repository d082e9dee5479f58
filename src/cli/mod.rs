//! The command line: the only room that talks to a person.
//!
//! `spec/cli.md` fixes its words; scripts depend on them. Errors become one sentence on standard
//! error and an exit status.

mod args;
mod checkpoint;
mod commands;
mod credentials;
mod digits;
mod exit;
mod hardening;
mod json;
#[cfg(feature = "fuse")]
mod mount_helper;
mod new_network;
mod new_protectors;
mod new_tpm;
#[cfg(feature = "tpm")]
mod quiet;
mod report;
mod source;
mod term;
mod threads;

use std::process::ExitCode;

use clap::Parser;

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
            help: Some("see 'fve --help'".to_owned()),
        }
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
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Volume(error) => error.help(),
            Self::Other { help, .. } => help.clone(),
            Self::Silent(_) => None,
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
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for, and are no error.
            let status = if error.use_stderr() {
                Status::Usage
            } else {
                Status::Done
            };
            let _ = error.print();
            return status.into();
        }
    };
    start_logging(cli.verbose);
    hardening::keep_secrets_in_memory();
    let json = cli.command.json_failure();
    match dispatch(cli.command) {
        Ok(()) => Status::Done.into(),
        Err(failure) => {
            if let (Some(document), Some(_)) = (json, failure.message()) {
                let _ = term::print(&document(&failure));
            }
            end(&failure)
        }
    }
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
