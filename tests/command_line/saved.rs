//! `fve info` of files that are no volume: startup keys, key packages, backups and pieces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::documented::assert_documented;
use crate::common::output::{assert_status, json, text};
use crate::common::testdata::{self, Kind};
use crate::common::trials::{self, Missing, trial};
use crate::common::{corpus, fve};
use crate::shell::{place, run};

/// The document of a file.
fn info(path: &Path) -> Value {
    let output = fve().args(["info", "--json"]).arg(path).output();
    let output = output.expect("fve");
    assert_status(&output, 0);
    let document = json(&output);
    assert_documented("info", &document);
    document
}

/// The text about a file.
fn shown(path: &Path) -> String {
    let output = fve().arg("info").arg(path).output().expect("fve");
    assert_status(&output, 0);
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// The hex digits of the key in a `.BEK` file: its last 32 bytes.
fn key_of(path: &Path) -> String {
    let bytes = fs::read(path).expect("key");
    let key = &bytes[bytes.len() - 32..];
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the key is in an output, in one of the forms in which programs write bytes.
fn has_key(output: &str, key: &str) -> bool {
    let plain: String = output.chars().filter(char::is_ascii_hexdigit).collect();
    plain.to_lowercase().contains(&key[..16])
}

#[trial("a startup key names its key protector and not its key")]
fn startup_keys() {
    for volume in testdata::volumes() {
        let credentials = volume.credentials.iter();
        for credential in credentials.filter(|one| one.kind == Kind::StartupKey) {
            let path = PathBuf::from(&credential.value);
            let document = info(&path);
            assert_eq!(document["file"]["kind"], "startup-key");
            let found = &document["startup_key"];
            let id = found["protector"].as_str().expect("identifier");
            assert!(id.eq_ignore_ascii_case(&credential.protector), "{id}");
            assert_eq!(found["key_bits"], 256);
            assert_eq!(found["named_as"], Value::Null);
            let text = shown(&path);
            assert!(text.contains(&format!("{{{id}}}")), "{text}");
            let key = key_of(&path);
            assert!(!has_key(&text, &key) && !has_key(&document.to_string(), &key));
        }
    }
}

/// What dislocker-bek says after this label, each time.
fn by_dislocker(path: &Path, label: &str) -> Vec<String> {
    let output = Command::new("dislocker-bek").arg("-f").arg(path).output();
    let output = text(&output.expect("dislocker-bek").stdout);
    let values = output.lines().filter_map(|line| line.split_once(label));
    let values = values.map(|(_, value)| value.trim().trim_matches('\'').to_owned());
    values.collect()
}

fn dislocker_and_corpus() -> Option<Missing> {
    trials::programs(&["dislocker-bek"]).or_else(trials::corpus)
}

#[trial(
    "startup keys of Windows and of fve, compared with dislocker-bek",
    needs(dislocker_and_corpus)
)]
fn compared() {
    let place = place();
    let made = run(
        "fve create new.img --size 1M --startup-key-to directory --json",
        &place,
    );
    assert_status(&made, 0);
    let made = fs::read_dir(place.join("directory")).expect("directory");
    let mut paths: Vec<_> = made.map(|entry| entry.expect("entry").path()).collect();
    assert_eq!(paths.len(), 1);
    paths.push(testdata::volume("xts-128").bek());
    for volume in corpus::volumes().expect("corpus") {
        let credentials = volume.credentials.iter();
        let keys = credentials.filter(|one| one.kind == "startup-key-file");
        paths.extend(keys.map(|key| corpus::unpacked(&key.value)));
    }
    paths.dedup();
    assert!(paths.len() > 2, "{paths:?}");
    for path in paths {
        let found = info(&path)["startup_key"].clone();
        let id = by_dislocker(&path, "Recovery Key GUID:");
        assert_eq!(
            found["protector"],
            id[0].to_uppercase(),
            "{}",
            path.display()
        );
        // The time of the file, then that of the key: 1795242814 sec, being Sat Nov 21 06:33:34 2026
        let times = by_dislocker(&path, "Epoch Timestamp:");
        for (time, ours) in times.iter().zip(["written", "created"]) {
            let clock = time.split_whitespace().rev().nth(1).expect("time");
            let ours = found[ours].as_str().expect("time");
            assert!(ours.contains(&format!("T{clock}")), "{ours} {time}");
        }
        assert!(by_dislocker(&path, "Algo:")[0].contains("EXTERN KEY"));
    }
}

#[trial("a startup key with the name of another is noticed")]
fn renamed() {
    let place = place();
    let other = testdata::volume("xts-256").bek();
    let path = place.join(other.file_name().expect("name"));
    fs::copy(place.join("key.BEK"), &path).expect("copy");
    let document = info(&path);
    let named = document["startup_key"]["named_as"].as_str().expect("name");
    assert_eq!(
        format!("{named}.BEK"),
        other.file_name().expect("name").to_str().expect("UTF-8")
    );
    assert!(shown(&path).contains("the name of another key"));
    // The content says what it is, whatever the name.
    let path = place.join("without-extension");
    fs::copy(place.join("key.BEK"), &path).expect("copy");
    assert_eq!(info(&path)["file"]["kind"], "startup-key");
}

