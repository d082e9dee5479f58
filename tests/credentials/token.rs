//! Private keys on a SoftHSM token.

use std::path::PathBuf;
use std::process::{Command, Output};

use fve::crypto::rsa_key::Padding;
use fve::enroll::NewProtector;

use crate::certificate::pair;
use crate::common::output::json;
use crate::common::trials::{self, Missing, trial};
use crate::common::{fve, testdata};
use crate::{assert_refused, run, volume};

const LIBRARIES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];

pub fn library() -> Option<&'static str> {
    LIBRARIES
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
}

pub fn missing() -> Option<Missing> {
    trials::programs(&["openssl", "softhsm2-util"]).or_else(|| {
        let lacking = library().is_none();
        lacking.then(|| Missing::Tool("SoftHSM's library is not installed".to_owned()))
    })
}

/// Tokens in a temporary directory.
pub struct Tokens {
    directory: tempfile::TempDir,
}

impl Tokens {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let tokens = directory.path().join("tokens");
        std::fs::create_dir(&tokens).expect("tokens");
        let configuration = format!(
            "directories.tokendir = {}\nlog.level = ERROR\n",
            tokens.display()
        );
        std::fs::write(directory.path().join("softhsm2.conf"), configuration)
            .expect("configuration");
        std::fs::write(directory.path().join("pin"), "1234\n").expect("pin");
        std::fs::write(directory.path().join("wrong"), "4321\n").expect("pin");
        Self { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn util(&self, words: &str) -> Command {
        let mut command = Command::new("softhsm2-util");
        command
            .args(words.split_whitespace())
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        command
    }

    /// Adds a token, optionally with the key of the pair.
    pub fn add(&self, label: &str, with_key: bool) {
        run(self
            .util("--init-token --free --pin 1234 --so-pin 12345678 --label")
            .arg(label));
        if with_key {
            run(self
                .util("--pin 1234 --label key --id 01 --token")
                .arg(label)
                .arg("--import")
                .arg(pair().path("key.pem")));
        }
    }

    fn unlock(&self, image: &std::path::Path, uri: &str, pin: &str) -> Output {
        let uri = uri.replace("LIBRARY", library().expect("library"));
        fve()
            .args(["unlock", "--json"])
            .arg(image)
            .args(["--pkcs11", &uri])
            .arg("--pin-file")
            .arg(self.path(pin))
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .stdin(std::process::Stdio::null())
            .output()
            .expect("fve")
    }

    fn volume(&self, padding: Padding) -> PathBuf {
        let protector =
            NewProtector::certificate(pair().certificate(), padding).expect("protector");
        volume::write(&self.path("volume.img"), vec![protector])
    }
}

#[trial("a key on a token unlocks the volume", needs(missing))]
fn unlocks_with_a_key_on_a_token() {
    let tokens = Tokens::new();
    tokens.add("card", true);
    tokens.add("other card", false);
    // SoftHSM does not support OAEP with SHA-256.
    for padding in [Padding::Pkcs1, Padding::OaepSha1] {
        let image = tokens.volume(padding);
        for name in ["token=card", "token=card;id=%01;object=key;type=private"] {
            let output =
                tokens.unlock(&image, &format!("pkcs11:{name}?module-path=LIBRARY"), "pin");
            let answer = json(&output);
            assert_eq!(
                answer["unlocked"],
                true,
                "{} {name}: {answer}",
                padding.name()
            );
            assert_eq!(answer["credential"], "PKCS#11 token");
        }
    }
    let image = tokens.volume(Padding::OaepSha256);
    let output = tokens.unlock(&image, "pkcs11:token=card?module-path=LIBRARY", "pin");
    assert_refused(&output, 4, "unknown-padding");
}

#[trial("a wrong PIN is tried only once", needs(missing))]
fn tries_a_wrong_pin_only_once() {
    let tokens = Tokens::new();
    tokens.add("card", true);
    let protector =
        || NewProtector::certificate(pair().certificate(), Padding::Pkcs1).expect("protector");
    let image = volume::write(&tokens.path("two.img"), vec![protector(), protector()]);
    let output = tokens.unlock(&image, "pkcs11:token=card?module-path=LIBRARY", "wrong");
    assert_refused(&output, 4, "wrong-pin");
    assert_eq!(json(&output)["attempts"][1]["reason"], "wrong-pin");
    let said = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&said).contains("4321"));
    let output = fve()
        .args(["unlock", "--json"])
        .arg(&image)
        .args([
            "--pkcs11",
            &format!(
                "pkcs11:token=card?module-path={}",
                library().expect("library")
            ),
        ])
        .env("SOFTHSM2_CONF", tokens.path("softhsm2.conf"))
        .stdin(std::process::Stdio::null())
        .output()
        .expect("fve");
    assert_refused(&output, 4, "no-pin");
}

#[trial("a missing token, key or library is named", needs(missing))]
fn names_what_is_missing() {
    let tokens = Tokens::new();
    tokens.add("card", true);
    tokens.add("other card", false);
    let image = tokens.volume(Padding::Pkcs1);
    for (uri, reason) in [
        ("pkcs11:token=lost?module-path=LIBRARY", "no-token"),
        ("pkcs11:?module-path=LIBRARY", "several-tokens"),
        (
            "pkcs11:token=other%20card?module-path=LIBRARY",
            "other-certificate",
        ),
        (
            "pkcs11:token=card;id=%77?module-path=LIBRARY",
            "other-certificate",
        ),
        ("pkcs11:token=card?module-path=/nowhere/lib.so", "no-module"),
        ("pkcs11:token=card?module-name=no-such-module", "no-module"),
    ] {
        assert_refused(&tokens.unlock(&image, uri, "pin"), 4, reason);
    }
    let output = tokens.unlock(
        &image,
        "pkcs11:token=card?pin-value=1234&module-path=LIBRARY",
        "pin",
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("1234"));
}

#[trial("a malformed URI or timeout is an error of the command line")]
fn refuses_a_malformed_uri() {
    for (uri, timeout) in [
        ("card", "60"),
        ("pkcs11:token", "60"),
        ("pkcs11:token=card;1234", "60"),
        ("pkcs11:1234=card", "60"),
        ("pkcs11:token=card?pin-value=1234", "60"),
        ("pkcs11:token=card", "0"),
        ("pkcs11:token=card", "1h"),
        ("pkcs11:token=card", "3601"),
    ] {
        let output = fve()
            .args(["unlock", "--json"])
            .arg(testdata::volume("xts-128").file)
            .args(["--pkcs11", uri, "--pkcs11-timeout", timeout])
            .stdin(std::process::Stdio::null())
            .output()
            .expect("fve");
        assert_eq!(output.status.code(), Some(2), "{uri} {timeout}");
        assert!(
            json(&output)["error"]["help"].is_string(),
            "{uri} {timeout}"
        );
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains("1234"), "{uri}");
    }
}
