//! `fve list`: the volumes on the block devices of this machine. Other tests may have volumes on loop
//! devices at the same time: only those of the test itself are looked at.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

use common::documented::assert_documented;
use common::harness::directory;
use common::loop_device::LoopDevice;
use common::mount::Mounted;
use common::output::{assert_status, json, run, text};
use common::testdata::{self, Entry, Kind};
use common::trials::{self, Missing, trial};
use common::{corpus, fve};

fn main() -> ExitCode {
    common::let_children_receive_hup();
    common::harness::main()
}

fn list() -> Value {
    let output = fve().args(["list", "--json"]).output().expect("fve");
    assert_status(&output, 0);
    let document = json(&output);
    assert_documented("list", &document);
    document
}

/// The entries of a device.
fn of(document: &Value, device: &Path) -> Vec<Value> {
    let volumes = document["volumes"].as_array().expect("list").iter();
    volumes
        .filter(|volume| volume["device"].as_str() == device.to_str())
        .cloned()
        .collect()
}

fn same(shown: &Value, id: &str) -> bool {
    shown
        .as_str()
        .is_some_and(|shown| shown.eq_ignore_ascii_case(id))
}

fn attach(file: &Path) -> LoopDevice {
    LoopDevice::read_only(file).expect("losetup")
}

/// A device with a volume of testdata in a file of its own: loop devices of one file share their bytes,
/// and so their mounts.
fn attach_copy(name: &str) -> LoopDevice {
    let copy = directory().join("volume.img");
    fs::copy(testdata::volume(name).file, &copy).expect("copy");
    attach(&copy)
}

/// Compares an entry with what is known of the volume.
#[track_caller]
fn check(found: &Value, expected: &Entry) {
    let name = &expected.name;
    assert!(same(&found["volume"], &expected.volume_id), "{name}");
    let method = found["encryption_method_word"].as_str().unwrap_or("none");
    assert_eq!(method, expected.method, "{name}");
    assert_eq!(found["fault"], Value::Null, "{name}");
    let credentials = expected.credentials.iter();
    let recovery = credentials.filter(|one| one.kind == Kind::RecoveryPassword);
    for credential in recovery.filter(|one| !one.protector.is_empty()) {
        let ids = found["recovery_key_ids"].as_array().expect("list");
        let has = ids.iter().any(|id| same(id, &credential.protector));
        assert!(has, "{name}: {ids:?}");
    }
}

/// Compares an entry with what `fve info` says of the same device.
#[track_caller]
fn check_with_info(found: &Value, device: &Path) {
    let output = fve().args(["info", "--json"]).arg(device).output();
    let info = json(&output.expect("fve"));
    for (key, value) in [
        ("volume", &info["volume"]["id"]),
        ("description", &info["volume"]["description"]),
        ("encryption_method", &info["status"]["encryption_method"]),
        ("conversion", &info["status"]["conversion"]),
        ("protection", &info["status"]["protection"]),
        ("protection_on", &info["status"]["protection_on"]),
        (
            "percentage_encrypted",
            &info["status"]["percentage_encrypted"],
        ),
        ("locked", &info["status"]["locked"]),
    ] {
        assert_eq!(&found[key], value, "{key} of {}", device.display());
    }
    let protectors = info["protectors"].as_array().expect("list").iter();
    let recovery = protectors.filter(|one| one["type"] == "recovery-password");
    let ids: Vec<_> = recovery.map(|one| one["id"].clone()).collect();
    assert_eq!(found["recovery_key_ids"], Value::Array(ids));
}

#[trial(
    "every volume of testdata on a loop device of its own, all at once",
    needs(trials::loop_devices)
)]
fn all_at_once() {
    let volumes: Vec<_> = testdata::volumes()
        .into_iter()
        .map(|entry| (attach_copy(&entry.name), entry))
        .collect();
    let document = list();
    for (device, entry) in &volumes {
        let found = of(&document, device.path());
        assert_eq!(found.len(), 1, "{}", entry.name);
        check(&found[0], entry);
        check_with_info(&found[0], device.path());
        assert_eq!(found[0]["partition"], Value::Null);
        assert_eq!(found[0]["mounts"], Value::Array(Vec::new()));
    }
}

fn loops_and_corpus() -> Option<Missing> {
    trials::loop_devices().or_else(trials::corpus)
}

#[trial("volumes made by Windows", needs(loops_and_corpus))]
fn by_windows() {
    let volumes: Vec<_> = corpus::volumes()
        .expect("corpus")
        .into_iter()
        .map(|volume| (attach(&volume.path), volume.entry()))
        .collect();
    let document = list();
    for (device, entry) in &volumes {
        let found = of(&document, device.path());
        assert_eq!(found.len(), 1, "{}", entry.name);
        assert!(
            same(&found[0]["volume"], &entry.volume_id),
            "{}",
            entry.name
        );
        check_with_info(&found[0], device.path());
    }
}

