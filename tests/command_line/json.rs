//! The JSON documents of the commands, compared with their schemas in docs/json: every key must be
//! described there, and every command with `--json` must have a schema. An independent validator, the
//! Python package jsonschema, checks the same documents.
//!
//! The documents of commands that need a TPM, and those of the Network Unlock server, are compared in
//! their own tests.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::common::documented::{Schemas, directory};
use crate::common::output::assert_status;
use crate::common::testdata;
use crate::common::trials::{self, Missing, Trial, trial, trials};
use crate::console::commands;
use crate::shell::{all_features, place, run};

/// Commands, run one after the other in a directory as `shell::place` makes it. `EVERY` stands for every
/// frozen volume in its turn. The schema has the words of the command as its name.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "info",
        &[
            "fve info --json EVERY",
            "fve info --json disk.img --partition 1",
            "fve info --json cut-off.img",
            "fve info --json two-volumes.img",
            "fve info --json key.BEK",
            "fve export key-package --json volume.img package --startup-key key.BEK",
            "fve info --json package",
            "fve metadata backup --json volume.img backup",
            "fve info --json backup",
            "fve info --json zeros.img",
            "fve info --json nothing",
            "fve info --json",
            "fve info --json volume.img --no-such-option",
        ],
    ),
    ("list", &["fve list --json", "fve list --json nothing"]),
    (
        "files",
        &[
            "fve ls --json -R -a NTFS",
            "fve ls --json -a --streams NTFS",
            "fve find --json NTFS",
            "fve find --json NTFS no-such-path",
            "fve cp --json NTFS / copy -r --sha256-to sums",
            "fve cp --json NTFS / no/such/directory",
        ],
    ),
    (
        "serve",
        &[
            "fve serve nbd --json nothing",
            "fve serve nbd --json volume.img --startup-key key.BEK --listen 0.0.0.0:0",
        ],
    ),
    (
        "map",
        &[
            "fve map --json nothing no-such-name",
            "fve unmap --json no-such-name",
        ],
    ),
    (
        "unlock",
        &[
            "fve unlock --json EVERY --password-file password",
            "fve unlock --json EVERY",
            "fve unlock --json volume.img --startup-key key.BEK",
            "fve unlock --json volume.img --recovery-password-file mistyped-digits",
            "fve unlock --json zeros.img --startup-key key.BEK",
            "fve unlock --json two-volumes.img --startup-key key.BEK",
            "fve unlock --json volume.img --no-such-option",
        ],
    ),
    (
        "decrypt",
        &[
            "fve decrypt --json volume.img new --startup-key key.BEK --sha256",
            "fve decrypt --json volume.img new --startup-key key.BEK",
            "fve decrypt --json cut-off.img other --startup-key key.BEK --error-map-to map",
            "fve decrypt --json volume.img - --startup-key key.BEK",
        ],
    ),
    (
        "create",
        &[
            "fve create --json one.img --size 1M --new-recovery-password --new-password-file password",
            "fve create --json two.img --size 1M --startup-key-to directory",
            "fve create --json three.img --size 1M --recovery-password-to directory",
            "fve create --json four.img --size 1M --clear-key",
            "fve create --json four.img --size 1M --clear-key",
        ],
    ),
    (
        "recovery",
        &[
            "fve recovery check --json --file digits",
            "fve recovery check --json --file mistyped-digits",
            "fve recovery check --json --file mistyped-digits --show",
            "fve recovery check --json --file wrong-password",
            "fve recovery check --json --file pattern",
            "fve recovery check --json --file digits --volume volume.img --show",
            "fve recovery check --json --file TESTDATA/ntfs-xts-128.recovery.txt",
            "fve recovery search --json volume.img --pattern-file pattern --dry-run",
            "fve recovery search --json volume.img --pattern-file pattern",
            "fve recovery search --json volume.img --pattern-file pattern --show",
            "fve recovery search --json EVERY --pattern-file pattern --recovery-password-to found",
            "fve recovery hash --json EVERY",
            "fve recovery lookup --json --volume TESTDATA/ntfs-xts-128.img TESTDATA/ntfs-xts-128.recovery.txt",
            "fve recovery lookup --json --show --volume TESTDATA/ntfs-xts-128.img TESTDATA/ntfs-xts-128.recovery.txt",
            "fve recovery lookup --json --id 12345678 directory",
        ],
    ),
    (
        "report",
        &[
            "fve report --json EVERY",
            "fve report --json EVERY --password-file password",
            "fve report --json NTFS",
        ],
    ),
    (
        "protector",
        &[
            "fve protector list --json EVERY",
            "fve protector add --json volume.img --startup-key key.BEK --new-recovery-password --startup-key-to directory --backup-to backup",
            "fve protector add --json volume.img --startup-key key.BEK --new-recovery-password --dry-run",
            "fve protector remove --json volume.img --startup-key key.BEK --type password",
            "fve protector remove --json volume.img --startup-key key.BEK 00000000",
            "fve protector rotate-recovery --json volume.img --startup-key key.BEK --recovery-password-to rotated",
            "fve protector suspend --json volume.img --startup-key key.BEK",
            "fve protector resume --json volume.img --startup-key key.BEK",
            "fve protector show-recovery --json volume.img --startup-key key.BEK",
            "fve protector save-startup-key --json volume.img --startup-key key.BEK --startup-key-to .",
            "fve protector change-password --json volume.img --startup-key key.BEK --new-password-file password",
            "fve protector change-password --json disk.img --startup-key key.BEK --new-password-file wrong-password",
            "fve protector change-startup-key --json disk.img --startup-key key.BEK --startup-key-to directory",
            "fve protector remove --json volume.img --startup-key key.BEK --all-tpm --yes",
            "fve protector change-pin --json volume.img --startup-key key.BEK",
            "fve protector reseal --json volume.img --startup-key key.BEK",
        ],
    ),
    (
        "metadata",
        &[
            "fve metadata set-identifier --json disk.img example.org --startup-key key.BEK",
            "fve unlock --json disk.img --startup-key key.BEK",
            "fve info --json disk.img",
            "fve metadata backup --json volume.img backup",
            "fve metadata backup --json volume.img backup",
            "fve metadata restore --json volume.img backup --startup-key key.BEK",
            "fve metadata restore --json volume.img backup --startup-key key.BEK --dry-run",
            "fve metadata restore --json volume.img password --startup-key key.BEK",
        ],
    ),
    (
        "repair",
        &[
            "fve repair scan --json disk.img",
            "fve repair scan --json two-volumes.img",
            "fve repair scan --json volume.img --startup-key key.BEK",
            "fve repair scan --json zeros.img",
            "fve repair rebuild-header --json volume.img header --startup-key key.BEK",
            "fve export key-package --json volume.img package --startup-key key.BEK",
        ],
    ),
    (
        "network-unlock",
        &[
            "fve network-unlock certificate --json TESTS/network/test.cer",
            "fve network-unlock certificate --json --to directory",
            "fve network-unlock certificate --json password",
            "fve network-unlock check-policy --json policy --address 10.0.0.5",
            "fve network-unlock check-policy --json wrong-password",
            // Without a network; the tests of Network Unlock check the documents with answers.
            "fve network-unlock probe --json dhcp4:none0 --certificate TESTS/network/test.cer",
        ],
    ),
    (
        "tpm",
        &[
            "fve tpm status --json volume.img --tpm=device:/dev/null",
            "fve tpm explain --json volume.img --tpm=device:/dev/null",
        ],
    ),
];

