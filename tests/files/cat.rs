//! `fve cat`.

use std::io::Read;
use std::process::Stdio;

use libtest_mimic::Failed;

use crate::command::{encrypted, fails, fve, output, shown};
use crate::common::output::{assert_status, text};
use crate::common::trials::{Trial, trial, trials};
use crate::images::tree::tagged;
use crate::ntfs::ASSORTED;
use crate::oracles::makers;

#[trials]
fn contents() -> Vec<Trial> {
    vec![
        trial(
            "fve cat writes files and streams of an encrypted volume",
            makers(),
            contents_of_a_volume,
        ),
        trial(
            "fve cat ends with status 5 where there is nothing to write, or the reader ends",
            makers(),
            failures,
        ),
    ]
}

fn contents_of_a_volume() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let volume = encrypted(&ASSORTED.path(), directory.path());
    let cat = |path: &str| {
        let output = output("cat", &volume, &[path]);
        assert_status(&output, 0);
        output.stdout
    };
    let large = tagged("large", 1_234_567);
    for path in [
        "large",
        "LARGE",
        "/Large",
        r"C:\large",
        "a/another name",
        "absolute link",
    ] {
        assert!(cat(path) == large, "{path}");
    }
    assert_eq!(cat("with streams:small"), b"stream");
    assert_eq!(cat("With Streams:SMALL:$DATA"), b"stream");
    let two = output("cat", &volume, &["small 1", "small 100"]);
    let expected = [tagged("small 1", 1), tagged("small 100", 100)].concat();
    assert_eq!(two.stdout, expected);
    assert!(!text(&two.stderr).contains("not encrypted"));
    let plain = output("cat", &ASSORTED.path(), &["small 1"]);
    assert_eq!(plain.stdout, tagged("small 1", 1));
    assert!(text(&plain.stderr).contains("not encrypted: reading the NTFS file system"));
    Ok(())
}

fn failures() -> Result<(), Failed> {
    let image = ASSORTED.path();
    fails("cat", &image, &["lagre"], 5, &["no file /lagre", "'large'"]);
    fails("cat", &image, &["a/c/d"], 5, &["/a/c does not exist"]);
    fails(
        "cat",
        &image,
        &["large/x"],
        5,
        &["/large is not a directory"],
    );
    fails(
        "cat",
        &image,
        &["a"],
        5,
        &["cannot read /a", "directory", "fve ls"],
    );
    fails(
        "cat",
        &image,
        &["large:none"],
        5,
        &["has no stream named none"],
    );
    fails("cat", &image, &["mount point"], 5, &["out of the volume"]);
    fails("cat", &image, &["in the cloud"], 5, &["cloud"]);
    fails("cat", &image, &[], 2, &["PATH"]);
    assert_eq!(shown("cat", &image, &["small 0"]), "");
    // More than a pipe holds.
    let mut child = fve()
        .arg("cat")
        .arg(&image)
        .arg("large")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut start = [0; 10];
    child
        .stdout
        .take()
        .ok_or("no pipe")?
        .read_exact(&mut start)?;
    let ended = child.wait_with_output()?;
    assert_status(&ended, 5);
    assert!(text(&ended.stderr).contains("Broken pipe"));
    Ok(())
}