fn loops_and_sfdisk() -> Option<Missing> {
    trials::loop_devices().or_else(|| trials::programs(&["sfdisk"]))
}

const NAMES: [&str; 2] = ["xts-128", "two-recovery-passwords"];

/// A disk that sfdisk partitions, with the volumes [`NAMES`] in partitions 1 and 3.
fn disk(label: &str) -> PathBuf {
    const SECTOR: u64 = 512;
    let path = directory().join("disk.img");
    let [first, third] = NAMES.map(|name| fs::read(testdata::volume(name).file).expect("volume"));
    let starts = [2048, 8192, 12288];
    let sizes = [
        first.len() as u64 / SECTOR,
        1024,
        third.len() as u64 / SECTOR,
    ];
    fs::File::create(&path)
        .and_then(|file| file.set_len(16 << 20))
        .expect("disk");
    let rows = starts.iter().zip(sizes);
    let rows: String = rows
        .map(|(start, size)| format!("start={start}, size={size}\n"))
        .collect();
    let mut sfdisk = Command::new("sfdisk")
        .arg("--quiet")
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("sfdisk");
    let script = format!("label: {label}\n{rows}");
    let mut input = sfdisk.stdin.take().expect("input");
    std::io::Write::write_all(&mut input, script.as_bytes()).expect("script");
    drop(input);
    assert!(sfdisk.wait().expect("sfdisk").success());
    let file = fs::File::options().write(true).open(&path).expect("disk");
    for (content, start) in [(&first, starts[0]), (&third, starts[2])] {
        std::os::unix::fs::FileExt::write_all_at(&file, content, start * SECTOR).expect("disk");
    }
    path
}

#[trial(
    "partitions without devices are shown by their numbers",
    needs(loops_and_sfdisk)
)]
fn by_number() {
    for label in ["gpt", "dos"] {
        let device = attach(&disk(label));
        let found = of(&list(), device.path());
        assert_eq!(found.len(), 2, "{label}: {found:?}");
        for (found, (number, name)) in found.iter().zip([(1, NAMES[0]), (3, NAMES[1])]) {
            assert_eq!(found["partition"], number, "{label}");
            check(found, &testdata::volume(name));
        }
        assert_eq!(found[0]["offset"], 2048 * 512);
        let output = fve().arg("list").output().expect("fve");
        let shown = text(&output.stdout);
        let row = format!("{} partition 3 ", device.path().display());
        assert!(shown.contains(&row), "{shown}");
    }
}

fn loops_and_addpart() -> Option<Missing> {
    loops_and_sfdisk().or_else(|| trials::programs(&["addpart", "delpart"]))
}

#[trial("partitions with devices are shown once", needs(loops_and_addpart))]
fn by_device() {
    for label in ["gpt", "dos"] {
        let device = attach(&disk(label));
        let size = |name: &str| testdata::volume(name).size / 512;
        let first = device.add_partition(1, 2048, size(NAMES[0]));
        let third = device.add_partition(3, 12288, size(NAMES[1]));
        let document = list();
        assert_eq!(of(&document, device.path()), [Value::Null; 0], "{label}");
        for (partition, name) in [first, third].into_iter().zip(NAMES) {
            let partition = partition.expect("addpart");
            let found = of(&document, &partition);
            assert_eq!(found.len(), 1, "{label}");
            assert_eq!(found[0]["partition"], Value::Null);
            check(&found[0], &testdata::volume(name));
            check_with_info(&found[0], &partition);
        }
    }
}

#[trial(
    "a partition without a device is shown beside one with a device",
    needs(loops_and_addpart)
)]
fn by_both() {
    let device = attach(&disk("gpt"));
    let size = testdata::volume(NAMES[0]).size / 512;
    let first = device.add_partition(1, 2048, size).expect("addpart");
    let document = list();
    assert_eq!(of(&document, &first).len(), 1);
    let found = of(&document, device.path());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["partition"], 3);
    check(&found[0], &testdata::volume(NAMES[1]));
}

fn loops_and_fuse() -> Option<Missing> {
    loops_and_sfdisk().or_else(trials::fuse)
}

fn mounted(source: &Path, arguments: &[&str]) -> Mounted {
    let key = testdata::volume("xts-128").bek();
    let key = key.to_str().expect("UTF-8");
    Mounted::volume(source, &[arguments, &["--startup-key", key]].concat())
}

#[trial("a mount is shown, and gone afterwards", needs(loops_and_fuse))]
fn mounts() {
    let device = attach_copy("xts-128");
    let mount = mounted(device.path(), &[]);
    let place = mount.path().to_str().expect("UTF-8").to_owned();
    let found = of(&list(), device.path());
    assert_eq!(found[0]["mounts"][0]["directory"], place);
    assert_eq!(found[0]["mounts"][0]["certain"], true);
    let output = fve().arg("list").output().expect("fve");
    assert_status(&output, 0);
    let shown = text(&output.stdout);
    assert!(shown.contains(&format!("mounted on {place}\n")), "{shown}");
    mount.unmount();
    let found = of(&list(), device.path());
    assert_eq!(found[0]["mounts"], Value::Array(Vec::new()));
}

