//! Tests of `fve recovery search` and `fve recovery hash`, on the volumes of the test data and on
//! one made by Windows.
//!
//! The hashes are checked by a short Python program that shares no code with fve, and with
//! `FVE_HASHCAT=1` by hashcat, which needs an OpenCL device (Debian: `hashcat pocl-opencl-icd
//! ocl-icd-libopencl1`) and some minutes. Tests whose tools are missing are reported as ignored.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::common::output::{assert_status, json, text};
use crate::common::testdata::{self, Kind};
use crate::common::trials::{self, Missing, trial};
use crate::common::{corpus, fve};
use libtest_mimic::Failed;
use serde_json::Value;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, content: &str) -> PathBuf {
        let path = self.path("pattern");
        std::fs::write(&path, content).expect("pattern");
        path
    }

    /// `fve recovery search` with the pattern in a file.
    fn search(&self, volume: &Path, pattern: &str, arguments: &[&str]) -> Output {
        self.command(volume, pattern, arguments)
            .output()
            .expect("fve")
    }

    fn command(&self, volume: &Path, pattern: &str, arguments: &[&str]) -> Command {
        let mut command = fve();
        command.args(["recovery", "search"]).arg(volume);
        command.arg("--pattern-file").arg(self.file(pattern));
        command.args(arguments).stdin(Stdio::null());
        command
    }
}

fn volume() -> testdata::Entry {
    testdata::volume("xts-128")
}

fn digits() -> String {
    volume().credential(Kind::RecoveryPassword).value.clone()
}

/// The digits with some of them replaced.
fn with(digits: &str, changes: &[(usize, &str)]) -> String {
    let mut characters: Vec<String> = digits.chars().map(String::from).collect();
    for (at, new) in changes {
        characters[*at] = (*new).to_owned();
    }
    characters.concat()
}

#[track_caller]
fn assert_silent(digits: &str, said: &[u8]) {
    for block in digits.split('-') {
        assert!(!text(said).contains(block), "a block in: {}", text(said));
    }
}

#[trial("finds unreadable digits without printing them")]
fn finds_silently() -> Result<(), Failed> {
    let (place, digits) = (Place::new(), digits());
    let pattern = with(
        &digits,
        &[(0, "?"), (8, "?"), (10, "?"), (23, "?"), (50, "?")],
    );
    for arguments in [&[][..], &["--json"]] {
        let output = place.search(&volume().file, &pattern, arguments);
        assert_status(&output, 0);
        assert_silent(&digits, &output.stdout);
        assert_silent(&digits, &output.stderr);
    }
    // As an argument, it causes a warning, and is not repeated.
    let mut command = fve();
    command.args(["recovery", "search"]).arg(volume().file);
    let output = command.args(["--pattern", &pattern]).output()?;
    assert_status(&output, 0);
    assert!(text(&output.stderr).contains("history"));
    assert_silent(&digits, &output.stderr);
    Ok(())
}

#[trial("shows and saves the password on request")]
fn shows_and_saves() -> Result<(), Failed> {
    let (place, digits) = (Place::new(), digits());
    let saved = place.path("saved.txt");
    let pattern = with(&digits, &[(3, "?"), (4, "[13]")]);
    let output = place.search(
        &volume().file,
        &pattern,
        &["--json", "--show", "--save-to", saved.to_str().unwrap()],
    );
    assert_status(&output, 0);
    let answer = json(&output);
    assert_eq!(answer["result"], "found");
    assert_eq!(answer["password"], digits);
    let shape = answer["shape"].as_str().unwrap();
    assert!(shape.starts_with("###?[2]#-"), "{shape}");
    let mode = saved.metadata()?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let output = fve()
        .arg("unlock")
        .arg(volume().file)
        .arg("--recovery-password-file")
        .arg(&saved)
        .output()?;
    assert_status(&output, 0);
    // An existing file is reported before any candidate is tried.
    let output = place.search(
        &volume().file,
        &pattern,
        &["--save-to", saved.to_str().unwrap()],
    );
    assert_status(&output, 2);
    Ok(())
}

#[trial("--try-near finds errors that the check digits do not detect")]
fn finds_near_misses() -> Result<(), Failed> {
    let (place, digits) = (Place::new(), digits());
    let mut blocks: Vec<&str> = digits.split('-').collect();
    blocks.swap(2, 7);
    let output = place.search(&volume().file, &blocks.join("-"), &["--try-near", "--show"]);
    assert_status(&output, 0);
    assert!(text(&output.stdout).contains(&digits));
    Ok(())
}

