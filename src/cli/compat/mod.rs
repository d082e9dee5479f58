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
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;

use zeroize::Zeroizing;

use self::dislocker::PASSWORD_VARIABLE;
use self::secret::Secrets;
use self::words::{Form, Given, Word};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::parse::parse_offset;
use crate::cli::output::term::{self, print_failure};
use crate::cli::{process, unrepeated};

pub(super) use self::help::page;

/// The hidden command that stands for a name: the packages that cannot contain links have scripts with it.
const COMMAND: &str = "compat";

/// The name under which the program was started.
static CALLED_AS: OnceLock<(&str, Tool)> = OnceLock::new();

/// Says after a failure whose options the messages name, if the command line is an old one.
pub(super) fn say_whose_options() {
    if let Some((name, tool)) = CALLED_AS.get() {
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

impl Tool {
    /// The options that it has under this name.
    fn forms(self, name: &str) -> &'static [Form] {
        match self {
            Self::Dislocker if name.starts_with(HELPER) => dislocker::HELPER_FORMS,
            Self::Dislocker | Self::DislockerFile => dislocker::FORMS,
            Self::DislockerFind => find::FORMS,
            Self::DislockerMetadata => metadata::FORMS,
            Self::DislockerBek => bek::FORMS,
            Self::Bdemount => libbde::MOUNT_FORMS,
            Self::Bdeinfo => libbde::INFO_FORMS,
        }
    }
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
    /// The password from the environment.
    password: Option<Zeroizing<Vec<u8>>>,
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
    process::keep_secrets_in_memory();
    let password = match tool {
        Tool::Dislocker | Tool::DislockerFile => process::take_variable(PASSWORD_VARIABLE),
        _ => None,
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
        password: password
            .map(|password| Zeroizing::new(password.into_vec()))
            .filter(|password| !password.is_empty()),
    };
    let _ = CALLED_AS.set((call.name, call.tool));
    let called = call.run();
    Some(match (tool, called) {
        // The status is a number of volumes.
        (Tool::DislockerFind, Err(failure)) => {
            print_failure(&failure);
            say_whose_options();
            Ok(Called::Done(ExitCode::SUCCESS))
        }
        (_, called) => called,
    })
}

impl Call<'_> {
    fn run(&self) -> Result<Called, Failure> {
        let forms = self.tool.forms(self.name);
        let given = Given::parse(forms, &self.words).map_err(|problem| self.refused(problem))?;
        self.overwrite_secrets(&given);
        if given.has('h') {
            term::print(&help::text(self.tool, self.name))?;
            return Ok(Called::Done(ExitCode::SUCCESS));
        }
        if self.name.starts_with(HELPER) {
            return dislocker::helper(self, &given).map(Called::Fve);
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
            Tool::Dislocker => dislocker::mount(self, &given).map(Called::Fve),
            Tool::DislockerFile => dislocker::decrypt(self, &given).map(Called::Fve),
            Tool::Bdemount => libbde::mount(self, &given).map(Called::Fve),
            Tool::Bdeinfo => libbde::info(self, &given).map(done),
            Tool::DislockerMetadata => metadata::run(self, &given).map(done),
            Tool::DislockerBek => bek::run(self, &given).map(done),
            Tool::DislockerFind => find::run(&given).map(Called::Done),
        }
    }

    /// Overwrites all secrets in the command line.
    fn overwrite_secrets(&self, given: &Given) {
        let letters = match self.tool {
            Tool::Dislocker | Tool::DislockerFile => dislocker::SECRETS,
            Tool::Bdemount | Tool::Bdeinfo => libbde::SECRETS,
            Tool::DislockerFind | Tool::DislockerMetadata | Tool::DislockerBek => &[],
        };
        for (letter, value) in &given.options {
            let Some(value) = value else { continue };
            if letters.contains(letter) {
                self.secrets.overwrite(value);
            }
            let is_list = match self.tool {
                Tool::Bdemount => *letter == 'X',
                _ => *letter == 'o',
            };
            if is_list && let Some(secret) = dislocker::secret_in(value) {
                self.secrets.overwrite(&secret);
            }
        }
        // The words after '--', which may have a list for FUSE.
        for pair in given.rest.windows(2) {
            if let [option, list] = pair
                && option.bytes.as_slice() == b"-o"
                && let Some(secret) = dislocker::secret_in(list)
            {
                self.secrets.overwrite(&secret);
            }
        }
    }

    /// Lets no message repeat these words, if they name no file and so may be secrets.
    fn remember_inputs<'a>(&self, words: impl IntoIterator<Item = (&'a Word, &'a str)>) {
        let words: Vec<_> = words.into_iter().collect();
        let words = words.iter().map(|(word, name)| (word.as_os(), *name));
        unrepeated::remember_inputs(words);
    }

    /// The option of fve that reads the secret. What is checked here needs no name of a file in its message, which
    /// no file has.
    fn pass_on(&self, value: &Word, letter: char, option: &str) -> Result<OsString, Failure> {
        if value.bytes.is_empty() {
            return Err(self.refused(format!("the value of -{letter} is empty")));
        }
        if std::str::from_utf8(&value.bytes).is_err() {
            return Err(self.refused(format!("the value of -{letter} is not UTF-8")));
        }
        secret::pipe(&value.bytes, option)
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
            // Whose options it is about is said after every failure.
            help: None,
        }
    }

    /// Notes that an option has no effect, and why.
    fn note(&self, what: &str) {
        term::note(format_args!("warning: {}: {what}", self.name));
    }

    /// Says what is run, if that was asked for: the command and the names of the options. A value may be a secret that
    /// was given in the wrong place.
    fn say_translated(&self, words: &[OsString]) {
        let shown: Vec<_> = words
            .iter()
            .enumerate()
            .map(|(number, word)| {
                let text = word.to_string_lossy();
                match text.split_once('=') {
                    Some((option, _)) if option.starts_with("--") => format!("{option}=…"),
                    _ if number < 2 || text.starts_with("--") => text.into_owned(),
                    _ => "…".to_owned(),
                }
            })
            .collect();
        term::note(format_args!("{} runs: {}", self.version(), shown.join(" ")));
    }
}

fn no_such_name() -> Failure {
    let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
    Failure::Other {
        status: Status::Usage,
        what:
            "'fve compat NAME ARGUMENT...' needs the name of a program whose command line it takes"
                .to_owned(),
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

/// The option for an offset, which is checked here to say what is wrong.
fn offset(call: &Call<'_>, value: &Word) -> Result<OsString, Failure> {
    match parse_offset(&value.text()) {
        Ok(_) => Ok(option("offset", value)),
        Err(problem) => Err(call.refused(format!("the offset is {problem}"))),
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
