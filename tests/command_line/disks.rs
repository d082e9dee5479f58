//! Disks with several volumes: all are described, and the one that a credential belongs to is named.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::documented::assert_documented;
use crate::common::output::{assert_status, json, text};
use crate::common::testdata::{self, Kind};
use crate::common::trials::trial;
use crate::shell::{place, run};

const NAMES: [&str; 3] = ["xts-128", "xts-256", "two-recovery-passwords"];

#[trial("a disk with several volumes: info describes all of them")]
fn all_are_described() {
    let place = place();
    let output = run("fve info --json different-volumes.img", &place);
    assert_status(&output, 0);
    let answer = json(&output);
    assert_documented("info", &answer);
    let volumes = answer["volumes"].as_array().expect("list");
    assert_eq!(volumes.len(), NAMES.len());
    for (number, (name, volume)) in (1..).zip(NAMES.into_iter().zip(volumes)) {
        let sample = testdata::volume(name);
        assert_eq!(volume["partition"], number);
        assert_eq!(volume["size"], sample.size);
        assert_eq!(volume["error"], Value::Null);
        assert!(same(&volume["volume"]["id"], &sample.volume_id));
        // The rest is what the command says of this volume alone.
        let line = format!("fve info --json different-volumes.img --partition {number}");
        let mut alone = json(&run(&line, &place));
        for key in ["partition", "offset", "size", "error"] {
            alone[key] = volume[key].clone();
        }
        assert_eq!(volume, &alone);
        assert_eq!(volume["offset"], volume["source"]["offset"]);
    }
    let output = run("fve info different-volumes.img", &place);
    assert_status(&output, 0);
    let shown = text(&output.stdout);
    for (number, name) in (1..).zip(NAMES) {
        let id = testdata::volume(name).volume_id.to_uppercase();
        let heading = format!("Partition {number}\n\nVolume {{{id}}}");
        assert!(shown.contains(&heading), "{shown}");
    }
}

#[trial("a disk with several volumes: other commands list them in their error")]
fn others_list_them() {
    let place = place();
    let described = json(&run("fve info --json different-volumes.img", &place));
    for line in [
        "fve unlock --json different-volumes.img",
        "fve report --json different-volumes.img",
        "fve protector list --json different-volumes.img",
        "fve ls --json different-volumes.img",
        "fve decrypt --json different-volumes.img out",
    ] {
        let output = run(line, &place);
        assert_status(&output, 2);
        let answer = json(&output);
        assert_eq!(answer["error"]["reason"], "several-volumes", "{line}");
        let candidates = answer["candidates"].as_array().expect("list");
        assert_eq!(candidates.len(), NAMES.len());
        let volumes = described["volumes"].as_array().expect("list");
        for (candidate, volume) in candidates.iter().zip(volumes) {
            for key in ["partition", "offset", "size"] {
                assert_eq!(candidate[key], volume[key], "{line}");
            }
            assert_eq!(candidate["fault"], Value::Null);
            assert_eq!(candidate["volume"], volume["volume"]["id"]);
            let ids = |list: &Value| -> Vec<Value> {
                let list = list.as_array().expect("list").iter();
                list.map(|one| one["id"].clone()).collect()
            };
            assert_eq!(ids(&candidate["protectors"]), ids(&volume["protectors"]));
        }
    }
    let message = text(&run("fve unlock different-volumes.img", &place).stderr);
    for name in NAMES {
        let id = testdata::volume(name).volume_id.to_uppercase();
        assert!(message.contains(&id), "{message}");
    }
    assert!(message.contains("Numerical Password 5CDDD531"), "{message}");
}

