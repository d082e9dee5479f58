//! Key packages of volumes made by fve and by Windows, whose metadata is then damaged.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use fve::enroll::NewProtector;
use fve::secret::SecretText;

use crate::common::output::json;
use crate::common::trials::{self, trial};
use crate::common::{self, corpus, damage, fve};
use crate::{assert_refused, run, volume};

const PASSWORD: &str = "correct horse";

/// A volume with a recovery password and a password, and its key package.
struct Saved {
    directory: tempfile::TempDir,
    /// The plaintext of the undamaged volume.
    plaintext: OnceLock<Vec<u8>>,
}

impl Saved {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let path = |name: &str| directory.path().join(name);
        let (digits, recovery) = NewProtector::new_recovery_password().expect("recovery password");
        std::fs::write(path("digits"), digits.expose_digits().expose()).expect("digits");
        std::fs::write(path("password"), PASSWORD).expect("password");
        let password = NewProtector::password(&SecretText::new(PASSWORD.into())).expect("password");
        volume::write(&path("volume.img"), vec![password, recovery]);
        let saved = Self {
            directory,
            plaintext: OnceLock::new(),
        };
        let answer = saved.export("package", &[]);
        assert_eq!(answer["protectors"].as_array().map(Vec::len), Some(1));
        assert_eq!(answer["protectors"][0]["type"], "recovery-password");
        saved
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn export(&self, name: &str, more: &[&str]) -> serde_json::Value {
        let mut export = fve();
        export.args(["export", "key-package", "--json"]);
        export.arg(self.path("volume.img")).arg(self.path(name));
        export.arg("--password-file").arg(self.path("password"));
        let document = run(export.args(more));
        serde_json::from_slice(&document).expect("JSON")
    }

    /// A copy of the volume, for damaging.
    fn copy(&self) -> damage::VolumeCopy {
        damage::VolumeCopy {
            bytes: std::fs::read(self.path("volume.img")).expect("volume"),
        }
    }

    fn damaged(&self, copy: &damage::VolumeCopy) -> PathBuf {
        let path = self.path("damaged.img");
        std::fs::write(&path, &copy.bytes).expect("volume");
        path
    }

    fn decrypt(&self, image: &Path, package: Option<&Path>) -> Output {
        let mut command = fve();
        command
            .arg("decrypt")
            .arg(image)
            .arg("-")
            .arg("--recovery-password-file")
            .arg(self.path("digits"));
        if let Some(package) = package {
            command.arg("--key-package").arg(package);
        }
        command.stdin(Stdio::null()).output().expect("fve")
    }

    /// Asserts that a damaged volume is unlocked with the package, and has the same plaintext.
    #[track_caller]
    fn assert_opens(&self, image: &Path, package: &Path) {
        let whole = || self.decrypt(&self.path("volume.img"), None).stdout;
        let before = self.plaintext.get_or_init(whole);
        let after = self.decrypt(image, Some(package));
        assert!(
            after.status.success(),
            "{}",
            String::from_utf8_lossy(&after.stderr)
        );
        assert!(!before.is_empty() && *before == after.stdout, "other bytes");
        assert!(
            String::from_utf8_lossy(&after.stderr).contains("the keys come from a key package")
        );
    }

    fn unlock(&self, image: &Path, package: &Path) -> Output {
        fve()
            .args(["unlock", "--json"])
            .arg(image)
            .arg("--key-package")
            .arg(package)
            .arg("--recovery-password-file")
            .arg(self.path("digits"))
            .stdin(Stdio::null())
            .output()
            .expect("fve")
    }
}

#[trial("a package unlocks a volume whose keys are damaged")]
fn unlocks_a_volume_whose_keys_are_damaged() {
    let saved = Saved::new();
    // Erases the content of every entry, but keeps the headers.
    for repaired in [false, true] {
        let mut copy = saved.copy();
        let datums = copy.datums();
        for offset in copy.offsets() {
            for at in &datums {
                let size = usize::from(copy.u16(offset + at));
                let body = 8..size.min(0x40);
                copy.bytes[offset + at..][body].fill(0x5A);
            }
            if repaired {
                copy.repair(offset);
            }
        }
        let image = saved.damaged(&copy);
        assert!(!saved.decrypt(&image, None).status.success());
        saved.assert_opens(&image, &saved.path("package"));
    }
}

