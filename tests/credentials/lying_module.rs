//! PKCS#11 modules that crash, hang, or return impossible values: lying_module.c in place of SoftHSM.
//!
//! Whatever a module does, it is an ordinary failure of that credential, within its time, and every other
//! credential of the same command line is still tried.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fve::crypto::rsa_key::Padding;
use fve::enroll::NewProtector;
use fve::unlock::Password;
use fve::volume::UnlockOptions;

use crate::certificate::pair;
use crate::common::harness::Trial;
use crate::common::output::json;
use crate::common::trials::{self, Missing, trial, trials};
use crate::common::{fve, testdata};
use crate::token::{self, Tokens};
use crate::{run, volume};

/// A lie, and the reason and some words of the failure that it leads to.
type Lie = (&'static str, &'static str, &'static str);

const CRASHED: &str = "library is faulty: it crashed with signal";
const NO_MEMORY: &str = "it needed more memory than it may have";
const TOO_LATE: &str = "did not finish within";

const LIES: &[Lie] = &[
    ("list-null", "token-failed", CRASHED),
    ("list-empty", "token-failed", "it lacks a function"),
    ("init-hang", "token-failed", TOO_LATE),
    ("init-deaf", "token-failed", TOO_LATE),
    ("init-spin", "token-failed", TOO_LATE),
    (
        "init-exit",
        "token-failed",
        "it ended its process with status 0",
    ),
    ("init-crash", "token-failed", CRASHED),
    ("init-abort", "token-failed", CRASHED),
    ("init-allocate", "token-failed", "faulty"),
    ("init-close", "token-failed", "faulty"),
    (
        "init-answer",
        "token-failed",
        "its answer cannot be understood",
    ),
    ("slots-2^62", "token-failed", "faulty"),
    ("slots-16g", "token-failed", NO_MEMORY),
    ("slots-max", "token-failed", "faulty"),
    ("slots-too-small", "token-failed", TOO_LATE),
    ("info-hang", "token-failed", TOO_LATE),
    ("label-control", "no-token", "no token matches"),
    ("label-bytes", "no-token", "no token matches"),
    ("login-hang", "token-failed", TOO_LATE),
    ("login-crash", "token-failed", CRASHED),
    ("login-incorrect", "wrong-pin", "refuses the PIN"),
    (
        "login-expired",
        "pin-expired",
        "the PIN of the token has expired",
    ),
    ("login-locked", "pin-locked", "locked itself"),
    (
        "login-removed",
        "token-failed",
        "it was removed from the reader",
    ),
    (
        "login-vendor",
        "token-failed",
        "C_Login returned 0x80000001",
    ),
    (
        "login-unknown",
        "token-failed",
        "C_Login returned 0x00007654",
    ),
    ("pinpad-hang", "token-failed", TOO_LATE),
    ("pinpad-canceled", "login-canceled", "canceled"),
    ("pinpad-cancel", "login-canceled", "canceled"),
    ("final-try", "last-pin-try", "the token locks itself"),
    ("locked", "pin-locked", "locked itself"),
    (
        "find-endless",
        "token-failed",
        "it lists more than 256 private keys",
    ),
    ("find-more", "token-failed", "faulty"),
    ("find-none", "other-certificate", "none of the private keys"),
    ("attribute-2^62", "token-failed", "faulty"),
    ("attribute-16g", "token-failed", NO_MEMORY),
    ("attribute-almost", "token-failed", "faulty"),
    (
        "attribute-max",
        "other-certificate",
        "none of the private keys",
    ),
    ("attribute-more", "token-failed", "faulty"),
    ("decrypt-2^62", "token-failed", "faulty"),
    ("decrypt-16g", "token-failed", NO_MEMORY),
    ("decrypt-max", "token-failed", "faulty"),
    ("decrypt-hang", "token-failed", TOO_LATE),
    ("decrypt-crash", "token-failed", CRASHED),
    ("decrypt-incorrect", "wrong-pin", "refuses the PIN"),
    ("decrypt-locked", "pin-locked", "locked itself"),
    (
        "decrypt-expired",
        "pin-expired",
        "the PIN of the token has expired",
    ),
    ("decrypt-canceled", "login-canceled", "canceled"),
    (
        "decrypt-removed",
        "token-failed",
        "it was removed from the reader",
    ),
    (
        "decrypt-failed",
        "token-failed",
        "C_Decrypt returned CKR_DEVICE_ERROR",
    ),
    (
        "decrypt-zeros",
        "unknown-padding",
        "under any known padding",
    ),
    (
        "decrypt-empty",
        "unknown-padding",
        "under any known padding",
    ),
    // A length that is not true, so the message has too many bytes.
    ("decrypt-more", "unknown-padding", "under any known padding"),
];

/// What a module does besides its work, and the volume is unlocked all the same.
const HARMLESS: &[&str] = &[
    "nothing",
    "init-noise",
    "init-input",
    "init-fork",
    "slots-more",
    "pinpad",
    "finalize-hang",
    "finalize-crash",
];

/// The seconds that a module may take here.
const TIME: u64 = 3;
/// The longest that a command may take: the module's time twice for the keypad, and room on a busy
/// computer.
const PATIENCE: Duration = Duration::from_secs(2 * TIME + 14);

const PASSWORD: &str = "the other credential";

fn missing() -> Option<Missing> {
    token::missing().or_else(|| trials::programs(&["gcc", "script", "timeout"]))
}

/// Tokens, the lying module, and a volume that the key on the token unlocks, a password, and the VMK.
struct Setting {
    tokens: Tokens,
    image: PathBuf,
}

impl Setting {
    fn new() -> Self {
        let tokens = Tokens::new();
        tokens.add("card", true);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/credentials/lying_module.c");
        run(Command::new("gcc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(tokens.path("module.so"))
            .arg(source)
            .arg("-ldl"));
        let protectors = vec![
            NewProtector::certificate(pair().certificate(), Padding::Pkcs1).expect("certificate"),
            NewProtector::password(&PASSWORD.into()).expect("password"),
        ];
        let image = volume::write(&tokens.path("lies.img"), protectors);
        std::fs::write(tokens.path("password"), PASSWORD).expect("password");
        let password = Password::new(&PASSWORD.into());
        let key = testdata::open(&image)
            .unlock_master_key(&[&password], &UnlockOptions::default())
            .expect("VMK");
        std::fs::write(tokens.path("vmk"), key.expose().expose()).expect("VMK");
        Self { tokens, image }
    }

    /// An `fve unlock` with the key on the token of the module that tells this lie.
    fn unlock(&self, lie: &str) -> Command {
        let mut command = fve();
        self.prepare(&mut command, lie);
        command
            .args(["unlock", "--json"])
            .arg(&self.image)
            .args(["--pkcs11", &self.uri("token=card")])
            .args(["--pkcs11-timeout", &TIME.to_string(), "--pin-file"])
            .arg(self.tokens.path("pin"));
        command
    }

    fn uri(&self, token: &str) -> String {
        format!(
            "pkcs11:{token}?module-path={}",
            self.tokens.path("module.so").display()
        )
    }

    fn prepare(&self, command: &mut Command, lie: &str) {
        command
            .env("LIE", lie)
            .env("LIE_MODULE", token::library().expect("library"))
            .env("LIE_LOGINS", self.logins_path(lie))
            .env("SOFTHSM2_CONF", self.tokens.path("softhsm2.conf"))
            .stdin(Stdio::null());
    }

    fn logins_path(&self, lie: &str) -> PathBuf {
        self.tokens.path(&format!("logins-{lie}"))
    }

    /// How often the module was asked to log in since the last call.
    fn logins(&self, lie: &str) -> usize {
        let count = std::fs::read(self.logins_path(lie)).map_or(0, |bytes| bytes.len());
        let _ = std::fs::remove_file(self.logins_path(lie));
        count
    }
}

fn setting() -> &'static Setting {
    static SETTING: OnceLock<Setting> = OnceLock::new();
    SETTING.get_or_init(Setting::new)
}

/// Runs the command, which has to end in time and to print a JSON document.
#[track_caller]
fn ends(command: &mut Command) -> Output {
    let started = Instant::now();
    let output = command.output().expect("fve");
    let took = started.elapsed();
    assert!(took < PATIENCE, "{took:?}");
    output
}

#[trials]
fn every_lie_is_an_ordinary_failure() -> Vec<Trial> {
    LIES.iter()
        .map(|lie| {
            let name = format!("a module that lies: {}", lie.0);
            trials::trial(name, missing(), move || is_an_ordinary_failure(*lie))
        })
        .collect()
}

fn is_an_ordinary_failure((lie, reason, words): Lie) {
    let setting = setting();
    let output = ends(&mut setting.unlock(lie));
    let answer = json(&output);
    assert_eq!(output.status.code(), Some(4), "{answer}");
    let attempt = &answer["attempts"][0];
    assert_eq!(attempt["reason"], reason, "{answer}");
    let message = attempt["message"].as_str().expect("message");
    assert!(message.contains(words), "{answer}");
    assert!(message.len() < 200, "{answer}");
    let help = answer["error"]["help"].as_str().unwrap_or_default();
    let reports = reason != "unknown-padding";
    assert!(!(reports && help.contains("report this")), "{answer}");
    assert!(setting.logins(lie) <= 1);

    // A credential that is tried before the token, and one that is tried after it.
    for (option, file) in [("--password-file", "password"), ("--vmk-file", "vmk")] {
        let output = ends(
            setting
                .unlock(lie)
                .arg(option)
                .arg(setting.tokens.path(file)),
        );
        let answer = json(&output);
        assert_eq!(output.status.code(), Some(0), "{option}: {answer}");
        assert_eq!(answer["unlocked"], true, "{option}: {answer}");
        assert!(setting.logins(lie) <= 1);
    }
}

#[trials]
fn what_a_module_does_besides_is_harmless() -> Vec<Trial> {
    HARMLESS
        .iter()
        .map(|lie| {
            let name = format!("a module that unlocks: {lie}");
            trials::trial(name, missing(), move || {
                let output = ends(&mut setting().unlock(lie));
                let answer = json(&output);
                assert_eq!(output.status.code(), Some(0), "{answer}");
                assert_eq!(answer["credential"], "PKCS#11 token", "{answer}");
                assert_eq!(setting().logins(lie), 1);
            })
        })
        .collect()
}

#[trial(
    "control characters in the label of a token do not reach the terminal",
    needs(missing)
)]
fn escapes_the_label_of_a_token() {
    const ESCAPED: &str = r"a\u{1b}]0;b\u{7}\u{1b}[2J\u{a}fve: error: c";
    let setting = setting();
    // The label in the prompt for the PIN, which waits for an answer.
    let mut command = Command::new("timeout");
    setting.prepare(&mut command, "label-control");
    let words = format!(
        "'{}' unlock '{}' --pkcs11 '{}'",
        env!("CARGO_BIN_EXE_fve"),
        setting.image.display(),
        setting.uri("")
    );
    let output = ends(command.args(["8", "script", "-qec", &words, "/dev/null"]));
    assert_shown(&output, &format!("PIN of the token '{ESCAPED}': "));

    // Labels in the message about several tokens.
    let tokens = Tokens::new();
    tokens.add("one", false);
    tokens.add("two", false);
    let mut command = fve();
    setting.prepare(&mut command, "label-control");
    command
        .env("SOFTHSM2_CONF", tokens.path("softhsm2.conf"))
        .arg("unlock")
        .arg(&setting.image)
        .args(["--pkcs11", &setting.uri("")]);
    let output = ends(&mut command);
    assert_eq!(output.status.code(), Some(4));
    assert_shown(&output, &format!("matches several tokens: '{ESCAPED}'"));
}

#[track_caller]
fn assert_shown(output: &Output, words: &str) {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains(words), "{said:?}");
    assert!(
        !said.contains('\x07') && !said.contains("\x1b]0;"),
        "{said:?}"
    );
    assert!(!said.contains("\nfve: error: c"), "{said:?}");
}
