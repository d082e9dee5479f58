//! No secret is printed: not in the most detailed log, not by the Debug form of a type, not in a
//! message.

use std::process::{Command, Output};
use std::sync::Arc;

use crate::common::fve;
use crate::common::log::Log;
use crate::common::testdata::{self, Entry, Kind};
use crate::common::trials::trial;
use fve::source::FileSource;
use fve::unlock::StartupKey;
use fve::volume::{UnlockOptions, Volume};

fn volume() -> Entry {
    testdata::volume("xts-128")
}

/// The secrets of the volume, in every form in which they could be printed.
fn secrets(sample: &Entry) -> Vec<Vec<u8>> {
    let password = sample.credential(Kind::Password).value.clone();
    let digits = sample.credential(Kind::RecoveryPassword).value.clone();
    let bek = std::fs::read(sample.bek()).expect("BEK");
    let key = &bek[bek.len() - 32..];
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let list: Vec<_> = key.iter().map(u8::to_string).collect();
    let mut secrets = vec![
        password.into_bytes(),
        digits.replace('-', "").into_bytes(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        list.join(", ").into_bytes(),
        key.to_vec(),
    ];
    // A single block of a recovery password would already reveal a part of it.
    secrets.extend(digits.split('-').map(|block| block.as_bytes().to_vec()));
    secrets
}

#[track_caller]
fn assert_silent(sample: &Entry, said: &[u8]) {
    for secret in secrets(sample) {
        let seen = said.windows(secret.len()).any(|window| window == secret);
        assert!(!seen, "a secret in: {}", String::from_utf8_lossy(said));
    }
}

#[trial]
fn neither_the_log_nor_any_type_shows_a_secret() {
    let sample = volume();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let source = Arc::new(FileSource::open(&sample.file).expect("open"));
        let volume = Volume::from_source(source).expect("volume");
        let mut shown = format!("{volume:?} {:?}", StartupKey::read(sample.bek()));
        for credential in &sample.credentials {
            let unlocked = volume
                .unlock(&[credential.protector()], &UnlockOptions::default())
                .expect("unlock");
            shown += &format!("{unlocked:?} {:?}", unlocked.opened_by());
        }
        assert_silent(&sample, shown.as_bytes());
    });
    assert_silent(&sample, &log.bytes());
}

#[trial]
fn the_command_prints_no_secret_with_full_logging() {
    let sample = volume();
    let directory = tempfile::tempdir().expect("directory");
    let secret = directory.path().join("secret");
    let said = |output: Output| [output.stdout, output.stderr].concat();
    let run = |command: &mut Command| said(command.output().expect("fve"));
    // Secrets of another volume, which fail, and those of this one.
    for other in [&sample, &testdata::volume("xts-256")] {
        for (kind, option) in [
            (Kind::Password, "--password-file"),
            (Kind::RecoveryPassword, "--recovery-password-file"),
        ] {
            std::fs::write(&secret, &other.credential(kind).value).expect("write");
            let output = run(fve()
                .args(["-vvv", "unlock"])
                .arg(&sample.file)
                .arg(option)
                .arg(&secret));
            assert_silent(other, &output);
        }
    }
    std::fs::write(
        &secret,
        sample
            .credential(Kind::RecoveryPassword)
            .value
            .replace('1', "2"),
    )
    .expect("write");
    for more in [&[][..], &["--json"]] {
        let output = run(fve()
            .args(["-vvv", "recovery", "check", "--file"])
            .arg(&secret)
            .args(more));
        let typed = std::fs::read_to_string(&secret).expect("read");
        for block in typed.split('-') {
            let seen = output.windows(6).any(|window| window == block.as_bytes());
            assert!(!seen, "{}", String::from_utf8_lossy(&output));
        }
    }
}

