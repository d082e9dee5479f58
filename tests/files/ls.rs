//! `fve ls`.

use std::collections::BTreeMap;
use std::process::Command;

use libtest_mimic::Failed;

use crate::command::{encrypted, fails, fve, output, shown};
use crate::common::documented::assert_documented;
use crate::common::output::{assert_status, json, run, text};
use crate::common::trials::{Trial, trial, trials};
use crate::images::ntfs::set_attribute;
use crate::images::{Geometry, Image};
use crate::ntfs::ASSORTED;
use crate::oracles::{makers, sleuth_kit};

#[trials]
fn listings() -> Vec<Trial> {
    vec![
        trial(
            "fve ls lists names in order, long lines and directories below",
            makers(),
            names_and_lines,
        ),
        trial(
            "fve ls --json has every documented key and every file",
            makers(),
            documents,
        ),
        trial(
            "the body file has the same files, sizes and times as that of fls",
            makers().or_else(sleuth_kit),
            bodies,
        ),
        trial(
            "of several file systems that are not encrypted, --partition chooses one",
            makers().or_else(|| crate::common::trials::programs(&["sfdisk"])),
            partitions,
        ),
    ]
}

const SMALL: Geometry = Geometry {
    sector: 512,
    cluster: 4096,
    size: 16 << 20,
};

/// A few files with known properties.
fn few() -> Image {
    let image = Image::ntfs(SMALL);
    image.with_ntfs_3g("permissions", |root| {
        let write =
            |name: &str, len: usize| std::fs::write(root.join(name), vec![b'x'; len]).unwrap();
        write("b", 20);
        write("A", 1000);
        write("new\nline|bar", 0);
        std::fs::create_dir(root.join("dir")).unwrap();
        write("dir/below", 3);
        // Read-only, hidden, system and archive.
        set_attribute(&root.join("b"), "system.ntfs_attrib_be", &[0, 0, 0, 0x27]);
        set_attribute(&root.join("b"), "user.stream", b"12345");
        let mut touch = Command::new("touch");
        touch.args(["-d", "2020-01-02 03:04:05 UTC"]);
        let paths = ["b", "A", "new\nline|bar", "dir/below", "dir"];
        run(touch.args(paths.map(|name| root.join(name))));
    });
    image
}

fn names_and_lines() -> Result<(), Failed> {
    let image = few();
    let directory = tempfile::tempdir()?;
    let volume = encrypted(&image.path(), directory.path());
    assert_eq!(shown("ls", &volume, &[]), "A\nb\ndir\nnew\\u{a}line|bar\n");
    let long = shown("ls", &volume, &["-l", "--streams"]);
    let lines: Vec<_> = long.lines().collect();
    assert!(lines[0].ends_with(" 1000 2020-01-02 03:04 A"), "{long}");
    assert_eq!(lines[1], "-rhsa---   20 2020-01-02 03:04 b");
    assert_eq!(lines[2], "-rhsa---    5 2020-01-02 03:04 b:stream");
    assert!(
        lines[3].starts_with("d") && lines[3].ends_with(" dir"),
        "{long}"
    );
    assert_eq!(
        shown("ls", &volume, &["-R"]),
        "/:\nA\nb\ndir\nnew\\u{a}line|bar\n\n/dir:\nbelow\n"
    );
    assert_eq!(shown("ls", &volume, &["DIR", "a"]), "/A\n\n/dir:\nbelow\n");
    let twice = shown("ls", &volume, &["dir", "/dir"]);
    assert_eq!(twice, "/dir:\nbelow\n\n/dir:\nbelow\n");
    assert!(shown("ls", &volume, &["-R", "/", "dir"]).ends_with("\n\n/dir:\nbelow\n"));
    let all = shown("ls", &volume, &["-a"]);
    assert!(all.contains("$MFT\n") && all.contains("$Extend\n"), "{all}");
    fails("ls", &volume, &["dri"], 5, &["no file /dri", "'dir'"]);
    // A stream that is named is listed alone, and one that does not exist is an error.
    assert_eq!(shown("ls", &volume, &["B:Stream"]), "/b:stream\n");
    assert_eq!(
        shown("ls", &volume, &["-l", "b:stream"]),
        "-rhsa--- 5 2020-01-02 03:04 /b:stream\n"
    );
    let body = shown("ls", &volume, &["--bodyfile", "b:stream"]);
    assert_eq!(body.lines().count(), 1, "{body}");
    for command in ["ls", "cat", "find"] {
        fails(
            command,
            &volume,
            &["b:none"],
            5,
            &["/b has no stream named none", "ls --streams"],
        );
    }
    // The source is named first.
    for command in ["ls", "cat", "find"] {
        let mut swapped = fve();
        swapped.args([command, "dir"]).arg(&volume);
        let swapped = swapped.output()?;
        assert_status(&swapped, 2);
        let messages = text(&swapped.stderr);
        assert!(messages.contains("name SOURCE first"), "{messages}");
    }
    Ok(())
}