#[trial("corrects a mistyped digit")]
fn corrects_a_digit() -> Result<(), Failed> {
    let (place, digits) = (Place::new(), digits());
    let mistyped = match digits.as_bytes()[7] {
        b'1' => with(&digits, &[(7, "7")]),
        _ => with(&digits, &[(7, "1")]),
    };
    let output = place.search(&volume().file, &mistyped, &["--show"]);
    assert_status(&output, 0);
    assert!(text(&output.stdout).contains(&digits));
    Ok(())
}

#[trial("reports that no candidate unlocks the volume")]
fn reports_that_nothing_unlocks() -> Result<(), Failed> {
    let place = Place::new();
    let other = "471207-278498-422125-177177-561902-537405-468006-6934??";
    let output = place.search(&volume().file, other, &["--json"]);
    assert_status(&output, 4);
    assert_eq!(json(&output)["result"], "not-found");
    let elsewhere = format!("5BC8FBBC-BDE5-C099-4164-D8399F767C45\n{other}");
    let output = place.search(&volume().file, &elsewhere, &[]);
    assert_status(&output, 4);
    assert!(text(&output.stderr).contains("belongs to another volume"));
    Ok(())
}

#[trial("tries only the selected key protector")]
fn tries_one_protector() -> Result<(), Failed> {
    let place = Place::new();
    let volume = testdata::volume("two-recovery-passwords");
    let credentials: Vec<_> = volume
        .credentials
        .iter()
        .filter(|credential| credential.kind == Kind::RecoveryPassword)
        .collect();
    let pattern = with(&credentials[1].value, &[(5, "?")]);
    let first = &credentials[0].protector;
    let output = place.search(&volume.file, &pattern, &["--protector", first]);
    assert_status(&output, 4);
    for (before, tried) in [("", 2), (credentials[1].protector.as_str(), 1)] {
        let pattern = format!("{before}\n{pattern}");
        let output = place.search(&volume.file, &pattern, &["--json"]);
        assert_status(&output, 0);
        let answer = json(&output);
        assert_eq!(answer["protectors"].as_array().unwrap().len(), tried);
        assert!(
            credentials[1]
                .protector
                .eq_ignore_ascii_case(answer["protector"].as_str().unwrap())
        );
    }
    Ok(())
}

/// A pattern with about 909 candidates: more than half a minute on one core.
fn long_pattern() -> String {
    with(&digits(), &[(28, "?"), (29, "?"), (30, "?"), (31, "?")])
}

#[trial("continues where it was interrupted")]
fn continues_after_interruption() -> Result<(), Failed> {
    let place = Place::new();
    let checkpoint = place.path("checkpoint");
    let arguments = [
        "--show",
        "--json",
        "--checkpoint",
        checkpoint.to_str().unwrap(),
    ];
    let mut search = place
        .command(&volume().file, &long_pattern(), &arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    while !checkpoint.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    let id = rustix::process::Pid::from_raw(search.id().try_into()?).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT)?;
    let status = search.wait()?;
    assert_eq!(status.code(), Some(5));
    // Near the end of the search, as if it had run for long.
    let mut document: Value = serde_json::from_slice(&std::fs::read(&checkpoint)?)?;
    let all = document["candidates"].as_str().unwrap().parse::<u64>()?;
    let right = number_of_the_right_one();
    assert!(right < all);
    document["next"] = Value::from(right.saturating_sub(3));
    std::fs::write(&checkpoint, document.to_string())?;
    // A different pattern with the same shape is refused.
    let block = digits()[..6].parse::<u32>()?;
    let other = if block > 11 { block - 11 } else { block + 11 };
    let other = format!("{other:06}{}", &long_pattern()[6..]);
    let output = place.search(&volume().file, &other, &arguments);
    assert_status(&output, 2);
    assert!(text(&output.stderr).contains("another search"));
    // A path that cannot be written is reported before the search starts, and the checkpoint can
    // still be used.
    let nowhere = ["--save-to", "/proc/password", arguments[2], arguments[3]];
    let output = place.search(&volume().file, &long_pattern(), &nowhere);
    assert_status(&output, 5);
    let output = place.search(&volume().file, &long_pattern(), &arguments);
    assert_status(&output, 0);
    let answer = json(&output);
    assert_eq!(answer["password"], digits());
    assert!(answer["tried"].as_u64().unwrap() <= 64, "{answer}");
    assert!(!checkpoint.exists());
    Ok(())
}

