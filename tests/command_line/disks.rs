//! Disks with several volumes: all are described, and the one that a credential belongs to is named.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::output::{assert_status, json, text};
use crate::common::testdata::{self, Kind};
use crate::common::trials::trial;
use crate::shell::{place, run};

const NAMES: [&str; 3] = ["xts-128", "xts-256", "two-recovery-passwords"];

#[trial("a disk with several volumes: info describes all of them")]
fn all_are_described() {
    let place = place();
    let output = run("fve info --json different-volumes.img", &place);
    assert_status(&output, 2);
    let answer = json(&output);
    assert_eq!(answer["error"]["status"], 2);
    let candidates = answer["candidates"].as_array().expect("list");
    let volumes = answer["volumes"].as_array().expect("list");
    assert_eq!((candidates.len(), volumes.len()), (3, 3));
    for (number, name) in NAMES.into_iter().enumerate() {
        let sample = testdata::volume(name);
        let (candidate, volume) = (&candidates[number], &volumes[number]);
        assert_eq!(candidate["partition"], number + 1);
        assert_eq!(candidate["size"], sample.size);
        assert_eq!(candidate["fault"], Value::Null);
        assert!(same(&candidate["volume"], &sample.volume_id));
        assert_eq!(candidate["offset"], volume["source"]["offset"]);
        assert_eq!(candidate["volume"], volume["volume"]["id"]);
        let ids = |list: &Value| -> Vec<Value> {
            let list = list.as_array().expect("list").iter();
            list.map(|one| one["id"].clone()).collect()
        };
        assert_eq!(ids(&candidate["protectors"]), ids(&volume["protectors"]));
    }
    // The document of any other command has the list, too.
    let output = run("fve unlock --json different-volumes.img", &place);
    assert_status(&output, 2);
    assert_eq!(json(&output)["candidates"], answer["candidates"]);

    let output = run("fve info different-volumes.img", &place);
    assert_status(&output, 2);
    let (shown, message) = (text(&output.stdout), text(&output.stderr));
    for (number, name) in NAMES.into_iter().enumerate() {
        let id = testdata::volume(name).volume_id.to_uppercase();
        let heading = format!("Partition {}\n\nVolume {{{id}}}", number + 1);
        assert!(shown.contains(&heading), "{shown}");
        assert!(message.contains(&id), "{message}");
    }
    assert!(message.contains("Numerical Password 5CDDD531"), "{message}");
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
