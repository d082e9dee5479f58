//! `fve find`.

use std::collections::BTreeSet;
use std::process::Command;

use libtest_mimic::Failed;

use crate::command::{fails, output, shown};
use crate::common::documented::assert_documented;
use crate::common::output::{assert_status, json, run};
use crate::common::trials::{Trial, trial, trials};
use crate::images::tree::Shown;
use crate::images::{Geometry, Image};
use crate::ntfs::ASSORTED;
use crate::oracles::makers;

#[trials]
fn searches() -> Vec<Trial> {
    vec![
        trial("fve find prints every file once", makers(), everything),
        trial(
            "fve find tests name, type, size and time",
            makers(),
            conditions,
        ),
    ]
}

fn lines(text: &str) -> BTreeSet<&str> {
    text.lines().collect()
}

fn everything() -> Result<(), Failed> {
    let image = ASSORTED.path();
    let output = output("find", &image, &["-0"]);
    assert_status(&output, 0);
    let found: BTreeSet<_> = output.stdout.split(|byte| *byte == 0).collect();
    let mut expected: BTreeSet<Vec<u8>> = ASSORTED
        .expected
        .keys()
        .filter(|path| !path.contains(':'))
        .map(|path| format!("/{path}").into_bytes())
        .collect();
    expected.extend([b"/".to_vec(), Vec::new()]);
    let expected: BTreeSet<_> = expected.iter().map(Vec::as_slice).collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    let more: Vec<_> = found.difference(&expected).collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "{missing:?} {more:?}"
    );
    let links = shown("find", &image, &["--type", "l"]);
    let links = lines(&links);
    for (path, what) in &ASSORTED.expected {
        let is_link = links.contains(format!("/{path}").as_str());
        assert_eq!(matches!(what, Shown::Link(_)), is_link, "{path}");
    }
    Ok(())
}

fn conditions() -> Result<(), Failed> {
    let image = Image::ntfs(Geometry {
        sector: 512,
        cluster: 4096,
        size: 16 << 20,
    });
    image.with_ntfs_3g("permissions", |root| {
        std::fs::create_dir_all(root.join("Docs/old")).unwrap();
        for (name, len, time) in [
            ("Docs/Letter.DOCX", 3000, "2020-01-02 03:04:05 UTC"),
            ("Docs/old/letter.docx", 10, "2019-01-02 03:04:05 UTC"),
            ("Docs/größe", 0, "now"),
        ] {
            std::fs::write(root.join(name), vec![1; len]).unwrap();
            run(Command::new("touch")
                .args(["-d", time])
                .arg(root.join(name)));
        }
    });
    let image = image.path();
    let found = |arguments: &[&str]| shown("find", &image, arguments);
    assert_eq!(
        found(&["docs", "--name", "*.docx"]),
        "/Docs/Letter.DOCX\n/Docs/old/letter.docx\n"
    );
    let sensitive = ["--name", "*.docx", "--case-sensitive"];
    assert_eq!(found(&sensitive), "/Docs/old/letter.docx\n");
    assert_eq!(
        found(&["--name", "GRÖ*", "--name", "none"]),
        "/Docs/größe\n"
    );
    assert_eq!(found(&["--type", "d"]), "/\n/Docs\n/Docs/old\n");
    assert_eq!(found(&["--size", "+1k"]), "/Docs/Letter.DOCX\n");
    assert_eq!(
        found(&["--size", "-1k", "--size", "+0"]),
        "/Docs/old/letter.docx\n"
    );
    assert_eq!(found(&["--size", "0"]), "/Docs/größe\n");
    let between = ["--newer", "2019-06-01", "--older", "2020-06-01"];
    assert_eq!(found(&between), "/Docs/Letter.DOCX\n");
    assert_eq!(found(&["--newer", "1h", "--type", "f"]), "/Docs/größe\n");
    assert_eq!(found(&["Docs/größe"]), "/Docs/größe\n");
    let document = output("find", &image, &["--json", "--type", "f"]);
    let document = json(&document);
    assert_documented("find", &document);
    assert_eq!(document["entries"].as_array().map(Vec::len), Some(3));
    let nothing = json(&output("find", &image, &["--json", "--name", "none"]));
    assert_eq!(nothing["entries"].as_array().map(Vec::len), Some(0));
    fails("find", &image, &["--size", "many"], 2, &["--size"]);
    fails("find", &image, &["--newer", "yesterday"], 2, &["--newer"]);
    fails("find", &image, &["--name", "[a"], 2, &["--name"]);
    Ok(())
}