/// Those that need FUSE.
const MOUNTS: &[&str] = &[
    "fve mount --json NTFS directory",
    "fve unmount --json",
    "fve unmount --json directory",
    "fve unmount --json directory",
    "fve mount --json --volume volume.img directory --startup-key key.BEK",
    "fve unmount --json directory",
    "fve mount --json volume.img directory --password-file wrong-password",
];

#[trials]
fn documents() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, lines) in GROUPS {
        trials.push(trial(*name, all_features(), move || check(lines)));
    }
    let needs = all_features().or_else(trials::fuse);
    trials.push(trial("mounts", needs, || check(MOUNTS)));
    trials
}

/// Runs the commands, and compares their documents with the schemas.
fn check(lines: &[&str]) {
    let schemas = Schemas::read();
    let mut faults = Vec::new();
    let cases = cases(lines);
    for case in &cases {
        let schema = case["schema"].as_str().expect("a name");
        let found = schemas.faults(schema, &case["document"]);
        faults.extend(
            found
                .into_iter()
                .map(|fault| format!("{}: {fault}", case["command"])),
        );
    }
    assert!(faults.is_empty(), "{faults:#?}");
    validate(&cases);
}

/// The documents, with the commands that printed them and the names of their schemas.
fn cases(lines: &[&str]) -> Vec<Value> {
    let place = place();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let data = testdata::directory();
    let mut cases = Vec::new();
    for line in lines {
        let line = line
            .replace(
                "NTFS",
                "TESTDATA/ntfs-xts-128.img --recovery-password-file TESTDATA/ntfs-xts-128.recovery.txt",
            )
            .replace("TESTDATA", &format!("'{}'", data.display()))
            .replace("TESTS", &format!("'{}'", tests.display()));
        let files = match line.contains("EVERY") {
            true => testdata::volumes()
                .into_iter()
                .map(|one| one.file)
                .collect(),
            false => vec![place.join("volume.img")],
        };
        let words = line
            .split(' ')
            .skip(1)
            .take_while(|word| !word.starts_with("--"));
        let schema = words.collect::<Vec<_>>().join("-");
        for file in files {
            let line = line.replace("EVERY", &format!("'{}'", file.display()));
            let output = run(&line, &place);
            let said = String::from_utf8_lossy(&output.stderr);
            let document: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{line}: {error}: {said}"));
            let status = output.status.code();
            if let Some(error) = document.get("error") {
                assert_eq!(error["status"].as_i64(), status.map(i64::from), "{line}");
                assert!(error["message"].is_string(), "{line}");
            }
            cases.push(json!({ "schema": schema, "command": line, "document": document }));
        }
    }
    cases
}

