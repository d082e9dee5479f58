//! The harness of the test programs: tests register themselves with `#[trial]`, and run in parallel
//! through `libtest_mimic`, which takes the arguments of `cargo test`. A test whose tools or volumes
//! are not here is reported as ignored, with the reason, never as passed: the harness of `#[test]`
//! cannot do that, because it decides when the program is compiled.

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
    /// Something that `.ci/run` installs: with `FVE_REQUIRE_TOOLS=1` its lack is a failure.
    Tool(String),
    /// The corpus, a feature, another program's known limit: the test is ignored.
    Optional(String),
}

/// What a test returns.
pub trait Outcome {
    /// The result that `libtest_mimic` expects.
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

/// A test that was made while the program runs.
pub struct Trial {
    name: String,
    ignored: bool,
    /// Why it is ignored.
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

/// A trial of a test, unless something is missing.
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

/// Whether a missing program is a failure.
fn required() -> bool {
    std::env::var_os("FVE_REQUIRE_TOOLS").is_some_and(|value| value == "1")
}

type Need = fn() -> Option<Missing>;

/// A function with one of the attributes.
pub struct Registered {
    /// Path of the module that the function is in.
    pub module: &'static str,
    /// Line of the function: tests of a module run in the order of the file.
    pub line: u32,
    pub what: What,
}

/// What a registered function is for.
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
    /// The module without the program's own name.
    fn module(&self) -> &'static str {
        self.module.split_once("::").map_or("", |(_, inner)| inner)
    }

    /// Name of a test of this module.
    fn title(&self, name: &str) -> String {
        match self.module() {
            "" => name.to_owned(),
            module => format!("{module}::{name}"),
        }
    }

    /// Whether a test of this module can be asked for by this filter. The volumes that some modules
    /// make for their tests take long.
    fn may_match(&self, filter: Option<&str>) -> bool {
        let module = filter.and_then(|filter| Some(filter.rsplit_once("::")?.0));
        module.is_none_or(|module| self.module().ends_with(module))
    }
}

/// Runs the tests of this program that the arguments ask for.
pub fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut registered: Vec<_> = inventory::iter::<Registered>.into_iter().collect();
    registered.sort_by_key(|one| (one.module, one.line));
    let mut missing = HashMap::new();
    let mut trials = Vec::new();
    for one in &registered {
        match one.what {
            What::One { name, needs, run } => {
                let mut look = |need: &Need| {
                    let known = missing.entry(*need as usize).or_insert_with(need);
                    known.clone()
                };
                let missing = needs.iter().find_map(&mut look);
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

/// A directory that several tests share; it is removed when all tests ran.
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
