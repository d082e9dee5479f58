//! Bad input to the commands: an error message, the exit status of docs/command-line.md §4, no
//! panic, and no lost data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::damage::VolumeCopy;
use crate::common::fve;
use crate::common::testdata::{self, Entry, Kind};
use crate::common::trials::trial;
use tempfile::TempDir;

fn volume() -> Entry {
    testdata::volume("xts-128")
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("directory")
}

/// Writes a file with this content.
fn file(directory: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, content).expect("write");
    path
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("fve")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn info(path: &Path) -> Output {
    run(fve().arg("info").arg(path))
}

fn unlock(path: &Path, arguments: &[&str]) -> Output {
    run(fve().arg("unlock").arg(path).args(arguments))
}

/// Unlocks with the startup key, which needs no key stretching.
fn unlock_with_key(path: &Path, more: &[&str]) -> Output {
    let bek = volume().bek();
    run(fve()
        .arg("unlock")
        .arg(path)
        .arg("--startup-key")
        .arg(bek)
        .args(more))
}

/// Asserts the exit status and a message with these words.
#[track_caller]
fn assert_ends(output: &Output, status: i32, words: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "'{word}' is not in: {said}");
    }
}

#[trial]
fn names_what_is_not_a_volume() {
    let directory = directory();
    let mut ntfs = vec![0; 4096];
    ntfs[3..11].copy_from_slice(b"NTFS    ");
    for (content, words) in [
        (Vec::new(), "an empty file"),
        (vec![0; 100], "100 bytes"),
        (vec![0; 8192], "zeros"),
        (ntfs, "NTFS"),
        (b"some text\n".repeat(100), "a text file"),
        (b"LUKS\xBA\xBE".repeat(100), "LUKS"),
    ] {
        let path = file(&directory, "source", content);
        assert_ends(&info(&path), 3, &["not a BitLocker volume", words, "help:"]);
        assert_ends(&unlock(&path, &[]), 3, &[words]);
    }
    assert_ends(&info(directory.path()), 3, &["a directory"]);
    assert_ends(&info(Path::new("/dev/null")), 3, &["character device"]);
    assert_ends(&info(&directory.path().join("none")), 5, &["cannot open"]);
}

#[trial]
fn does_not_wait_for_a_pipe() {
    let directory = directory();
    let pipe = directory.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    assert_ends(&info(&pipe), 3, &["a pipe"]);
}

#[trial]
fn an_image_truncated_anywhere_gives_what_is_present() {
    let directory = directory();
    let sample = volume();
    let whole = VolumeCopy::of(&sample);
    let [first, second, third] = whole.offsets();
    let size = whole.bytes.len();
    let plaintext = decrypted(&sample.file);
    for len in [
        512,
        first,
        first + 0x200,
        first + 0x10000,
        first + 0x12000,
        second + 100,
        third,
        size - 513,
        size - 512,
        size - 1,
    ] {
        let path = file(&directory, "cut.img", &whole.bytes[..len.min(size)]);
        let out = directory.path().join("out");
        let _ = fs::remove_file(&out);
        let output = run(fve()
            .arg("decrypt")
            .arg(&path)
            .arg(&out)
            .arg("--startup-key")
            .arg(sample.bek()));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(5), "{len}: {said}");
        if len < first + 0x10000 {
            assert!(said.contains("the image is cut off"), "{len}: {said}");
            continue;
        }
        assert!(said.contains("missing"), "{len}: {said}");
        let there = fs::read(&out).expect("output");
        assert_eq!(there.len(), len - len % 512, "{len}");
        // If the moved boot sectors are beyond the end, the start is missing as well.
        let start = if len < first + 0x12000 { 0x2000 } else { 0 };
        assert!(there[start..] == plaintext[start..there.len()], "{len}");
    }
}

