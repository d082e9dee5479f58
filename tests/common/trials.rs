//! What tests need that may not be here. Tests whose needs are not met are reported as ignored, with
//! the reason, never as passed.

use std::path::Path;

pub use super::harness::{Missing, Trial, trial, trials};

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

/// The volumes of real Windows. Where they are here they are unpacked.
pub fn corpus() -> Option<Missing> {
    let here = super::corpus::volumes().is_some();
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

/// Devices in memory or in files, with a file system on them.
pub fn loop_devices() -> Option<Missing> {
    if !Path::new("/dev/loop-control").exists() {
        return Some(Missing::Tool("no loop devices".to_owned()));
    }
    root().or_else(|| programs(&["losetup"]))
}
