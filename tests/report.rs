//! Tests of `fve report`: on volumes made by Windows, with the TPM protectors of real computers, on
//! damaged volumes, and on an NTFS with event logs.
//!
//! Two results are compared with other programs: the creation time with bdeinfo, the event logs
//! with python-evtx. Tests whose tools or corpus are missing are reported as ignored;
//! `FVE_REQUIRE_TOOLS=1` makes a missing tool a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use common::corpus::{self, Volume};
use common::damage::VolumeCopy;
use common::evtx::{self, Event};
use common::mount::Mounted;
use common::testdata::{self, Kind};
use common::trials::{self, Missing, Trial, trial, trials};
use common::{fve, ntfs};
use libtest_mimic::Failed;
use serde_json::Value;

const DRIVER: &str = "Microsoft-Windows-BitLocker-Driver";
const MANAGEMENT: &str = "Microsoft-Windows-BitLocker-API";
/// 2026-01-02 03:04:05 UTC as a FILETIME.
const MORNING: u64 = 134_117_966_450_000_000;
const SECOND: u64 = 10_000_000;

fn event_logs() -> Option<Missing> {
    trials::feature("event-logs", cfg!(feature = "event-logs"))
}

fn ntfs_tools() -> Option<Missing> {
    event_logs().or_else(|| trials::programs(&["mkntfs", "ntfs-3g"]))
}

fn without_python_evtx() -> Option<Missing> {
    let there = python("import Evtx.Evtx").is_ok_and(|output| output.status.success());
    (!there).then(|| Missing::Tool("python-evtx is not installed".to_owned()))
}

fn python(program: &str) -> std::io::Result<Output> {
    let python = std::env::var_os("FVE_PYTHON").unwrap_or_else(|| "python3".into());
    Command::new(python).args(["-c", program]).output()
}

/// Runs `fve report SOURCE --json` with these arguments and no terminal. Returns the exit status
/// and the document.
fn report(source: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = fve()
        .arg("report")
        .arg(source)
        .arg("--json")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("fve report");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let document = serde_json::from_str(&text).unwrap_or_else(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("{error}: {text}\n{said}")
    });
    (output.status.code().expect("status"), document)
}

fn findings(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("findings");
    findings
        .iter()
        .map(|finding| finding["finding"].as_str().expect("word"))
        .collect()
}

fn finding<'a>(report: &'a Value, word: &str) -> &'a Value {
    let findings = report["findings"].as_array().expect("findings");
    let found = findings.iter().find(|finding| finding["finding"] == word);
    found.unwrap_or_else(|| panic!("no finding {word}: {:?}", self::findings(report)))
}

fn moment<'a>(report: &'a Value, event: &str) -> Option<&'a str> {
    let timeline = report["timeline"].as_array().expect("timeline");
    let found = timeline.iter().find(|moment| moment["event"] == event)?;
    found["time"].as_str()
}

// Volumes made by Windows.

#[trials]
fn corpus_trials() -> Vec<Trial> {
    let Some(volumes) = corpus::volumes() else {
        return vec![trial("windows", trials::corpus(), || ())];
    };
    let mut trials = vec![
        Trial::test("windows/TPM protectors of a real machine", real_tpms),
        Trial::test("windows/the published facts hold", published_facts),
    ];
    for volume in volumes {
        let (name, bdeinfo) = (&volume.name, trials::programs(&["bdeinfo"]));
        trials.push(trial(format!("windows/{name}: bdeinfo"), bdeinfo, {
            let volume = volume.clone();
            move || bdeinfo_agrees(&volume)
        }));
        trials.push(Trial::test(format!("windows/{name}"), move || {
            windows(&volume)
        }));
    }
    trials
}

/// Builds that occur in the corpus (docs/format-recovery.md §6.2), and the month in which each was
/// released.
const BUILDS: [(u64, &str); 8] = [
    (16299, "2017-09"),
    (17134, "2018-04"),
    (18362, "2019-03"),
    (18363, "2019-10"),
    (19041, "2019-12"),
    (22000, "2021-06"),
    (22631, "2023-10"),
    (26200, "2025-06"),
];