fn decrypted(path: &Path) -> Vec<u8> {
    let output = run(fve()
        .arg("decrypt")
        .arg(path)
        .arg("-")
        .arg("--startup-key")
        .arg(volume().bek()));
    assert!(output.status.success(), "{}", stderr(&output));
    output.stdout
}

#[trial]
fn help_appears_only_if_it_applies() {
    let directory = directory();
    let help = |output: &Output| {
        let said = stderr(output);
        let lines = said.lines().filter(|line| line.starts_with("fve: help:"));
        lines.map(str::to_owned).collect::<String>()
    };

    let mut ntfs = vec![0; 4096];
    ntfs[3..11].copy_from_slice(b"NTFS    ");
    let output = info(&file(&directory, "ntfs", ntfs));
    assert_ends(&output, 3, &["an NTFS file system"]);
    assert_eq!(
        help(&output),
        "fve: help: it is not encrypted: mount it directly, or read its files with 'fve ls', 'fve cp' and 'fve mount' (without --volume and --read-write); if it was formatted over a BitLocker volume, 'fve repair scan' looks for the rest of that"
    );

    let mut copy = VolumeCopy::of(&volume());
    for offset in copy.offsets() {
        copy.bytes[offset..offset + 0x1_0000].fill(0);
    }
    let path = copy.save(directory.path());
    for arguments in [&[][..], &["--accept-damaged-metadata"]] {
        let output = unlock_with_key(&path, arguments);
        assert_ends(&output, 6, &["no copy of it passes"]);
        let help = help(&output);
        for word in ["metadata restore", "--key-package", "repair scan"] {
            assert!(help.contains(word), "{help}");
        }
        assert!(!help.contains("--accept-damaged-metadata"), "{help}");
    }

    let mut disk = vec![0; 1 << 20];
    disk[0x1BE + 4] = 7;
    disk[0x1BE + 8..0x1BE + 16].copy_from_slice(&[8, 0, 0, 0, 100, 0, 0, 0]);
    disk[0x1FE..0x200].copy_from_slice(&[0x55, 0xAA]);
    let path = file(&directory, "disk", disk);
    let output = run(fve().arg("info").arg(&path).args(["--partition", "9"]));
    assert_ends(&output, 2, &["there is no partition 9; the MBR disk has 1"]);
    assert_eq!(help(&output), "");
    let output = run(fve().arg("info").arg(&path).args(["--partition", "1"]));
    assert_ends(&output, 3, &["partition 1 holds"]);

    let output = run(fve()
        .arg("create")
        .arg(directory.path().join("new"))
        .arg("--clear-key")
        .arg("--from")
        .arg(directory.path()));
    assert_ends(&output, 2, &["neither a file nor a block device"]);
    assert_eq!(help(&output), "fve: help: see 'fve create --help'");

    let output = run(fve()
        .arg("create")
        .arg(directory.path().join("new"))
        .arg("--clear-key"));
    assert_ends(&output, 2, &["the size of the volume is missing"]);
    assert_eq!(help(&output), "fve: help: see 'fve create --help'");
}

#[cfg(feature = "containers")]
#[trial]
fn promises_only_what_helps_for_unsupported_containers() {
    let directory = directory();
    let mut qcow2 = vec![0; 4096];
    qcow2[..8].copy_from_slice(b"QFI\xFB\0\0\0\x03");
    qcow2[8..16].copy_from_slice(&200u64.to_be_bytes());
    let output = info(&file(&directory, "disk.qcow2", qcow2));
    assert_ends(&output, 3, &["with a backing file"]);
    let said = stderr(&output);
    assert!(
        said.contains("help: let QEMU show the disk in it: qemu-nbd "),
        "{said}"
    );
    assert!(!said.contains("fve info"), "{said}");
}

