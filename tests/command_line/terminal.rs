//! Prompts on a pseudo-terminal: what they show, and how they leave the terminal
//! (`tests/cases/terminal.py`).

use std::path::Path;
use std::process::Command;

use crate::common::testdata::{self, Kind};
use crate::common::trials::{self, Trial, trial, trials};

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
