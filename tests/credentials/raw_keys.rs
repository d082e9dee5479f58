//! Exported keys (FVEK, VMK) and device-mapper tables, compared with the known keys of volumes made by
//! Windows, and given to other tools. tests/boot/map.sh compares the tables with cryptsetup's in a kernel
//! that has device-mapper.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fve::crypto::sector::METHODS;

use crate::common::output::{assert_status, run, text};
use crate::common::peers::{self, Peer};
use crate::common::testdata::{self, Entry, Kind};
use crate::common::trials::{self, trial};
use crate::common::{corpus, fve};

const CREDENTIAL: &str = "correct horse battery staple";

/// Exports something of a volume of testdata to a new file.
fn export(what: &[&str], volume: &Path, directory: &Path, credential: &[&str]) -> PathBuf {
    let output = directory.join(what.join("-"));
    let mut command = fve();
    command.arg("export").arg(what[0]).arg(volume).arg(&output);
    run(command.args(&what[1..]).args(credential));
    let mode = fs::metadata(&output).expect("key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{what:?}");
    output
}

fn password_file(directory: &Path) -> String {
    let path = directory.join("password");
    fs::write(&path, CREDENTIAL).expect("password");
    path.into_os_string().into_string().expect("UTF-8")
}

/// The options for the VMK of a volume, which is exported with the password. They spare the other exports the
/// time that the password takes.
fn vmk(entry: &Entry, directory: &Path) -> [String; 2] {
    let password = password_file(directory);
    let key = export(
        &["vmk"],
        &entry.file,
        directory,
        &["--password-file", &password],
    );
    let key = key.into_os_string().into_string().expect("UTF-8");
    ["--vmk-file".to_owned(), key]
}

/// Volumes of testdata that the password opens.
fn with_password() -> Vec<Entry> {
    let has_password = |entry: &Entry| {
        let mut credentials = entry.credentials.iter();
        credentials.any(|one| one.kind == Kind::Password && one.value == CREDENTIAL)
    };
    let entries: Vec<_> = testdata::volumes()
        .into_iter()
        .filter(has_password)
        .collect();
    assert!(entries.len() > 8, "{}", entries.len());
    entries
}

#[trial("each exported key opens its volume, in every form")]
fn every_form() {
    for entry in with_password() {
        let directory = tempfile::tempdir().expect("directory");
        let vmk = vmk(&entry, directory.path());
        let credential = vmk.each_ref().map(String::as_str);
        let forms: [&[&str]; 3] = [
            &["fvek"],
            &["fvek", "--form", "used"],
            &["fvek", "--form", "dislocker"],
        ];
        let keys = forms.map(|form| export(form, &entry.file, directory.path(), &credential));
        let by_fvek = keys
            .iter()
            .map(|key| ["--fvek-file", key.to_str().expect("UTF-8")]);
        for credential in by_fvek.chain([credential]) {
            let mut command = fve();
            command.arg("decrypt").arg(&entry.file).arg("-");
            let plain = run(command.args(credential));
            let sum = crate::common::sha256(plain.as_slice()).expect("hash");
            assert_eq!(sum, entry.plaintext_sha256, "{} {credential:?}", entry.name);
        }
    }
}

#[trial(
    "exported keys are those that are known of volumes of Windows",
    needs(trials::corpus)
)]
fn known_keys() {
    let mut compared = 0;
    for volume in corpus::volumes().expect("corpus") {
        let directory = tempfile::tempdir().expect("directory");
        let (Some(vmk), Some(fvek)) = (&volume.vmk_hex, &volume.fvek_hex) else {
            continue;
        };
        if volume.must_be_refused() {
            continue;
        }
        let entry = volume.entry();
        let Some(password) = entry
            .credentials
            .iter()
            .find(|one| one.kind == Kind::Password)
        else {
            continue;
        };
        let file = directory.path().join("password");
        fs::write(&file, &password.value).expect("password");
        for (what, known) in [("vmk", vmk), ("fvek", fvek)] {
            let mut command = fve();
            command.args(["export", what, "--show"]).arg(&volume.path);
            let shown = run(command.arg("--password-file").arg(&file));
            let shown = text(&shown).trim().to_owned();
            // The list has the bytes that cryptsetup prints: those that the cipher uses.
            let stored = known.to_lowercase();
            let fits =
                shown == stored || (what == "fvek" && used(&shown, &volume.cipher_id) == stored);
            assert!(fits, "{} {what}", volume.name);
        }
        compared += 1;
    }
    assert!(compared > 5, "{compared}");
}

