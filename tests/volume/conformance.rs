//! Every volume of the corpus, made by Windows or derived from such a volume, with the library,
//! `fve info`, `fve unlock`, `fve decrypt` and the mount: the SHA-256 of the whole plaintext is
//! that of the index, with any size and alignment of the reads.
//!
//! The table in docs/verification.md is made from the results: `FVE_WRITE_TABLE=1` writes it, every
//! other complete run compares it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

use crate::common;
use crate::common::corpus::{self, KnownCredential, Volume as Sample};
use crate::common::harness::afterwards;
use crate::common::mount::Mounted;
use crate::common::trials::{self, Missing, Trial, trial, trials};
use crate::common::{fve, sha256, table};
use fve::error::Error;
use fve::source::FileSource;
use fve::unlock::Credential;
use fve::unlock::Password;
use fve::unlock::RecoveryPasswords;
use fve::unlock::StartupKey;
use fve::unlock::Suspended;
use fve::unlock::{RawFvek, RawVmk};
use fve::volume::{UnlockOptions, Unlocked, Volume};
use libtest_mimic::Failed;
use serde_json::Value;

/// Read sizes that are multiples of sector, chunk and page, and some that are not.
const STEPS: [usize; 2] = [1 << 20, 1_000_003];
/// The read sizes with which other programs gave different results on one volume.
const ENCRYPT_ON_WRITE_STEPS: [usize; 6] = [4096, 65_536, 1 << 20, 4 << 20, 4097, 1_000_003];

const COLUMNS: [&str; 5] = ["info", "unlock", "library", "decrypt", "mount"];

type Results = BTreeMap<(String, String), bool>;

/// Whether each check that ran has passed.
static RESULTS: Mutex<Results> = Mutex::new(BTreeMap::new());

#[trials]
fn every_volume() -> Vec<Trial> {
    match corpus::volumes() {
        Some(samples) => samples.iter().flat_map(trials_of).collect(),
        None => vec![trial("the corpus", trials::corpus(), || ())],
    }
}

/// The table contains the results of all checks, so it is compared only after a complete run.
#[afterwards]
fn the_table_is_up_to_date() -> Result<(), String> {
    let Some(samples) = corpus::volumes() else {
        return Ok(());
    };
    let results = RESULTS.lock().unwrap();
    let passed = results.values().filter(|passed| **passed).count();
    match passed == samples.iter().flat_map(checks_of).count() {
        true => table::compare_or_write(&PLACE, &table_of(&samples, &results)),
        false => Ok(()),
    }
}