#[trial]
fn shows_the_size_of_the_volume_not_of_the_source() {
    let directory = directory();
    let sample = volume();
    let whole = fs::read(&sample.file).unwrap();
    let info = |path: &Path, arguments: &[&str]| {
        let command = |json: &[&str]| {
            let output = run(fve().arg("info").arg(path).args(arguments).args(json));
            assert_ends(&output, 0, &[]);
            String::from_utf8(output.stdout).unwrap()
        };
        let json: serde_json::Value = serde_json::from_str(&command(&["--json"])).unwrap();
        (command(&[]), json)
    };
    let size = sample.size;

    // The source is larger than the volume.
    let mut disk = vec![0; 8192];
    disk.extend(&whole);
    disk.resize(disk.len() + (1 << 20), 0);
    let path = file(&directory, "disk", &disk);
    let (text, json) = info(&path, &["--offset", "8192"]);
    assert!(text.contains(&format!("({size} bytes)")), "{text}");
    assert!(!text.contains("Available:"), "{text}");
    assert_eq!(json["volume"]["size"], size);
    assert_eq!(json["volume"]["available"], size);
    assert_eq!(json["source"]["size"], size + (1 << 20));
    assert_eq!(json["problems"], serde_json::json!([]));

    // The source is smaller than the volume.
    let cut = size - 4096;
    let path = file(&directory, "cut", &whole[..cut as usize]);
    let (text, json) = info(&path, &[]);
    assert!(text.contains(&format!("({size} bytes)")), "{text}");
    assert!(text.contains(&format!("({cut} bytes)")), "{text}");
    assert_eq!(json["volume"]["size"], size);
    assert_eq!(json["volume"]["available"], cut);
    let problem = json["problems"][0].as_str().unwrap();
    assert!(problem.contains("cut off"), "{problem}");

    // During a conversion, only the file system contains the size.
    let half = testdata::volume("encryption-paused").file;
    let (text, json) = info(&half, &[]);
    assert!(text.contains("unknown until unlocked"), "{text}");
    assert!(json["volume"]["size"].is_null());
    assert!(json["source"]["size"].is_u64());
}

#[trial]
fn uses_the_good_copies_of_the_metadata() {
    let directory = directory();
    let mut copy = VolumeCopy::of(&volume());
    let offsets = copy.offsets();
    for (damaged, offset) in (1..).zip(&offsets[..2]) {
        copy.bytes[offset + 0x100] ^= 1;
        let path = copy.save(directory.path());
        let word = format!("metadata copy {damaged}");
        assert_ends(&unlock_with_key(&path, &[]), 0, &[&word, "CRC-32"]);
    }
    copy.bytes[offsets[2] + 0x100] ^= 1;
    let path = copy.save(directory.path());
    assert_ends(&info(&path), 6, &["no copy of it passes", "copy 3"]);
    assert_ends(
        &unlock_with_key(&path, &[]),
        6,
        &["--accept-damaged-metadata"],
    );
}

#[trial]
fn refuses_tampered_metadata_unless_accepted() {
    let directory = directory();
    let mut copy = VolumeCopy::of(&volume());
    // The identifier of the volume: no key depends on it, but the encrypted SHA-256 covers it.
    copy.edit_all(0x50, &[0xAA]);
    let path = copy.save(directory.path());
    assert_ends(&info(&path), 0, &[]);
    assert_ends(&unlock_with_key(&path, &[]), 6, &["tampered", "SHA-256"]);
    let accepted = unlock_with_key(&path, &["--accept-damaged-metadata"]);
    assert_ends(&accepted, 0, &["warning", "not proved"]);
}