#[trial("a damaged startup key says what is wrong")]
fn damaged() {
    let place = place();
    let bytes = fs::read(place.join("key.BEK")).expect("key");
    let mut other_size = bytes.clone();
    other_size[0] = 0xFF;
    for (name, content) in [
        ("cut-off.BEK", &bytes[..100]),
        ("cut-off", &bytes[..100]),
        ("other-size.bek", &other_size),
        ("text.bek", b"not a key"),
        ("empty.BEK", b""),
    ] {
        fs::write(place.join(name), content).expect(name);
        let output = run(&format!("fve info {name}"), &place);
        assert_status(&output, 4);
        let said = text(&output.stderr);
        assert!(
            said.contains("startup key: the file is damaged: "),
            "{said}"
        );
        let output = run(&format!("fve info --json {name}"), &place);
        assert_status(&output, 4);
        assert_eq!(json(&output)["error"]["reason"], "bad-credential");
    }
    // Anything else is not a BitLocker volume, as before.
    for name in ["password", "digits", "zeros.img", "exists"] {
        assert_status(&run(&format!("fve info {name}"), &place), 3);
    }
}

#[trial("a key package names the volume and its key protectors")]
fn key_packages() {
    let place = place();
    let exported = run(
        "fve export key-package --json volume.img package --startup-key key.BEK",
        &place,
    );
    assert_status(&exported, 0);
    let exported = json(&exported);
    let bytes = fs::read(place.join("package")).expect("package");
    // As tools of Active Directory print them.
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(place.join("package.txt"), hex).expect("package");
    for name in ["package", "package.txt"] {
        let document = info(&place.join(name));
        assert_eq!(document["file"]["kind"], "key-package");
        let found = &document["key_package"];
        assert_eq!(found["volume"], exported["volume"]);
        assert_eq!(found["encryption_method_word"], "aes-xts-128");
        let ids = |list: &Value| -> Vec<Value> {
            let list = list.as_array().expect("list").iter();
            list.map(|one| one["id"].clone()).collect()
        };
        assert_eq!(ids(&found["protectors"]), ids(&exported["protectors"]));
        let text = shown(&place.join(name));
        assert!(text.contains("Numerical Password"), "{text}");
    }
    fs::write(place.join("cut-off"), &bytes[..200]).expect("package");
    let output = run("fve info cut-off", &place);
    assert_status(&output, 4);
    assert!(text(&output.stderr).contains("key package: the file is damaged"));
}

#[trial("a backup of the metadata names the volume and its key protectors")]
fn backups() {
    let place = place();
    assert_status(&run("fve metadata backup volume.img backup", &place), 0);
    let document = info(&place.join("backup"));
    assert_eq!(document["file"]["kind"], "metadata-backup");
    let found = &document["metadata_backup"];
    let volume = info(&place.join("volume.img"));
    assert_eq!(found["volume"], volume["volume"]["id"]);
    assert_eq!(found["size"], volume["volume"]["size"]);
    assert_eq!(found["protectors"], volume["protectors"]);
    let copies = volume["metadata"]["copies"]
        .as_array()
        .expect("list")
        .iter();
    let offsets: Vec<_> = copies.map(|copy| copy["offset"].clone()).collect();
    assert_eq!(found["metadata_offsets"], Value::Array(offsets));
    let text_of = shown(&place.join("backup"));
    assert!(text_of.contains("Backup Taken:"), "{text_of}");
    let mut bytes = fs::read(place.join("backup")).expect("backup");
    bytes[1000] ^= 1;
    fs::write(place.join("backup"), bytes).expect("backup");
    let output = run("fve info backup", &place);
    assert_status(&output, 6);
    let said = text(&output.stderr);
    assert!(said.contains("its SHA-256 does not match"), "{said}");
}

#[trial("a piece with metadata says what it is for")]
fn pieces() {
    let place = place();
    let volume = info(&place.join("volume.img"));
    assert_eq!(volume["source"]["piece"], false);
    let copy = volume["metadata"]["copies"][0]["offset"]
        .as_u64()
        .expect("offset") as usize;
    let bytes = fs::read(place.join("volume.img")).expect("volume");
    fs::write(place.join("piece"), &bytes[copy..copy + (64 << 10)]).expect("piece");
    let document = json(&run("fve info --json piece", &place));
    assert_documented("info", &document);
    assert_eq!(document["source"]["piece"], true);
    assert_eq!(document["volume"]["id"], volume["volume"]["id"]);
    assert_eq!(document["protectors"], volume["protectors"]);
    let output = run("fve info piece", &place);
    assert_status(&output, 0);
    let shown = text(&output.stdout);
    assert!(shown.contains("only a piece of the volume"), "{shown}");
    assert!(shown.contains("fve unlock"), "{shown}");
}