type Check = (&'static str, fn(&Sample));

/// The checks for a volume.
fn checks_of(sample: &Sample) -> impl Iterator<Item = Check> {
    let checks: [Check; 6] = [
        ("info", info_agrees_with_the_index),
        ("unlock", every_credential_unlocks),
        ("library", the_library_reads_the_plaintext),
        ("decrypt", decrypt_writes_the_plaintext),
        ("mount", the_mount_shows_the_plaintext),
        ("files", the_file_system_inside_can_be_read),
    ];
    checks
        .into_iter()
        .filter(|(name, _)| *name != "files" || !sample.files.is_empty())
}

fn trials_of(sample: &Sample) -> Vec<Trial> {
    checks_of(sample)
        .map(|(name, check)| {
            let sample = sample.clone();
            let title = format!("{}: {name}", sample.name);
            trial(title, missing(name), move || {
                let outcome = std::panic::catch_unwind(|| check(&sample));
                let key = (sample.name.clone(), name.to_owned());
                RESULTS.lock().unwrap().insert(key, outcome.is_ok());
                outcome.map_err(|_| Failed::without_message())
            })
        })
        .collect()
}

/// A missing requirement of a check.
fn missing(check: &str) -> Option<Missing> {
    match check {
        "mount" => trials::fuse(),
        "files" => trials::fuse().or_else(|| trials::programs(&["ntfs-3g"])),
        _ => None,
    }
}

// The checks.

fn info_agrees_with_the_index(sample: &Sample) {
    let output = run(fve().arg("info").arg(&sample.path).arg("--json"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let info: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(lower(&info["volume"]["id"]), sample.volume_guid);
    assert_eq!(info["volume"]["description"], sample.description.as_str());
    assert_eq!(info["volume"]["sector_size"], sample.sector_size);
    assert_eq!(info["metadata"]["version"], sample.metadata_version);
    assert_eq!(
        info["status"]["encryption_method_id"],
        sample.cipher_id.as_str()
    );
    assert_eq!(info["volume"]["state"], sample.state.0);
    assert_eq!(info["volume"]["next_state"], sample.state.1);
    assert_eq!(info["volume"]["encrypted_extent"], sample.encrypted_extent);
    let offsets: Vec<_> = array(&info["metadata"]["copies"])
        .iter()
        .map(|copy| copy["offset"].as_u64().expect("offset"))
        .collect();
    assert_eq!(offsets, sample.metadata_offsets);
    let protectors: Vec<_> = array(&info["protectors"])
        .iter()
        .map(|protector| (lower(&protector["type"]), lower(&protector["id"])))
        .collect();
    let expected: Vec<_> = sample
        .protectors
        .iter()
        .map(|protector| (name_of(&protector.kind), protector.guid.clone()))
        .collect();
    assert_eq!(protectors, expected);
}

fn every_credential_unlocks(sample: &Sample) {
    for credential in &sample.credentials {
        let given = Given::new(credential);
        let output = run(fve()
            .arg("unlock")
            .arg(&sample.path)
            .args(&given.arguments)
            .arg("--json"));
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        if sample.must_be_refused() {
            assert_refused(&output);
            assert_eq!(answer["unlocked"], false);
            continue;
        }
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(answer["unlocked"], true);
        if let Some(protector) = &credential.protector {
            assert_eq!(&lower(&answer["protector"]["id"]), protector);
        }
    }
}

fn the_library_reads_the_plaintext(sample: &Sample) {
    let volume = open(sample);
    let mut first: Option<Unlocked> = None;
    for credential in &sample.credentials {
        let unlocked = volume.unlock(&[credential_of(credential)], &UnlockOptions::default());
        if sample.must_be_refused() {
            assert!(
                matches!(unlocked, Err(Error::Damaged { .. })),
                "{unlocked:?}"
            );
            continue;
        }
        let unlocked = unlocked.expect("unlock");
        match &first {
            None => {
                assert_eq!(unlocked.available(), sample.plaintext_size);
                let steps = if sample.name.contains("eow") {
                    &ENCRYPT_ON_WRITE_STEPS[..]
                } else {
                    &STEPS
                };
                for step in steps {
                    let hash = sha256(Steps::over(&unlocked, *step)).expect("read");
                    assert_eq!(hash, sample.expected_sha256, "steps of {step}");
                }
                reads_around_borders_agree(&unlocked);
                first = Some(unlocked);
            }
            // The same keys: one position is enough.
            Some(first) => assert_eq!(start_of(&unlocked), start_of(first)),
        }
    }
    raw_keys_open_it_too(sample, &volume, first.as_ref());
    padded_to_its_size_it_reads_to_the_end(sample);
}

fn decrypt_writes_the_plaintext(sample: &Sample) {
    let directory = tempfile::tempdir().expect("directory");
    let target = directory.path().join("plaintext");
    let given = Given::new(&sample.credentials[0]);
    let output = run(fve()
        .arg("decrypt")
        .arg(&sample.path)
        .arg(&target)
        .arg("--sha256")
        .args(&given.arguments));
    if sample.must_be_refused() {
        assert_refused(&output);
        assert!(!target.exists());
        return;
    }
    let cut_off = open(sample)
        .unlock(
            &[credential_of(&sample.credentials[0])],
            &UnlockOptions::default(),
        )
        .map(|unlocked| unlocked.size() > sample.size)
        .expect("unlock");
    let expected = if cut_off { 5 } else { 0 };
    assert_eq!(output.status.code(), Some(expected), "{}", stderr(&output));
    assert_eq!(stderr(&output).contains("missing"), cut_off);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.starts_with(&sample.expected_sha256), "{stdout}");
    let file = File::open(&target).expect("output");
    assert_eq!(file.metadata().expect("size").len(), sample.plaintext_size);
    assert_eq!(sha256(file).expect("read"), sample.expected_sha256);
}

fn the_mount_shows_the_plaintext(sample: &Sample) {
    let given = Given::new(&sample.credentials[0]);
    let arguments: Vec<_> = given.arguments.iter().map(String::as_str).collect();
    if sample.must_be_refused() {
        let directory = tempfile::tempdir().expect("directory");
        assert_refused(&run(fve()
            .args(["mount", "--volume"])
            .arg(&sample.path)
            .arg(directory.path())
            .args(&arguments)));
        return;
    }
    let unlocked = open(sample)
        .unlock(
            &[credential_of(&sample.credentials[0])],
            &UnlockOptions::default(),
        )
        .expect("unlock");
    let mounted = Mounted::volume(&sample.path, &arguments);
    let file = File::open(mounted.volume_file()).expect("volume");
    assert_eq!(file.metadata().expect("size").len(), unlocked.size());
    let there = (&file).take(sample.plaintext_size);
    assert_eq!(sha256(there).expect("read"), sample.expected_sha256);
    let mut shown = vec![0; 12_345];
    let mut expected = shown.clone();
    for nth in 1..40 {
        let at = nth * 2_654_435_761 % (sample.plaintext_size - shown.len() as u64);
        file.read_exact_at(&mut shown, at).expect("read");
        unlocked.read_exact_at(at, &mut expected).expect("read");
        assert!(shown == expected, "at {at}");
    }
    if unlocked.size() > unlocked.available() {
        let beyond = unlocked.available() + 65_536;
        assert!(
            file.read_at(&mut shown, beyond).is_err(),
            "zeros for what is missing"
        );
    }
}

fn the_file_system_inside_can_be_read(sample: &Sample) {
    let given = Given::new(&sample.credentials[0]);
    let arguments: Vec<_> = given.arguments.iter().map(String::as_str).collect();
    let mounted = Mounted::volume(&sample.path, &arguments);
    let inside = Mounted::ntfs(&mounted.volume_file());
    for file in &sample.files {
        let content = File::open(inside.path().join(&file.path)).expect("file");
        assert_eq!(sha256(content).expect("read"), file.sha256, "{}", file.path);
    }
}

// Helpers of the checks.

fn open(sample: &Sample) -> Volume {
    let source = FileSource::open(&sample.path).expect("open");
    Volume::from_source(Arc::new(source)).expect("volume")
}

/// Reads of odd sizes around every border of the layout map agree with one large read.
fn reads_around_borders_agree(volume: &Unlocked) {
    const AROUND: u64 = 9000;
    let last = volume.available();
    for extent in volume.layout().extents().iter().take(100) {
        let start = extent.range.start.saturating_sub(AROUND);
        let end = (extent.range.start + AROUND).min(last);
        if start >= end {
            continue;
        }
        let mut whole = vec![0; (end - start) as usize];
        volume.read_exact_at(start, &mut whole).expect("read");
        for step in [1usize, 7, 511, 513, 4095, 4097] {
            let pieces = if step == 1 { 600 } else { usize::MAX };
            for (nth, expected) in whole.chunks(step).enumerate().take(pieces) {
                let at = start + (nth * step) as u64;
                let mut piece = vec![0; expected.len()];
                volume.read_exact_at(at, &mut piece).expect("read");
                assert!(piece == expected, "{step} bytes at {at}");
            }
        }
    }
}

fn raw_keys_open_it_too(sample: &Sample, volume: &Volume, first: Option<&Unlocked>) {
    let keys = [
        ("vmk-file", &sample.vmk_hex),
        ("fvek-file", &sample.fvek_hex),
    ];
    for (option, hex) in keys {
        let Some(hex) = hex else { continue };
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("key");
        std::fs::write(&path, hex).expect("key");
        let unlocked = volume.unlock(&[read_credential(option, &path)], &UnlockOptions::default());
        match first {
            Some(first) => assert_eq!(start_of(&unlocked.expect(option)), start_of(first)),
            None => assert!(unlocked.is_err()),
        }
    }
}

/// A truncated image that is extended to the size of its volume has the same plaintext as with
/// other programs.
fn padded_to_its_size_it_reads_to_the_end(sample: &Sample) {
    let Some(padded) = &sample.padded else { return };
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("padded");
    common::copy_sparse(File::open(&sample.path).expect("open"), &path).expect("copy");
    File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(padded.volume_size))
        .expect("pad");
    let volume =
        Volume::from_source(Arc::new(FileSource::open(&path).expect("open"))).expect("volume");
    let unlocked = volume
        .unlock(
            &[credential_of(&sample.credentials[0])],
            &UnlockOptions::default(),
        )
        .expect("unlock");
    assert_eq!(unlocked.size(), padded.volume_size);
    let hash = sha256(Steps::over(&unlocked, 1 << 20)).expect("read");
    assert_eq!(hash, padded.expected_sha256);
}

fn start_of(volume: &Unlocked) -> Vec<u8> {
    let mut start = vec![0; 65_536];
    volume.read_exact_at(0, &mut start).expect("read");
    start
}

/// The plaintext that is present, read in blocks of one size.
struct Steps<'a> {
    volume: &'a Unlocked,
    step: usize,
    at: u64,
}