fn windows(volume: &Volume) -> Result<(), Failed> {
    let before = fs::metadata(&volume.path)?.modified()?;
    let (status, document) = report(&volume.path, &[]);
    // A volume with a clear key is unlocked at once; a conversion map that cannot be read prevents
    // that.
    let refused = volume.must_be_refused() && has(volume, "clear-key");
    assert_eq!(status, if refused { 6 } else { 0 });
    assert_eq!(fs::metadata(&volume.path)?.modified()?, before);
    let id = volume.volume_guid.to_uppercase();
    assert_eq!(document["volume"]["id"], id.as_str());
    assert_eq!(document["computer"], first_word(&volume.description));

    let turned_on = moment(&document, "turned-on").expect("turned on");
    assert!(
        same_day(turned_on, &volume.description),
        "{turned_on} against {}",
        volume.description
    );
    let times: Vec<_> = document["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|moment| moment["time"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        times
            .windows(2)
            .all(|pair| instant(&pair[0]) <= instant(&pair[1])),
        "{times:?}"
    );
    if let Some(build) = document["windows"]["build"].as_u64() {
        let known = BUILDS.iter().find(|(known, _)| *known == build);
        let (_, since) = known.unwrap_or_else(|| panic!("build {build}"));
        assert!(turned_on >= *since, "build {build} on {turned_on}");
        assert!(document["windows"]["release"].is_string());
    } else {
        // Vista and Windows 7 did not record it.
        assert!(
            volume.description.starts_with("USER-PC") || volume.description.starts_with("WIN-")
        );
    }
    assert_eq!(
        document["protectors"].as_array().unwrap().len(),
        volume.protectors.len()
    );
    mode_fits(volume, &document);
    Ok(())
}

fn mode_fits(volume: &Volume, document: &Value) {
    let mode = document["mode"].as_str().unwrap();
    let found = findings(document);
    let clear = has(volume, "clear-key");
    let expected = match (clear, volume.protectors.len()) {
        (true, 1) => "unprotected",
        (true, _) => "suspended",
        // The first key protector on disk that is not a recovery password.
        (false, _) => {
            let others = volume.protectors.iter();
            let mut others = others.filter(|protector| protector.kind != "recovery-password");
            match others.next().expect("a protector").kind.as_str() {
                "password" => "password",
                "startup-key" => "startup-key",
                _ => "certificate",
            }
        }
    };
    assert_eq!(mode, expected);
    assert_eq!(found.contains(&"suspended"), expected == "suspended");
    assert_eq!(found.contains(&"unprotected"), expected == "unprotected");
    assert_eq!(document["suspension"].is_null(), !clear);
    let password = has(volume, "password") && !clear;
    assert_eq!(found.contains(&"password-required"), password);
    if has(volume, "startup-key") && !clear {
        let protector = volume.protectors.iter().find(|p| p.kind == "startup-key");
        let file = format!("{}.BEK", protector.unwrap().guid.to_uppercase());
        let key = finding(document, "startup-key-required");
        let message = key["message"].as_str().unwrap();
        assert!(message.contains(&file), "{key}");
        // Unless Windows is on the volume, as far as the metadata tells.
        let automatically = message.contains("unlocks the volume automatically");
        assert_eq!(automatically, document["system"] != true, "{key}");
    }
}

fn has(volume: &Volume, kind: &str) -> bool {
    volume
        .protectors
        .iter()
        .any(|protector| protector.kind == kind)
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap()
}

/// The parts of `2019-07-04T07:02:27.077Z` before and after the point. Their order as text is the
/// order of the times.
fn instant(time: &str) -> (String, String) {
    let (whole, part) = time
        .trim_end_matches('Z')
        .split_once('.')
        .unwrap_or((time, ""));
    (whole.trim_end_matches('Z').to_owned(), part.to_owned())
}

