//! Whole disks, partitioned by sfdisk: fve finds the same partitions.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::trials::{self, Trial, trial, trials};
use fve::source::{FileSource, partition};

const SCRIPTS: [(&str, &str); 4] = [
    (
        "gpt",
        "label: gpt\nstart=2048,size=10M\nstart=24576,size=20M,name=\"Basic data partition\"\n",
    ),
    (
        "gpt with a gap in its numbers",
        "label: gpt\n1: start=2048,size=10M\n7: start=24576,size=20M\n",
    ),
    (
        "mbr",
        "label: dos\nstart=63,size=5M,type=c\nstart=24576,size=20M,type=7\n",
    ),
    (
        "mbr with logical partitions",
        "label: dos\nstart=2048,size=5M,type=7\nstart=20480,size=60M,type=5\nstart=22528,size=10M,type=7\nstart=45056,size=10M,type=7\nstart=67584,size=10M,type=7\n",
    ),
];

#[trials]
fn sfdisk_agrees() -> Vec<Trial> {
    SCRIPTS
        .into_iter()
        .map(|(name, script)| {
            let name = format!("sfdisk agrees: {name}");
            trial(name, trials::programs(&["sfdisk"]), move || agrees(script))
        })
        .collect()
}

fn agrees(script: &str) {
    let disk = tempfile::NamedTempFile::new().expect("disk");
    disk.as_file().set_len(128 << 20).expect("size");
    let mut sfdisk = Command::new("sfdisk")
        .arg("--quiet")
        .arg(disk.path())
        .stdin(Stdio::piped())
        .spawn()
        .expect("sfdisk");
    let mut input = sfdisk.stdin.take().expect("input");
    input.write_all(script.as_bytes()).expect("script");
    drop(input);
    assert!(sfdisk.wait().expect("sfdisk").success());
    let table = partition::read(&FileSource::open(disk.path()).expect("open")).expect("read");
    let ours: Vec<_> = table
        .expect("table")
        .partitions
        .iter()
        .map(|partition| (partition.number, partition.start, partition.size))
        .collect();
    // fve does not list extended partitions.
    let theirs: Vec<_> = dump(disk.path())
        .into_iter()
        .filter(|(_, _, _, kind)| kind != "5")
        .map(|(number, start, size, _)| (number, start, size))
        .collect();
    assert_eq!(ours, theirs);
}

/// The partitions that `sfdisk --dump` lists: number, first byte, size in bytes, type.
fn dump(disk: &Path) -> Vec<(u32, u64, u64, String)> {
    let output = Command::new("sfdisk")
        .arg("--dump")
        .arg(disk)
        .output()
        .expect("sfdisk");
    let path = disk.display().to_string();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let (number, fields) = line.strip_prefix(&path)?.split_once(" : ")?;
            let field = |name: &str| {
                let at = fields.find(name)? + name.len();
                fields[at..]
                    .split(',')
                    .next()
                    .map(|value| value.trim().to_owned())
            };
            Some((
                number.trim().trim_start_matches('p').parse().ok()?,
                field("start=")?.parse::<u64>().ok()? * 512,
                field("size=")?.parse::<u64>().ok()? * 512,
                field("type=")?,
            ))
        })
        .collect()
}