#[trial(
    "a mount of one of two volumes of a disk may be that of either",
    needs(loops_and_fuse)
)]
fn mounts_of_a_disk() {
    let device = attach(&disk("gpt"));
    let mount = mounted(device.path(), &["--partition", "1"]);
    let found = of(&list(), device.path());
    for volume in &found {
        assert_eq!(volume["mounts"][0]["certain"], false, "{volume}");
        assert_eq!(
            volume["mounts"][0]["source"].as_str(),
            device.path().to_str()
        );
    }
    mount.unmount();
}

#[trial("a loop device on a loop device is shown", needs(trials::loop_devices))]
fn attached() {
    let device = attach_copy("xts-128");
    let second = attach(device.path());
    // Of the same file, and not of the first device.
    let file = fs::read_to_string(format!(
        "/sys/block/{}/loop/backing_file",
        device.path().file_name().expect("name").to_string_lossy()
    ));
    let sibling = attach(Path::new(file.expect("file").trim_end()));
    let document = list();
    let attached = |device: &LoopDevice| {
        let found = of(&document, device.path());
        assert_eq!(found.len(), 1);
        found[0]["attached_as"].clone()
    };
    let path = second.path().to_str().expect("UTF-8");
    assert_eq!(attached(&device), serde_json::json!([path]));
    assert_eq!(attached(&second), serde_json::json!([]));
    assert_eq!(attached(&sibling), serde_json::json!([]));
}

fn loops_and_setpriv() -> Option<Missing> {
    trials::loop_devices().or_else(|| trials::programs(&["setpriv"]))
}

#[trial(
    "without rights, the devices that were left out are named",
    needs(loops_and_setpriv)
)]
fn ordinary_user() {
    let device = attach_copy("xts-128");
    let place = directory();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).expect("mode");
    let own = place.join("fve");
    run(Command::new("cp").arg(env!("CARGO_BIN_EXE_fve")).arg(&own));
    let user = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        let output = command.arg(&own).args(arguments).output();
        let output = output.expect("setpriv");
        assert_status(&output, 0);
        output
    };
    let output = user(&["list", "--json"]);
    let document = json(&output);
    assert_documented("list", &document);
    assert_eq!(document["volumes"], Value::Array(Vec::new()));
    let denied = document["denied"].as_array().expect("list");
    let path = device.path().to_str().expect("UTF-8");
    assert!(denied.iter().any(|denied| denied == path), "{denied:?}");
    let output = user(&["list"]);
    assert!(output.stdout.is_empty());
    let said = text(&output.stderr);
    assert!(said.contains("as root"), "{said}");
    assert!(said.contains("found no BitLocker volume"), "{said}");
    assert!(user(&["list", "-q"]).stderr.is_empty());
}

fn loops_and_unshare() -> Option<Missing> {
    trials::loop_devices()
        .or_else(trials::fuse)
        .or_else(|| trials::programs(&["unshare"]))
}

/// A loop device on a file of a mount whose server is stopped. In a mount namespace of its own, the file
/// is in the way of no other program.
const STOPPED_SERVER: &str = r#"
set -eu
"$FVE" mount --volume "$VOLUME" "$PLACE" --startup-key "$KEY" --foreground &
server=$!
until [ -e "$PLACE/volume" ]; do sleep 0.1; done
device=$(losetup --find --show --read-only "$PLACE/volume")
all="$server $(cat /proc/$server/task/$server/children)"
kill -STOP $all
trap 'kill -CONT $all; losetup --detach "$device"; kill $server' EXIT
blockdev --flushbufs "$device"
echo 1 >/proc/sys/vm/drop_caches
echo "$device"
"$FVE" list --json
"#;

#[trial(
    "a device that does not answer delays neither the list nor its end",
    needs(loops_and_unshare)
)]
fn stopped() {
    let place = directory();
    let volume = testdata::volume("xts-128");
    let before = std::time::Instant::now();
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            STOPPED_SERVER,
        ])
        .env("FVE", env!("CARGO_BIN_EXE_fve"))
        .env("VOLUME", &volume.file)
        .env("KEY", volume.bek())
        .env("PLACE", &place)
        .stdin(Stdio::null())
        .output()
        .expect("unshare");
    assert_status(&output, 0);
    assert!(before.elapsed().as_secs() < 120);
    let printed = text(&output.stdout);
    let (device, document) = printed.split_once('\n').expect("lines");
    let document: Value = serde_json::from_str(document).expect("JSON");
    let errors = document["errors"].as_array().expect("list");
    let error = errors.iter().find(|error| error["device"] == device);
    let message = error.expect("the device")["message"].to_string();
    assert!(message.contains("no answer within 20 seconds"), "{message}");
}