fn without_metadata(saved: &Saved) -> PathBuf {
    let mut copy = saved.copy();
    for offset in copy.offsets() {
        copy.bytes[offset..offset + 0x1_0000].fill(0);
    }
    saved.damaged(&copy)
}

#[trial("a package unlocks a volume without metadata")]
fn unlocks_a_volume_without_metadata() {
    let saved = Saved::new();
    let image = without_metadata(&saved);
    assert_eq!(saved.decrypt(&image, None).status.code(), Some(6));
    saved.assert_opens(&image, &saved.path("package"));
    let answer = json(&saved.unlock(&image, &saved.path("package")));
    assert!(
        answer["warnings"][0]
            .as_str()
            .is_some_and(|text| text.contains("taken for encrypted")),
        "{answer}"
    );
    // A package for the password alone.
    let list = json(
        &fve()
            .args(["protector", "list", "--json"])
            .arg(saved.path("volume.img"))
            .output()
            .expect("fve"),
    );
    let protectors = list["protectors"].as_array().expect("protectors");
    let password = protectors
        .iter()
        .find(|one| one["type"] == "password")
        .expect("password");
    saved.export(
        "for the password",
        &["--of", &password["id"].as_str().expect("id")[..8]],
    );
    let output = fve()
        .args(["unlock", "--json"])
        .arg(&image)
        .arg("--key-package")
        .arg(saved.path("for the password"))
        .arg("--password-file")
        .arg(saved.path("password"))
        .output()
        .expect("fve");
    assert_eq!(json(&output)["protector"]["type"], "password");
}

#[trial("packages are read in binary, hex and base64")]
fn reads_packages_in_binary_hex_and_base64() {
    let saved = Saved::new();
    let image = without_metadata(&saved);
    let package = std::fs::read(saved.path("package")).expect("package");
    let copy = saved.copy();
    let block = copy.offsets()[0];
    let hex: String = package.iter().map(|byte| format!("{byte:02X} ")).collect();
    let base64 = base64(&package);
    let forms: [(&str, Vec<u8>); 6] = [
        ("block", copy.bytes[block..block + 0x1_0000].to_vec()),
        (
            "block without its end",
            copy.bytes[block..block + 0x800].to_vec(),
        ),
        ("datums", package[0x30..].to_vec()),
        ("wrapped", [&[0xFE; 20][..], &package].concat()),
        ("hex", hex.into_bytes()),
        ("base64", base64.into_bytes()),
    ];
    for (name, content) in forms {
        let path = saved.path(name);
        std::fs::write(&path, content).expect("package");
        saved.assert_opens(&image, &path);
    }
}

/// Base64 in several lines, as in LDIF.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (number, piece) in bytes.chunks(3).enumerate() {
        let bits = piece
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - piece.len()));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= piece.len() {
                DIGITS[index as usize].into()
            } else {
                '='
            });
        }
        if number % 19 == 18 {
            text.push('\n');
        }
    }
    text
}

