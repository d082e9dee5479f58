//! A directory server that answers in bad faith (`ldap_liar.py`): whatever it sends, the look-up ends in
//! time as an ordinary failure, and another credential of the same command line opens the volume.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::fve;
use crate::common::slapd;
use crate::common::testdata::{self, Kind};
use crate::common::trials::{self, Missing, Trial, trial, trials};

/// How long the search may take, in seconds.
const PATIENCE: &str = "3";
/// How long the command may take: on a busy machine it begins late.
const MOST: Duration = Duration::from_secs(30);

/// What the server can do before TLS.
const OPEN: &[&str] = &[
    "silent",
    "garbage",
    "st-refuse",
    "st-refuse-protocol",
    "st-referral",
    "st-wrong-operation",
    "st-wrong-number",
    "st-nested",
    "st-empty",
    "st-no-number",
    "st-text-number",
    "st-empty-operation",
    "st-primitive-operation",
    "st-text-result",
    "st-bad-control",
    "st-empty-control",
    "st-not-utf8",
    "st-huge-length",
    "st-notice",
    "st-4g",
    "st-drip",
    "st-inject",
    "st-no-handshake",
];

/// What it can do inside TLS.
const SECURED: &[&str] = &[
    "bind-stall",
    "bind-drip",
    "bind-refuse",
    "bind-continue",
    "bind-referral",
    "bind-nested",
    "root-none",
    "root-many",
    "root-control",
    "root-nul",
    "root-long",
    "huge",
    "many-values",
    "many-matching",
    "many-different",
    "control",
    "referral",
    "wrong-number",
    "bad-entry",
    "bad-attribute",
    "no-values",
    "bad-name",
    "bad-cookie",
    "no-cookie",
    "empty-cookie",
    "empty-result",
    "nested",
    "intermediate",
    "refused",
    "same-cookie",
    "endless",
    "endless-others",
    "endless-unnamed",
    "endless-referrals",
    "endless-long",
    "endless-pages",
    "16g",
    "slow-entries",
    "drip",
    "cut",
];

fn tools() -> Option<Missing> {
    trials::feature("directory", cfg!(feature = "directory"))
        .or_else(|| trials::programs(&["python3", "openssl"]))
}

#[trials]
fn before_tls() -> Vec<Trial> {
    let each = OPEN.iter();
    each.map(|mode| trial(*mode, tools(), move || survives(mode)))
        .collect()
}

#[trials]
fn inside_tls() -> Vec<Trial> {
    let each = SECURED.iter();
    each.map(|mode| {
        let mode = format!("ldaps:{mode}");
        trial(mode.clone(), tools(), move || survives(&mode))
    })
    .collect()
}

