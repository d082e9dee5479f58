//! What is said: help, versions, and what cannot be translated.

use super::{Links, NAMES};
use crate::common::output::{assert_status, text};
use crate::common::trials::trial;

#[trial]
fn the_help_names_fve_and_its_command() {
    let links = Links::new();
    for name in NAMES.iter().filter(|name| !name.starts_with("mount.")) {
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
