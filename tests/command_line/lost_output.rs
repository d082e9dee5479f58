//! A new recovery password is not lost if standard output takes nothing: the user gets it elsewhere, or the
//! volume is not changed.

use std::fs;
use std::path::Path;

use crate::common::output::{assert_status, text};
use crate::common::trials::trial;
use crate::shell::{all_features, place, run};

/// A full disk, a closed standard output, and a reader that has ended.
const REDIRECTIONS: &[&str] = &[">/dev/full", ">&-", "| :"];

/// Runs a command whose standard output takes nothing. Returns its status and its standard error.
fn without_output(line: &str, redirection: &str, place: &Path) -> (String, String) {
    // A reader that has ended must have ended before the command prints.
    let line = format!("{{ sleep 0.2; {line}; echo $? >status; }} {redirection}");
    let said = text(&run(&line, place).stderr);
    let status = fs::read_to_string(place.join("status")).expect("status");
    (status.trim().to_owned(), said)
}

/// As a document, the digits are printed after the change.
#[trial(
    "a recovery password that no document took is printed elsewhere",
    needs(all_features)
)]
fn documents() {
    for redirection in REDIRECTIONS {
        let place = place();
        let line =
            "fve -q protector add --json volume.img --startup-key key.BEK --new-recovery-password";
        let (status, said) = without_output(line, redirection, &place);
        assert_eq!(status, "5", "{redirection}: {said}");
        assert!(said.contains("the volume was changed"), "{said}");
        assert!(
            said.contains("fve: error: cannot write to standard output"),
            "{said}"
        );
        // One of these lines is that of the password.
        fs::write(place.join("said"), &said).expect("said");
        let unlocked = run(
            "fve unlock volume.img --recovery-password-file said",
            &place,
        );
        assert_status(&unlocked, 0);
    }
}

#[trial(
    "without output, no key protector is added whose password is printed",
    needs(all_features)
)]
fn lines() {
    for redirection in REDIRECTIONS {
        let place = place();
        let before = fs::read(place.join("volume.img")).expect("volume");
        let line = "fve protector add volume.img --startup-key key.BEK --new-recovery-password";
        let (status, said) = without_output(line, redirection, &place);
        assert_eq!(status, "5", "{redirection}: {said}");
        let after = fs::read(place.join("volume.img")).expect("volume");
        assert!(before == after, "{redirection}: {said}");
    }
}

#[trial(
    "without output, no volume is created whose password is printed",
    needs(all_features)
)]
fn new_volumes() {
    for redirection in REDIRECTIONS {
        for form in ["", "--json"] {
            let place = place();
            let line = format!("fve create new.img --size 1M --new-recovery-password {form}");
            let (status, said) = without_output(&line, redirection, &place);
            assert_eq!(status, "5", "{redirection}: {said}");
            assert!(!place.join("new.img").exists(), "{redirection}: {said}");
        }
    }
}
