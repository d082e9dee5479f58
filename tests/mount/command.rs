//! The mount as users and the system see it: it is usable when the command returns, failures are
//! reported, many programs can read at once, and every way to unmount works.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::loop_device::LoopDevice;
use crate::common::mount::Mounted;
use crate::common::trials::{fuse, programs, root, trial};
use crate::common::{fve, send, sha256};

const WAIT: Duration = Duration::from_secs(20);

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name)
}

fn image() -> PathBuf {
    testdata("ntfs-xts-128.img")
}

fn arguments() -> [String; 2] {
    let password = testdata("ntfs-xts-128.recovery.txt");
    [
        "--recovery-password-file".to_owned(),
        password.display().to_string(),
    ]
}

fn mounted() -> Mounted {
    let arguments = arguments();
    Mounted::volume(&image(), &arguments.each_ref().map(String::as_str))
}

/// The plaintext that `fve decrypt` writes.
fn plaintext() -> Vec<u8> {
    let output = fve()
        .arg("decrypt")
        .arg(image())
        .arg("-")
        .args(arguments())
        .output()
        .expect("fve decrypt");
    assert!(output.status.success());
    output.stdout
}

#[trial("is usable when the command returns", needs(fuse))]
fn is_usable_when_the_command_returns() {
    let mounted = mounted();
    let hash = sha256(File::open(mounted.volume_file()).expect("volume")).expect("read");
    assert_eq!(hash, sha256(plaintext().as_slice()).expect("hash"));
}

#[trial("shows one read-only file of the right size", needs(fuse))]
fn shows_one_file() {
    let mounted = mounted();
    let names: Vec<_> = std::fs::read_dir(mounted.path())
        .expect("directory")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert_eq!(names, ["volume"]);
    let shown = mounted.volume_file().metadata().expect("stat");
    let source = image().metadata().expect("stat");
    assert_eq!(shown.len(), source.len());
    assert_eq!(shown.mode() & 0o777, 0o400);
    assert_eq!(shown.mtime(), source.mtime());
    assert!(
        File::options()
            .write(true)
            .open(mounted.volume_file())
            .is_err()
    );
    assert!(File::create(mounted.path().join("other")).is_err());
}

#[trial("serves many readers at once", needs(fuse))]
fn serves_many_readers_at_once() {
    let mounted = mounted();
    let expected = plaintext();
    std::thread::scope(|scope| {
        for reader in 0..8u64 {
            let (mounted, expected) = (&mounted, &expected);
            scope.spawn(move || {
                let file = File::open(mounted.volume_file()).expect("volume");
                let mut buf = vec![0; 5000];
                for nth in 0..200 {
                    let at = (reader * 7919 + nth * 104_729) % (expected.len() as u64 - 5000);
                    file.read_exact_at(&mut buf, at).expect("read");
                    assert!(buf == expected[at as usize..][..5000], "at {at}");
                }
            });
        }
    });
}

#[trial("reports a failure of the background process", needs(fuse))]
fn reports_failures() {
    let directory = tempfile::tempdir().expect("directory");
    let secret = directory.path().join("wrong");
    std::fs::write(
        &secret,
        "000000-000000-000000-000000-000000-000000-000000-000000",
    )
    .expect("write");
    let empty = tempfile::tempdir().expect("directory");
    let output = fve()
        .arg("mount")
        .arg(image())
        .arg(empty.path())
        .arg("--recovery-password-file")
        .arg(&secret)
        .output()
        .expect("fve");
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("wrong recovery password"), "{said}");
    let output = fve()
        .arg("mount")
        .arg(image())
        .arg(secret)
        .args(arguments())
        .output();
    assert_eq!(output.expect("fve").status.code(), Some(5));
}

#[trial("ends by fve unmount", needs(fuse))]
fn ends_by_fve_unmount() {
    ends_by(&[env!("CARGO_BIN_EXE_fve"), "unmount"]);
}

#[trial("ends by umount", needs(fuse, root))]
fn ends_by_umount() {
    ends_by(&["umount"]);
}

#[trial("ends by fusermount3 -u", needs(fuse, || programs(&["fusermount3"])))]
fn ends_by_fusermount3() {
    ends_by(&["fusermount3", "-u"]);
}