#[trial]
fn random_fields_cause_no_panic_and_no_wrong_plaintext() {
    let directory = directory();
    let sample = volume();
    let whole = VolumeCopy::of(&sample);
    let mut fields: Vec<usize> = vec![0x08, 0x0A, 0x0C, 0x0E, 0x10, 0x18, 0x1C, 0x20, 0x38];
    fields.extend([0x40, 0x44, 0x48, 0x4C, 0x64]);
    for datum in whole.datums() {
        // Size, role, type and flags of a datum, and its first fields.
        fields.extend([
            datum,
            datum + 2,
            datum + 4,
            datum + 6,
            datum + 0x24,
            datum + 0x28,
        ]);
    }
    for field in fields {
        for value in [[0, 0], [1, 0], [7, 0], [0xFF, 0x7F], [0xFF, 0xFF]] {
            let mut copy = VolumeCopy {
                bytes: whole.bytes.clone(),
            };
            copy.edit_all(field, &value);
            if copy.bytes == whole.bytes {
                continue;
            }
            let path = copy.save(directory.path());
            let status = info(&path);
            assert_ends(&status, status.status.code().expect("no signal"), &[]);
            let output = unlock_with_key(&path, &[]);
            let status = output.status.code().expect("no signal");
            assert!(
                [3, 4, 5, 6].contains(&status),
                "{field:#x} {value:?}: {status}, {}",
                stderr(&output)
            );
        }
    }
}

#[trial]
fn names_a_wrong_credential_of_each_kind() {
    let directory = directory();
    let path = volume().file;
    let other_key = testdata::volume("xts-256").bek();
    let other_key = other_key.display().to_string();
    for (option, content, status, words) in [
        ("password-file", "wrong", 4, "wrong password"),
        (
            "recovery-password-file",
            "000000-000011-000022-000033-000044-000055-000066-000077",
            4,
            "wrong recovery password",
        ),
        (
            "recovery-password-file",
            "000001-000011",
            4,
            "recovery password",
        ),
        (
            "recovery-password-file",
            "no digits",
            4,
            "no recovery password",
        ),
        ("startup-key", "no key", 4, "is not a .BEK file"),
        ("vmk-file", &"00".repeat(32), 4, "does not unseal"),
        ("vmk-file", "0011", 4, "not the length of a key"),
        ("fvek-file", &"11".repeat(32), 4, "boot sector"),
        ("fvek-file", &"11".repeat(16), 4, "needs a key of 32 bytes"),
        ("fvek-file", "11", 4, "not the length of a key"),
    ] {
        let secret = file(&directory, "secret", content);
        let option = format!("--{option}");
        let output = unlock(&path, &[&option, &secret.display().to_string()]);
        assert_ends(&output, status, &[words]);
    }
    assert_ends(
        &unlock(&path, &["--startup-key", &other_key]),
        4,
        &["look for a file named"],
    );
    let empty = self::directory();
    let empty = empty.path().display().to_string();
    assert_ends(
        &unlock(&path, &["--startup-key", &empty]),
        4,
        &["no .BEK file"],
    );
    assert_ends(
        &unlock(&path, &["--password-file", "/nowhere"]),
        5,
        &["cannot read"],
    );
}

/// A password file given as another kind of key file: the message shows no part of the password, in
/// no notation.
#[trial]
fn shows_no_bytes_of_a_file_that_is_no_key() {
    const PASSWORD: &str = "correct horse battery staple, and some more words";
    let directory = directory();
    let secret = file(&directory, "secret", PASSWORD);
    let secret = secret.display().to_string();
    let parts: Vec<String> = PASSWORD
        .as_bytes()
        .windows(4)
        .flat_map(|word| {
            let number = u32::from_le_bytes(word.try_into().unwrap());
            let hex: Vec<_> = word.iter().map(|byte| format!("{byte:02x}")).collect();
            [
                number.to_string(),
                format!("{number:#x}"),
                hex.join(" "),
                hex.concat(),
            ]
        })
        .collect();
    for options in [
        &["--startup-key", &secret][..],
        &["--key-package", &secret, "--password-file", &secret],
        &["--vmk-file", &secret],
        &["--fvek-file", &secret],
        &["--tpm-payload", &secret],
    ] {
        let output = unlock(&volume().file, options);
        assert_eq!(output.status.code(), Some(4), "{options:?}");
        let said = String::from_utf8_lossy(&output.stderr).replace(&secret, "");
        for part in &parts {
            assert!(!said.contains(part.as_str()), "{options:?}: {part}: {said}");
        }
    }
}

