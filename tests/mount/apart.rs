//! Mounting and serving in two processes, with the commands of `fve@.service`: the server is in a sandbox.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use fve::source::MountEntry;
use rustix::process::Signal;

use super::driver::{Volume, exfat_tools, ntfs_tools};
use crate::common::output::{assert_status, run, text};
use crate::common::send;
use crate::common::trials::{Missing, fuse, programs, root, trial};
use crate::common::unit::Service;

const LIMIT: Duration = Duration::from_secs(20);

fn sandbox() -> Option<Missing> {
    root().or_else(|| programs(&["unshare", "setpriv"]))
}

fn service<'a>(source: &'a Path, directory: &'a Path, options: &'a [&'a str]) -> Service<'a> {
    Service {
        runtime: tempfile::tempdir().expect("directory"),
        options,
        source,
        directory,
        reaches_network: false,
    }
}

/// Waits until the server has ended, and returns whether it succeeded.
fn ended(server: &mut Child) -> bool {
    let start = Instant::now();
    loop {
        if let Some(status) = server.try_wait().expect("server") {
            return status.success();
        }
        assert!(start.elapsed() < LIMIT, "the server ends");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_mounted(directory: &Path) -> bool {
    MountEntry::at(directory).expect("mount table").is_some()
}

#[trial(
    "the server of a mount needs no capability",
    needs(fuse, ntfs_tools, sandbox)
)]
fn serves_in_a_sandbox() {
    let volume = Volume::ntfs();
    let (source, shown) = (volume.path(), volume.shown());
    let service = service(&source, &shown, &["--allow-other"]);
    let mut server = service.start(|_| ());
    assert!(!is_mounted(&shown), "nothing is mounted before");
    service.mount();
    let entry = MountEntry::at(&shown).expect("table").expect("mounted");
    assert_eq!(Path::new(&entry.source), source);
    assert!(!entry.writable);
    assert!(fs::read_dir(&shown).is_ok());
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).expect("status");
    for line in ["CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000"] {
        assert!(status.contains(line), "{status}");
    }

    // While a program uses it, it stays.
    let used = File::open(&shown).expect("directory");
    send(Signal::TERM, server.id());
    std::thread::sleep(Duration::from_millis(1500));
    assert!(is_mounted(&shown));
    assert!(fs::read_dir(&shown).is_ok(), "it still serves");
    drop(used);
    assert!(ended(&mut server));
    volume.assert_nothing_left();
}

#[trial(
    "a server in a sandbox ends when its mount is unmounted",
    needs(fuse, ntfs_tools, sandbox)
)]
fn ends_with_its_mount() {
    let volume = Volume::ntfs();
    let (source, shown) = (volume.path(), volume.shown());
    let service = service(&source, &shown, &["--volume", "--read-write"]);
    let mut server = service.start(|_| ());
    service.mount();
    let file = shown.join("volume");
    let mut plain = fs::read(&file).expect("volume");
    assert_eq!(&plain[3..7], b"NTFS");
    // A sector that no file uses.
    let at = plain.len() - 0x8000;
    plain[at..at + 512].fill(7);
    let opened = File::options().write(true).open(&file).expect("volume");
    std::os::unix::fs::FileExt::write_all_at(&opened, &[7; 512], at as u64).expect("write");
    drop(opened);
    volume.unmount();
    assert!(ended(&mut server));
    assert!(fs::read(volume.decrypted()).expect("plain") == plain);
}

#[trial(
    "a driver shows and writes the files of a server in a sandbox",
    needs(fuse, ntfs_tools, sandbox)
)]
fn writes_through_a_driver() {
    let volume = Volume::ntfs();
    let (source, shown) = (volume.path(), volume.shown());
    let service = service(&source, &shown, &["--read-write", "--driver", "ntfs-3g"]);
    let mut server = service.start(|_| ());
    service.mount();
    assert_ne!(volume.private(), None);
    fs::write(shown.join("new"), b"written").expect("write");
    send(Signal::TERM, server.id());
    assert!(ended(&mut server));
    volume.assert_nothing_left();
    assert_eq!(volume.ntfs_file("new"), b"written");

    // umount(8) of the files ends everything, too.
    let mut server = service.start(|_| ());
    service.mount();
    run(std::process::Command::new("umount").arg(&shown));
    assert!(ended(&mut server));
    volume.assert_nothing_left();
}

#[trial(
    "a server ends if the mounter cannot mount",
    needs(fuse, ntfs_tools, sandbox)
)]
fn the_mounter_fails() {
    let volume = Volume::ntfs();
    let (source, shown) = (volume.path(), volume.shown());
    fs::write(shown.join("in the way"), b"").expect("file");
    for options in [&[][..], &["--read-write"]] {
        let service = service(&source, &shown, options);
        let mut server = service.start(|_| ());
        let output = service.mounter().output().expect("mounter");
        assert_status(&output, 5);
        let said = text(&output.stderr);
        assert!(said.contains("is not empty"), "{said}");
        assert!(!ended(&mut server));
        volume.assert_nothing_left();
    }
    // Nothing listens.
    fs::remove_file(shown.join("in the way")).expect("remove");
    let service = service(&source, &shown, &[]);
    let output = service.mounter().output().expect("mounter");
    assert_status(&output, 5);
}

#[trial(
    "a server ends if the mounter fails after it has begun to serve",
    needs(fuse, exfat_tools, sandbox)
)]
fn the_mounter_fails_late() {
    let volume = Volume::exfat();
    let (source, shown) = (volume.path(), volume.shown());
    // Which file system is in the volume, the mounter only sees when the server serves.
    let service = service(&source, &shown, &["--driver", "ntfs-3g"]);
    let mut server = service.start(|_| ());
    let output = service.mounter().output().expect("mounter");
    assert!(!output.status.success());
    assert!(!ended(&mut server), "{}", text(&output.stderr));
    volume.assert_nothing_left();
}

#[trial(
    "what a killed server left mounted is replaced",
    needs(fuse, ntfs_tools, sandbox)
)]
fn starts_after_a_killed_server() {
    let volume = Volume::ntfs();
    let (source, shown) = (volume.path(), volume.shown());
    for options in [&[][..], &["--read-write", "--driver", "ntfs-3g"]] {
        let service = service(&source, &shown, options);
        let mut server = service.start(|_| ());
        service.mount();
        send(Signal::KILL, server.id());
        assert!(!ended(&mut server));
        if options.is_empty() {
            // Programs get errors, and do not see an empty directory.
            let error = fs::read_dir(&shown).expect_err("dead");
            assert_eq!(error.kind(), ErrorKind::NotConnected);
        }
        service.prepare();
        let mut server = service.start(|_| ());
        service.mount();
        assert!(fs::read_dir(&shown).is_ok());
        // A mount that is alive stays.
        service.prepare();
        assert!(fs::read_dir(&shown).is_ok());
        send(Signal::TERM, server.id());
        assert!(ended(&mut server));
        volume.assert_nothing_left();
    }
}
