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
use std::sync::OnceLock;

use self::secret::Secrets;
use self::words::{Given, Word};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::parse::parse_offset;
use crate::cli::output::term;

pub(super) use self::dislocker::PASSWORD_VARIABLE;
pub(super) use self::help::page;

/// The hidden command that stands for a name: the packages that cannot contain links have scripts with it.
const COMMAND: &str = "compat";

/// The name whose command line was translated to one of fve.
static TRANSLATED: OnceLock<(&str, Tool)> = OnceLock::new();

/// Says after a failure where the options of the old and of the new command line are, if it was translated: the
/// message is about those of fve.
pub(super) fn say_whose_options() {
    if let Some((name, tool)) = TRANSLATED.get() {
        term::note(format_args!("help: {}", help::see(name, *tool)));
    }
}

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
    let by_name = || Some((1, known(base(arguments.first()?)?)?));
    let is_command = || arguments.get(1).is_some_and(|word| word == COMMAND);
    let (first, (name, tool)) = match by_name() {
        Some(found) => found,
        None if !is_command() => return None,
        None => match arguments.get(2).and_then(|word| known(word.clone())) {
            Some(found) => (3, found),
            None => return Some(Err(no_such_name())),
        },
    };
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
        let is_helper = self.name.starts_with(HELPER);
        let forms = if is_helper {
            dislocker::HELPER_FORMS
        } else {
            forms
        };
        let given = Given::parse(forms, &self.words).map_err(|problem| self.refused(problem))?;
        if given.has('h') {
            term::print(&help::text(self.tool, self.name))?;
            return Ok(Called::Done(ExitCode::SUCCESS));
        }
        if is_helper {
            return dislocker::helper(&mut self, &given).map(|words| self.translated(words));
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
            Tool::Dislocker => {
                dislocker::mount(&mut self, &given).map(|words| self.translated(words))
            }
            Tool::DislockerFile => {
                dislocker::decrypt(&mut self, &given).map(|words| self.translated(words))
            }
            Tool::Bdemount => libbde::mount(&mut self, &given).map(|words| self.translated(words)),
            Tool::Bdeinfo => libbde::info(&mut self, &given).map(done),
            Tool::DislockerMetadata => metadata::run(&self, &given).map(done),
            Tool::DislockerBek => bek::run(&self, &given).map(done),
            Tool::DislockerFind => find::run(&given).map(Called::Done),
        }
    }

    /// Overwrites the secret in the command line. Returns the option of fve that reads it. What is checked here
    /// needs no name of a file in its message, which no file has.
    fn pass_on(&self, value: &Word, letter: char, option: &str) -> Result<OsString, Failure> {
        self.secrets.overwrite(value);
        if value.bytes.is_empty() {
            return Err(self.refused(format!("the value of -{letter} is empty")));
        }
        if std::str::from_utf8(&value.bytes).is_err() {
            return Err(self.refused(format!("the value of -{letter} is no UTF-8 text")));
        }
        secret::pipe(&value.bytes, option)
    }

    fn translated(&self, words: Vec<OsString>) -> Called {
        let _ = TRANSLATED.set((self.name, self.tool));
        Called::Fve(words)
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
            help: Some(help::see(self.name, self.tool)),
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

fn no_such_name() -> Failure {
    let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
    Failure::Other {
        status: Status::Usage,
        what: "no program is named whose command line fve takes".to_owned(),
        help: Some(format!("name one of them: {}", names.join(", "))),
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

/// The option for an offset, which is checked here to say which option is wrong.
fn offset(call: &Call<'_>, letter: char, value: &Word) -> Result<OsString, Failure> {
    match parse_offset(&value.text()) {
        Ok(_) => Ok(option("offset", value)),
        Err(problem) => Err(call.refused(format!("the value of -{letter} is {problem}"))),
    }
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