#[trial("saves the password elsewhere if its file cannot be written", needs(trials::root, || trials::programs(&["mount", "umount"])))]
fn saves_elsewhere() -> Result<(), Failed> {
    let place = Place::new();
    let full = place.path("full");
    std::fs::create_dir(&full)?;
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=4k", "tmpfs"]);
    assert_status(&mount.arg(&full).output()?, 0);
    let filled = std::fs::write(full.join("filler"), [1; 4096]);
    let saved = full.join("saved");
    let pattern = with(&digits(), &[(3, "?")]);
    let state = place.path("state");
    let output = place
        .command(
            &volume().file,
            &pattern,
            &["--save-to", saved.to_str().unwrap()],
        )
        .env("XDG_STATE_HOME", &state)
        .output();
    let left = saved.exists();
    assert_status(&Command::new("umount").arg(&full).output()?, 0);
    filled?;
    let output = output?;
    assert_status(&output, 5);
    assert!(text(&output.stderr).contains("No space left"), "{output:?}");
    assert!(!left);
    let said = text(&output.stdout);
    let place = PathBuf::from(said.split_once("saved to ").expect(&said).1.trim());
    assert!(place.starts_with(&state), "{}", place.display());
    let output = fve()
        .arg("unlock")
        .arg(volume().file)
        .arg("--recovery-password-file")
        .arg(&place)
        .output()?;
    assert_status(&output, 0);
    Ok(())
}

/// The file for the password exists from the start, and is removed if the search finds nothing.
#[trial("creates the file for the password first")]
fn creates_the_file_first() -> Result<(), Failed> {
    let place = Place::new();
    let (saved, checkpoint) = (place.path("saved"), place.path("checkpoint"));
    let arguments = [
        "--save-to",
        saved.to_str().unwrap(),
        "--checkpoint",
        checkpoint.to_str().unwrap(),
    ];
    for signal in [
        rustix::process::Signal::TERM,
        rustix::process::Signal::HUP,
        rustix::process::Signal::KILL,
    ] {
        let mut search = place
            .command(&volume().file, &long_pattern(), &arguments)
            .stderr(Stdio::piped())
            .spawn()?;
        while !checkpoint.exists() || !saved.exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(saved.metadata()?.permissions().mode() & 0o777, 0o600);
        let id = rustix::process::Pid::from_raw(search.id().try_into()?).unwrap();
        rustix::process::kill_process(id, signal)?;
        let status = search.wait()?;
        let killed = signal == rustix::process::Signal::KILL;
        assert_eq!(status.code(), (!killed).then_some(5));
        assert_eq!(saved.exists(), killed);
    }
    // The same command continues, although its empty file still exists.
    let mut document: Value = serde_json::from_slice(&std::fs::read(&checkpoint)?)?;
    document["next"] = Value::from(number_of_the_right_one());
    std::fs::write(&checkpoint, document.to_string())?;
    let output = place.search(&volume().file, &long_pattern(), &arguments);
    assert_status(&output, 0);
    assert!(saved.metadata()?.len() > 0);
    Ok(())
}

/// The number of the right candidate of [`long_pattern`].
fn number_of_the_right_one() -> u64 {
    use fve::recovery_password::{Options, check_text};
    let check = check_text(&long_pattern(), &Options::default());
    let candidates = check.primary().unwrap().candidates().unwrap();
    let count = u64::try_from(candidates.count()).unwrap();
    let is_right = |number: &u64| {
        let password = candidates.nth(*number).unwrap();
        password.expose_digits().expose() == digits()
    };
    (0..count).find(is_right).unwrap()
}