#[trial]
fn finds_the_right_startup_key_in_a_directory() {
    let everything = testdata::directory();
    let output = unlock(
        &volume().file,
        &["--startup-key", &everything.display().to_string()],
    );
    assert_ends(&output, 0, &[]);
}

#[trial]
fn selects_a_protector_by_the_start_of_its_identifier() {
    let sample = volume();
    let id_of = |kind| sample.credential(kind).protector.clone();
    let key = id_of(Kind::StartupKey);
    assert_ends(
        &unlock_with_key(&sample.file, &["--protector", &key[..8]]),
        0,
        &[],
    );
    let upper = format!("{{{}}}", key.to_uppercase());
    assert_ends(
        &unlock_with_key(&sample.file, &["--protector", &upper]),
        0,
        &[],
    );
    let other = id_of(Kind::Password);
    let refused = unlock_with_key(&sample.file, &["--protector", &other]);
    assert_ends(&refused, 4, &["does not accept it"]);
    let unknown = unlock_with_key(&sample.file, &["--protector", "00000000"]);
    assert_ends(
        &unknown,
        4,
        &["no key protector has the ID 00000000", "choose one of:"],
    );
}

#[trial]
fn names_the_options_without_a_terminal_and_a_credential() {
    let output = unlock(&volume().file, &[]);
    assert_ends(
        &output,
        4,
        &[
            "--password-file",
            "--recovery-password-file",
            "--startup-key",
        ],
    );
}

#[trial]
fn a_wrong_command_line_has_a_status_of_its_own() {
    let path = volume().file;
    for arguments in [
        &["unlock"][..],
        &["no-such-command"],
        &["info", "a", "b"],
        &["info", "a", "--offset", "x"],
        &["unlock", "a", "--offset", "1", "--partition", "1"],
    ] {
        assert_ends(&run(fve().args(arguments)), 2, &["--help"]);
    }
    let twice = ["--password-file", "-", "--recovery-password-file", "-"];
    assert_ends(&unlock(&path, &twice), 2, &["standard input"]);
}

#[trial]
fn json_is_one_document_in_success_and_in_failure() {
    let directory = directory();
    let wrong = file(&directory, "wrong", "wrong").display().to_string();
    let path = volume().file;
    for (output, key) in [
        (
            unlock(&path, &["--json", "--password-file", &wrong]),
            "error",
        ),
        (unlock_with_key(&path, &["--json"]), "unlocked"),
        (run(fve().args(["info", "--json"]).arg(&path)), "protectors"),
        (run(fve().args(["info", "--json", "/nowhere"])), "error"),
        (
            run(fve().args(["recovery", "check", "--json", "--file", "/nowhere"])),
            "error",
        ),
    ] {
        let document: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("one document");
        assert!(document.get(key).is_some(), "{document}");
    }
}

fn decrypt(out: &Path, more: &[&str]) -> Output {
    let sample = volume();
    run(fve()
        .arg("decrypt")
        .arg(&sample.file)
        .arg(out)
        .arg("--startup-key")
        .arg(sample.bek())
        .args(more))
}

#[trial]
fn does_not_overwrite_an_output_without_force() {
    let directory = directory();
    let out = file(&directory, "out", "precious");
    assert_ends(&decrypt(&out, &[]), 2, &["exists", "--force"]);
    assert_eq!(fs::read(&out).expect("read"), b"precious");
    assert_ends(&decrypt(&out, &["--force"]), 0, &[]);
    assert_eq!(fs::read(&out).expect("read"), decrypted(&volume().file));
    assert_ends(
        &decrypt(directory.path(), &["--force"]),
        5,
        &["is a directory"],
    );
    assert_ends(
        &decrypt(Path::new("/nowhere/out"), &[]),
        5,
        &["cannot create"],
    );
}

