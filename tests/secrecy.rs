//! No secret comes out: not in a log at its loudest, not in what a type prints of itself, not in
//! what the command says.

mod common;

use std::process::{Command, Output};
use std::sync::Arc;

use common::fve;
use common::log::Log;
use common::testdata::{self, Entry, Kind};
use fve::source::FileSource;
use fve::unlock::startup_key::StartupKey;
use fve::volume::{UnlockOptions, Volume};

fn volume() -> Entry {
    testdata::volume("xts-128")
}

/// What must not be seen, in the forms that it could be seen in.
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
    // Any block of the digits gives a part of them away.
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

#[test]
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
        let volume = Volume::open(source).expect("volume");
        let mut shown = format!("{volume:?} {:?}", StartupKey::read(&sample.bek()));
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

#[test]
fn the_command_says_no_secret_at_its_loudest() {
    let sample = volume();
    let directory = tempfile::tempdir().expect("directory");
    let secret = directory.path().join("secret");
    let said = |output: Output| [output.stdout, output.stderr].concat();
    let run = |command: &mut Command| said(command.output().expect("fve"));
    // The other volume's secrets, so that they fail, and this one's.
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