#[trial("saves no digit in a checkpoint")]
fn saves_no_digit() -> Result<(), Failed> {
    let place = Place::new();
    let checkpoint = place.path("checkpoint");
    let mut search = place
        .command(
            &volume().file,
            &long_pattern(),
            &["--checkpoint", checkpoint.to_str().unwrap()],
        )
        .stderr(Stdio::null())
        .spawn()?;
    while !checkpoint.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = rustix::process::Pid::from_raw(search.id().try_into()?).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
    search.wait()?;
    let document: Value = serde_json::from_slice(&std::fs::read(&checkpoint)?)?;
    assert_eq!(checkpoint.metadata()?.permissions().mode() & 0o777, 0o600);
    assert_silent(&digits(), document.to_string().as_bytes());
    assert_eq!(
        document["shape"],
        "######-######-######-######-????##-######-######-######"
    );
    // A file that is not a checkpoint is not overwritten.
    let note = place.path("note");
    std::fs::write(&note, "mine")?;
    let output = place.search(
        &volume().file,
        &long_pattern(),
        &["--checkpoint", note.to_str().unwrap()],
    );
    assert_status(&output, 2);
    assert_eq!(std::fs::read(&note)?, b"mine");
    Ok(())
}

#[trial("refuses a search that takes too long or has no result")]
fn refuses_useless_searches() -> Result<(), Failed> {
    let (place, digits) = (Place::new(), digits());
    let hidden = |count: usize| {
        let mut blocks: Vec<&str> = digits.split('-').collect();
        blocks[..count].fill("??????");
        blocks.join("-")
    };
    let output = place.search(&volume().file, &hidden(2), &[]);
    assert_status(&output, 2);
    assert!(text(&output.stderr).contains("4294967296 candidates"));
    assert!(text(&output.stderr).contains("years"));
    let output = place.search(&volume().file, &hidden(2), &["--dry-run", "--json"]);
    assert_status(&output, 0);
    assert_eq!(json(&output)["candidates"], 4_294_967_296_u64);
    let output = place.search(
        &volume().file,
        &digits,
        &["--any-order", "--dry-run", "--json"],
    );
    assert_eq!(json(&output)["candidates"], 40_320);
    // Searching a whole block takes so long that the result must be saved or shown.
    let output = place.search(&volume().file, &hidden(1), &[]);
    assert_status(&output, 2);
    for nothing in [
        "no digits",
        &hidden(8),
        &digits[..41],
        "8?????-000000-000000-000000-000000-000000-000000-000000",
    ] {
        let output = place.search(&volume().file, nothing, &[]);
        assert_status(&output, 7);
    }
    let two = format!("{digits}\n471207-278498-422125-177177-561902-537405-468006-693451");
    assert_status(&place.search(&volume().file, &two, &[]), 7);
    let other = testdata::volume("clear-key-only");
    let output = place.search(&other.file, &digits, &[]);
    assert_status(&output, 4);
    Ok(())
}

#[trial("is suggested after a failed unlock")]
fn is_suggested() -> Result<(), Failed> {
    let place = Place::new();
    let wrong = place.file("471207-278498-422125-177177-561902-537405-468006-693451");
    let mut command = fve();
    command.arg("unlock").arg(volume().file);
    let output = command
        .arg("--recovery-password-file")
        .arg(wrong)
        .output()?;
    assert_status(&output, 4);
    assert!(text(&output.stderr).contains("--try-near"));
    Ok(())
}

#[trial("finds seven digits on a volume of Windows", needs(trials::corpus))]
fn windows() -> Result<(), Failed> {
    // The complete example of docs/format-recovery-password.md §1.9.
    let volumes = corpus::volumes().unwrap();
    let volume = volumes
        .iter()
        .find(|volume| volume.name == "cs-aes-xts-128")
        .ok_or("no volume")?;
    let pattern = "?35818-?579?1-253979-0133?5-241120-2455?5-342914-59?9?0";
    let place = Place::new();
    let output = place.search(&volume.path, pattern, &["--show", "--json"]);
    assert_status(&output, 0);
    assert_eq!(
        json(&output)["password"],
        "235818-357951-253979-013365-241120-245575-342914-591910"
    );
    Ok(())
}

