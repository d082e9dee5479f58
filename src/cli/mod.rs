//! The command line (docs/command-line.md), the only part that interacts with the user. An error
//! becomes a message on standard error and an exit status.

mod advice;
mod command;
mod commands;
mod compat;
mod describe;
mod every_volume;
mod exit;
mod failure;
mod help;
mod invocation;
mod lacking;
#[cfg(any(feature = "fuse", feature = "map"))]
#[cfg_attr(not(feature = "fuse"), allow(dead_code))]
mod loop_device;
mod manual;
mod mapped;
mod mount_helper;
mod options;
mod other_tools;
mod output;
mod process;
mod run;
mod signals;
mod unrepeated;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use clap::{ArgMatches, FromArgMatches};
use zeroize::Zeroizing;

use self::command::Cli;
use self::exit::Status;
use self::failure::Failure;
use self::options::credentials::{self, is_credential};
use self::output::json;
use self::output::term::{self, print_failure};
use self::run::FailureDocument;

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    #[cfg(feature = "tpm")]
    process::quiet_libtss2();
    let arguments: Vec<_> = std::env::args_os().collect();
    let arguments = match translated(arguments) {
        Ok(Translated::Arguments(arguments)) => arguments,
        Ok(Translated::Done(status)) => return status,
        Err(failure) => return end(&failure),
    };
    invocation::remember(&arguments);
    let json = asks_for_json(&arguments);
    if let Some(failure) = other_tools::volume_option(&arguments) {
        return end_with(&failure, json.then_some(json::failure));
    }
    let (cli, words) = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            if let Some(failure) =
                lacking::named_in(&error).or_else(|| other_tools::named_in(&error, &arguments))
            {
                return end_with(&failure, json.then_some(json::failure));
            }
            // clap returns the output of --help and --version as an error, too.
            let status = if error.use_stderr() {
                Status::Usage
            } else {
                Status::Done
            };
            let error = unrepeated::without_values(error);
            if json && error.use_stderr() {
                let _ = term::print(&json::failure(&Failure::of_command_line(&error)));
            }
            let printed = print_parse_error(&error);
            compat::say_whose_options();
            return match (status, printed) {
                // As for other listings: a reader that has enough is no failure.
                (Status::Done, Err(error)) if error.kind() != ErrorKind::BrokenPipe => {
                    Status::Io.into()
                }
                _ => status.into(),
            };
        }
    };
    start_logging(cli.general.verbose);
    if cli.general.quiet {
        term::be_quiet();
    }
    process::keep_secrets_in_memory();
    let command = cli.command.chosen();
    match command.run().map_err(|failure| failure.of_command(&words)) {
        Ok(()) => Status::Done.into(),
        Err(failure) => end_with(&failure, json.then(|| command.failure_document())),
    }
}

/// What was made of the arguments of the process.
enum Translated {
    Arguments(Vec<OsString>),
    Done(ExitCode),
}

/// Translates the command lines of other programs: mount(8), dislocker and libbde.
fn translated(arguments: Vec<OsString>) -> Result<Translated, Failure> {
    if let Some(called) = compat::called(&arguments) {
        // One of them may be a secret.
        for word in arguments {
            drop(Zeroizing::new(word.into_vec()));
        }
        return Ok(match called? {
            compat::Called::Fve(arguments) => Translated::Arguments(arguments),
            compat::Called::Done(status) => Translated::Done(status),
        });
    }
    let translated = mount_helper::translate(arguments)?;
    for warning in translated.warnings {
        term::note(format_args!("warning: {warning}"));
    }
    Ok(Translated::Arguments(translated.arguments))
}

/// Parses the arguments, and records which of them no message may repeat. Returns the command and
/// the words that name it, each followed by a space.
fn parse(arguments: &[OsString]) -> Result<(Cli, String), clap::Error> {
    let alone = command::named_by(arguments).map(|command| parse_as(command, arguments));
    match alone {
        Some(Ok(parsed)) => Ok(parsed),
        // What is shown now, help or a message, may name any command.
        _ => parse_as(command::command(), arguments),
    }
}

fn parse_as(
    mut command: clap::Command,
    arguments: &[OsString],
) -> Result<(Cli, String), clap::Error> {
    let matches = command.try_get_matches_from_mut(arguments)?;
    unrepeated::remember(&command, &matches, is_credential);
    if credentials::forbids_asking(&matches) {
        term::never_ask();
    }
    if credentials::asks_agents(&matches) {
        term::ask_agents();
    }
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => Ok((cli, command_words(&matches))),
        Err(error) => Err(error.format(&mut command)),
    }
}

/// Prints an error of clap with the same prefix as all other errors, and help without one.
fn print_parse_error(error: &clap::Error) -> std::io::Result<()> {
    if error.use_stderr() {
        term::prefix();
    }
    error.print()
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

/// Whether `--json` is among the arguments, also of a command line that cannot be parsed.
fn asks_for_json(arguments: &[OsString]) -> bool {
    let options = arguments.iter().take_while(|argument| *argument != "--");
    options.into_iter().any(|argument| argument == "--json")
}

/// Ends with a failure, which is also printed as a document if there is a form for it. A silent failure
/// was printed before.
fn end_with(failure: &Failure, document: Option<FailureDocument>) -> ExitCode {
    if let (Some(document), Some(_)) = (document, failure.message()) {
        let _ = term::print(&document(failure));
    }
    end(failure)
}

fn end(failure: &Failure) -> ExitCode {
    print_failure(failure);
    compat::say_whose_options();
    failure.status().into()
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
        .with_writer(term::log)
        // Sentences for the user; what needs times, such as the journal, adds them.
        .without_time()
        // Log lines usually go to a file.
        .with_ansi(false)
        .with_target(false)
        .init();
}