/// Whether the date at the end of a description (day or month first) is the date of `time`, give or
/// take a day for the time zone.
fn same_day(time: &str, description: &str) -> bool {
    let date = description.split_whitespace().last().unwrap();
    let parts: Vec<i64> = date.split('/').map(|part| part.parse().unwrap()).collect();
    let [first, second, year] = parts[..] else {
        panic!("{date}");
    };
    let of_time: Vec<i64> = time[..10]
        .split('-')
        .map(|part| part.parse().unwrap())
        .collect();
    let near = |day: i64, month: i64| {
        year == of_time[0] && month == of_time[1] && (day - of_time[2]).abs() <= 1
    };
    near(first, second) || near(second, first)
}

/// bdeinfo shows the same creation time, to the microsecond.
fn bdeinfo_agrees(volume: &Volume) -> Result<(), Failed> {
    let (_, document) = report(&volume.path, &[]);
    let turned_on = moment(&document, "turned-on").expect("turned on");
    // bdeinfo needs a credential.
    let mut command = Command::new("bdeinfo");
    for credential in &volume.credentials {
        match credential.kind.as_str() {
            "password" => command.arg("-p").arg(&credential.value),
            "recovery-password" => command.arg("-r").arg(&credential.value),
            _ => &mut command,
        };
    }
    let output = command.arg(&volume.path).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(line) = text.lines().find(|line| line.contains("Creation time")) else {
        // libbde 20190102 fails on some volumes; then there is nothing to compare.
        println!("note: bdeinfo tells nothing of {}", volume.name);
        return Ok(());
    };
    let theirs = line.split_once(": ").expect("value").1.trim();
    let [month, day, year, time, "UTC"] = theirs.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{theirs}");
    };
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = MONTHS.find(month).expect("month") / 3 + 1;
    let day = day.trim_end_matches(',');
    let theirs = format!("{year}-{month:02}-{day}T{time}");
    let ours = turned_on.trim_end_matches('Z');
    assert!(theirs.starts_with(ours), "{ours} against {theirs}");
    Ok(())
}

/// Facts about single volumes from docs/format-recovery.md §6.2 to §6.4.
fn published_facts() -> Result<(), Failed> {
    let volumes = corpus::volumes().expect("corpus");
    let document = |name: &str| {
        let volume = volumes.iter().find(|volume| volume.name == name);
        report(&volume.expect("volume").path, &[]).1
    };
    let first = document("cs-aes-xts-128-first-recovery");
    let resealed = moment(&first, "resealed").expect("resealed");
    assert!(resealed.contains("T13:17:01"), "{resealed}");
    let timeline = first["timeline"].as_array().unwrap();
    assert!(timeline.iter().any(|moment| {
        moment["event"] == "protector-changed"
            && moment["time"].as_str().unwrap().contains("T13:10:02")
    }));

    let crc = document("cs-aes-xts-128-crc");
    let copies = crc["consistency"]["copies"].as_array().unwrap();
    let bad = copies.iter().filter(|copy| copy["good"] == false).count();
    assert_eq!(bad, 2);
    assert!(findings(&crc).contains(&"copies-damaged"));

    let mut saved = 0;
    for volume in &volumes {
        let document = report(&volume.path, &[]).1;
        for protector in document["protectors"].as_array().unwrap() {
            let backup = &protector["backup"];
            if backup.is_null() {
                continue;
            }
            saved += 1;
            assert_eq!(backup["first"], backup["last"]);
            assert_eq!((&backup["kind"], &backup["class"]), (&8.into(), &2.into()));
            assert_eq!(document["recovery_password_asked_for"], protector["id"]);
        }
        let never = findings(&document).contains(&"never-saved");
        let recovery = document["protectors"].as_array().unwrap().iter();
        let recovery: Vec<_> = recovery
            .filter(|protector| protector["type"] == "recovery-password")
            .collect();
        let some_unsaved = recovery
            .iter()
            .any(|protector| protector["backup"].is_null());
        assert_eq!(never, some_unsaved, "{}", volume.name);
    }
    assert!(saved >= 8, "only {saved} were saved");

    let win7 = document("ds-win7_partial");
    assert_eq!(win7["system"], true);
    assert!(findings(&win7).contains(&"converting"));

    // With a credential, the SHA-256 sealed with the key is compared, too.
    let volume = volumes
        .iter()
        .find(|volume| volume.name == "cs-aes-xts-128")
        .unwrap();
    let directory = tempfile::tempdir()?;
    let password = directory.path().join("password");
    let credential = volume
        .credentials
        .iter()
        .find(|key| key.kind == "password")
        .unwrap();
    fs::write(&password, &credential.value)?;
    let (status, document) = report(
        &volume.path,
        &["--password-file", password.to_str().unwrap()],
    );
    assert_eq!(status, 0);
    assert_eq!(document["consistency"]["sha256"], "proved");
    assert_eq!(document["unlocked"], true);
    Ok(())
}

