//! On a pseudo-terminal: what prompts show, and how they leave the terminal (`tests/cases/terminal.py`);
//! bold words of the help.

use std::path::Path;
use std::process::Command;

use crate::common::output::{assert_status, text};
use crate::common::testdata::{self, Kind};
use crate::common::trials::{self, Trial, trial, trials};
use crate::shell::{all_features, place, run};

const CASES: &[&str] = &[
    "signals",
    "typed_signals",
    "suspended",
    "stopped",
    "ahead",
    "keys",
    "encoding",
    "uncontrolled",
    "digits",
    "password_like_digits",
    "end_of_input",
    "new_password",
    "errors_first",
    "no_prompt",
];

#[trials]
fn prompts() -> Vec<Trial> {
    CASES
        .iter()
        .map(|case| {
            let missing = trials::programs(&["python3"]);
            trial(*case, missing, move || prompt(case))
        })
        .collect()
}

fn prompt(case: &str) {
    let folder = tempfile::tempdir().expect("folder");
    let sample = testdata::volume("xts-128");
    let output = Command::new("python3")
        .arg("-B")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/terminal.py"))
        .arg(env!("CARGO_BIN_EXE_fve"))
        .arg(&sample.file)
        .arg(&sample.credential(Kind::Password).value)
        .arg(&sample.credential(Kind::RecoveryPassword).value)
        .arg(case)
        .current_dir(folder.path())
        .output()
        .expect("python3");
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(
        output.status.success() && output.stdout.ends_with(b"PASS\n"),
        "{said}"
    );
}

/// Help and manual pages have bold words on a terminal, unless it cannot show them or the user does not want
/// them. The text is the same.
#[trial("bold words", needs(all_features, || trials::programs(&["man", "script"])))]
fn bold_words() {
    let place = place();
    for line in ["fve -h", "fve mount --help", "fve man mount"] {
        let shown = |environment: &str| {
            // The pager would wait for a key.
            let line = format!("env {environment} MANPAGER=cat script -qec '{line}' /dev/null");
            let output = run(&line, &place);
            assert_status(&output, 0);
            text(&output.stdout)
        };
        let bold = shown("TERM=xterm");
        let plain = without_bold(&bold);
        assert_ne!(bold, plain, "{line}");
        for environment in ["TERM=dumb", "TERM=dumb CI=true", "TERM=xterm NO_COLOR=1"] {
            assert_eq!(shown(environment), plain, "{line} {environment}");
        }
        let piped = text(&run(&format!("env TERM=xterm {line}"), &place).stdout);
        assert!(!piped.contains(['\x1b', '\x08']), "{piped}");
        if !line.contains("man") {
            assert_eq!(piped, plain.replace("\r\n", "\n"), "{line}");
        }
    }
}

/// Text without the two forms of bold: escape sequences, and letters that are printed twice.
fn without_bold(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' => {
                letters.by_ref().find(|end| end.is_ascii_alphabetic());
            }
            '\x08' => {
                plain.pop();
            }
            _ => plain.push(letter),
        }
    }
    plain
}
