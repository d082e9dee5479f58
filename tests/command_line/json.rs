//! The keys of every JSON document, and the types of their values, as tables in `tests/json/`: a key
//! that is added, removed or changes its type shows there. `FVE_WRITE_JSON=1` writes the tables.
//! docs/json.md has to describe every key, with these types.
//!
//! A line of a table is a path of keys and the types that its value has in the documents of the
//! commands below. `[]` means the elements of a list; a key with a question mark is sometimes left
//! out.
//!
//! The tables lack the documents of commands that need a TPM (`tpm`), and those of
//! `network-unlock probe` that need a server: the tests of TPMs and of Network Unlock compare them with
//! docs/json.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use snapbox::Data;
use snapbox::assert::{Action, Assert};

use crate::common::documented::type_of;
use crate::common::testdata;
use crate::common::trials::{Trial, trial, trials};
use crate::shell::{all_features, place, run};

/// A table, and the commands whose documents it describes: run one after the other, in a directory
/// as `shell::place` makes it. `EVERY` stands for every frozen volume in its turn.
const DOCUMENTS: &[(&str, &[&str])] = &[
    (
        "info",
        &[
            "fve info --json EVERY",
            "fve info --json disk.img --partition 1",
            "fve info --json cut-off.img",
        ],
    ),
    (
        "files",
        &[
            "fve ls --json -R -a TESTDATA/ntfs-xts-128.img --recovery-password-file TESTDATA/ntfs-xts-128.recovery.txt",
            "fve find --json TESTDATA/ntfs-xts-128.img --recovery-password-file TESTDATA/ntfs-xts-128.recovery.txt",
        ],
    ),
    ("info-several", &["fve info --json two-volumes.img"]),
    (
        "unlock",
        &[
            "fve unlock --json EVERY --password-file password",
            "fve unlock --json EVERY",
            "fve unlock --json volume.img --startup-key key.BEK",
            "fve unlock --json volume.img --recovery-password-file mistyped-digits",
            "fve unlock --json zeros.img --startup-key key.BEK",
            "fve unlock --json two-volumes.img --startup-key key.BEK",
        ],
    ),
    (
        "create",
        &[
            "fve create --json one.img --size 1M --recovery-password --new-password-file password",
            "fve create --json two.img --size 1M --startup-key-to directory",
            "fve create --json three.img --size 1M --recovery-password-to directory",
            "fve create --json four.img --size 1M --clear-key",
        ],
    ),
    (
        "recovery-check",
        &[
            "fve recovery check --json --file digits",
            "fve recovery check --json --file mistyped-digits",
            "fve recovery check --json --file mistyped-digits --show",
            "fve recovery check --json --file wrong-password",
            "fve recovery check --json --file pattern",
            "fve recovery check --json --file digits --volume volume.img --show",
            "fve recovery check --json --file TESTDATA/ntfs-xts-128.recovery.txt",
        ],
    ),
    (
        "recovery-search",
        &[
            "fve recovery search --json volume.img --pattern-file pattern --dry-run",
            "fve recovery search --json volume.img --pattern-file pattern",
            "fve recovery search --json volume.img --pattern-file pattern --show",
            "fve recovery search --json EVERY --pattern-file pattern --save-to found",
        ],
    ),
    ("recovery-hash", &["fve recovery hash --json EVERY"]),
    (
        "recovery-lookup",
        &[
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
            "fve report --json TESTDATA/ntfs-xts-128.img --recovery-password-file TESTDATA/ntfs-xts-128.recovery.txt",
        ],
    ),
    ("protector", &["fve protector list --json EVERY"]),
    (
        "repair-scan",
        &[
            "fve repair scan --json disk.img",
            "fve repair scan --json two-volumes.img",
            "fve repair scan --json zeros.img",
        ],
    ),
    (
        "repair-rebuild-header",
        &["fve repair rebuild-header --json volume.img --startup-key key.BEK --to header"],
    ),
    (
        "export-key-package",
        &["fve export key-package --json volume.img package --startup-key key.BEK"],
    ),
    (
        "network-unlock-certificate",
        &[
            "fve network-unlock certificate --json TESTS/network/test.cer",
            "fve network-unlock certificate --json --to directory",
        ],
    ),
    (
        // Without a network; the tests of Network Unlock check the documents with answers.
        "network-unlock-probe",
        &["fve network-unlock probe --json dhcp4:none0 --certificate TESTS/network/test.cer"],
    ),
    (
        "network-unlock-check-policy",
        &[
            "fve network-unlock check-policy --json policy --address 10.0.0.5",
            "fve network-unlock check-policy --json wrong-password",
        ],
    ),
];

