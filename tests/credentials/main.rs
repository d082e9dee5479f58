//! Ways to a volume's key that do not begin with what a person remembers: certificates and cards,
//! the system volume of the same computer, and key packages.

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
mod token;

use std::process::{Command, ExitCode, Output};

use common::said::json;

fn main() -> ExitCode {
    common::harness::main()
}

/// Runs a program that has to succeed; its standard output.
#[track_caller]
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("the program");
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Asserts an exit status, and that every attempt on a protector failed for that reason.
#[track_caller]
pub fn assert_refused(output: &Output, status: i32, reason: &str) {
    let answer = json(output);
    assert_eq!(output.status.code(), Some(status), "{answer}");
    assert_eq!(answer["attempts"][0]["reason"], reason, "{answer}");
}

/// Small volumes with protectors of any kind.
pub mod volume {
    use std::path::{Path, PathBuf};

    use fve::create::{NewProtector, NewVolume, Placement};
    use fve::crypto::sector::Method;

    const SIZE: usize = 0x8_0000;

    /// Writes a volume to `path`.
    pub fn write(path: &Path, protectors: Vec<NewProtector>) -> PathBuf {
        let placement = Placement::after_first_copy([0x1_0000, 0x3_8000, 0x6_0000]);
        let mut volume = NewVolume::new(Method::AES_XTS_128, 512, placement).expect("volume");
        for protector in protectors {
            volume.protect(protector);
        }
        let mut plaintext = vec![0; SIZE];
        plaintext[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ");
        let out = std::fs::File::create(path).expect("image");
        volume.write(&plaintext, &out).expect("volume");
        path.to_owned()
    }
}