impl<'a> Steps<'a> {
    fn over(volume: &'a Unlocked, step: usize) -> Self {
        Self {
            volume,
            step,
            at: 0,
        }
    }
}

impl Read for Steps<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.volume.available() - self.at).unwrap();
        let len = self.step.min(left).min(buf.len());
        self.volume
            .read_exact_at(self.at, &mut buf[..len])
            .map_err(std::io::Error::other)?;
        self.at += len as u64;
        Ok(len)
    }
}

/// A credential as command-line options, with the files for them.
struct Given {
    arguments: Vec<String>,
    _directory: tempfile::TempDir,
}

impl Given {
    fn new(credential: &KnownCredential) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let arguments = match option_of(credential) {
            None => Vec::new(),
            Some(option) => {
                let path = path_of(credential, directory.path());
                vec![format!("--{option}"), path.display().to_string()]
            }
        };
        Self {
            arguments,
            _directory: directory,
        }
    }
}

fn option_of(credential: &KnownCredential) -> Option<&'static str> {
    match credential.kind.as_str() {
        "password" => Some("password-file"),
        "recovery-password" => Some("recovery-password-file"),
        "startup-key-file" => Some("startup-key"),
        "none (clear key)" => None,
        other => panic!("a credential of the unknown kind {other}"),
    }
}