#[trials]
fn documents() -> Vec<Trial> {
    let documents = DOCUMENTS
        .iter()
        .map(|(name, commands)| trial(*name, all_features(), move || check(name, commands)));
    documents.collect()
}

fn check(name: &str, commands: &[&str]) {
    let place = place();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut shape = Shape::default();
    for command in commands {
        let command = command
            .replace("TESTDATA", "\"$TESTDATA\"")
            .replace("TESTS", "\"$TESTS\"");
        let prefix = format!(
            "TESTDATA='{}' TESTS='{}'; ",
            testdata::directory().display(),
            manifest.join("tests").display()
        );
        let files = match command.contains("EVERY") {
            true => testdata::volumes()
                .into_iter()
                .map(|one| one.file)
                .collect(),
            false => vec![place.join("volume.img")],
        };
        for file in files {
            let line = command.replace("EVERY", &format!("'{}'", file.display()));
            let output = run(&format!("{prefix}{line}"), &place);
            let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
                let said = String::from_utf8_lossy(&output.stderr);
                panic!("{line}: {error}: {said}")
            });
            shape.add("", &document);
        }
    }
    let undocumented = shape.undocumented(&rows());
    let action = match std::env::var_os("FVE_WRITE_JSON") {
        Some(_) => Action::Overwrite,
        None => Action::Verify,
    };
    let path = manifest.join("tests/json").join(format!("{name}.txt"));
    let expected = Data::read_from(&path, None).raw();
    Assert::new()
        .action(action)
        .eq(Data::text(shape.table()).raw(), expected);
    assert!(
        undocumented.is_empty(),
        "docs/json.md has no row with these keys and types: {undocumented:?}"
    );
}

/// What several documents have in common.
#[derive(Default)]
struct Shape {
    /// Types of the value at each path.
    types: BTreeMap<String, BTreeSet<&'static str>>,
    /// How many objects there are at a path, and how often each key of theirs is there.
    objects: BTreeMap<String, usize>,
    members: BTreeMap<String, usize>,
}

impl Shape {
    fn add(&mut self, path: &str, value: &Value) {
        let types = self.types.entry(path.to_owned()).or_default();
        types.insert(type_of(value));
        match value {
            Value::Array(elements) => {
                for element in elements {
                    self.add(&format!("{path}[]"), element);
                }
            }
            Value::Object(members) => {
                *self.objects.entry(path.to_owned()).or_default() += 1;
                for (key, member) in members {
                    let path = format!("{path}.{key}");
                    *self.members.entry(path.clone()).or_default() += 1;
                    self.add(&path, member);
                }
            }
            _ => {}
        }
    }

    fn table(&self) -> String {
        let mut table = String::new();
        for (path, types) in &self.types {
            let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
            let always = self
                .members
                .get(path)
                .is_none_or(|count| self.objects.get(parent) == Some(count));
            let types: Vec<_> = types.iter().copied().collect();
            let mark = if always { "" } else { "?" };
            let shown = path.strip_prefix('.').unwrap_or("(the document)");
            table += &format!("{shown}{mark}: {}\n", types.join(", "));
        }
        table
    }

    /// The keys that no row describes with all their types.
    fn undocumented(&self, rows: &[(String, String)]) -> Vec<&str> {
        let members = self.members.keys().filter(|path| {
            let key = path.rsplit('.').next().unwrap_or_default();
            let types = &self.types[*path];
            !rows.iter().any(|(name, described)| {
                name == key && types.iter().all(|kind| described.contains(kind))
            })
        });
        members.map(String::as_str).collect()
    }
}

/// The rows of the tables in docs/json.md: the last key of the path in the first column, and the
/// types in the second.
fn rows() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md");
    let page = fs::read_to_string(path).expect("docs/json.md");
    let rows = page.lines().filter_map(|line| {
        let (path, rest) = line.strip_prefix("| `")?.split_once('`')?;
        let types = rest.split('|').nth(1)?;
        let key = path.rsplit('.').next()?;
        Some((key.to_owned(), types.to_owned()))
    });
    rows.collect()
}