/// The used hex digits of an FVEK as it is stored.
fn used(stored: &str, cipher: &str) -> String {
    match cipher {
        "0x8000" => format!("{}{}", &stored[..32], &stored[64..96]),
        _ => stored.to_owned(),
    }
}

#[trial(
    "cryptsetup and dislocker take the exported keys",
    needs(|| trials::programs(&["cryptsetup", "dislocker-file"]))
)]
fn other_tools() {
    let (mut of_cryptsetup, mut of_dislocker) = (0, 0);
    for entry in with_password() {
        if entry.state != (4, 4) || entry.encrypt_on_write {
            continue;
        }
        let directory = tempfile::tempdir().expect("directory");
        let password = password_file(directory.path());
        let credential = ["--password-file", password.as_str()];
        let name = &entry.name;

        let key = export(
            &["fvek", "--form", "used"],
            &entry.file,
            directory.path(),
            &credential,
        );
        let theirs = directory.path().join("cryptsetup");
        let dumped = Command::new("cryptsetup")
            .args(["bitlkDump", "--dump-volume-key", "-q", "--key-file"])
            .arg(directory.path().join("password"))
            .arg("--volume-key-file")
            .arg(&theirs)
            .arg(&entry.file)
            .output()
            .expect("cryptsetup");
        // cryptsetup refuses some volumes of testdata, such as those with a clear key.
        if dumped.status.success() {
            assert_eq!(
                fs::read(&key).unwrap(),
                fs::read(&theirs).unwrap(),
                "{name}"
            );
            of_cryptsetup += 1;
        }

        let form = ["fvek", "--form", "dislocker"];
        let key = export(&form, &entry.file, directory.path(), &credential);
        let plain = directory.path().join("plain");
        let decrypted = Command::new("dislocker-file")
            .arg("-V")
            .arg(&entry.file)
            .arg("-k")
            .arg(&key)
            .arg("--")
            .arg(&plain)
            .output()
            .expect("dislocker-file");
        if decrypted.status.success() && entry.sector_size == 512 {
            let sum =
                crate::common::sha256(fs::File::open(&plain).expect("plaintext")).expect("hash");
            assert_eq!(sum, entry.plaintext_sha256, "{name}");
            of_dislocker += 1;
        }
    }
    assert!(of_cryptsetup > 8, "{of_cryptsetup}");
    assert!(of_dislocker > 4, "{of_dislocker}");
}

#[trial("a secret goes to a new file, or to standard output if that is asked for")]
fn where_it_goes() {
    let directory = tempfile::tempdir().expect("directory");
    let password = password_file(directory.path());
    let volume = testdata::volume("xts-128").file;
    let export = |words: &[&str], output: Option<&Path>| {
        let mut command = fve();
        command.arg("export").args(words).arg(&volume).args(output);
        command.args(["--password-file", &password]);
        command.output().expect("fve")
    };
    for words in [&["fvek"][..], &["vmk"], &["dm-table", "--with-key"]] {
        let output = export(words, None);
        assert_status(&output, 2);
        assert!(output.stdout.is_empty(), "{words:?}");
        let said = text(&output.stderr);
        assert!(said.contains("--show") || said.contains("<OUT>"), "{said}");
        let shown = export(&[words, &["--show"]].concat(), None);
        assert_status(&shown, 0);
        assert!(!shown.stdout.is_empty(), "{words:?}");
        let file = directory.path().join("existing");
        fs::write(&file, "mine").expect("file");
        let kept = export(words, Some(&file));
        assert_status(&kept, 2);
        assert!(text(&kept.stderr).contains("already exists"), "{words:?}");
        let both = export(
            &[words, &["--show"]].concat(),
            Some(&directory.path().join("new")),
        );
        assert_status(&both, 2);
        assert!(both.stdout.is_empty(), "{words:?}");
        assert_eq!(fs::read(&file).expect("file"), b"mine", "{words:?}");
    }
}

