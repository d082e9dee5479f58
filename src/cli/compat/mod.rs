//! The command lines of dislocker and libbde, for scripts that call these tools: started under one of their
//! names, or as `fve compat NAME …`, the program takes their options and gives their file names.
//!
//! Where it can, this translates a command line into one of fve, as [`super::mount_helper`] does. The tools
//! whose output scripts read have their own output here.
//!
//! Only here may a secret be an argument. It is overwritten in the command line of the process at once, and
//! goes on through a pipe: the server of a mount, another process, inherits that, and reads it as a file.

mod argv;
mod bek;
mod dislocker;
mod find;
mod fuse;
mod help;
mod libbde;
mod metadata;
mod secret;
mod words;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use self::secret::Secrets;
use self::words::{Given, Word};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::term;

pub(super) use self::dislocker::PASSWORD_VARIABLE;
pub(super) use self::help::page;

/// The hidden command that stands for a name: the packages that cannot contain links have scripts with it.
const COMMAND: &str = "compat";

/// How the names begin under which mount(8) starts its helpers.
const HELPER: &str = "mount.";

/// A tool whose command line is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Dislocker,
    DislockerFile,
    DislockerFind,
    DislockerMetadata,
    DislockerBek,
    Bdemount,
    Bdeinfo,
}

/// The names of the tools, and of the helpers with which mount(8) starts dislocker.
const NAMES: &[(&str, Tool)] = &[
    ("dislocker", Tool::Dislocker),
    ("dislocker-fuse", Tool::Dislocker),
    ("mount.dislocker", Tool::Dislocker),
    ("mount.fuse.dislocker", Tool::Dislocker),
    ("dislocker-file", Tool::DislockerFile),
    ("dislocker-find", Tool::DislockerFind),
    ("dislocker-metadata", Tool::DislockerMetadata),
    ("dislocker-bek", Tool::DislockerBek),
    ("bdemount", Tool::Bdemount),
    ("bdeinfo", Tool::Bdeinfo),
];

/// What became of an old command line.
pub(super) enum Called {
    /// A command line of fve, with the name of the program.
    Fve(Vec<OsString>),
    /// The command was run.
    Done(ExitCode),
}

/// A call of one of the tools.
struct Call<'a> {
    tool: Tool,
    name: &'static str,
    /// The words after the name.
    words: Vec<Word>,
    secrets: Secrets<'a>,
}

/// Runs or translates the command line, if it is one of another tool. Must be called while the process has only
/// one thread.
pub(super) fn called(arguments: &[OsString]) -> Option<Result<Called, Failure>> {
    let base = |word: &OsString| Path::new(word).file_name().map(OsString::from);
    let known = |word: OsString| NAMES.iter().find(|(name, _)| word == *name);
    let by_command = || {
        let is_command = arguments.get(1)? == COMMAND;
        let word = arguments.get(2).filter(|_| is_command)?;
        Some((3, known(word.clone())?))
    };
    let by_name = || Some((1, known(base(arguments.first()?)?)?));
    let (first, (name, tool)) = by_name().or_else(by_command)?;
    let bytes: Vec<_> = arguments.iter().map(|word| word.as_bytes()).collect();
    let numbered = bytes.iter().enumerate().skip(first);
    let call = Call {
        tool: *tool,
        name,
        words: numbered
            .map(|(number, word)| Word::new(number, word))
            .collect(),
        secrets: Secrets::new(bytes.clone()),
    };
    Some(call.run())
}

impl Call<'_> {
    fn run(mut self) -> Result<Called, Failure> {
        let forms = match self.tool {
            Tool::Dislocker | Tool::DislockerFile => dislocker::FORMS,
            Tool::DislockerFind => find::FORMS,
            Tool::DislockerMetadata => metadata::FORMS,
            Tool::DislockerBek => bek::FORMS,
            Tool::Bdemount => libbde::MOUNT_FORMS,
            Tool::Bdeinfo => libbde::INFO_FORMS,
        };
        if self.tool == Tool::Dislocker && self.name.starts_with(HELPER) {
            return dislocker::helper(&mut self).map(Called::Fve);
        }
        let given = Given::parse(forms, &self.words).map_err(|problem| self.refused(problem))?;
        if given.has('h') {
            term::print(&help::text(self.tool, self.name))?;
            return Ok(Called::Done(ExitCode::SUCCESS));
        }
        let is_libbde = matches!(self.tool, Tool::Bdemount | Tool::Bdeinfo);
        if is_libbde {
            // Scripts expect the output after a line with the version and an empty one.
            term::print(&format!("{}\n\n", self.version()))?;
            if given.has('V') {
                return Ok(Called::Done(ExitCode::SUCCESS));
            }
        }
        match self.tool {
            Tool::Dislocker => dislocker::mount(&mut self, &given).map(Called::Fve),
            Tool::DislockerFile => dislocker::decrypt(&mut self, &given).map(Called::Fve),
            Tool::Bdemount => libbde::mount(&mut self, &given).map(Called::Fve),
            Tool::Bdeinfo => libbde::info(&mut self, &given).map(done),
            Tool::DislockerMetadata => metadata::run(&self, &given).map(done),
            Tool::DislockerBek => bek::run(&self, &given).map(done),
            Tool::DislockerFind => find::run(&given).map(Called::Done),
        }
    }

    fn version(&self) -> String {
        format!("{} (fve {})", self.name, env!("CARGO_PKG_VERSION"))
    }

    /// A command line that cannot be translated.
    fn refused(&self, problem: impl Into<String>) -> Failure {
        let problem: String = problem.into();
        Failure::Other {
            status: Status::Usage,
            what: format!("{}: {problem}", self.version()),
            help: Some(format!(
                "'{} -h' lists the options that fve translates; {}",
                self.name,
                help::instead(self.tool)
            )),
        }
    }

    /// Notes that an option has no effect, and why.
    fn note(&self, what: &str) {
        term::note(format_args!("warning: {}: {what}", self.name));
    }

    /// Says what is run, if that was asked for.
    fn say_translated(&self, words: &[OsString]) {
        let shown: Vec<_> = words.iter().map(|word| secret::shown(word)).collect();
        term::note(format_args!("{} runs: {}", self.version(), shown.join(" ")));
    }
}

fn done(_: ()) -> Called {
    Called::Done(ExitCode::SUCCESS)
}

/// The argument for an option of fve. A value may begin with a dash.
fn option(name: &str, value: &Word) -> OsString {
    let mut option = OsString::from(format!("--{name}="));
    option.push(value.os());
    option
}

/// The argument for a path, which is no option even if it begins with a dash. `-` is a file here.
fn path(word: &Word) -> OsString {
    match word.bytes.starts_with(b"-") {
        true => {
            let mut path = OsString::from("./");
            path.push(word.os());
            path
        }
        false => word.os(),
    }
}