fn ends_by(command: &[&str]) {
    let mounted = mounted();
    let unmount = || {
        let mut unmount = Command::new(command[0]);
        let unmount = unmount.args(&command[1..]).arg(mounted.path());
        unmount.output().expect("unmount")
    };
    // A program that looks at all mounts can hold one for a moment.
    let mut output = unmount();
    for _ in 0..20 {
        if output.status.success() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        output = unmount();
    }
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    wait_until(|| !mounted.volume_file().exists());
}

/// A mount in the foreground, which is killed if the test does not end it.
struct Foreground {
    child: Child,
    directory: tempfile::TempDir,
}

impl Foreground {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let child = fve()
            .args(["mount", "--volume"])
            .arg(image())
            .arg(directory.path())
            .args(arguments())
            .arg("--foreground")
            .stderr(Stdio::piped())
            .spawn()
            .expect("fve");
        let mount = Self { child, directory };
        wait_until(|| mount.volume_file().exists());
        mount
    }

    fn volume_file(&self) -> PathBuf {
        self.directory.path().join("volume")
    }

    fn send(&self, signal: Signal) {
        send(signal, self.child.id());
    }

    fn wait(&mut self) -> ExitStatus {
        wait_until(|| self.child.try_wait().expect("wait").is_some());
        self.child.wait().expect("wait")
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = Command::new("umount")
            .args(["--lazy", "--quiet"])
            .arg(self.directory.path())
            .output();
    }
}

#[trial("ends on SIGTERM", needs(fuse))]
fn ends_on_sigterm() {
    ends_on(Signal::TERM);
}

#[trial("ends on SIGINT", needs(fuse))]
fn ends_on_sigint() {
    ends_on(Signal::INT);
}

fn ends_on(signal: Signal) {
    let mut mount = Foreground::new();
    // While the mount is busy, it stays.
    let held = File::open(mount.volume_file()).expect("open");
    mount.send(signal);
    let mut said = BufReader::new(mount.child.stderr.take().expect("stderr"));
    let mut line = String::new();
    // The first line is a warning, because other users can read the key file of the tests.
    while line.is_empty() || line.contains("warning: every user") {
        line.clear();
        said.read_line(&mut line).expect("a message");
    }
    assert!(line.contains("still mounted"), "{line}");
    let mut byte = [0];
    (&held).read_exact(&mut byte).expect("still served");
    assert!(
        line.contains(&format!("({})", std::process::id())),
        "{line}"
    );
    drop(held);
    assert!(mount.wait().success());
    assert!(!mount.volume_file().exists());
}

#[trial("names the process that keeps it busy", needs(fuse))]
fn names_the_process_that_keeps_it_busy() {
    let mounted = mounted();
    let held = File::open(mounted.volume_file()).expect("open");
    let output = fve()
        .arg("unmount")
        .arg(mounted.path())
        .output()
        .expect("fve");
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&format!("({})", std::process::id())),
        "{said}"
    );
    drop(held);
}

#[trial("opens the source read-only", needs(fuse))]
fn opens_the_source_read_only() {
    let before = std::fs::read(image()).expect("read");
    let mut mount = Foreground::new();
    std::fs::read(mount.volume_file()).expect("read");
    let process = Path::new("/proc").join(mount.child.id().to_string());
    let mut seen = 0;
    for entry in std::fs::read_dir(process.join("fd")).expect("descriptors") {
        let entry = entry.expect("descriptor");
        if std::fs::read_link(entry.path()).is_ok_and(|target| target == image()) {
            let info = process.join("fdinfo").join(entry.file_name());
            let info = std::fs::read_to_string(info).expect("fdinfo");
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = u32::from_str_radix(flags.expect("flags").trim(), 8).expect("octal");
            assert_eq!(flags & 0o3, 0, "opened for writing");
            seen += 1;
        }
    }
    mount.send(Signal::TERM);
    assert!(mount.wait().success());
    assert!(seen > 0);
    assert!(std::fs::read(image()).expect("read") == before);
}

#[trial("a loop device can read it", needs(fuse, root, || programs(&["losetup"])))]
fn a_loop_device_reads_it() {
    let mounted = mounted();
    let device = LoopDevice::read_only(&mounted.volume_file()).expect("loop device");
    let hash = sha256(File::open(device.path()).expect("device")).expect("read");
    device.detach().expect("detached");
    assert_eq!(hash, sha256(plaintext().as_slice()).expect("hash"));
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < WAIT, "timeout");
        std::thread::sleep(Duration::from_millis(20));
    }
}
