//! Exit statuses (docs/command-line.md §4) of failures that are alike: each command ends with the same.

use std::fs;

use crate::common::output::assert_status;
use crate::common::trials::{self, Trial, trial, trials};
use crate::shell::{all_features, place, run};

/// What fails, the status, and commands that fail so. `exists` is a file of another kind.
const FAILURES: &[(&str, i32, &[&str])] = &[
    (
        "a missing file",
        5,
        &[
            "fve unlock volume.img --recovery-password-file nothing",
            "fve unlock volume.img --recovery-lookup nothing",
            "fve recovery lookup --volume volume.img nothing",
            "fve info nothing",
            "fve metadata restore volume.img nothing",
            "fve network-unlock certificate nothing",
        ],
    ),
    (
        "no permission to overwrite",
        2,
        &[
            "fve decrypt volume.img exists --startup-key key.BEK",
            "fve decrypt volume.img new --startup-key key.BEK --error-map-to exists",
            "fve create exists --size 1M --clear-key",
            "fve create new --size 1M --recovery-password-to exists",
            "fve metadata backup volume.img exists",
            "fve export key-package volume.img exists --startup-key key.BEK",
            "fve repair rebuild-header volume.img exists",
            "fve protector rotate-recovery volume.img --startup-key key.BEK --recovery-password-to exists",
            "fve protector suspend volume.img --startup-key key.BEK --backup-to exists",
            "fve recovery search volume.img --pattern-file pattern --recovery-password-to exists",
            "fve network-unlock certificate --to directory && fve network-unlock certificate --to directory",
        ],
    ),
    (
        "a file of another kind",
        2,
        &[
            "fve metadata restore volume.img exists",
            "fve network-unlock certificate exists",
            "fve network-unlock serve --certificate exists",
            "fve network-unlock probe dhcp4:none0 --certificate exists",
            "fve create new --size 1M --new-certificate exists",
            "fve info volume.img --rescue-map exists",
        ],
    ),
    (
        "a value out of range",
        2,
        &[
            "fve unlock volume.img --network-unlock --network-timeout 0",
            "fve network-unlock probe --certificate exists --network-timeout 0",
            "fve create new --size 0 --clear-key",
        ],
    ),
    (
        "a credential that does not fit",
        4,
        &[
            "fve unlock volume.img --password-file wrong-password",
            "fve unlock volume.img --certificate exists",
            "fve unlock volume.img",
        ],
    ),
    (
        "a key protector that the volume does not have",
        4,
        &[
            "fve unlock volume.img --tpm=device:/dev/null",
            "fve tpm explain volume.img --tpm=device:/dev/null",
            "fve tpm status volume.img --tpm=device:/dev/null",
            "fve unlock volume.img --startup-key key.BEK --protector 00000000",
        ],
    ),
];

#[trials]
fn statuses() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (what, status, lines) in FAILURES {
        trials.push(trial(
            format!("status of {what}"),
            all_features(),
            move || {
                let place = place();
                for line in *lines {
                    assert_status(&run(line, &place), *status);
                }
                assert_eq!(
                    fs::read(place.join("exists")).expect("file"),
                    b"something else\n"
                );
            },
        ));
    }
    trials
}

#[trial("status of unmounting", needs(|| all_features().or_else(trials::fuse)))]
fn unmounting() {
    let place = place();
    assert_status(&run("fve unmount directory", &place), 2);
    assert_status(&run("fve unmount nothing", &place), 2);
    assert_status(&run("fve unmount /proc", &place), 2);
    assert_status(&run("fve unmount", &place), 0);
    assert_status(
        &run(
            "fve mount --volume volume.img directory --startup-key key.BEK",
            &place,
        ),
        0,
    );
    let listed = run("fve unmount", &place);
    assert_status(&listed, 0);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert_status(&run("fve unmount directory", &place), 0);
    let directory = place.join("directory").canonicalize().expect("directory");
    let line = text
        .lines()
        .find(|line| line.starts_with(&directory.display().to_string()));
    assert!(
        line.is_some_and(|line| line.ends_with("volume.img")),
        "{text}"
    );
}
