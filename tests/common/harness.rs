//! The harness of the test programs: tests register themselves with `#[trial]`, and run in parallel
//! through `libtest_mimic`, which accepts the arguments of `cargo test`. A test whose tools or
//! volumes are missing is reported as ignored, with the reason, never as passed. The standard
//! `#[test]` cannot do that, because it fixes at compile time which tests are ignored.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed};
use tempfile::TempDir;

pub use fve_test_attributes::{afterwards, trial, trials};

/// Why a test cannot run here.
#[derive(Clone, Debug)]
pub enum Missing {
    /// A program or right that `.ci/run` provides: with `FVE_REQUIRE_TOOLS=1`, the test fails
    /// without it.
    Tool(String),
    /// The corpus, a feature, or a known limit of another program: the test is ignored without it.
    Optional(String),
}

/// A return type of a test function.
pub trait Outcome {
    /// Converts it to the result that `libtest_mimic` expects.
    fn into_result(self) -> Result<(), Failed>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), Failed> {
        Ok(())
    }
}

impl Outcome for Result<(), Failed> {
    fn into_result(self) -> Self {
        self
    }
}

/// A test that was created at run time.
pub struct Trial {
    name: String,
    ignored: bool,
    /// The reason why it is ignored.
    why: Option<String>,
    run: Box<dyn FnOnce() -> Result<(), Failed> + Send>,
}

impl Trial {
    pub fn test(
        name: impl Into<String>,
        run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            ignored: false,
            why: None,
            run: Box::new(run),
        }
    }

    pub fn with_ignored_flag(self, ignored: bool) -> Self {
        Self { ignored, ..self }
    }
}

/// Creates a test, which is ignored or fails if a requirement is missing.
pub fn trial<T: Outcome>(
    name: impl Into<String>,
    missing: Option<Missing>,
    test: impl FnOnce() -> T + Send + 'static,
) -> Trial {
    let name = name.into();
    match missing {
        None => Trial::test(name, || test().into_result()),
        Some(Missing::Tool(why)) if required() => Trial::test(name, move || Err(why.into())),
        Some(Missing::Tool(why) | Missing::Optional(why)) => {
            let trial = Trial::test(name, || Ok(())).with_ignored_flag(true);
            Trial {
                why: Some(why),
                ..trial
            }
        }
    }
}

/// Whether tests fail if a program is missing (`FVE_REQUIRE_TOOLS=1`).
fn required() -> bool {
    std::env::var_os("FVE_REQUIRE_TOOLS").is_some_and(|value| value == "1")
}

type Need = fn() -> Option<Missing>;

/// A function that one of the attributes has registered.
pub struct Registered {
    /// Path of the function's module.
    pub module: &'static str,
    /// Line of the function: the tests of a module are listed in the order of the file.
    pub line: u32,
    pub what: What,
}

/// What the attribute was, and the function.
pub enum What {
    /// `#[trial]`
    One {
        name: &'static str,
        needs: &'static [Need],
        run: fn() -> Result<(), Failed>,
    },
    /// `#[trials]`
    Many(fn() -> Vec<Trial>),
    /// `#[afterwards]`
    Afterwards(fn() -> Result<(), String>),
}

inventory::collect!(Registered);

impl Registered {
    /// The path of the module without the name of the program.
    fn module(&self) -> &'static str {
        self.module.split_once("::").map_or("", |(_, inner)| inner)
    }

    /// The full name of a test in this module.
    fn title(&self, name: &str) -> String {
        match self.module() {
            "" => name.to_owned(),
            module => format!("{module}::{name}"),
        }
    }

    /// Whether this filter of the command line may select a test of this module. If not, its
    /// `#[trials]` are not called, because some of them create volumes, which takes long.
    fn may_match(&self, filter: Option<&str>) -> bool {
        let module = filter.and_then(|filter| Some(filter.rsplit_once("::")?.0));
        module.is_none_or(|module| self.module().ends_with(module))
    }
}

/// Runs the tests of this program that the command line selects.
pub fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut registered: Vec<_> = inventory::iter::<Registered>.into_iter().collect();
    registered.sort_by_key(|one| (one.module, one.line));
    let mut missing = HashMap::new();
    let mut trials = Vec::new();
    for one in &registered {
        match one.what {
            What::One { name, needs, run } => {
                let mut check = |need: &Need| {
                    let known = missing.entry(*need as usize).or_insert_with(need);
                    known.clone()
                };
                let missing = needs.iter().find_map(&mut check);
                trials.push(trial(one.title(name), missing, run));
            }
            What::Many(make) if one.may_match(arguments.filter.as_deref()) => {
                trials.extend(make().into_iter().map(|trial| Trial {
                    name: one.title(&trial.name),
                    ..trial
                }));
            }
            What::Many(_) | What::Afterwards(_) => {}
        }
    }
    let trials = trials.into_iter().map(|trial| {
        if let Some(why) = trial.why {
            println!("ignored: {}: {why}", trial.name);
        }
        libtest_mimic::Trial::test(trial.name, trial.run).with_ignored_flag(trial.ignored)
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let mut failed = conclusion.has_failed();
    for one in &registered {
        if let What::Afterwards(check) = one.what
            && let Err(problem) = check()
        {
            eprintln!("error: {}: {problem}", one.module());
            failed = true;
        }
    }
    // Statics are not dropped when a program ends.
    scratch().clear();
    ExitCode::from(u8::from(failed) * 101)
}

/// A temporary directory that several tests share. It is removed after the last test.
pub fn directory() -> PathBuf {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().to_owned();
    scratch().push(directory);
    path
}

fn scratch() -> std::sync::MutexGuard<'static, Vec<TempDir>> {
    static SCRATCH: Mutex<Vec<TempDir>> = Mutex::new(Vec::new());
    SCRATCH.lock().unwrap_or_else(PoisonError::into_inner)
}