fn path_of(credential: &KnownCredential, directory: &Path) -> PathBuf {
    if credential.kind == "startup-key-file" {
        return corpus::unpacked(&credential.value);
    }
    let path = directory.join("secret");
    std::fs::write(&path, format!("{}\n", credential.value)).expect("secret");
    path
}

fn credential_of(credential: &KnownCredential) -> Box<dyn Credential> {
    let directory = tempfile::tempdir().expect("directory");
    match option_of(credential) {
        None => Box::new(Suspended),
        Some(option) => read_credential(option, &path_of(credential, directory.path())),
    }
}

fn read_credential(option: &str, path: &Path) -> Box<dyn Credential> {
    match option {
        "recovery-password-file" => {
            Box::new(RecoveryPasswords::from_file(path).expect("recovery password"))
        }
        "password-file" => Box::new(Password::from_file(path).expect("password")),
        "startup-key" => Box::new(StartupKey::read(path).expect("startup key")),
        "vmk-file" => Box::new(RawVmk::from_file(path).expect("VMK")),
        "fvek-file" => Box::new(RawFvek::from_file(path).expect("FVEK")),
        other => panic!("{other}"),
    }
}

fn assert_refused(output: &Output) {
    assert_eq!(output.status.code(), Some(6), "{}", stderr(output));
    assert!(
        stderr(output).contains("encrypt-on-write"),
        "{}",
        stderr(output)
    );
}

fn run(command: &mut std::process::Command) -> Output {
    command.output().expect("fve")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn lower(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_ascii_lowercase()
}

/// Converts the index's word for a kind of key protector to that of fve.
fn name_of(kind: &str) -> String {
    match kind {
        other if other.starts_with("0x1000") => "certificate".to_owned(),
        other => other.to_owned(),
    }
}

// The table in docs/verification.md.

const PLACE: table::Place = table::Place {
    file: "docs/verification.md",
    begin: "<!-- conformance table, made by tests/volume/conformance.rs -->",
    end: "<!-- end of conformance table -->",
    made_by: "cargo test --test volume",
};

fn table_of(samples: &[Sample], results: &Results) -> String {
    let mut table = format!("\n| volume | credentials | {} |\n", COLUMNS.join(" | "));
    table += &format!("|---|---|{}\n", "---|".repeat(COLUMNS.len()));
    for sample in samples {
        let mut kinds: Vec<_> = sample
            .credentials
            .iter()
            .map(|credential| credential.kind.trim_end_matches("-file"))
            .collect();
        kinds.dedup();
        let _ = write!(table, "| {} | {} |", sample.name, kinds.join(", "));
        for column in COLUMNS {
            let good = results.get(&(sample.name.clone(), column.to_owned()));
            let word = match good {
                Some(true) if sample.must_be_refused() && column != "info" => {
                    "refused, as intended"
                }
                Some(true) => "correct",
                _ => "wrong",
            };
            let _ = write!(table, " {word} |");
        }
        table.push('\n');
    }
    table
}
