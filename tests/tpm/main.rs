//! TPM protectors: real ones of Windows, of which what the TPM released was published; a fake TPM
//! for what no real one does on demand; and software TPMs, from sealing to every refusal.

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
mod live;
mod windows;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::harness::main()
}

#[cfg(not(feature = "tpm"))]
#[common::harness::trial("everything on software TPMs", needs(common::swtpm::missing))]
fn live() {}

/// Volumes with protectors of a TPM.
mod volume {
    use std::path::PathBuf;

    use fve::create::{NewProtector, NewVolume, Placement, StartupKeyForm};
    use fve::crypto::sector::Method;

    const SIZE: usize = 0x8_0000;

    /// A volume in a directory of its own, with the `.BEK` files of its protectors.
    pub struct Made {
        pub directory: tempfile::TempDir,
        pub image: PathBuf,
    }

    pub fn with(protectors: Vec<NewProtector>) -> Made {
        let directory = tempfile::tempdir().expect("directory");
        let placement = Placement::after_first_copy([0x1_0000, 0x3_8000, 0x6_0000]);
        let mut volume = NewVolume::new(Method::AES_XTS_128, 512, placement).expect("volume");
        for protector in protectors {
            volume.protect(protector);
        }
        for file in volume.startup_keys(StartupKeyForm::Short).expect("keys") {
            let path = directory.path().join(file.name);
            std::fs::write(path, file.content.expose()).expect("key");
        }
        let mut plaintext = vec![0; SIZE];
        plaintext[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ");
        let image = directory.path().join("volume.img");
        let out = std::fs::File::create(&image).expect("image");
        volume.write(&plaintext, &out).expect("volume");
        Made { directory, image }
    }
}