/// TPM protectors of a real computer, put into a volume of the test data.
fn real_tpms() -> Result<(), Failed> {
    let path = corpus::directory()
        .expect("corpus")
        .join("tpm_vectors.json");
    let vectors: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let directory = tempfile::tempdir()?;
    let mut kinds = Vec::new();
    for vector in vectors["vectors"].as_array().unwrap() {
        for entry in vector["protectors"].as_array().unwrap() {
            if !entry["tpm_unsealed_hex"].is_string() {
                continue;
            }
            let mut copy = VolumeCopy::of(&testdata::volume("xts-128"));
            only_protector(&mut copy, &from_hex(entry["entry_hex"].as_str().unwrap()));
            let (status, document) = report(&copy.save(directory.path()), &[]);
            assert_eq!(status, 0);
            let mode = document["mode"].as_str().unwrap().to_owned();
            assert_eq!(document["system"], true);
            let profile = &document["pcr_profiles"][0];
            assert_eq!(profile["bank"], "sha256");
            let pcrs: Vec<_> = profile["pcrs"].as_array().unwrap().iter().collect();
            let causes = document["findings"].as_array().unwrap().iter();
            let causes = causes.filter(|finding| finding["finding"] == "pcr-changed");
            // Each PCR except PCR 11, which BitLocker itself extends.
            assert_eq!(causes.count(), pcrs.len() - 1, "{profile}");
            assert!(findings(&document).contains(&"tpm-unavailable"));
            assert!(!findings(&document).contains(&"tpm-object-unsound"));
            let pin = findings(&document).contains(&"pin-required");
            let key = findings(&document).contains(&"startup-key-required");
            assert_eq!(pin, mode.contains("pin"), "{mode}");
            assert_eq!(key, mode.contains("startup-key"), "{mode}");
            kinds.push((mode, profile["profile"].as_str().unwrap().to_owned()));
        }
    }
    for mode in ["tpm", "tpm-pin", "tpm-startup-key", "tpm-pin-startup-key"] {
        assert!(kinds.iter().any(|(kind, _)| kind == mode), "{kinds:?}");
    }
    assert!(
        kinds.iter().any(|(_, profile)| profile == "secure-boot"),
        "{kinds:?}"
    );
    Ok(())
}

/// Replaces all key protectors by one, in every copy of the metadata.
fn only_protector(copy: &mut VolumeCopy, entry: &[u8]) {
    for offset in copy.offsets() {
        let size = usize::from(copy.u16(offset + 8)) * 16;
        let validation = copy.bytes[offset + size..][..0x200].to_vec();
        let end = 0x40 + usize::from(copy.u16(offset + 0x4C));
        let datums = copy.bytes[offset + 0x70..offset + end].to_vec();
        let mut kept = Vec::new();
        let mut at = 0;
        while at + 8 <= datums.len() {
            let len = usize::from(u16::from_le_bytes([datums[at], datums[at + 1]])).max(8);
            if datums[at + 4] != 8 {
                kept.extend(&datums[at..at + len]);
            }
            at += len;
        }
        kept.extend(entry);
        let end = 0x30 + kept.len() as u32;
        let size = (0x40 + end as usize).next_multiple_of(16);
        let room = &mut copy.bytes[offset..][..0x2000];
        room[0x70..].fill(0);
        room[0x70..0x70 + kept.len()].copy_from_slice(&kept);
        room[8..10].copy_from_slice(&((size / 16) as u16).to_le_bytes());
        room[0x40..0x44].copy_from_slice(&end.to_le_bytes());
        room[0x4C..0x50].copy_from_slice(&end.to_le_bytes());
        room[size..size + validation.len()].copy_from_slice(&validation);
        copy.repair(offset);
    }
}