/// The Python interpreter with the validator, or why there is none.
fn python() -> Result<String, Missing> {
    let python = std::env::var("FVE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python)
        .args(["-c", "import jsonschema, referencing"])
        .stderr(Stdio::null())
        .status();
    match found {
        Ok(status) if status.success() => Ok(python),
        _ => Err(Missing::Optional(
            "the Python package jsonschema".to_owned(),
        )),
    }
}

/// Has the documents checked by the validator, if it is there.
fn validate(cases: &[Value]) {
    let Ok(python) = python() else {
        return;
    };
    let lines: Vec<_> = cases.iter().map(Value::to_string).collect();
    let input = tempfile::NamedTempFile::new().expect("file");
    fs::write(input.path(), lines.join("\n")).expect("file");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/json/validate.py");
    let output = Command::new(python)
        .arg(script)
        .arg(directory())
        .stdin(fs::File::open(input.path()).expect("file"))
        .output()
        .expect("python");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_status(&output, 0);
    assert!(
        said.contains(&format!("{} documents, 0 faults", cases.len())),
        "{said}"
    );
}

/// Says that the validator is missing where it is.
#[trials]
fn validator() -> Vec<Trial> {
    let needs = all_features().or_else(|| python().err());
    vec![trial(
        "an independent validator notices a wrong document",
        needs,
        || {
            let python = python().unwrap_or_default();
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/json/validate.py");
            let wrong = json!({ "schema": "metadata-backup", "command": "none", "document": { "version": 1, "volume": 5 } });
            let input = tempfile::NamedTempFile::new().expect("file");
            fs::write(input.path(), wrong.to_string()).expect("file");
            let output = Command::new(python)
                .arg(script)
                .arg(directory())
                .stdin(fs::File::open(input.path()).expect("file"))
                .output()
                .expect("python");
            assert_status(&output, 1);
            let faults = Schemas::read().faults("metadata-backup", &wrong["document"]);
            assert!(!faults.is_empty());
        },
    )]
}

#[trial("every command with --json has a schema", needs(all_features))]
fn every_command_has_a_schema() {
    /// Their output is not a result, or is not for programs.
    const WITHOUT: &[&str] = &[
        "cat",
        "completions",
        "export dm-table",
        "export fvek",
        "export vmk",
        "man",
        "network-unlock serve",
    ];
    let schemas = Schemas::read();
    for command in commands(&[]) {
        let words = command.get(1..).unwrap_or_default();
        let line = format!("{} --help", command.join(" "));
        let help = run(&line, &std::env::temp_dir());
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        if help.contains("\nCommands:\n") {
            continue;
        }
        let has_json = help.contains("--json\n");
        let name = words.join(" ");
        assert_eq!(has_json, !WITHOUT.contains(&&*name), "--json of fve {name}");
        assert_eq!(
            has_json,
            schemas.has(&words.join("-")),
            "schema of fve {name}"
        );
    }
}
