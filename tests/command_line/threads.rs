//! Commands work even if no thread can be started, and start no more threads than are useful.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::testdata::{self, Kind};
use crate::common::trials::{self, Missing, trial};
use crate::common::{fve, sha256};

/// A user without other processes, so that a limit on the number of processes counts only those of
/// the test.
const UNUSED_USER: &str = "61234";

fn root_and_tools() -> Option<Missing> {
    trials::root().or(trials::programs(&["setpriv", "prlimit"]))
}

/// A directory with the program and a volume, which an unprivileged user can use.
struct Place {
    directory: tempfile::TempDir,
    sample: testdata::Entry,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let sample = testdata::volume("xts-128");
        let open = |path: &Path| {
            let all = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(path, all).expect("permissions");
        };
        let place = Self { directory, sample };
        open(place.directory.path());
        // Copy with another process: tests that run at the same time would inherit a file that is
        // open for writing here, and the kernel refuses to execute such a file.
        let mut copy = Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_fve")).arg(place.file("fve"));
        assert!(copy.status().expect("cp").success());
        std::fs::copy(&place.sample.file, place.file("volume")).expect("volume");
        let password = &place.sample.credential(Kind::Password).value;
        std::fs::write(place.file("password"), password).expect("password");
        for name in ["fve", "volume", "password"] {
            open(&place.file(name));
        }
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs `fve` as a user who may have only one thread.
    fn run_with_one_thread(&self, arguments: &[&str]) -> Output {
        let user = format!("--reuid={UNUSED_USER}");
        let group = format!("--regid={UNUSED_USER}");
        let mut command = Command::new("setpriv");
        command.args([&user, &group, "--clear-groups", "prlimit", "--nproc=1"]);
        command.arg(self.file("fve")).args(arguments);
        let output = command.current_dir(self.directory.path()).output();
        output.expect("setpriv")
    }
}

#[track_caller]
fn assert_done(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    assert!(!said.contains("panicked"), "{said}");
}

#[trial(
    "no thread can be started at the limit of processes",
    needs(root_and_tools)
)]
fn no_thread_can_be_started_at_the_limit() {
    let user = format!("--reuid={UNUSED_USER}");
    let mut command = Command::new("setpriv");
    command.args([
        &user,
        "--clear-groups",
        "prlimit",
        "--nproc=1",
        "sh",
        "-c",
        "true & wait",
    ]);
    let output = command.output().expect("setpriv");
    assert!(!output.status.success(), "a second process started");
}

#[trial("decrypts a volume without threads", needs(root_and_tools))]
fn decrypts_a_volume_without_threads() {
    let place = Place::new();
    let arguments = ["decrypt", "volume", "plain", "--password-file", "password"];
    assert_done(&place.run_with_one_thread(&arguments));
    let plain = std::fs::File::open(place.file("plain")).expect("plain");
    let hash = sha256(plain).expect("read");
    assert_eq!(hash, place.sample.plaintext_sha256);
}

#[trial("creates a volume without threads", needs(root_and_tools))]
fn creates_a_volume_without_threads() {
    let place = Place::new();
    let image = testdata::directory().join("ntfs-xts-128.img");
    let password = testdata::directory().join("ntfs-xts-128.recovery.txt");
    let mut decrypt = fve();
    decrypt.arg("decrypt").arg(image).arg(place.file("plain"));
    let decrypted = decrypt
        .arg("--recovery-password-file")
        .arg(password)
        .output();
    assert_done(&decrypted.expect("fve"));
    let all = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(place.file("plain"), all).expect("permissions");
    let made = place.run_with_one_thread(&[
        "create",
        "made",
        "--from",
        "plain",
        "--new-password-file",
        "password",
    ]);
    assert_done(&made);
    // The same clusters are marked as bad with and without threads.
    let mut create = fve();
    create.arg("create").arg(place.file("other"));
    create.arg("--from").arg(place.file("plain"));
    create
        .arg("--new-password-file")
        .arg(place.file("password"));
    assert_done(&create.output().expect("fve"));
    let plaintext = |name: &str| {
        let mut decrypt = fve();
        decrypt.arg("decrypt").arg(place.file(name)).arg("-");
        decrypt.arg("--password-file").arg(place.file("password"));
        let output = decrypt.output().expect("fve");
        assert_done(&output);
        output.stdout
    };
    assert!(plaintext("made") == plaintext("other"));
}

#[trial(
    "a recovery password is searched for without threads",
    needs(root_and_tools)
)]
fn searches_for_a_recovery_password_without_threads() {
    let place = Place::new();
    let digits = &place.sample.credential(Kind::RecoveryPassword).value;
    let pattern = format!("{}??", &digits[..digits.len() - 2]);
    std::fs::write(place.file("pattern"), pattern).expect("pattern");
    let found = place.run_with_one_thread(&[
        "recovery",
        "search",
        "volume",
        "--pattern-file",
        "pattern",
        "--show",
    ]);
    assert_done(&found);
    assert!(String::from_utf8_lossy(&found.stdout).contains(digits.as_str()));
}

#[trial("a search starts no more threads than are useful")]
fn a_search_starts_no_more_threads_than_are_useful() {
    let sample = testdata::volume("xts-128");
    let digits = &sample.credential(Kind::RecoveryPassword).value;
    let directory = tempfile::tempdir().expect("directory");
    let pattern = directory.path().join("pattern");
    std::fs::write(&pattern, format!("{}??", &digits[..digits.len() - 2])).expect("pattern");
    let mut command = fve();
    command.args(["recovery", "search"]).arg(&sample.file);
    command.arg("--pattern-file").arg(&pattern);
    let output = command
        .args(["--show", "--threads", "100000"])
        .output()
        .expect("fve");
    assert_done(&output);
    assert!(String::from_utf8_lossy(&output.stdout).contains(digits.as_str()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("threads instead of 100000"), "{said}");
}