fn from_hex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex"))
        .collect()
}

// Volumes of the test data.

#[trial("a report needs no key and asks for none")]
fn no_key() -> Result<(), Failed> {
    for volume in testdata::volumes() {
        let (status, document) = report(&volume.file, &[]);
        assert_eq!(status, 0, "{}", volume.name);
        assert!(!document["findings"].is_null());
        // A volume with a clear key is unlocked at once; a conversion map that cannot be read
        // prevents that.
        let open = volume.credentials.is_empty()
            || volume
                .credentials
                .iter()
                .any(|key| key.kind == Kind::ClearKey);
        assert_eq!(document["unlocked"], open, "{}", volume.name);
    }
    Ok(())
}

#[trial("prints the same report after a wrong password")]
fn refused() -> Result<(), Failed> {
    let volume = testdata::volume("xts-128");
    let directory = tempfile::tempdir()?;
    let wrong = directory.path().join("wrong");
    fs::write(&wrong, "wrong")?;
    let (status, document) = report(&volume.file, &["--password-file", wrong.to_str().unwrap()]);
    assert_eq!(status, 4);
    assert_eq!(document["unlocked"], false);
    assert_eq!(document["mode"], "password");
    Ok(())
}

#[trial("reports volumes without metadata")]
fn no_metadata() -> Result<(), Failed> {
    let mut copy = VolumeCopy::of(&testdata::volume("xts-128"));
    for offset in copy.offsets() {
        copy.bytes[offset..offset + 0x100].fill(0);
    }
    let directory = tempfile::tempdir()?;
    let (status, document) = report(&copy.save(directory.path()), &[]);
    assert_eq!(status, 6);
    assert_eq!(document["mode"], "unknown");
    finding(&document, "metadata-unreadable");
    Ok(())
}

#[trial("names a damaged metadata copy")]
fn damaged_copy() -> Result<(), Failed> {
    let mut copy = VolumeCopy::of(&testdata::volume("xts-128"));
    let second = copy.offsets()[1];
    copy.bytes[second + 0x60] ^= 1;
    let directory = tempfile::tempdir()?;
    let (status, document) = report(&copy.save(directory.path()), &[]);
    assert_eq!(status, 0);
    let message = finding(&document, "copies-damaged")["message"]
        .as_str()
        .unwrap();
    assert!(message.ends_with(": 2."), "{message}");
    assert_eq!(document["consistency"]["agree"], true);
    // Intact, but different.
    copy.repair(second);
    let (_, document) = report(&copy.save(directory.path()), &[]);
    finding(&document, "copies-differ");
    Ok(())
}

#[trial("reports suspension with the reboots left")]
fn suspended() -> Result<(), Failed> {
    let volume = testdata::volume("xts-128");
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("volume.img");
    fs::copy(&volume.file, &path)?;
    let output = fve()
        .args(["protector", "suspend", "--reboots", "2"])
        .arg(&path)
        .arg("--startup-key")
        .arg(volume.bek())
        .env("XDG_STATE_HOME", directory.path())
        .output()?;
    assert!(output.status.success());
    let (status, document) = report(&path, &[]);
    assert_eq!(status, 0);
    assert_eq!(document["mode"], "suspended");
    assert_eq!(document["suspension"]["reboots_left"], 2);
    assert!(moment(&document, "suspended").is_some());
    // Windows asks for nothing now, so these findings explain no recovery.
    assert!(!findings(&document).contains(&"password-required"));
    Ok(())
}

