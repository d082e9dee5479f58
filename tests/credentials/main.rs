//! Certificates and smart cards, automatic unlocking through the system volume, key packages, exported
//! keys, and the sources of a secret: file descriptors, keyrings of the kernel, and systemd's agents.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

mod auto_unlock;
#[cfg(feature = "certificates")]
mod certificate;
#[path = "../common/mod.rs"]
mod common;
mod key_package;
#[cfg(feature = "pkcs11")]
mod lying_module;
mod raw_keys;
mod sources;
#[cfg(feature = "pkcs11")]
mod token;

use std::process::{ExitCode, Output};

use common::output::json;
pub use common::output::run;

fn main() -> ExitCode {
    common::harness::main()
}

/// Asserts the exit status, and the reason why the first attempt failed.
#[track_caller]
pub fn assert_refused(output: &Output, status: i32, reason: &str) {
    let answer = json(output);
    assert_eq!(output.status.code(), Some(status), "{answer}");
    assert_eq!(answer["attempts"][0]["reason"], reason, "{answer}");
}

/// Small volumes with any key protectors.
pub mod volume {
    use std::path::{Path, PathBuf};

    use fve::create::NewProtector;

    use crate::common::writing::{small_volume, write_small};

    /// Writes a volume with these key protectors to `path`.
    pub fn write(path: &Path, protectors: Vec<NewProtector>) -> PathBuf {
        let mut volume = small_volume();
        for protector in protectors {
            volume.protect(protector);
        }
        write_small(&volume, path);
        path.to_owned()
    }
}
