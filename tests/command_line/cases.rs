//! Inputs that once caused a fault (`tests/cases/`): scripts that print `PASS` or `FAIL`, and
//! hostile images that must be refused.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::testdata::{self, Kind};
use crate::common::trials::{self, Missing, Trial, trial, trials};
use crate::common::{corpus, fve};

/// Scripts, and the programs that each of them needs.
const SCRIPTS: &[(&str, &[&str])] = &[
    ("01-headless", &["mountpoint"]),
    ("02-decrypt-onto-mounted", &["mkfs.ext4", "losetup"]),
    ("04-positional-secret", &[]),
    ("05-ewf-smart", &["ewfacquire"]),
    ("07-dead-mount", &[]),
    ("08-symlink-unmount", &[]),
    ("09-fstype", &["findmnt"]),
    ("11-options-of-others", &[]),
    ("13-unreadable-first-sector", &["gcc"]),
    ("14-key-printouts", &["python3"]),
    ("16-other-writer", &["dislocker-fuse"]),
    ("17-sectors-of-another-size", &["losetup", "sfdisk"]),
    ("18-comma-in-name", &["findmnt", "su"]),
    ("19-key-file-others-read", &[]),
    ("20-no-locks", &["python3"]),
    ("21-odd-sources", &["split"]),
];

/// Hostile images that `make_images.py` creates, the volume that each is derived from, and words of
/// the message that refuses it.
const IMAGES: &[(&str, &str, &[&str])] = &[
    ("inject.img", "xts-128", &["conversion", "encrypt-on-write"]),
    (
        "eow-as-normal.img",
        "encrypt-on-write",
        &["encrypt-on-write"],
    ),
    ("unaligned.img", "encrypt-on-write", &["conversion"]),
    (
        "map-bomb.img",
        "xts-128",
        &["conversion", "encrypt-on-write"],
    ),
];

#[trials]
fn scripts() -> Vec<Trial> {
    SCRIPTS
        .iter()
        .map(|(name, programs)| {
            let missing = trials::root()
                .or_else(trials::fuse)
                .or_else(|| trials::programs(programs))
                .or_else(trials::corpus);
            let by_others = programs.contains(&"su");
            trial(*name, missing, move || script(name, by_others))
        })
        .collect()
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// Runs a script. With `by_others`, the program is copied to where every user can run it, which is
/// not so in a checkout below a directory of root.
fn script(name: &str, by_others: bool) {
    let folder = tempfile::tempdir().expect("folder");
    let built = Path::new(env!("CARGO_BIN_EXE_fve"));
    let copy = folder.path().join("fve-for-all");
    let program = match by_others {
        true => {
            std::fs::copy(built, &copy).expect("copy");
            copy.as_path()
        }
        false => built,
    };
    // A readable key file causes a warning, which only one of the scripts expects.
    let output = Command::new("bash")
        .args(["-c", "umask 077; . \"$0\""])
        .arg(cases().join(format!("{name}.sh")))
        .current_dir(folder.path())
        .env("FVE", program)
        .env("CORPUS", corpus::directory().expect("corpus"))
        .output()
        .expect("bash");
    let said = all(&output);
    let verdict = said.lines().rfind(|line| ["PASS", "FAIL"].contains(line));
    assert_eq!(verdict, Some("PASS"), "{said}");
}

#[trials]
fn images() -> Vec<Trial> {
    let missing: Option<Missing> = trials::programs(&["python3", "prlimit", "timeout"]);
    IMAGES
        .iter()
        .map(|(image, made_of, words)| {
            trial(*image, missing.clone(), move || {
                refused(image, made_of, words)
            })
        })
        .collect()
}

/// A hostile image is not decrypted, and reading it needs little memory.
fn refused(image: &str, made_of: &str, words: &[&str]) {
    let folder = tempfile::tempdir().expect("folder");
    let made = Command::new("python3")
        .arg("-B")
        .arg(cases().join("make_images.py"))
        .arg(testdata::directory())
        .current_dir(folder.path())
        .output()
        .expect("python3");
    assert!(made.status.success(), "{}", all(&made));
    let password = folder.path().join("password");
    let sample = testdata::volume(made_of);
    std::fs::write(&password, &sample.credential(Kind::Password).value).expect("password");

    let bounded = |words: &[&str]| {
        Command::new("timeout")
            .args(["60", "prlimit", "--as=536870912", env!("CARGO_BIN_EXE_fve")])
            .args(words)
            .current_dir(folder.path())
            .output()
            .expect("fve")
    };
    let info = bounded(&["info", image]);
    assert!(
        info.status.code().is_some_and(|status| status < 8),
        "{}",
        all(&info)
    );
    let output = bounded(&["decrypt", image, "-", "--password-file", "password"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{image} was decrypted: {said}");
    assert!(output.stdout.is_empty(), "{image} gave plaintext: {said}");
    assert!(words.iter().any(|word| said.contains(word)), "{said}");

    // The unchanged volume still opens with that password.
    let sound = fve()
        .arg("unlock")
        .arg(&sample.file)
        .arg("--password-file")
        .arg(&password)
        .output()
        .expect("fve");
    assert!(sound.status.success(), "{}", all(&sound));
}

fn all(output: &Output) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}
