//! Requirements of tests, such as programs and rights. A test whose requirements are not met is
//! reported as ignored, with the reason, never as passed.

use std::path::Path;

pub use super::harness::{Missing, Trial, trial, trials};

/// Fails with the first of these programs that is not on `$PATH`.
pub fn programs(names: &[&str]) -> Option<Missing> {
    let program = names.iter().find(|name| !installed(name))?;
    Some(Missing::Tool(format!("{program} is not installed")))
}

/// Whether a program is on `$PATH`.
pub fn installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).exists())
    })
}

/// The test must run as root.
pub fn root() -> Option<Missing> {
    let root = rustix::process::geteuid().is_root();
    (!root).then(|| Missing::Tool("root is required".to_owned()))
}

/// The corpus of volumes made by Windows, which is unpacked if it is present.
pub fn corpus() -> Option<Missing> {
    let present = super::corpus::volumes().is_some();
    (!present).then(|| Missing::Optional("the corpus is not present".to_owned()))
}

/// Mounting with FUSE.
pub fn fuse() -> Option<Missing> {
    if !Path::new("/dev/fuse").exists() {
        return Some(Missing::Tool("there is no /dev/fuse".to_owned()));
    }
    root().and_then(|_| programs(&["fusermount3"]))
}

/// A feature of this build: `built` says whether it is enabled.
pub fn feature(name: &str, built: bool) -> Option<Missing> {
    (!built).then(|| Missing::Optional(format!("built without the feature {name}")))
}

/// Loop devices.
pub fn loop_devices() -> Option<Missing> {
    if !Path::new("/dev/loop-control").exists() {
        return Some(Missing::Tool("no loop devices".to_owned()));
    }
    root().or_else(|| programs(&["losetup"]))
}