#[trial("text has the content of the JSON, and no control characters")]
fn text() -> Result<(), Failed> {
    let mut copy = VolumeCopy::of(&testdata::volume("xts-128"));
    let directory = tempfile::tempdir()?;
    // Put an escape sequence into the description of the volume.
    let place = copy
        .datums()
        .into_iter()
        .find(|at| copy.u16(copy.offsets()[0] + at + 2) == 7)
        .expect("description");
    copy.edit_all(place + 8, &[0x1B, 0, b'[', 0, b'2', 0, b'J', 0]);
    let path = copy.save(directory.path());
    let output = fve()
        .arg("report")
        .arg(&path)
        .stdin(Stdio::null())
        .output()?;
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout)?;
    assert!(!text.contains('\u{1B}'), "{text}");
    let (_, document) = report(&path, &[]);
    for finding in document["findings"].as_array().unwrap() {
        assert!(
            text.contains(finding["message"].as_str().unwrap()),
            "{text}"
        );
    }
    for moment in document["timeline"].as_array().unwrap() {
        assert!(text.contains(moment["message"].as_str().unwrap()), "{text}");
    }
    assert!(text.contains("Key Protectors") && text.contains("Event Logs"));
    Ok(())
}

// Event logs.

fn events() -> Vec<Event<'static>> {
    let event = |provider, id, seconds: u64| Event {
        provider,
        id,
        time: MORNING + seconds * SECOND,
        volume: "C:",
    };
    vec![
        event("Microsoft-Windows-Kernel-General", 12, 0),
        event(DRIVER, 24601, 1),
        event(DRIVER, 24606, 2),
        event(DRIVER, 24605, 3),
        event(DRIVER, 24999, 4),
        event("Service Control Manager", 24601, 5),
        event(MANAGEMENT, 775, 6),
        event("Microsoft-Windows-Kernel-General", 13, 7),
        event("Microsoft-Windows-Kernel-General", 12, 8),
        event(DRIVER, 24601, 9),
    ]
}

/// An NTFS image with that file as its system log.
fn file_system(directory: &Path, log: &[u8]) -> PathBuf {
    let image = directory.join("windows.img");
    ntfs::format(&image, 512, 24 << 20);
    let mounted = Mounted::ntfs_for_writing(&image);
    let logs = mounted.path().join("Windows/System32/winevt/Logs");
    fs::create_dir_all(&logs).unwrap();
    // Other files, so that the directory needs an index; and a name in another case than the one
    // that is searched for.
    for number in 0..60 {
        fs::write(logs.join(format!("Neighbour {number}.evtx")), b"").unwrap();
    }
    fs::write(logs.join("SYSTEM.EVTX"), log).unwrap();
    drop(mounted);
    image
}