#[trial("the table covers the volume without gaps, and has the key only if that is asked for")]
fn tables() {
    for entry in with_password() {
        let directory = tempfile::tempdir().expect("directory");
        let vmk = vmk(&entry, directory.path());
        let credential = vmk.each_ref().map(String::as_str);
        let export = |more: &[&str]| {
            let mut command = fve();
            command.args(["export", "dm-table"]).arg(&entry.file);
            let printed = run(command
                .args(["--device", "8:3"])
                .args(more)
                .args(credential));
            text(&printed).to_owned()
        };
        let table = export(&["--key-name", "fve:test"]);
        let mut next = 0;
        for line in table.lines() {
            let words: Vec<_> = line.split(' ').collect();
            assert_eq!(words[0].parse(), Ok(next), "{} {line}", entry.name);
            next += words[1].parse::<u64>().expect("length");
        }
        assert_eq!(next * 512, entry.size, "{}", entry.name);
        let key = export_fvek(&entry, directory.path(), &credential);
        assert!(!table.contains(&key), "{}", entry.name);
        let method = METHODS.iter().find(|one| one.word == entry.method);
        let len = method.expect("method").used_len();
        let by_name = format!(":{len}:logon:fve:test");
        assert!(table.contains(&by_name), "{} {table}", entry.name);
        let secret = export(&["--with-key", "--show"]);
        assert_eq!(secret, table.replace(&by_name, &key), "{}", entry.name);
    }
}

#[trial(
    "a program that knows dm-crypt's ciphers reads the plaintext through the table",
    needs(|| Peer::Dissect.missing())
)]
fn plaintext_by_table() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/credentials/dm_table.py");
    for entry in with_password() {
        let directory = tempfile::tempdir().expect("directory");
        let vmk = vmk(&entry, directory.path());
        // The volume in a partition, too.
        let disk = directory.path().join("disk.img");
        let volume = fs::read(&entry.file).expect("volume");
        fs::write(&disk, [&[0; 63 * 512][..], &volume].concat()).expect("disk");
        for (source, offset) in [(&entry.file, None), (&disk, Some("32256"))] {
            let table = directory.path().join("table");
            let _ = fs::remove_file(&table);
            let mut command = fve();
            command
                .args(["export", "dm-table", "--with-key"])
                .arg(source)
                .arg(&table);
            command.args(offset.map(|offset| format!("--offset={offset}")));
            run(command.args(&vmk));
            let mut reader = Command::new(peers::python());
            let plain = run(reader.arg(&script).arg(&table));
            let sum = crate::common::sha256(plain.as_slice()).expect("hash");
            assert_eq!(sum, entry.plaintext_sha256, "{} {offset:?}", entry.name);
        }
    }
}

fn export_fvek(entry: &Entry, directory: &Path, credential: &[&str]) -> String {
    let key = export(
        &["fvek", "--form", "used"],
        &entry.file,
        directory,
        credential,
    );
    let bytes = fs::read(key).expect("key");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[trial(
    "what the kernel cannot map is refused before anything is asked",
    needs(|| trials::root().or_else(|| trials::programs(&["qemu-img"])))
)]
fn refused() {
    let directory = tempfile::tempdir().expect("directory");
    let map = |source: &str, name: &str| {
        let output = fve().args(["map", source, name, "--no-prompt"]).output();
        output.expect("fve")
    };
    let nbd = map("nbd+unix:///?socket=none", "name");
    assert_status(&nbd, 3);
    assert!(text(&nbd.stderr).contains("fve mount --volume"));
    let volume = testdata::volume("xts-128").file;
    let volume = volume.to_str().expect("UTF-8");
    for name in ["", "a/b", "control", "a b", ".."] {
        assert_status(&map(volume, name), 2);
    }
    // Its bytes are not where the table would say.
    let container = directory.path().join("disk.qcow2");
    run(Command::new("qemu-img")
        .args(["convert", "-O", "qcow2", volume])
        .arg(&container));
    let container = container.to_str().expect("UTF-8");
    assert_status(&map(container, "name"), 3);
    let table = fve()
        .args(["export", "dm-table", container, "--no-prompt"])
        .output()
        .expect("fve");
    assert_status(&table, 3);
    assert!(table.stdout.is_empty());
    let missing = directory.path().join("missing");
    assert_status(&map(missing.to_str().expect("UTF-8"), "name"), 5);
}
