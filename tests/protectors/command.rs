//! `fve protector` and `fve metadata` as users and scripts run them: messages, exit statuses, and that a
//! refused change does not touch the file.

#![cfg(feature = "cli")]
use std::fs;
use std::path::PathBuf;

use crate::common::fve;
use crate::common::peers::{self, Peer};
use crate::common::testdata::{self, Entry, Kind};
use crate::common::trials::{Missing, trial};
use fve::recovery_password::{Options, scan_bytes};

/// A copy of a test volume, and a directory for the files that commands write.
struct Bench {
    place: tempfile::TempDir,
    volume: Entry,
    image: PathBuf,
    before: Vec<u8>,
}

/// Exit status and output of a command.
struct Said {
    status: i32,
    out: String,
    err: String,
}

impl Bench {
    fn of(name: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let volume = testdata::volume(name);
        let image = place.path().join("volume.img");
        let before = fs::read(&volume.file).unwrap();
        fs::write(&image, &before).unwrap();
        Self {
            place,
            volume,
            image,
            before,
        }
    }

    fn path(&self, name: &str) -> String {
        self.place.path().join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let [group, command, rest @ ..] = arguments else {
            panic!("{arguments:?}");
        };
        let output = fve()
            .args([group, command])
            .arg(&self.image)
            .args(rest)
            .env("XDG_STATE_HOME", self.place.path().join("state"))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        Said {
            status: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs it with the volume's startup key.
    fn with_key(&self, arguments: &[&str]) -> Said {
        let key = self.volume.bek();
        self.run(&[arguments, &["--startup-key", key.to_str().unwrap()]].concat())
    }

    fn is_untouched(&self) -> bool {
        fs::read(&self.image).unwrap() == self.before
    }

    /// Whether there is a backup in the directory where backups are kept during a change.
    fn left_a_backup(&self) -> bool {
        fs::read_dir(self.place.path().join("state/fve"))
            .is_ok_and(|mut directory| directory.next().is_some())
    }
}

#[trial]
fn a_dry_run_prints_the_change_and_writes_nothing() {
    let bench = Bench::of("xts-128");
    let keys = bench.path("");
    let escrow = bench.path("escrow.txt");
    for arguments in [
        &[
            "protector",
            "add",
            "--recovery-password",
            "--startup-key-to",
            &keys,
            "--dry-run",
        ][..],
        &[
            "protector",
            "remove",
            "--type",
            "recoverypassword",
            "--dry-run",
        ],
        &[
            "protector",
            "rotate-recovery",
            "--escrow-to",
            &escrow,
            "--dry-run",
        ],
        &["protector", "suspend", "--reboots", "3", "--dry-run"],
    ] {
        let said = bench.with_key(arguments);
        assert_eq!(said.status, 0, "{arguments:?}: {}", said.err);
        assert!(said.out.contains("would"), "{}", said.out);
        // No identifier or digits are printed or saved: the protector will not exist.
        let digits = scan_bytes(said.out.as_bytes(), &Options::default());
        assert!(digits.unwrap().found.is_empty());
    }
    assert!(bench.is_untouched() && !bench.left_a_backup());
    assert_eq!(fs::read_dir(bench.place.path()).unwrap().count(), 1);
}

#[trial]
fn a_dry_run_fails_where_the_change_could_not_save_its_files() {
    let bench = Bench::of("xts-128");
    let nowhere = bench.path("no-such-directory/file");
    for arguments in [
        &["add", "--recovery-password-to", &nowhere][..],
        &["add", "--recovery-password", "--backup", &nowhere],
        &["rotate-recovery", "--escrow-to", &nowhere],
    ] {
        let said = bench.with_key(&[&["protector"], arguments, &["--dry-run"]].concat());
        assert_eq!(said.status, 5, "{arguments:?}: {}{}", said.out, said.err);
        assert!(said.err.contains("no-such-directory"), "{}", said.err);
    }
}

#[trial]
fn the_end_of_the_last_recovery_password_is_noted() {
    let bench = Bench::of("xts-128");
    let note = "no recovery password";
    for (kind, expected) in [("recoverypassword", true), ("password", false)] {
        let said = bench.with_key(&["protector", "remove", "--type", kind, "--dry-run"]);
        assert_eq!(said.status, 0, "{kind}: {}", said.err);
        assert_eq!(said.err.contains(note), expected, "{kind}: {}", said.err);
    }
}

#[trial]
fn an_id_that_cannot_be_one_is_an_error_of_the_command_line() {
    let bench = Bench::of("xts-128");
    for arguments in [
        &["remove", "anaconda"][..],
        &[
            "rotate-recovery",
            "--escrow-to",
            "k",
            "--replace",
            "anaconda",
        ],
        &["show-recovery", "--protector", "anaconda"],
        &["change-pin", "--of", "anaconda"],
    ] {
        let said = bench.with_key(&[&["protector"], arguments].concat());
        assert_eq!(said.status, 2, "{arguments:?}: {}{}", said.out, said.err);
        assert!(!said.err.contains("anaconda"), "{}", said.err);
    }
    assert!(bench.is_untouched());
}

#[trial]
fn a_protector_to_unlock_with_is_not_taken_for_the_one_to_replace() {
    let bench = Bench::of("xts-128");
    let added = bench.with_key(&["protector", "add", "--recovery-password"]);
    assert_eq!(added.status, 0, "{}", added.err);
    let list = bench.run(&["protector", "list"]).out;
    let id = list
        .lines()
        .skip_while(|line| !line.contains("Numerical Password"))
        .find_map(|line| line.split(['{', '}']).nth(1))
        .expect("an ID");
    let escrow = bench.path("escrow.txt");
    let old = bench.path("old.txt");
    fs::write(&old, &bench.volume.credential(Kind::RecoveryPassword).value).unwrap();
    let said = bench.run(&[
        "protector",
        "rotate-recovery",
        "--escrow-to",
        &escrow,
        "--protector",
        id,
        "--recovery-password-file",
        &old,
    ]);
    assert_eq!(said.status, 2, "{}{}", said.out, said.err);
    assert!(said.err.contains("give its ID"), "{}", said.err);
}

#[trial]
fn a_refused_change_names_the_reason_and_does_not_touch_the_file() {
    let bench = Bench::of("xts-128");
    let wrong = bench.path("wrong");
    fs::write(&wrong, "not the password").unwrap();
    let check = |said: Said, status: i32, words: &str| {
        assert_eq!(said.status, status, "{}", said.err);
        assert!(said.err.contains(words), "{}", said.err);
        assert!(bench.is_untouched() && !bench.left_a_backup());
    };
    let suspend = ["protector", "suspend", "--password-file", &wrong];
    check(bench.run(&suspend), 4, "wrong password");
    check(
        bench.run(&["protector", "suspend"]),
        4,
        "the volume accepts",
    );
    check(
        bench.with_key(&["protector", "remove", "00000000"]),
        1,
        "no protector",
    );
    check(
        bench.with_key(&["protector", "remove", "--type", "hat"]),
        2,
        "not a type",
    );
    check(bench.with_key(&["protector", "remove"]), 2, "ID");
    check(bench.with_key(&["protector", "resume"]), 1, "not suspended");
    check(
        bench.with_key(&["protector", "add"]),
        2,
        "--recovery-password-to",
    );
    check(
        bench.with_key(&["protector", "suspend", "--reboots", "16"]),
        2,
        "16",
    );
    let exists = ["protector", "add", "--recovery-password-to", &wrong];
    check(bench.with_key(&exists), 2, "exists");
    let exists = ["protector", "rotate-recovery", "--escrow-to", &wrong];
    check(bench.with_key(&exists), 2, "exists");
    let new_password = ["protector", "add", "--new-password-file", &wrong];
    check(bench.with_key(&new_password), 1, "only one");
    check(
        bench.with_key(&["protector", "change-password"]),
        2,
        "--new-password-file",
    );
}

#[trial]
fn refuses_to_remove_all_protectors_at_once() {
    let bench = Bench::of("xts-128");
    let ids: Vec<_> = bench
        .volume
        .credentials
        .iter()
        .map(|key| key.protector.as_str())
        .collect();
    let said = bench.with_key(&[&["protector", "remove"], &ids[..]].concat());
    assert_eq!(said.status, 1);
    assert!(said.err.contains("last protector"), "{}", said.err);
    assert!(bench.is_untouched());
}

#[trial]
fn refuses_to_change_a_source_in_use() {
    let bench = Bench::of("xts-128");
    let held = fs::File::open(&bench.image).unwrap();
    held.lock().unwrap();
    let said = bench.with_key(&["protector", "suspend"]);
    assert_eq!(said.status, 5, "{}", said.err);
    assert!(said.err.contains("in use"), "{}", said.err);
    drop(held);
    assert!(bench.is_untouched());
}

#[trial]
fn lists_protectors_as_text_and_as_json() {
    let bench = Bench::of("suspended");
    let text = bench.run(&["protector", "list"]);
    assert!(text.out.contains("Clear Key:") && text.out.contains("Password:"));
    let json = bench.run(&["protector", "list", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let kinds: Vec<_> = json["protectors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|protector| protector["type"].as_str().unwrap())
        .collect();
    assert!(
        kinds.contains(&"password") && kinds.contains(&"clear-key"),
        "{kinds:?}"
    );
    assert!(json["volume"].is_string());
}

#[trial]
fn returns_recovery_passwords_and_startup_keys_from_their_backups() {
    let bench = Bench::of("xts-128");
    let shown = bench.with_key(&["protector", "show-recovery"]);
    let known = bench.volume.credential(Kind::RecoveryPassword);
    assert_eq!(
        shown.out,
        format!("{}  {}\n", known.protector.to_uppercase(), known.value)
    );
    let said = bench.with_key(&["protector", "save-startup-key", "--to", &bench.path("")]);
    assert_eq!(said.status, 0, "{}", said.err);
    let name = bench.volume.bek();
    let name = name.file_name().unwrap().to_str().unwrap();
    let saved = fs::read(bench.path(name)).unwrap();
    // The key, its identifier and its time are equal; only the time of the file itself may differ.
    let original = fs::read(bench.volume.bek()).unwrap();
    assert_eq!(saved[0x30..], original[0x30..]);
    assert!(bench.is_untouched());
}

#[trial]
fn keeps_a_backup_only_on_request_and_can_restore_it() {
    let bench = Bench::of("xts-128");
    let backup = bench.path("backup");
    let gone = &bench.volume.credential(Kind::Password).protector;
    let said = bench.with_key(&["protector", "remove", gone, "--backup", &backup]);
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(said.out.contains("removed: Password"), "{}", said.out);
    assert!(!bench.is_untouched() && !bench.left_a_backup());

    let said = bench.run(&["metadata", "restore", &backup, "--dry-run"]);
    assert!(
        said.out.contains("copy 2 would be restored"),
        "{}",
        said.out
    );
    assert!(!bench.is_untouched());
    let said = bench.run(&["metadata", "restore", &backup]);
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(bench.is_untouched());
    let said = bench.run(&["metadata", "backup", &backup]);
    assert_eq!(said.status, 2);
    let said = bench.run(&["metadata", "restore", bench.image.to_str().unwrap()]);
    assert_eq!(said.status, 2);
    assert!(
        said.err.contains("not a usable metadata backup"),
        "{}",
        said.err
    );
}

#[trial]
fn restores_a_lost_boot_record_with_a_credential() {
    let bench = Bench::of("xts-128");
    let backup = bench.path("backup");
    assert_eq!(bench.run(&["metadata", "backup", &backup]).status, 0);
    let mut image = bench.before.clone();
    image[..512].fill(0);
    fs::write(&bench.image, image).unwrap();
    let said = bench.run(&["metadata", "restore", &backup]);
    assert_eq!(said.status, 1, "{}", said.err);
    let said = bench.with_key(&["metadata", "restore", &backup]);
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(bench.is_untouched());
}

#[trial]
fn suspending_warns_and_resuming_needs_no_credential() {
    let bench = Bench::of("xts-128");
    let said = bench.with_key(&["protector", "suspend", "--reboots", "2"]);
    assert!(said.err.contains("anyone can read"), "{}", said.err);
    let json = bench.run(&["protector", "list", "--json"]).out;
    assert!(json.contains("\"reboots_left\": 2"), "{json}");
    let said = bench.run(&["protector", "resume"]);
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(!bench.run(&["protector", "list"]).out.contains("Clear Key"));
}

/// The `.BEK` files in a directory of the bench.
fn keys_in(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "BEK"))
        .collect()
}

#[trial]
fn changes_the_startup_key_in_one_step() {
    let bench = Bench::of("xts-128");
    let keys = bench.path("keys");
    fs::create_dir(&keys).unwrap();
    let change = ["protector", "change-startup-key", "--startup-key-to", &keys];
    let said = bench.with_key(&[&change[..], &["--dry-run"]].concat());
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(said.out.contains("would add: External Key"), "{}", said.out);
    assert!(bench.is_untouched() && keys_in(&keys).is_empty());

    let said = bench.with_key(&change);
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(said.out.contains("removed: External Key"), "{}", said.out);
    assert!(said.out.contains("new master key"), "{}", said.out);
    assert!(!bench.left_a_backup());
    let [new] = keys_in(&keys).try_into().unwrap();
    let new = new.to_str().unwrap().to_owned();
    assert!(said.err.contains(&new), "{}", said.err);
    let refused = bench.with_key(&["protector", "show-recovery"]);
    assert_eq!(refused.status, 4, "{}", refused.err);
    let shown = bench.run(&["protector", "show-recovery", "--startup-key", &new]);
    assert_eq!(shown.status, 0, "{}", shown.err);
    let known = bench.volume.credential(Kind::RecoveryPassword);
    assert!(shown.out.contains(&known.value), "{}", shown.out);
    // No key is left over from a change that is refused or fails.
    let nowhere = bench.path("no-such-directory");
    let nowhere = [
        "protector",
        "change-startup-key",
        "--startup-key-to",
        &nowhere,
    ];
    assert_eq!(bench.with_key(&nowhere).status, 5);
}

#[trial]
fn a_startup_key_that_cannot_be_changed_is_refused_by_name() {
    let bench = Bench::of("xts-128");
    let keys = bench.path("keys");
    fs::create_dir(&keys).unwrap();
    let change = ["protector", "change-startup-key", "--startup-key-to", &keys];
    let password = &bench.volume.credential(Kind::Password).protector;
    let said = bench.with_key(&[&change[..], &[password]].concat());
    assert_eq!(said.status, 1, "{}", said.err);
    assert!(
        said.err.contains("no startup key to change"),
        "{}",
        said.err
    );
    assert!(bench.is_untouched() && keys_in(&keys).is_empty());
    // Which of several is to be replaced must be said.
    let more = ["protector", "add", "--startup-key-to", &bench.path("")];
    assert_eq!(bench.with_key(&more).status, 0);
    let said = bench.with_key(&change);
    assert_eq!(said.status, 1, "{}", said.err);
    assert!(said.err.contains("several startup keys"), "{}", said.err);
    let old = &bench.volume.credential(Kind::StartupKey).protector;
    let said = bench.with_key(&[&change[..], &[old]].concat());
    assert_eq!(said.status, 0, "{}", said.err);
    assert_eq!(keys_in(&keys).len(), 1);
}

#[trial]
fn a_volume_without_a_tpm_protector_has_none_to_remove() {
    let bench = Bench::of("xts-128");
    let all_tpm = ["protector", "remove", "--all-tpm", "--yes"];
    let said = bench.with_key(&all_tpm);
    assert_eq!(said.status, 1, "{}", said.err);
    assert!(
        said.err.contains("no key protector that uses a TPM"),
        "{}",
        said.err
    );
    for more in [&["--type", "tpm"][..], &["64311DEA"]] {
        let said = bench.with_key(&[&all_tpm[..], more].concat());
        assert_eq!(said.status, 2, "{}", said.err);
    }
    assert!(bench.is_untouched());
}

#[trial]
fn sets_and_shows_the_identification_field() {
    let bench = Bench::of("xts-128");
    let key = bench.volume.bek();
    let key = ["--startup-key", key.to_str().unwrap()];
    let on_image = |command: &str, arguments: &[&str]| {
        let mut fve = fve();
        let output = fve.arg(command).arg(&bench.image).args(arguments).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let shown = || (on_image("info", &[]), on_image("unlock", &key));
    let field = "Identification Field: ";
    let (info, unlocked) = shown();
    assert!(info.contains(&format!("{field}Unknown")), "{info}");
    assert!(!unlocked.contains("identification field"), "{unlocked}");
    let set =
        |arguments: &[&str]| bench.with_key(&[&["metadata", "set-identifier"], arguments].concat());
    // What Windows could not show is refused, and a dry run writes nothing.
    assert_eq!(set(&["two\nlines"]).status, 1);
    assert_eq!(set(&[&"x".repeat(261)]).status, 1);
    assert_eq!(set(&[""]).status, 2);
    assert_eq!(set(&["one", "--remove"]).status, 2);
    assert_eq!(set(&["example.org", "--dry-run"]).status, 0);
    assert!(bench.is_untouched());
    for text in [
        "example.org",
        "Beispiel \u{e4}\u{20ac} \u{1f512}",
        &"x".repeat(260),
    ] {
        let said = set(&[text]);
        assert_eq!(said.status, 0, "{}", said.err);
        assert!(
            said.out.contains("the identification field was set"),
            "{}",
            said.out
        );
        assert!(!said.out.contains("new master key"), "{}", said.out);
        let (info, unlocked) = shown();
        assert!(info.contains(&format!("{field}Set")), "{info}");
        assert!(
            unlocked.contains(&format!("identification field: {text}\n")),
            "{unlocked}"
        );
    }
    // It follows a new master key.
    let password = &bench.volume.credential(Kind::Password).protector;
    assert_eq!(bench.with_key(&["protector", "remove", password]).status, 0);
    let (_, unlocked) = shown();
    assert!(
        unlocked.contains("identification field: xxxx"),
        "{unlocked}"
    );
    assert_eq!(set(&["--remove"]).status, 0);
    let (info, unlocked) = shown();
    assert!(info.contains(&format!("{field}Unknown")), "{info}");
    assert!(!unlocked.contains("identification field"), "{unlocked}");
}

fn dissect() -> Option<Missing> {
    Peer::Dissect.missing()
}

#[trial(needs(dissect))]
fn dissect_decrypts_the_identification_field() {
    let bench = Bench::of("xts-128");
    let text = "Beispiel \u{e4}\u{20ac} \u{1f512}";
    let said = bench.with_key(&["metadata", "set-identifier", text]);
    assert_eq!(said.status, 0, "{}", said.err);
    let output = std::process::Command::new(peers::python())
        .arg("-B")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/cases/identification.py"
        ))
        .arg(&bench.image)
        .arg(bench.volume.bek())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), text, "{output:?}");
}