#[trial]
fn refuses_to_decrypt_a_volume_onto_itself() {
    let directory = directory();
    let sample = volume();
    let path = directory.path().join("volume.img");
    fs::copy(&sample.file, &path).expect("copy");
    let before = fs::read(&path).expect("read");
    let output = run(fve()
        .arg("decrypt")
        .arg(&path)
        .arg(&path)
        .arg("--force")
        .arg("--startup-key")
        .arg(sample.bek()));
    assert_ends(&output, 2, &["is the encrypted volume itself"]);
    assert!(fs::read(&path).expect("read") == before);
}

#[trial]
fn reports_a_full_disk_and_leaves_no_partial_file() {
    let output = decrypt(Path::new("/dev/full"), &["--force"]);
    assert_ends(&output, 5, &["No space left", "/dev/full"]);
    let directory = directory();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8k", "tmpfs"])
        .arg(directory.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        eprintln!("a small file system cannot be mounted here: only /dev/full was tried");
        return;
    }
    let out = directory.path().join("out");
    let output = decrypt(&out, &[]);
    let left = out.exists();
    let unmounted = Command::new("umount").arg(directory.path()).status();
    assert!(unmounted.expect("umount").success());
    assert_ends(&output, 5, &["No space left", "needs up to"]);
    assert!(!left);
}

#[trial]
fn text_from_the_disk_cannot_control_the_terminal() {
    let directory = directory();
    let mut copy = VolumeCopy::of(&volume());
    // Role 7, type 2: the description (docs/format.md §3.3).
    let block = copy.offsets()[0];
    let description = copy
        .datums()
        .into_iter()
        .find(|datum| copy.u16(block + datum + 2) == 7)
        .expect("description");
    let hostile: Vec<u8> = "\u{1b}[2J\u{202E}\u{7}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    copy.edit_all(description + 8, &hostile);
    let output = info(&copy.save(directory.path()));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
    assert!(shown.contains("\\u{1b}[2J\\u{202e}\\u{7}"), "{shown}");
    assert!(
        !shown.chars().any(|c| c.is_control() && c != '\n'),
        "{shown}"
    );
}

/// A file with this name would fill the memory of the file system /dev.
#[trial]
fn does_not_create_a_file_for_a_missing_device() {
    let device = "/dev/fve-no-such-device";
    let volume = volume();
    let password = ["--password-file", "-"];
    for words in [
        &["decrypt", volume.file.to_str().unwrap(), device][..],
        &["decrypt", volume.file.to_str().unwrap(), device, "--force"],
        &[
            "decrypt",
            volume.file.to_str().unwrap(),
            device,
            "--device-confirm",
            device,
        ],
        &["create", device, "--size", "1M", "--recovery-password"],
        &[
            "export",
            "key-package",
            volume.file.to_str().unwrap(),
            device,
        ],
    ] {
        let mut command = fve();
        command.args(words);
        if words[0] != "create" {
            command.args(password);
        }
        let output = run(&mut command);
        assert_ends(&output, 2, &["there is no device", device, "lsblk"]);
        assert!(!Path::new(device).exists(), "{words:?}");
    }
}

#[trial]
fn unmounting_nothing_is_an_error() {
    let directory = directory();
    let output = run(fve().arg("unmount").arg(directory.path()));
    assert_ends(&output, 2, &["nothing is mounted", "help:"]);
    assert_ends(
        &run(fve().args(["unmount", "/proc"])),
        2,
        &["of another kind"],
    );
}

#[trial]
fn checks_the_mount_point_before_it_asks_anything() {
    let directory = directory();
    let regular = file(&directory, "file", "");
    let mount = |at: &Path| run(fve().arg("mount").arg(volume().file).arg(at));
    assert_ends(
        &mount(&directory.path().join("none")),
        5,
        &["does not exist", "mkdir"],
    );
    assert_ends(&mount(&regular), 5, &["not a directory"]);
    assert_ends(&mount(directory.path()), 5, &["not empty"]);
}