/// A secret that was typed in place of an option, a file name or another argument is not repeated,
/// neither on a terminal nor in a JSON document.
#[trial]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let sample = volume();
    let digits = sample.credential(Kind::RecoveryPassword).value.clone();
    let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let image = sample.file.to_str().expect("a path").to_owned();
    let bek = sample.bek().to_str().expect("a path").to_owned();
    for secret in [
        "Anaconda-17",
        "hunter2!",
        "pa.ss.word",
        "a b c d",
        &digits,
        key,
    ] {
        let equals = format!("--password-file={secret}");
        let short = format!("-p{secret}");
        let network = format!("--network-unlock={secret}");
        let places: &[&[&str]] = &[
            &[secret],
            &["info", secret],
            &["info", secret, "--json"],
            &["unlock", &image, secret],
            &["unlock", &image, "--", secret],
            &["unlock", secret, &image],
            &["unlock", &image, &short],
            &["unlock", &image, &equals],
            &["unlock", &image, &equals, "--json"],
            &["unlock", &image, "--password-file", secret],
            &["unlock", &image, "--recovery-password-file", secret],
            &["unlock", &image, "--startup-key", secret],
            &["unlock", &image, "--vmk-file", secret],
            &["-V", &image, &short, "--", "/tmp"],
            &["-V", &image, "-p", secret, "--", "/tmp"],
            &["-V", secret, "--", "/tmp"],
            &["-V", &image, "-f", secret, "--", secret],
            &["bitlkOpen", &image, secret],
            &["bitlkOpen", secret, "name"],
            &["open", "--type", "bitlk", &image, secret],
            &["open", &image, secret, "/tmp"],
            &["dislocker", "-V", &image, &short, "--", "/tmp"],
            &["bdemount", "-p", secret, &image, "/tmp"],
            &["mount", "-p", secret, &image, "/tmp"],
            &["mount", "-r", secret, &image, "/tmp"],
            &["mount", &image, "/tmp", &short],
            &[&image, secret],
            &["man", secret],
            &["unlock", &image, "--fvek-file", secret],
            &[
                "unlock",
                &image,
                "--key-package",
                secret,
                "--vmk-file",
                "x.key",
            ],
            &["unlock", &image, "--offset", secret],
            &["unlock", &image, "--partition", secret],
            &["unlock", &image, "--protector", secret],
            &["mount", &image, secret],
            &["mount", &image, "none", secret],
            &["decrypt", &image, "/none/x.img", secret],
            &["protector", "add", &image, secret],
            &["protector", "add", &image, "--new-password-file", secret],
            &["recovery", secret],
            &["recovery", "check", "--file", secret],
            &["recovery", "check", "111", secret],
            &["recovery", "lookup", secret, "--id", "64311DEA"],
            &["create", "/none/x.img", "--size", secret],
            &[
                "create",
                "/none/x.img",
                "--from",
                secret,
                "--recovery-password",
            ],
            &["tpm", "status", secret],
            &["unlock", &image, "--tpm-payload", secret],
            &["unlock", &image, "--certificate", secret],
            &["unlock", &image, "--pkcs11", secret],
            &["unlock", &image, "--recovery-lookup", secret],
            &["unlock", &image, &network],
            &["network-unlock", "certificate", secret],
            &["network-unlock", "check-policy", secret],
            &["metadata", "restore", &image, secret],
            &["protector", "remove", &image, secret, "--startup-key", &bek],
            &[
                "protector",
                "show-recovery",
                &image,
                secret,
                "--startup-key",
                &bek,
            ],
            &["recovery", "lookup", &image, "--id", secret],
        ];
        for words in places {
            let output = fve()
                .args(*words)
                .stdin(std::process::Stdio::null())
                .output()
                .expect("fve");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(!output.status.success(), "{words:?}: {said}");
            assert!(!said.is_empty(), "{words:?}");
            assert!(!said.contains(secret), "{words:?}: {said}");
        }
    }
}

/// The help of the JSON document is that of the terminal.
#[trial]
fn the_document_says_too_why_a_word_is_missing() {
    let output = fve().args(["info", "anaconda", "--json"]).output();
    let output = output.expect("fve");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let help = document["error"]["help"].as_str().unwrap_or_default();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(help.contains("not repeated"), "{document}");
    assert!(said.contains("not repeated"), "{said}");
}

/// A mistyped file name is repeated, because it does not look like a secret.
#[trial]
fn a_mistyped_path_is_repeated() {
    for path in ["disk.img", "/dev/none-such", "/etc/none-such"] {
        let output = fve().args(["info", path]).output().expect("fve");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(path), "{said}");
    }
    let output = fve()
        .args(["unlock", "disk.img", "--pasword-file", "x"])
        .output();
    let said = String::from_utf8_lossy(&output.expect("fve").stderr).into_owned();
    assert!(
        said.contains("--pasword-file") && said.contains("--password-file"),
        "{said}"
    );
}

/// A key file that all users can read causes one warning, also without logging.
#[trial]
fn warns_of_a_key_file_that_others_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let sample = volume();
    let directory = tempfile::tempdir().expect("directory");
    let file = directory.path().join("password");
    std::fs::write(&file, &sample.credential(Kind::Password).value).expect("password");
    for (mode, remarks) in [(0o644, 1), (0o640, 0), (0o600, 0)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("mode");
        let output = fve()
            .args(["unlock", "--password-file"])
            .args([&file, &sample.file])
            .output()
            .expect("fve");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert_eq!(
            said.matches("warning: every user").count(),
            remarks,
            "{mode:o}: {said}"
        );
    }
}

/// A password that Windows would not accept causes a warning, whether it is typed or in a file.
#[trial]
fn warns_of_a_password_that_windows_does_not_accept() {
    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| directory.path().join(name);
    let run = |command: &mut Command| {
        let output = command.output().expect("fve");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said.contains("Windows accepts only passwords of 8 to 256 characters")
    };
    for (number, password, remarked) in [(1, "abc", true), (2, "long enough", false)] {
        let (new, image) = (
            path(&format!("{number}.key")),
            path(&format!("{number}.img")),
        );
        let sample = volume();
        std::fs::write(&new, password).expect("password");
        let created = run(fve()
            .args(["create", "--size", "1M", "--new-password-file"])
            .args([&new, &image]));
        assert_eq!(created, remarked, "create: {password}");
        let copy = path(&format!("{number}.copy.img"));
        let old = path("old.key");
        std::fs::copy(&sample.file, &copy).expect("copy");
        std::fs::write(&old, &sample.credential(Kind::Password).value).expect("password");
        let changed = run(fve()
            .args(["protector", "change-password", "--new-password-file"])
            .arg(&new)
            .arg("--password-file")
            .args([&old, &copy]));
        assert_eq!(changed, remarked, "change-password: {password}");
        let bek = sample.bek();
        let without = path(&format!("{number}.without.img"));
        std::fs::copy(&sample.file, &without).expect("copy");
        run(fve()
            .args(["protector", "remove", "--type", "password", "--startup-key"])
            .args([&bek, &without]));
        let added = run(fve()
            .args(["protector", "add", "--new-password-file"])
            .arg(&new)
            .arg("--startup-key")
            .args([&bek, &without]));
        assert_eq!(added, remarked, "protector add: {password}");
    }
}