fn hashes() -> Vec<String> {
    let output = fve()
        .args(["recovery", "hash"])
        .arg(volume().file)
        .output()
        .unwrap();
    assert_status(&output, 0);
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[trial("prints one hash for each password")]
fn prints_hashes() -> Result<(), Failed> {
    let hashes = hashes();
    let kinds: Vec<_> = hashes.iter().map(|hash| &hash[..13]).collect();
    assert!(kinds.contains(&"$bitlocker$1$") && kinds.contains(&"$bitlocker$3$"));
    // The lengths that the parser of hashcat checks, field by field.
    for hash in &hashes {
        let tokens: Vec<_> = hash.split('$').collect();
        let lengths: Vec<_> = tokens.iter().map(|token| token.len()).collect();
        assert_eq!(lengths, [0, 9, 1, 2, 32, 7, 2, 24, 2, 120]);
    }
    let output = fve()
        .args(["recovery", "hash", "--json"])
        .arg(volume().file)
        .output()?;
    assert_eq!(
        json(&output)["hashes"].as_array().unwrap().len(),
        hashes.len()
    );
    let none = testdata::volume("clear-key-only");
    let output = fve().args(["recovery", "hash"]).arg(none.file).output()?;
    assert_status(&output, 3);
    Ok(())
}

/// A Python that has AES-CCM.
fn python() -> Result<PathBuf, String> {
    let python = std::env::var_os("FVE_PYTHON").ok_or("$FVE_PYTHON is not set")?;
    let python = PathBuf::from(python);
    let known = Command::new(&python)
        .args(["-c", "from Crypto.Cipher import AES"])
        .output();
    match known {
        Ok(output) if output.status.success() => Ok(python),
        _ => Err("$FVE_PYTHON has no pycryptodome".to_owned()),
    }
}

/// Decrypts a hash with a password, written from the description of the format and sharing no code
/// with fve.
const OPEN: &str = r#"
import hashlib, struct, sys
from Crypto.Cipher import AES
kind, salt, rounds, nonce, sealed = [sys.argv[1].split("$")[n] for n in (2, 4, 5, 7, 9)]
if kind == "1":
    first = hashlib.sha256(hashlib.sha256(sys.argv[2].encode("utf-16-le")).digest()).digest()
else:
    key = b"".join(struct.pack("<H", int(b) // 11) for b in sys.argv[2].split("-"))
    first = hashlib.sha256(key).digest()
last = bytes(32)
tail = first + bytes.fromhex(salt)
for count in range(int(rounds)):
    last = hashlib.sha256(last + tail + struct.pack("<Q", count)).digest()
sealed = bytes.fromhex(sealed)
cipher = AES.new(last, AES.MODE_CCM, nonce=bytes.fromhex(nonce), mac_len=16)
print(cipher.decrypt_and_verify(sealed[16:], sealed[:16])[:12].hex())
"#;

#[trial("Python decrypts the hash", needs(|| python().err().map(Missing::Tool)))]
fn hash_in_python() -> Result<(), Failed> {
    let python = python()?;
    for hash in hashes() {
        let kind = match hash.starts_with("$bitlocker$1$") {
            true => Kind::Password,
            false => Kind::RecoveryPassword,
        };
        let secret = &volume().credential(kind).value.clone();
        let mut command = Command::new(&python);
        let output = command.args(["-c", OPEN, &hash, secret]).output()?;
        assert!(output.status.success(), "{}", text(&output.stderr));
        // A key datum of 44 bytes with a volume master key.
        assert_eq!(text(&output.stdout).trim(), "2c0000000100000003200000");
    }
    Ok(())
}

/// Why hashcat is not run: it is always optional.
fn hashcat() -> Option<Missing> {
    let why = if std::env::var_os("FVE_HASHCAT").is_none_or(|value| value != "1") {
        "hashcat is only asked with FVE_HASHCAT=1"
    } else {
        let devices = Command::new("hashcat").arg("-I").output();
        if devices.is_ok_and(|output| text(&output.stdout).contains("Device ID")) {
            return None;
        }
        "hashcat is not installed, or finds no OpenCL device"
    };
    Some(Missing::Optional(why.to_owned()))
}

#[trial("hashcat finds the password of the hash", needs(hashcat))]
fn hash_in_hashcat() -> Result<(), Failed> {
    let place = Place::new();
    let (hash, words) = (place.path("hash"), place.path("words"));
    let password = volume().credential(Kind::Password).value.clone();
    std::fs::write(&words, format!("wrong-one\n{password}\nwrong-too\n"))?;
    let ours = hashes();
    let ours = ours
        .iter()
        .find(|hash| hash.starts_with("$bitlocker$1$"))
        .unwrap();
    std::fs::write(&hash, ours)?;
    let output = Command::new("hashcat")
        .args([
            "-m",
            "22100",
            "-a",
            "0",
            "--potfile-disable",
            "--quiet",
            "--force",
            "--self-test-disable",
        ])
        .args([&hash, &words])
        .output()?;
    assert!(
        text(&output.stdout).contains(&format!("{ours}:{password}")),
        "{}",
        text(&output.stderr)
    );
    Ok(())
}
