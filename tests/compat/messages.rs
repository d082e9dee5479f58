//! What is said: help, versions, and what cannot be translated.

use super::{Links, NAMES};
use crate::common::output::{assert_status, text};
use crate::common::trials::{fuse, trial};

#[trial]
fn the_help_names_fve_and_its_command() {
    let links = Links::new();
    for name in NAMES {
        let output = links.program(name).arg("-h").output().expect("start");
        assert_status(&output, 0);
        let help = text(&output.stdout);
        let first = format!("{name} (fve {})", env!("CARGO_PKG_VERSION"));
        assert!(
            help.contains(&first) && help.contains("The command of fve is:"),
            "{help}"
        );
        assert!(help.lines().count() <= 50, "{help}");
    }
}

#[trial]
fn what_is_unknown_is_named_with_the_command_of_fve() {
    let links = Links::new();
    let output = links
        .program("dislocker")
        .args(["-V", "x", "-Z"])
        .output()
        .expect("start");
    assert_status(&output, 2);
    let said = text(&output.stderr);
    assert!(
        said.contains("no option -Z") && said.contains("'fve mount --volume SOURCE DIR'"),
        "{said}"
    );
}

/// Each wrong line, and what the message must say. None repeats a word that may be a secret.
#[trial]
fn a_wrong_line_is_explained() {
    let links = Links::new();
    let directory = tempfile::tempdir().unwrap();
    let file = crate::common::testdata::volume("xts-128").file;
    let file = file.to_str().unwrap();
    let place = directory.path().to_str().unwrap();
    let lines: &[(&str, &[&str], &str)] = &[
        (
            "dislocker",
            &["-V", file, "-u", "Geheim1"],
            "must be attached",
        ),
        (
            "dislocker",
            &["-V", file, "-p", "Geheim1", "--", place],
            "must be attached",
        ),
        (
            "dislocker",
            &["-V", file, "-u", "--", place],
            "standard input",
        ),
        (
            "dislocker",
            &["-V", file, "-u", "", "--", place],
            "must be attached",
        ),
        (
            "dislocker",
            &["-V", file, "--user-password=", "--", place],
            "is empty",
        ),
        (
            "dislocker",
            &["-V", file, "--", "-uGeheim1", place],
            "no option -u",
        ),
        (
            "dislocker",
            &["-V", file, "-O", "Geheim1", "--", place],
            "the offset is",
        ),
        // dislocker takes this as 0.
        (
            "dislocker",
            &["-V", file, "-O", "--", place],
            "the offset is",
        ),
        ("dislocker", &["-V", file, "--fvek"], "--fvek needs a value"),
        (
            "dislocker",
            &[file, place, "-o", "bekfile"],
            "'bekfile' needs a value",
        ),
        (
            "dislocker-file",
            &["-V", file, "-u", "Geheim1", "--", place],
            "must be attached",
        ),
        ("bdemount", &["-o", "Geheim1", file, place], "the offset is"),
        ("bdemount", &["-k", "Geheim1", file, place], "value of -k"),
        (
            "bdemount",
            &[file, place, "Geheim1"],
            "and 3 words were given",
        ),
        (
            "dislocker-file",
            &["-V", file, "-p", "471207-278498-422026"],
            "form of a secret",
        ),
        ("dislocker", &["--v", file], "--verbosity, --volume"),
        ("bdemount", &["-p", "", file, place], "value of -p is empty"),
        ("bdeinfo", &["-k", "0", file], "value of -k"),
        ("mount.fuse.dislocker", &[file], "exactly one volume"),
        (
            "mount.fuse.dislocker",
            &[file, place, "-o", "remount,ro"],
            "unmount it first",
        ),
    ];
    for (name, words, part) in lines {
        let mut command = links.program(name);
        let output = command
            .args(*words)
            .stdin(std::process::Stdio::null())
            .output()
            .expect("start");
        assert_status(&output, 2);
        let said = text(&output.stderr);
        assert!(said.contains(part), "{name} {words:?}: {said}");
        assert!(said.contains(&format!("'{name} -h'")), "{said}");
        assert!(
            !said.contains("Geheim1") && !said.contains("471207") && !said.contains("/fd/"),
            "{said}"
        );
    }
}

/// The server names the options of fve, so the last line says where they are explained.
#[trial(needs(fuse))]
fn a_failure_of_fve_itself_names_the_help_of_the_old_name() {
    let links = Links::new();
    let directory = tempfile::tempdir().unwrap();
    let mut dislocker = links.program("dislocker");
    dislocker
        .arg("-V")
        .arg(crate::common::testdata::volume("xts-128").file)
        .args(["-r", "-uwrong", "--"])
        .arg(directory.path());
    let output = dislocker.output().expect("start");
    assert_status(&output, 4);
    let said = text(&output.stderr);
    assert!(
        said.contains("wrong password") && said.contains("'dislocker -h'"),
        "{said}"
    );
}

#[trial]
fn the_command_needs_a_name_that_is_known() {
    for words in [&["compat"][..], &["compat", "frobnicate"]] {
        let output = crate::common::fve().args(words).output().expect("start");
        assert_status(&output, 2);
        let said = text(&output.stderr);
        assert!(
            said.contains("bdemount") && !said.contains("frobnicate"),
            "{said}"
        );
    }
}

/// What dislocker does without `-r` writes to the volume itself or not at all.
#[trial]
fn changes_in_another_file_are_no_alternative_to_reading_only() {
    let mut mount = crate::common::fve();
    mount.args([
        "mount",
        "--volume",
        "--read-write",
        "--or-read-only",
        "--overlay",
        "changes",
        "x",
        "m",
    ]);
    let output = mount.output().expect("start");
    assert_status(&output, 2);
    assert!(text(&output.stderr).contains("cannot be used with"));
}

#[trial]
fn messages_go_to_the_log_file() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    std::fs::write(&log, "before\n").unwrap();
    let links = Links::new();
    let mut dislocker = links.program("dislocker");
    dislocker
        .arg("-l")
        .arg(&log)
        .args(["-V", "/etc/passwd", "-c", "--"]);
    let output = dislocker
        .arg(directory.path().join("m"))
        .output()
        .expect("start");
    assert!(!output.status.success());
    assert_eq!(text(&output.stderr), "");
    let logged = std::fs::read_to_string(&log).unwrap();
    assert!(logged.starts_with("before\nfve: error:"), "{logged}");
}
