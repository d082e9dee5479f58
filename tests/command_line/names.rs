//! Former names of options: they still do what their present names do, and no help shows them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::common::output::assert_status;
use crate::common::trials::{Trial, trial, trials};
use crate::shell::{all_features, place, run};

/// A former name, a command with it, and the same command with the present name.
const NAMES: &[(&str, &str, &str)] = &[
    (
        "--of",
        "fve export key-package volume.img new --startup-key key.BEK --of FIRST",
        "fve export key-package volume.img new FIRST --startup-key key.BEK",
    ),
    (
        "--only",
        "fve protector save-startup-key volume.img --startup-key key.BEK --only FIRST --to .",
        "fve protector save-startup-key volume.img FIRST --startup-key key.BEK --startup-key-to .",
    ),
    (
        "--replace",
        "fve protector rotate-recovery volume.img --startup-key key.BEK --replace 00000000 --escrow-to new",
        "fve protector rotate-recovery volume.img 00000000 --startup-key key.BEK --recovery-password-to new",
    ),
    (
        "--of",
        "fve protector change-pin volume.img --startup-key key.BEK --of 00000000",
        "fve protector change-pin volume.img 00000000 --startup-key key.BEK",
    ),
    (
        "--only",
        "fve protector reseal volume.img --startup-key key.BEK --only 00000000",
        "fve protector reseal volume.img 00000000 --startup-key key.BEK",
    ),
    (
        "--save-to",
        "fve recovery search volume.img --pattern-file pattern --save-to new --dry-run",
        "fve recovery search volume.img --pattern-file pattern --recovery-password-to new --dry-run",
    ),
    (
        "--recovery-password",
        "fve protector add volume.img --startup-key key.BEK --recovery-password --backup new",
        "fve protector add volume.img --startup-key key.BEK --new-recovery-password --backup-to new",
    ),
    (
        "--backup",
        "fve protector suspend volume.img --startup-key key.BEK --backup new",
        "fve protector suspend volume.img --startup-key key.BEK --backup-to new",
    ),
    (
        "--error-map",
        "fve decrypt volume.img new --startup-key key.BEK --error-map map",
        "fve decrypt volume.img new --startup-key key.BEK --error-map-to map",
    ),
    (
        "--sha256",
        "fve cp ntfs.img / copy -r --recovery-password-file ntfs.txt --sha256 new",
        "fve cp ntfs.img / copy -r --recovery-password-file ntfs.txt --sha256-to new",
    ),
    (
        "--to",
        "fve repair rebuild-header volume.img --startup-key key.BEK --to new",
        "fve repair rebuild-header volume.img new --startup-key key.BEK",
    ),
    (
        "--pin",
        "fve create new --size 1M --pin",
        "fve create new --size 1M --new-pin",
    ),
    (
        "--pfx-password-file",
        "fve network-unlock certificate --to . --pfx --pfx-password-file password",
        "fve network-unlock certificate --to . --pfx --certificate-password-file password",
    ),
    (
        "--network-sidecar",
        "fve create new --size 1M --network-sidecar new --new-password-file password",
        "fve create new --size 1M --network-sidecar-to new --new-password-file password",
    ),
    (
        "--timeout",
        "fve network-unlock probe dhcp4:none0 --certificate test.cer --timeout 3",
        "fve network-unlock probe dhcp4:none0 --certificate test.cer --network-timeout 3",
    ),
    (
        "--metadata",
        "fve info volume.img --metadata 64K",
        "fve info volume.img --metadata-offset 64K",
    ),
];

#[trials]
fn former_names() -> Vec<Trial> {
    let names = NAMES.iter().map(|(name, former, present)| {
        let words: Vec<_> = present.split(' ').take(3).collect();
        let title = format!("former option {name} of {}", words.join(" "));
        trial(title, all_features(), move || {
            let former = result(former);
            let present = result(present);
            assert_eq!(former, present);
        })
    });
    names.collect()
}

/// The exit status, and the files that are there afterwards.
fn result(line: &str) -> (Option<i32>, BTreeSet<String>) {
    let place = place();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (from, to) in [
        ("testdata/ntfs-xts-128.img", "ntfs.img"),
        ("testdata/ntfs-xts-128.recovery.txt", "ntfs.txt"),
        ("tests/network/test.cer", "test.cer"),
    ] {
        fs::copy(tests.join(from), place.join(to)).expect("file");
    }
    let listed = run("fve protector list volume.img --json", &place);
    assert_status(&listed, 0);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let protectors = listed["protectors"].as_array().expect("a list");
    let first = protectors
        .iter()
        .find(|protector| protector["type"] == "startup-key" || protector["type"] == "external-key")
        .and_then(|protector| protector["id"].as_str())
        .expect("a startup key");
    let output = run(&line.replace("FIRST", first), &place);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("unexpected argument"), "{said}");
    eprintln!("{line}: {}: {said}", output.status);
    let files = fs::read_dir(&place).expect("directory");
    let names = files.map(|file| {
        file.expect("file")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    (output.status.code(), names.collect())
}
