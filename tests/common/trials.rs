//! Trials that need what may not be here: reported as ignored, with the reason, never as passed.

use std::path::Path;

use libtest_mimic::{Failed, Trial};

/// Why a test cannot run here.
#[derive(Clone, Debug)]
pub enum Missing {
    /// Something that `.ci/run` installs: with `FVE_REQUIRE_TOOLS=1` its lack is a failure.
    Tool(String),
    /// The corpus, a feature, another program's known limit: only ever said.
    Optional(String),
}

/// What a test says when it is over.
pub trait Outcome {
    /// As `libtest_mimic` takes it.
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
            println!("ignored: {name}: {why}");
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
    }
}

/// Trials of one kind.
pub fn group(name: &str, tests: &[(&str, fn())], missing: &Option<Missing>) -> Vec<Trial> {
    tests
        .iter()
        .map(|(test, run)| trial(format!("{name}: {test}"), missing.clone(), *run))
        .collect()
}

/// Whether a missing program is a failure.
fn required() -> bool {
    std::env::var_os("FVE_REQUIRE_TOOLS").is_some_and(|value| value == "1")
}

/// The first of these programs that is not on the path.
pub fn programs(names: &[&str]) -> Option<Missing> {
    let program = names.iter().find(|name| !installed(name))?;
    Some(Missing::Tool(format!("{program} is not installed")))
}

/// Whether a program is on the path.
pub fn installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).exists())
    })
}

/// What only root can do.
pub fn root() -> Option<Missing> {
    let root = rustix::process::geteuid().is_root();
    (!root).then(|| Missing::Tool("it takes root".to_owned()))
}

/// The volumes of real Windows.
pub fn corpus() -> Option<Missing> {
    let here = super::corpus::directory().is_some();
    (!here).then(|| Missing::Optional("the corpus is not here".to_owned()))
}

/// What mounting takes.
pub fn fuse() -> Option<Missing> {
    if !Path::new("/dev/fuse").exists() {
        return Some(Missing::Tool("there is no /dev/fuse".to_owned()));
    }
    root().and_then(|_| programs(&["fusermount3"]))
}

/// A feature of the build.
pub fn feature(name: &str, built: bool) -> Option<Missing> {
    (!built).then(|| Missing::Optional(format!("built without the feature {name}")))
}