/// The server itself works: what it sends in good faith is read.
#[trial("an honest answer of the server is read", needs(tools))]
fn honest() {
    let server = Liar::with("ldaps:honest");
    let output = server.look_up();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

/// What a hostile server gets hold of: another user without capabilities, and no open file.
#[trial(
    "the child process has few rights, and ends with the command",
    needs(root_and_tools)
)]
fn few_rights() {
    let server = Liar::with("silent");
    // As a shell does that passes a password in a descriptor.
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec "$0" "$@" 7</etc/passwd"#]);
    command.arg(env!("CARGO_BIN_EXE_fve"));
    command.args(["recovery", "lookup", &server.url, "--id", "01234567"]);
    command.args(server.login("60"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = command.spawn().expect("fve");
    let (id, child) = (process.id(), child_of(process.id()));
    let of_child = |name: &str| fs::read_to_string(format!("/proc/{child}/{name}"));
    let wait_for = |done: &dyn Fn() -> bool| {
        let end = Instant::now() + MOST;
        while !done() {
            assert!(Instant::now() < end, "too late");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let status = || of_child("status").unwrap_or_default();
    wait_for(&|| status().contains("NoNewPrivs:\t1"));
    let status_now = status();
    for line in [
        "Uid:\t65534\t65534\t65534\t65534",
        "Gid:\t65534\t65534\t65534\t65534",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
    ] {
        assert!(status_now.contains(line), "{status_now}");
    }
    let limits = of_child("limits").expect("limits");
    let of = |name: &str| limits.lines().find(|line| line.starts_with(name));
    assert!(
        of("Max address space")
            .expect("limit")
            .contains("536870912")
    );
    assert!(of("Max file size").expect("limit").contains(" 0 "));
    let arguments = of_child("cmdline").expect("arguments");
    assert!(!arguments.contains("Secret"), "{arguments}");
    let open = fs::read_dir(format!("/proc/{child}/fd")).expect("descriptors");
    for entry in open {
        let target = fs::read_link(entry.expect("descriptor").path()).unwrap_or_default();
        assert!(!target.ends_with("passwd"), "{target:?}");
    }
    // A signal reaches only the command.
    let id = rustix::process::Pid::from_raw(i32::try_from(id).expect("PID")).expect("PID");
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("signal");
    process.wait().expect("fve");
    wait_for(&|| status().is_empty() || status().contains("State:\tZ"));
}

fn root_and_tools() -> Option<Missing> {
    trials::root().or_else(tools)
}

/// The only child of a process, once it has one.
fn child_of(parent: u32) -> u32 {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let end = Instant::now() + MOST;
    loop {
        let children = fs::read_to_string(&path).unwrap_or_default();
        if let Ok(child) = children.trim().parse() {
            return child;
        }
        assert!(Instant::now() < end, "no child process: {children}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A URL without a server is a mistake on the command line.
#[trial("a URL names a server", needs(tools))]
fn urls() {
    for url in [
        "ldap://",
        "ldaps://:636",
        "ldap://user:Login-Secret-4711@host",
    ] {
        let look_up = ["recovery", "lookup", url, "--id", "01234567"];
        let volume = testdata::volume(VOLUME).file;
        let unlock = [
            "unlock",
            volume.to_str().expect("text"),
            "--recovery-lookup",
            url,
        ];
        for words in [&look_up[..], &unlock] {
            let output = fve()
                .args(words)
                .stdin(Stdio::null())
                .output()
                .expect("fve");
            let text = said(&output);
            assert_eq!(output.status.code(), Some(2), "{words:?}: {text}");
            assert!(!text.contains("Secret"), "{text}");
        }
    }
}

/// A place that cannot be searched does not hide the others.
#[trial("the next place is still searched", needs(tools))]
fn next_place() {
    const ID: &str = "5BC8FBBC-BDE5-C099-4164-D8399F767C45";
    let server = Liar::with("st-nested");
    let saved = server.folder.path().join("saved.txt");
    fs::write(&saved, format!("{ID} {OTHER}")).expect("saved");
    let output = fve()
        .args(["recovery", "lookup", &server.url])
        .arg(saved)
        .args(["--id", ID])
        .args(server.login(PATIENCE))
        .output()
        .expect("fve");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(
        text.contains(&format!("cannot query {}", server.url)),
        "{text}"
    );
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(found.contains(ID), "{found}");
}

fn survives(mode: &str) {
    let server = Liar::with(mode);
    let started = Instant::now();
    let output = server.look_up();
    assert!(started.elapsed() < MOST, "{:?}", started.elapsed());
    let text = said(&output);
    assert!(
        matches!(output.status.code(), Some(0 | 1 | 4 | 5)),
        "{:?}: {text}",
        output.status
    );
    let document = String::from_utf8(output.stdout).expect("UTF-8");
    let document: serde_json::Value = serde_json::from_str(&document).expect(&document);
    assert!(document["found"].is_array(), "{document}");
    assert!(!text.contains("panicked"), "{text}");
    let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202E}');
    assert!(!text.contains(acts), "{text:?}");

    let started = Instant::now();
    let output = server.unlock();
    assert!(started.elapsed() < MOST, "{:?}", started.elapsed());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running server.
struct Liar {
    folder: tempfile::TempDir,
    process: Child,
    url: String,
}

impl Liar {
    fn with(mode: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let place = folder.path();
        slapd::certificates(place);
        fs::write(place.join("login"), "Login-Secret-4711").expect("login");
        let volume = testdata::volume(VOLUME);
        let (recovery, password) = (
            volume.credential(Kind::RecoveryPassword),
            volume.credential(Kind::Password),
        );
        fs::write(place.join("password"), &password.value).expect("password");
        let id: fve::Guid = recovery.protector.parse().expect("ID");
        let id: String = id
            .to_disk()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recovery/ldap_liar.py");
        // With the right ID, but another password, so that only the other credential opens the volume.
        let mut process = Command::new("python3")
            .arg("-B")
            .arg(program)
            .arg(mode)
            .args([place.join("server.pem"), place.join("server.key")])
            .env("ID", id)
            .env("PASSWORD", OTHER)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3");
        let mut port = String::new();
        let output = process.stdout.take().expect("output");
        BufReader::new(output).read_line(&mut port).expect("port");
        let scheme = match mode.starts_with("ldaps:") {
            true => "ldaps",
            false => "ldap",
        };
        Self {
            folder,
            process,
            url: format!("{scheme}://127.0.0.1:{}", port.trim()),
        }
    }

    /// The options of a login, and how long the search may take, in seconds.
    fn login(&self, patience: &str) -> Vec<String> {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        [
            "--lookup-user",
            "user",
            "--lookup-password-file",
            &file("login"),
            "--lookup-ca-file",
            &file("ca.pem"),
            "--lookup-timeout",
            patience,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn look_up(&self) -> Output {
        let volume = testdata::volume(VOLUME);
        fve()
            .args(["recovery", "lookup", &self.url, "--json", "--volume"])
            .arg(volume.file)
            .args(self.login(PATIENCE))
            .stdin(Stdio::null())
            .output()
            .expect("fve")
    }

    /// Unlocks the volume with the look-up or the password.
    fn unlock(&self) -> Output {
        fve()
            .arg("unlock")
            .arg(testdata::volume(VOLUME).file)
            .args(["--recovery-lookup", &self.url])
            .args(self.login(PATIENCE))
            .arg("--password-file")
            .arg(self.folder.path().join("password"))
            .stdin(Stdio::null())
            .output()
            .expect("fve")
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A recovery password of no volume.
const OTHER: &str = "471207-278498-422125-177177-561902-537405-468006-693451";
/// A volume with a password and a recovery password.
const VOLUME: &str = "xts-128";
