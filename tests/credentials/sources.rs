//! Where a secret can come from besides a file and the terminal: an open file descriptor, a keyring of the
//! kernel (filled by keyctl), and an agent of systemd-ask-password, which a test plays.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::fve;
use crate::common::output::{assert_status, json, text};
use crate::common::testdata::{self, Entry, Kind};
use crate::common::trials::{self, Missing, trial};

/// A directory with a copy of a volume, `password` and `digits`.
struct Place {
    directory: tempfile::TempDir,
    volume: Entry,
}

impl Place {
    fn new() -> Self {
        Self::of("xts-128")
    }

    fn of(name: &str) -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
            volume: testdata::volume(name),
        };
        fs::copy(&place.volume.file, place.path("volume.img")).unwrap();
        place.write("password", &format!("{}\n", place.secret(Kind::Password)));
        place.write("digits", place.secret(Kind::RecoveryPassword));
        place.write("new", "a new password");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn secret(&self, kind: Kind) -> &str {
        &self.volume.credential(kind).value
    }

    /// Runs a line of shell in the directory, without a terminal.
    fn shell(&self, line: &str) -> Output {
        Command::new("sh")
            .args(["-c", line])
            .current_dir(self.directory.path())
            .env("FVE", env!("CARGO_BIN_EXE_fve"))
            .env("XDG_STATE_HOME", self.path("state"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

/// Commands that unlock the volume, in an order in which all succeed.
const UNLOCKING: &[&str] = &[
    "unlock volume.img",
    "ls volume.img",
    "find volume.img",
    "decrypt volume.img plain",
    "report volume.img",
    "export key-package volume.img package",
    "metadata backup volume.img backup && $FVE metadata restore volume.img backup",
    "protector show-recovery volume.img",
    "protector save-startup-key volume.img --startup-key-to .",
    "protector add volume.img --recovery-password-to added",
    "protector rotate-recovery volume.img --recovery-password-to rotated",
    "protector change-startup-key volume.img --startup-key-to .",
    "protector remove volume.img --type startup-key",
    "protector suspend volume.img --dry-run",
    "protector change-password volume.img --new-password-file new",
];

/// Commands that read files, which this volume does not have: they unlock it, and then say so.
const OF_FILES: &[&str] = &["ls volume.img", "find volume.img"];

#[trial]
fn a_password_comes_through_a_file_descriptor_in_every_command() {
    let place = Place::new();
    for command in UNLOCKING {
        let line = format!("$FVE {command} --no-prompt --password-fd 5 5<password");
        let output = place.shell(&line);
        let said = text(&output.stderr);
        match OF_FILES.contains(command) {
            true => assert!(!said.contains("credential"), "{command}: {said}"),
            false => assert!(output.status.success(), "{command}: {said}"),
        }
        assert!(!said.contains(place.secret(Kind::Password)), "{said}");
    }
    // From a pipe, whose content can be read only once.
    let line = "exec 3<<END\na new password\nEND\n$FVE unlock volume.img --password-fd 3";
    assert_status(&place.shell(line), 0);
    assert_status(
        &place.shell("cat new | $FVE unlock volume.img --password-fd 0"),
        0,
    );
    let closed = place.shell("$FVE unlock volume.img --password-fd 7");
    assert_status(&closed, 5);
}

#[trial]
fn without_a_credential_every_command_ends_at_once() {
    let place = Place::new();
    for command in UNLOCKING.iter().filter(|command| !command.contains("&&")) {
        if command.starts_with("report") {
            continue;
        }
        let output = place.shell(&format!("$FVE {command} --no-prompt"));
        assert_status(&output, 4);
        let said = text(&output.stderr);
        assert!(said.contains("the volume accepts"), "{command}: {said}");
    }
}

/// Keyrings of the kernel, which some containers forbid.
fn keyrings() -> Option<Missing> {
    trials::programs(&["keyctl"]).or_else(|| {
        let allowed = Command::new("keyctl")
            .args(["session", "-", "true"])
            .output();
        let allowed = allowed.is_ok_and(|output| output.status.success());
        (!allowed).then(|| Missing::Optional("the system permits no keyrings".to_owned()))
    })
}

impl Place {
    /// Runs a line of shell in a session keyring of its own.
    fn in_session(&self, line: &str) -> Output {
        self.write("line", line);
        self.shell("exec keyctl session - sh ./line 2>&1")
    }
}

#[trial("secrets come from a keyring of the kernel", needs(keyrings))]
fn keyring() {
    let place = Place::new();
    for (option, file) in [("password", "password"), ("recovery-password", "digits")] {
        let line = format!(
            "keyctl padd user 'fve: test' @s <{file} >/dev/null && exec $FVE unlock volume.img --no-prompt --{option}-key 'fve: test'"
        );
        let output = place.in_session(&line);
        let said = text(&output.stdout);
        assert!(output.status.success(), "{option}: {said}");
        assert!(!said.contains(place.secret(Kind::Password)), "{said}");
    }
    // Through the keyring of the process, and in a keyring that is linked to that of the session.
    let line = "ring=$(keyctl newring nested @s) && keyctl padd user inner $ring <password >/dev/null && exec $FVE protector show-recovery volume.img --password-key inner";
    let output = place.in_session(line);
    assert!(output.status.success(), "{}", text(&output.stdout));
}

#[trial("a key that is of no use is refused, and not named", needs(keyrings))]
fn unfit_keys() {
    let place = Place::new();
    place.write("lines", "one\ntwo\n");
    let unlock = "$FVE unlock volume.img --no-prompt --password-key";
    for (line, status, words) in [
        (format!("{unlock} hunter2"), 4, "no key of the type"),
        (
            format!("keyctl add user hunter2 '' @s >/dev/null; keyctl padd user hunter2 @s <lines >/dev/null; {unlock} hunter2"),
            4,
            "has 2 lines",
        ),
        (
            format!("keyctl add user hunter2 wrong @s >/dev/null; {unlock} hunter2"),
            4,
            "wrong password",
        ),
        (
            format!("key=$(keyctl add user hunter2 wrong @s); keyctl revoke $key; {unlock} hunter2"),
            5,
            "was revoked",
        ),
        (
            "keyctl add user hunter2 wrong @s >/dev/null; $FVE unlock volume.img --recovery-password-key hunter2".to_owned(),
            4,
            "recovery password",
        ),
    ] {
        let output = place.in_session(&format!("exec 2>&1; {line}"));
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{line}: {said}");
        assert!(said.contains(words), "{line}: {said}");
        assert!(!said.contains("hunter2"), "{line}: {said}");
    }
}

/// Where systemd-ask-password writes its questions.
const QUESTIONS: &str = "/run/systemd/ask-password";

fn agents() -> Option<Missing> {
    trials::root().or_else(|| trials::programs(&["systemd-ask-password"]))
}

/// An agent: waits for a question about the volume, and sends this answer to it. Returns the question.
fn answer(about: &str, answer: &[u8]) -> String {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_secs(20), "no question");
        let questions = fs::read_dir(QUESTIONS).into_iter().flatten().flatten();
        for question in questions.map(|entry| entry.path()) {
            let is_question = question
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("ask."));
            let content = match is_question {
                true => fs::read_to_string(&question).unwrap_or_default(),
                false => continue,
            };
            let socket = content
                .lines()
                .find_map(|line| line.strip_prefix("Socket="));
            if let Some(socket) = socket.filter(|_| content.contains(about)) {
                let sent = UnixDatagram::unbound().unwrap().send_to(answer, socket);
                if sent.is_ok() {
                    // The program removes the question when it has read the answer.
                    while question.exists() && Path::new(socket).exists() {
                        assert!(start.elapsed() < Duration::from_secs(20), "not read");
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    return content;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The beginning of the identifier of the volume, which the question names.
fn about(place: &Place) -> String {
    let output = fve()
        .args(["info", "--json"])
        .arg(place.path("volume.img"))
        .output();
    let info = json(&output.unwrap());
    let id = info["volume"]["id"].as_str().or(info["volume"].as_str());
    let id = id.expect("an identifier").to_owned();
    id.split('-').next().unwrap().to_owned()
}

#[trial("asks through the agents of systemd", needs(agents))]
fn agent() {
    let place = Place::new();
    let about = about(&place);
    let command = |arguments: &[&str]| {
        let mut command = fve();
        command
            .args(arguments)
            .current_dir(place.directory.path())
            .env("XDG_STATE_HOME", place.path("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let right = format!("+{}", place.secret(Kind::Password));
    // After two wrong answers.
    let child = command(&["unlock", "volume.img", "--systemd-ask-password"]);
    let child = { child }.spawn().unwrap();
    for wrong in ["+wrong", "+wrong again"] {
        let question = answer(&about, wrong.as_bytes());
        assert!(question.contains("Id=fve"), "{question}");
    }
    answer(&about, right.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert_status(&output, 0);
    let said = text(&output.stderr);
    assert!(!said.contains(place.secret(Kind::Password)), "{said}");
    // In a command that changes the volume, and when the question is canceled.
    let listed = command(&[
        "protector",
        "show-recovery",
        "volume.img",
        "--systemd-ask-password",
    ]);
    let child = { listed }.spawn().unwrap();
    answer(&about, right.as_bytes());
    assert_status(&child.wait_with_output().unwrap(), 0);
    let child = command(&["unlock", "volume.img", "--systemd-ask-password"]);
    let child = { child }.spawn().unwrap();
    answer(&about, b"-");
    let output = child.wait_with_output().unwrap();
    assert_status(&output, 4);
    assert!(text(&output.stderr).contains("was canceled"));
    // Never without the option, and not against another.
    assert_status(&command(&["unlock", "volume.img"]).output().unwrap(), 4);
    let both = [
        "unlock",
        "volume.img",
        "--systemd-ask-password",
        "--no-prompt",
    ];
    assert_status(&command(&both).output().unwrap(), 2);
}

fn agents_and_fuse() -> Option<Missing> {
    agents().or_else(trials::fuse)
}

#[trial(
    "mount -t fve asks through the agents of systemd",
    needs(agents_and_fuse)
)]
fn mount_with_an_agent() {
    // Not the volume of the test above, whose questions the agent of this one would answer.
    let place = Place::of("xts-256");
    let about = about(&place);
    let directory = place.path("mnt");
    fs::create_dir(&directory).unwrap();
    let mount = |options: &str| {
        let mut mount = fve();
        mount
            .arg0("mount.fve")
            .arg(place.path("volume.img"))
            .arg(&directory)
            .args(["-o", options])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        mount
    };
    let refused = mount("volume,no-prompt").output().unwrap();
    assert_status(&refused, 4);
    let child = mount("volume,systemd-ask-password").spawn().unwrap();
    answer(
        &about,
        format!("+{}", place.secret(Kind::Password)).as_bytes(),
    );
    assert_status(&child.wait_with_output().unwrap(), 0);
    let shown = directory.join("volume").metadata();
    assert_status(&fve().arg("unmount").arg(&directory).output().unwrap(), 0);
    assert!(shown.unwrap().len() > 0);
}