#[trial("damaged packages and those of other volumes are refused")]
fn refuses_damaged_packages_and_wrong_secrets() {
    let (saved, other) = (Saved::new(), Saved::new());
    let image = saved.path("volume.img");
    let said = |package: &Path| {
        let output = saved.unlock(&image, package);
        assert_eq!(output.status.code(), Some(4));
        json(&output)["error"]["message"]
            .as_str()
            .expect("message")
            .to_owned()
    };
    assert!(said(&other.path("package")).contains("it belongs to volume"));
    let package = std::fs::read(saved.path("package")).expect("package");
    // A script wrote the package as text and replaced invalid characters with question marks.
    let garbled: Vec<u8> = package
        .iter()
        .map(|byte| if byte.is_ascii() { *byte } else { b'?' })
        .collect();
    let lengthened: Vec<u8> = package
        .iter()
        .flat_map(|byte| {
            if *byte == b'\n' {
                vec![b'\r', b'\n']
            } else {
                vec![*byte]
            }
        })
        .collect();
    std::fs::write(saved.path("garbled"), garbled).expect("package");
    std::fs::write(saved.path("cut"), &package[..package.len() - 9]).expect("package");
    assert!(said(&saved.path("cut")).contains("damaged by the script"));
    std::fs::write(saved.path("text"), "no package at all").expect("package");
    assert!(said(&saved.path("text")).contains("its format is not known"));
    assert!(!lengthened.is_empty());
    // A package with damaged keys unlocks nothing.
    assert_eq!(
        saved.unlock(&image, &saved.path("garbled")).status.code(),
        Some(4)
    );
    // The right package with a wrong password.
    std::fs::copy(other.path("digits"), saved.path("digits")).expect("digits");
    assert_refused(
        &saved.unlock(&image, &saved.path("package")),
        4,
        "wrong-key",
    );
    // A change of any byte causes no panic.
    for at in 0..package.len() {
        let mut flipped = package.clone();
        flipped[at] ^= 0xFF;
        let _ = fve::format::key_package::KeyPackage::parse(&flipped);
        let _ = fve::format::key_package::KeyPackage::parse(&package[..at]);
    }
    // An export never overwrites a file.
    let again = fve()
        .args(["export", "key-package"])
        .arg(&image)
        .arg(saved.path("package"))
        .arg("--password-file")
        .arg(saved.path("password"))
        .output()
        .expect("fve");
    assert_eq!(again.status.code(), Some(2));
}

#[trial("a volume unlocked with a package cannot be written to")]
fn a_volume_unlocked_with_a_package_is_read_only() {
    let saved = Saved::new();
    let image = saved.path("volume.img");
    let before = std::fs::read(&image).expect("volume");
    let output = fve()
        .args(["protector", "remove", "--type", "password"])
        .arg(&image)
        .arg("--key-package")
        .arg(saved.path("package"))
        .arg("--recovery-password-file")
        .arg(saved.path("digits"))
        .output()
        .expect("fve");
    assert!(!output.status.success());
    assert!(std::fs::read(&image).expect("volume") == before);
}

#[trial(
    "packages unlock volumes of Windows without metadata, with the same plaintext",
    needs(trials::corpus)
)]
fn unlocks_volumes_of_windows_with_exported_packages() {
    let volumes = corpus::volumes().expect("corpus");
    let names = [
        "bitlk-aes-xts-128.img",
        "bitlk-aes-cbc-elephant-256.img",
        "bitlk-aes-cbc-128-4k.img",
        "bitlk-togo-aes-xts-128.img",
    ];
    let mut tried = 0;
    for sample in &volumes {
        if !names.iter().any(|name| sample.path.ends_with(name)) {
            continue;
        }
        let directory = tempfile::tempdir().expect("directory");
        let path = |name: &str| directory.path().join(name);
        let digits = sample
            .credentials
            .iter()
            .find(|one| one.kind == "recovery-password")
            .expect("digits");
        std::fs::write(path("digits"), &digits.value).expect("digits");
        run(fve()
            .args(["export", "key-package"])
            .arg(&sample.path)
            .arg(path("package"))
            .arg("--recovery-password-file")
            .arg(path("digits")));
        let image = path("volume.img");
        run(Command::new("cp")
            .arg("--sparse=always")
            .arg(&sample.path)
            .arg(&image));
        let file = OpenOptions::new().write(true).open(&image).expect("image");
        for offset in &sample.metadata_offsets {
            file.write_all_at(&[0; 0x1_0000], *offset).expect("write");
        }
        let output = fve()
            .arg("decrypt")
            .arg(&image)
            .arg(path("plaintext"))
            .arg("--recovery-password-file")
            .arg(path("digits"))
            .arg("--key-package")
            .arg(path("package"))
            .output()
            .expect("fve");
        assert!(
            output.status.success(),
            "{}: {}",
            sample.name,
            String::from_utf8_lossy(&output.stderr)
        );
        let plaintext = std::fs::File::open(path("plaintext")).expect("plaintext");
        assert_eq!(
            common::sha256(plaintext).expect("hash"),
            sample.expected_sha256,
            "{}",
            sample.name
        );
        tried += 1;
    }
    assert_eq!(tried, names.len());
}
