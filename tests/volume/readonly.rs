//! No command writes to the source: its bytes and times are the same afterwards. (`tests/mount`
//! tests the mount.)

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::common::fve;
use crate::common::testdata::{self, Entry};
use crate::common::trials::trial;

fn volume() -> Entry {
    testdata::volume("xts-128")
}

/// Content, modification time, change time and, if the system preserves it, access time.
fn state(path: &Path) -> (Vec<u8>, [i64; 6]) {
    let meta = path.metadata().expect("stat");
    let times = [
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
        meta.atime(),
        meta.atime_nsec(),
    ];
    (fs::read(path).expect("read"), times)
}

#[trial]
fn no_command_changes_the_source() {
    let directory = tempfile::tempdir().expect("directory");
    let sample = volume();
    let path = directory.path().join("volume.img");
    fs::copy(&sample.file, &path).expect("copy");
    // Most systems update the access time of a file at most once a day.
    let _ = fs::read(&path);
    let before = state(&path);
    let bek = sample.bek();
    let out = directory.path().join("out");
    for command in [
        fve().arg("info").arg(&path),
        fve()
            .arg("unlock")
            .arg(&path)
            .arg("--startup-key")
            .arg(&bek),
        fve()
            .arg("unlock")
            .arg(&path)
            .arg("--startup-key")
            .arg("/dev/null"),
        fve()
            .arg("decrypt")
            .arg(&path)
            .arg(&out)
            .arg("--startup-key")
            .arg(&bek),
    ] {
        command.output().expect("fve");
        assert!(state(&path) == before, "{command:?}");
    }
}
