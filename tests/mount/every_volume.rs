//! `--all`: every volume of a disk, each with the credential that fits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::documented::assert_documented;
use crate::common::output::{assert_status, json, run, text};
use crate::common::testdata::{self, Entry};
use crate::common::trials::{fuse, trial};
use crate::common::{fve, sha256};

/// Three volumes; the last has a credential that is not given.
const VOLUMES: [&str; 3] = ["ntfs-xts-128", "cbc-128", "xts-256"];

struct Disk {
    directory: tempfile::TempDir,
    volumes: Vec<Entry>,
}

impl Disk {
    /// A disk with the volumes in its primary partitions (MBR).
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let volumes: Vec<_> = VOLUMES.map(testdata::volume).into();
        let mut bytes = vec![0; 1 << 20];
        for (number, volume) in volumes.iter().enumerate() {
            let content = fs::read(&volume.file).unwrap();
            let entry = 446 + 16 * number;
            let sector = |bytes: usize| u32::try_from(bytes / 512).unwrap().to_le_bytes();
            let start = sector(bytes.len());
            bytes[entry + 4] = 7;
            bytes[entry + 8..entry + 12].copy_from_slice(&start);
            bytes[entry + 12..entry + 16].copy_from_slice(&sector(content.len()));
            bytes.extend(content);
        }
        bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
        fs::write(directory.path().join("disk.img"), bytes).unwrap();
        // The startup keys of two volumes.
        let keys = directory.path().join("keys");
        fs::create_dir(&keys).unwrap();
        for volume in &volumes[..2] {
            let bek = volume.bek();
            fs::copy(&bek, keys.join(bek.file_name().unwrap())).unwrap();
        }
        Self { directory, volumes }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command with `--all`, the disk, `target` if it is not empty, and the keys.
    fn all(&self, command: &str, target: &str) -> Command {
        let mut all = fve();
        all.args([command, "--all"]).arg(self.path("disk.img"));
        if !target.is_empty() {
            all.arg(self.path(target));
        }
        all.arg("--startup-key").arg(self.path("keys"));
        all.arg("--no-prompt");
        all
    }
}

fn statuses(document: &Value) -> Vec<(Option<u64>, i64)> {
    let volumes = document["volumes"].as_array().unwrap().iter();
    volumes
        .map(|one| (one["partition"].as_u64(), one["status"].as_i64().unwrap()))
        .collect()
}

#[trial]
fn unlock_tries_the_credentials_on_each() {
    let disk = Disk::new();
    let output = disk.all("unlock", "").output().unwrap();
    assert_status(&output, 4);
    let said = text(&output.stderr);
    assert!(
        said.contains("done for 2 of 3 volumes; failed for partition 3"),
        "{said}"
    );
    for volume in &disk.volumes[..2] {
        let id = &volume.credential(testdata::Kind::StartupKey).protector;
        assert!(text(&output.stdout).contains(&id.to_uppercase()));
    }
    let output = disk.all("unlock", "").arg("--json").output().unwrap();
    let document = json(&output);
    assert_documented("unlock", &document);
    assert_eq!(
        statuses(&document),
        [(Some(1), 0), (Some(2), 0), (Some(3), 4)]
    );
    assert_eq!(document["volumes"][2]["result"]["error"]["status"], 4);
}

#[trial]
fn decrypt_writes_a_file_for_each() {
    let disk = Disk::new();
    let output = disk.all("decrypt", "out").arg("--json").output().unwrap();
    assert_status(&output, 4);
    let document = json(&output);
    assert_documented("decrypt", &document);
    for (number, volume) in disk.volumes[..2].iter().enumerate() {
        let file = disk.path(&format!("out/partition-{}.img", number + 1));
        let found = sha256(fs::File::open(file).unwrap()).unwrap();
        assert_eq!(found, volume.plaintext_sha256);
    }
    assert_eq!(fs::read_dir(disk.path("out")).unwrap().count(), 2);
}

#[trial(needs(fuse))]
fn mount_shows_each_in_a_directory_and_unmount_ends_all() {
    let disk = Disk::new();
    let output = disk.all("mount", "shown").arg("--volume").output().unwrap();
    assert_status(&output, 4);
    let shown = |number| disk.path(&format!("shown/partition-{number}"));
    for (number, volume) in [1, 2].into_iter().zip(&disk.volumes) {
        let found = sha256(fs::File::open(shown(number).join("volume")).unwrap()).unwrap();
        assert_eq!(found, volume.plaintext_sha256);
    }
    assert!(!shown(3).exists());
    let ended = fve()
        .args(["unmount", "--json"])
        .arg(disk.path("shown"))
        .output();
    let ended = ended.unwrap();
    assert_status(&ended, 0);
    assert_documented("unmount", &json(&ended));
    assert_eq!(fs::read_dir(disk.path("shown")).unwrap().count(), 0);
}

/// The files, on a volume that is not in a partition.
#[trial(needs(fuse))]
fn a_volume_that_fills_its_source_is_one_of_one() {
    let directory = tempfile::tempdir().unwrap();
    let volume = testdata::volume("ntfs-xts-128");
    let shown = directory.path().join("shown");
    let mut mount = fve();
    mount
        .args(["mount", "--all", "--json"])
        .arg(&volume.file)
        .arg(&shown);
    let output = mount
        .arg("--startup-key")
        .arg(volume.bek())
        .output()
        .unwrap();
    assert_status(&output, 0);
    let document = json(&output);
    assert_documented("mount", &document);
    assert_eq!(statuses(&document), [(None, 0)]);
    assert!(shown.join("volume/hello.txt").exists());
    run(fve().arg("unmount").arg(&shown));
    assert!(!shown.join("volume").exists());
}

#[trial]
fn what_cannot_be_done_for_all_is_refused_at_once() {
    let disk = Disk::new();
    let refused = |arguments: &[&str]| {
        let output = fve().args(arguments).arg(disk.path("disk.img")).output();
        let output = output.unwrap();
        assert_status(&output, 2);
        text(&output.stderr)
    };
    let said = refused(&["unlock", "--all", "--password-file", "-"]);
    assert!(said.contains("must be in files"), "{said}");
    refused(&["unlock", "--all", "--partition", "1"]);
    let said = refused(&["unlock"]);
    assert!(said.contains("take all with --all"), "{said}");
    let mut decrypt = fve();
    decrypt
        .args(["decrypt", "--all"])
        .arg(disk.path("disk.img"));
    assert_status(&decrypt.arg("-").output().unwrap(), 2);
    assert!(!Path::new("-").exists());
    let said = refused(&["decrypt", "--all", disk.path("disk.img").to_str().unwrap()]);
    assert!(said.contains("is no directory"), "{said}");
    let said = refused(&["mount", "--all", disk.path("keys").to_str().unwrap()]);
    assert!(said.contains("SOURCE and DIR are swapped"), "{said}");
}