#[trial("reads event logs inside a volume", needs(ntfs_tools))]
fn logs_inside() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let image = file_system(directory.path(), &evtx::log(&events()));
    let volume = directory.path().join("volume.img");
    let password = directory.path().join("password");
    fs::write(&password, "correct horse")?;
    let output = fve()
        .args(["create"])
        .arg(&volume)
        .arg("--from")
        .arg(&image)
        .arg("--new-password-file")
        .arg(&password)
        .output()?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let before = common::sha256(File::open(&volume)?)?;
    // Without a key, no log is read.
    let (_, locked) = report(&volume, &[]);
    assert!(locked["event_logs"].is_null());

    let (status, document) = report(&volume, &["--password-file", password.to_str().unwrap()]);
    assert_eq!(status, 0);
    assert_eq!(common::sha256(File::open(&volume)?)?, before);
    let logs = &document["event_logs"];
    assert_eq!(logs["logs"][0]["records"], 10);
    assert_eq!(logs["logs"][0]["unreadable"], 0);
    assert!(logs["logs"][0]["fault"].is_null(), "{logs}");
    assert_eq!(logs["logs"][1]["fault"], "there is no such file");
    let events = logs["events"].as_array().unwrap();
    let ids: Vec<_> = events
        .iter()
        .map(|event| event["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, [24601, 24606, 24605, 24999, 775, 24601]);
    assert_eq!(events[0]["time"], "2026-01-02T03:04:06Z");
    assert_eq!(events[0]["meaning"], "pcr-mismatch");
    assert!(events[3]["meaning"].is_null());
    assert!(
        events[0]["values"].to_string().contains("C:"),
        "{}",
        events[0]
    );
    assert_eq!(logs["last_start"], "2026-01-02T03:04:13Z");
    assert_eq!(logs["last_end"], "2026-01-02T03:04:12Z");

    let logged: Vec<_> = document["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["finding"] == "logged")
        .map(|finding| {
            let word = finding["event"].as_str().unwrap();
            (word, finding["count"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(
        logged,
        [
            ("pcr-mismatch", 2),
            ("pin-wrong", 1),
            ("recovery-password-wrong", 1)
        ]
    );
    assert_eq!(
        moment(&document, "pcr-mismatch"),
        Some("2026-01-02T03:04:06Z")
    );
    Ok(())
}

/// Reading back what we wrote proves little, so python-evtx reads it, too.
#[trial(
    "python-evtx reads the same log",
    needs(event_logs, without_python_evtx)
)]
fn logs_by_python() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("System.evtx");
    fs::write(&path, evtx::log(&events()))?;
    let program = format!(
        "import Evtx.Evtx as e, re\nwith e.Evtx({:?}) as log:\n  assert log.get_file_header().verify()\n  for c in log.chunks():\n    assert c.verify()\n  for r in log.records():\n    x = r.xml()\n    print(re.search('Name=\"([^\"]*)\"', x).group(1) + '|' + re.search('EventID[^>]*>([0-9]+)<', x).group(1) + '|' + str(r.timestamp())[:19] + '|' + re.search('Name=\"Volume\">([^<]*)<', x).group(1))",
        path.to_str().unwrap()
    );
    let output = python(&program)?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let lines: Vec<_> = text.lines().collect();
    let expected: Vec<_> = events()
        .iter()
        .map(|event| {
            let second = 5 + (event.time - MORNING) / SECOND;
            format!(
                "{}|{}|2026-01-02 03:04:{second:02}|C:",
                event.provider, event.id
            )
        })
        .collect();
    assert_eq!(lines, expected);
    Ok(())
}

#[cfg(feature = "event-logs")]
#[trial("survives hostile logs and file systems", needs(ntfs_tools))]
fn hostile_logs() -> Result<(), Failed> {
    use std::sync::Arc;

    use common::writing::Random;
    use fve::analysis::EventLogs;
    use fve::volume::Unlocked;

    let directory = tempfile::tempdir()?;
    let log = evtx::log(&events());
    let image = fs::read(file_system(directory.path(), &log))?;
    let read =
        |bytes: Vec<u8>| EventLogs::read(&Arc::new(Unlocked::plain(Arc::new(bytes)).unwrap()));
    assert_eq!(read(image.clone()).events.len(), 6);
    // Offsets of the log, and of the file records and index records.
    let places: Vec<usize> = (0..image.len() - 8)
        .step_by(512)
        .filter(|at| {
            let head = &image[*at..at + 8];
            head == b"ElfFile\0"
                || head == b"ElfChnk\0"
                || [&b"FILE"[..], b"INDX"].contains(&&head[..4])
        })
        .collect();
    assert!(places.len() > 20, "{}", places.len());
    let mut dice = Random::new(0x4556_5458);
    for _ in 0..100 {
        let mut bytes = image.clone();
        for _ in 0..1 + dice.below(4) {
            let place = places[dice.below(places.len() as u64) as usize];
            let at = place + dice.below(1024) as usize;
            bytes[at] = dice.next() as u8;
        }
        // Any answer is fine, as long as there is one.
        let _ = read(bytes);
    }
    let log_at = image
        .windows(8)
        .position(|head| head == b"ElfChnk\0")
        .unwrap();
    for _ in 0..100 {
        let mut bytes = image.clone();
        let at = log_at + dice.below(3000) as usize;
        bytes[at] ^= 1 << dice.below(8);
        let _ = read(bytes);
    }
    Ok(())
}

#[cfg(not(feature = "event-logs"))]
#[trial("survives hostile logs and file systems", needs(ntfs_tools))]
fn hostile_logs() -> Result<(), Failed> {
    Ok(())
}

fn main() -> ExitCode {
    common::harness::main()
}
