//! TPM key protectors. Those of Windows are tested with published responses of the TPM; a fake TPM
//! covers what a real one does not do on demand; and software TPMs cover everything from sealing to
//! every refusal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

#[path = "../common/mod.rs"]
mod common;
mod fake;
#[cfg(feature = "tpm")]
mod liar;
#[cfg(feature = "tpm")]
mod live;
mod windows;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::harness::main()
}

#[cfg(not(feature = "tpm"))]
#[common::harness::trial("protectors on software TPMs", needs(common::swtpm::missing))]
fn live() {}

/// Volumes with TPM key protectors.
mod volume {
    use std::path::PathBuf;

    use fve::create::{NewProtector, StartupKeyForm};

    use crate::common::writing::{small_volume, write_small};

    /// A volume in a temporary directory, with the `.BEK` files of its key protectors.
    pub struct TestVolume {
        pub directory: tempfile::TempDir,
        pub image: PathBuf,
    }

    pub fn with(protectors: Vec<NewProtector>) -> TestVolume {
        let directory = tempfile::tempdir().expect("directory");
        let mut volume = small_volume();
        for protector in protectors {
            volume.protect(protector);
        }
        for file in volume.startup_keys(StartupKeyForm::Short).expect("keys") {
            let path = directory.path().join(file.name);
            std::fs::write(path, file.content.expose()).expect("key");
        }
        let image = directory.path().join("volume.img");
        write_small(&volume, &image);
        TestVolume { directory, image }
    }
}