#[trial("a disk with several volumes: info says what is wrong with one of them")]
fn one_is_damaged() {
    let place = place();
    let disk = place.join("different-volumes.img");
    let mut bytes = fs::read(&disk).expect("disk");
    let described = json(&run("fve info --json different-volumes.img", &place));
    let second = &described["volumes"][1];
    let start = second["offset"].as_u64().expect("offset");
    for copy in second["metadata"]["copies"].as_array().expect("list") {
        let at = start + copy["offset"].as_u64().expect("offset");
        bytes[at as usize..][..64 << 10].fill(0);
    }
    fs::write(&disk, bytes).expect("disk");
    let alone = run("fve info different-volumes.img --partition 2", &place);
    assert_status(&alone, 6);
    let output = run("fve info --json different-volumes.img", &place);
    assert_status(&output, 6);
    let answer = json(&output);
    assert_documented("info", &answer);
    let volumes = answer["volumes"].as_array().expect("list");
    assert_eq!(volumes.len(), NAMES.len());
    assert_eq!(volumes[1]["error"]["status"], 6);
    assert_eq!(volumes[1]["error"]["reason"], "damaged-metadata");
    for sound in [0, 2] {
        assert_eq!(volumes[sound], described["volumes"][sound]);
    }
    let output = run("fve info different-volumes.img", &place);
    assert_status(&output, 6);
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    let third = testdata::volume(NAMES[2]).volume_id.to_uppercase();
    assert!(shown.contains(&third), "{shown}");
    assert!(said.contains("error: partition 2: the metadata"), "{said}");
}

#[trial("a disk with several volumes: info describes one of an unknown kind as far as it can")]
fn one_is_unknown() {
    let place = place();
    let disk = place.join("different-volumes.img");
    let mut bytes = fs::read(&disk).expect("disk");
    let described = json(&run("fve info --json different-volumes.img", &place));
    let start = described["volumes"][0]["offset"].as_u64().expect("offset") as usize;
    // A BitLocker boot record without the GUID that says which kind it is (docs/format.md §1).
    bytes[start + 160..start + 176].fill(0x11);
    fs::write(&disk, bytes).expect("disk");
    let output = run("fve info --json different-volumes.img", &place);
    assert_status(&output, 3);
    let answer = json(&output);
    assert_documented("info", &answer);
    let volumes = answer["volumes"].as_array().expect("list");
    assert_eq!(volumes[0]["error"]["reason"], "unsupported");
    assert_eq!(volumes[0]["volume"], Value::Null);
    assert_eq!(volumes[1], described["volumes"][1]);
    let output = run("fve info different-volumes.img", &place);
    assert!(text(&output.stdout).contains("cannot be described"));
}

/// Runs the command, and again with the partition that its help names.
fn advised(line: &str, partition: u32, place: &Path) {
    let output = run(line, place);
    assert_status(&output, 2);
    let message = text(&output.stderr);
    let option = format!("--partition {partition}");
    assert!(message.contains(&format!("give {option}")), "{message}");
    assert_status(&run(&format!("{line} {option}"), place), 0);
}

#[trial("a disk with several volumes: the error names the one that a credential belongs to")]
fn the_fitting_one_is_named() {
    let place = place();
    let other = testdata::volume("xts-256");
    let credential = other.credential(Kind::RecoveryPassword);
    let id = credential.protector.to_uppercase();
    let saved = format!(
        "Identifier:\n\n\t{id}\n\nRecovery Key:\n\n\t{}\n",
        credential.value
    );
    fs::write(place.join("saved"), saved).expect("saved");
    fs::write(place.join("bare"), &credential.value).expect("bare");
    let disk = "fve unlock different-volumes.img";
    advised(&format!("{disk} --recovery-password-file saved"), 2, &place);
    advised(&format!("{disk} --startup-key other.BEK"), 2, &place);
    advised(&format!("{disk} --startup-key key.BEK"), 1, &place);
    advised(
        &format!(
            "{disk} --protector {} --recovery-password-file bare",
            &id[..8]
        ),
        2,
        &place,
    );
    advised(
        "fve decrypt different-volumes.img out --recovery-password-file saved",
        2,
        &place,
    );
    // Nothing tells to which of them a password or bare digits belong.
    for given in ["--password-file password", "--recovery-password-file bare"] {
        let output = run(&format!("{disk} {given}"), &place);
        assert_status(&output, 2);
        let message = text(&output.stderr);
        assert!(message.contains("choose one with --partition"), "{message}");
    }
}

fn same(shown: &Value, id: &str) -> bool {
    shown
        .as_str()
        .is_some_and(|shown| shown.eq_ignore_ascii_case(id))
}