fn documents() -> Result<(), Failed> {
    let image = ASSORTED.path();
    let output = output("ls", &image, &["-R", "--json", "--streams"]);
    assert_status(&output, 0);
    let document = json(&output);
    assert_documented("ls", &document);
    let entries = document["entries"].as_array().ok_or("no entries")?;
    let found: BTreeMap<_, _> = entries
        .iter()
        .map(|entry| (entry["path"].as_str().unwrap_or_default().to_owned(), entry))
        .collect();
    for path in ASSORTED.expected.keys() {
        let (file, stream) = match path.split_once(':') {
            Some((file, stream)) => (file, Some(stream)),
            None => (path.as_str(), None),
        };
        let entry = found.get(&format!("/{file}")).ok_or(file)?;
        if let Some(stream) = stream {
            let streams = entry["streams"].as_array().ok_or("no streams")?;
            assert!(
                streams.iter().any(|other| other["name"] == stream),
                "{path}"
            );
        }
    }
    assert_eq!(found["/relative link"]["target"], r"a\b");
    assert_eq!(found["/large"]["size"], 1_234_567);
    assert_eq!(found["/large"]["links"], 2);
    let missing = crate::command::output("ls", &image, &["none", "--json"]);
    assert_status(&missing, 5);
    assert_eq!(json(&missing)["error"]["status"], 5);
    Ok(())
}

/// By path: kind, size and the four times.
fn body(text: &str) -> BTreeMap<String, Vec<String>> {
    text.lines()
        .map(|line| {
            let fields: Vec<_> = line.split('|').collect();
            let inode = fields[2].split('-').next().unwrap();
            let kind = &fields[3][..3];
            let mut what = vec![inode.to_owned(), kind.to_owned(), fields[6].to_owned()];
            what.extend(fields[7..].iter().map(|time| (*time).to_owned()));
            (fields[1].to_owned(), what)
        })
        .collect()
}

fn bodies() -> Result<(), Failed> {
    let image = Image::ntfs(SMALL);
    image.with_ntfs_3g("permissions", |root| {
        std::fs::create_dir(root.join("dir")).unwrap();
        for (name, len) in [("one", 0), ("two", 700), ("dir/three", 70_000)] {
            std::fs::write(root.join(name), vec![1; len]).unwrap();
        }
        set_attribute(&root.join("two"), "user.stream", b"12345");
    });
    let ours = body(&shown("ls", &image.path(), &["-R", "--bodyfile"]));
    let mut fls = Command::new("fls");
    fls.env("TZ", "UTC").args(["-r", "-m", "/", "-f", "ntfs"]);
    let theirs = body(&text(&run(fls.arg(image.path()))));
    assert_eq!(ours.len(), 5);
    for (path, what) in &ours {
        let mut other = theirs.get(path).ok_or(path.as_str())?.clone();
        if what[1] == "d/d" {
            // fls gives the size of the index.
            other[2] = "0".to_owned();
        }
        assert_eq!(what, &other, "{path}");
    }
    // A bar in a name would end the field.
    let few = few();
    let line = shown("ls", &few.path(), &["--bodyfile", "new\nline|bar"]);
    assert!(line.starts_with("0|/new\\u{a}line%7Cbar|"), "{line}");
    assert_eq!(line.split('|').count(), 11);
    let read_only = shown("ls", &few.path(), &["--bodyfile", "b"]);
    assert!(
        read_only.contains("|r/rr-xr-xr-x|0|0|20|1577934245|1577934245|"),
        "{read_only}"
    );
    Ok(())
}

fn partitions() -> Result<(), Failed> {
    let image = few();
    let directory = tempfile::tempdir()?;
    let volume = encrypted(&image.path(), directory.path());
    let disk = directory.path().join("disk");
    let build = |parts: &[&std::path::Path]| -> Result<(), Failed> {
        std::fs::File::create(&disk)?.set_len(64 << 20)?;
        let mut table = String::from("label: dos\n");
        for number in 0..parts.len() {
            table += &format!(
                "start={}, size={}, type=7\n",
                2048 + number * 40_960,
                32_768
            );
        }
        let script = directory.path().join("table");
        std::fs::write(&script, table)?;
        let mut sfdisk = Command::new("sfdisk");
        run(sfdisk
            .arg("--quiet")
            .arg(&disk)
            .stdin(std::fs::File::open(&script)?));
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::options().write(true).open(&disk)?;
        for (number, part) in parts.iter().enumerate() {
            file.write_all_at(&std::fs::read(part)?, (2048 + number as u64 * 40_960) * 512)?;
        }
        Ok(())
    };
    let plain = image.path();
    build(&[&plain, &volume])?;
    let chosen = output("ls", &disk, &[] as &[&str]);
    assert_status(&chosen, 0);
    assert!(!text(&chosen.stderr).contains("not encrypted"));
    let other = output("ls", &disk, &["--partition", "1"]);
    assert_status(&other, 0);
    assert!(
        text(&other.stderr).contains("not encrypted: reading the NTFS file system in partition 1")
    );
    let offset = output("ls", &disk, &["--offset", "1M", "dir"]);
    assert_eq!(text(&offset.stdout), "below\n");
    build(&[&plain, &plain])?;
    let words = [
        "2 partitions with files",
        "partition 2: 16.0 MiB, NTFS",
        "--partition N",
    ];
    fails("ls", &disk, &[], 2, &words);
    build(&[&plain])?;
    assert!(shown("ls", &disk, &[]).starts_with("A\n"));
    let zeros = directory.path().join("zeros");
    std::fs::write(&zeros, vec![0; 1 << 20])?;
    fails("ls", &zeros, &[], 3, &["not a BitLocker volume"]);
    Ok(())
}
