//! `--overlay`: changes go to another file, the source stays as it is, and the kernel's format is kept.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

#[path = "../common/mod.rs"]
mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use common::documented::assert_documented;
use common::mount::Mounted;
use common::ntfs::{NtfsVolume, make};
use common::output::{assert_status, run, text};
use common::testdata::Kind;
use common::trials::{self, Missing, trial};
use common::{corpus, fve, peers, sha256};

fn main() -> ExitCode {
    common::harness::main()
}

fn tools() -> Option<Missing> {
    trials::fuse().or_else(|| trials::programs(&["ntfs-3g", "mkntfs", "ntfscluster"]))
}

fn qemu() -> Option<Missing> {
    trials::programs(&["qemu-img", "qemu-io", "nbdcopy"])
}

fn dislocker() -> Option<Missing> {
    trials::programs(&["dislocker-file"])
}

fn hash(path: &Path) -> String {
    sha256(File::open(path).unwrap()).unwrap()
}

/// A volume, and a file for changes of it.
struct Case {
    directory: tempfile::TempDir,
    volume: NtfsVolume,
    before: String,
}

impl Case {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let volume = make(directory.path(), "aes-xts-128", 512, 16 << 20);
        let before = hash(&volume.path);
        Self {
            directory,
            volume,
            before,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn overlay(&self) -> PathBuf {
        self.at("changes.cow")
    }

    fn key(&self) -> [String; 2] {
        let key = self.volume.startup_key.to_str().unwrap().to_owned();
        ["--startup-key".to_owned(), key]
    }

    /// The volume as a file, with the changes in the overlay.
    fn mount(&self, source: &Path) -> Mounted {
        let overlay = self.overlay();
        let [option, key] = self.key();
        let arguments = ["--overlay", overlay.to_str().unwrap(), &option, &key];
        Mounted::volume(source, &arguments)
    }

    /// Writes a file through ntfs-3g.
    fn write(&self, source: &Path, name: &str, content: &[u8]) {
        let mounted = self.mount(source);
        let files = Mounted::ntfs_for_writing(&mounted.volume_file());
        fs::write(files.path().join(name), content).unwrap();
        drop(files);
        mounted.unmount();
    }

    fn read(&self, source: &Path, name: &str) -> Option<Vec<u8>> {
        let mounted = self.mount(source);
        let files = Mounted::ntfs(&mounted.volume_file());
        fs::read(files.path().join(name)).ok()
    }

    /// A mount that must fail.
    fn refused(&self, source: &Path, arguments: &[&str]) -> Output {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = fve();
        mount.args(["mount", "--volume"]).arg(source);
        mount.arg(directory.path()).args(self.key()).args(arguments);
        mount.output().unwrap()
    }

    fn refused_with(&self, source: &Path, overlay: &Path) -> Output {
        self.refused(source, &["--overlay", overlay.to_str().unwrap()])
    }

    fn check_source(&self) {
        assert_eq!(hash(&self.volume.path), self.before);
    }
}

#[trial(needs(tools))]
fn files_that_are_written_are_in_the_overlay_and_not_in_the_source() {
    let case = Case::new();
    let source = case.volume.path.clone();
    let content: Vec<u8> = (0..700_000_u32).map(|i| (i % 253) as u8).collect();
    case.write(&source, "one", &content);
    case.write(&source, "two", b"more");
    assert!(case.read(&source, "one").unwrap() == content);
    assert_eq!(case.read(&source, "two").unwrap(), b"more");
    case.check_source();
    let meta = case.overlay().metadata().unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert!(meta.len().is_multiple_of(16 << 10));
    let mut list = fve();
    let listed = text(&run(list.arg("ls").arg(&source).args(case.key())));
    assert!(!listed.contains("one"), "{listed}");
    // It holds ciphertext.
    let stored = fs::read(case.overlay()).unwrap();
    assert!(
        !stored
            .windows(64)
            .any(|bytes| *bytes == content[1000..1064])
    );
}

/// Has the script rebuild a whole image. Returns how many chunks were changed.
fn rebuild(source: &Path, overlay: &Path, out: &Path) -> u64 {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/overlay/rebuild.py");
    let mut rebuild = Command::new(peers::python());
    let rebuild = rebuild.arg(script).arg(source).arg(overlay).arg(out);
    text(&run(rebuild)).trim().parse().unwrap()
}

#[trial(needs(tools, dislocker))]
fn another_program_rebuilds_the_image_and_another_one_decrypts_it() {
    let case = Case::new();
    let source = case.volume.path.clone();
    case.write(&source, "file", &vec![0x5A; 300_000]);
    let mounted = case.mount(&source);
    let shown = fs::read(mounted.volume_file()).unwrap();
    mounted.unmount();
    let rebuilt = case.at("rebuilt.img");
    let changed = rebuild(&source, &case.overlay(), &rebuilt);
    assert!(changed >= 300_000 / (16 << 10));
    let plain = case.at("plain.img");
    let password = &case.volume.entry.credential(Kind::Password).value;
    let mut decrypt = Command::new("dislocker-file");
    decrypt.arg("-V").arg(&rebuilt).arg(format!("-u{password}"));
    run(decrypt.arg("--").arg(&plain));
    assert!(fs::read(&plain).unwrap() == shown);
    let files = Mounted::ntfs(&plain);
    let content = fs::read(files.path().join("file")).unwrap();
    assert!(content == vec![0x5A; 300_000]);
}

#[trial(needs(tools))]
fn refuses_what_is_not_an_overlay_of_the_source() {
    let case = Case::new();
    let source = case.volume.path.clone();
    case.write(&source, "file", b"content");
    let overlay = case.overlay();
    // In use.
    let mounted = case.mount(&source);
    let in_use = case.refused_with(&source, &overlay);
    assert_status(&in_use, 5);
    assert!(text(&in_use.stderr).contains("in use"));
    mounted.unmount();
    // The source, and another file.
    assert_status(&case.refused_with(&source, &source), 5);
    let other = case.at("other");
    fs::write(&other, vec![1; 100_000]).unwrap();
    assert_status(&case.refused_with(&source, &other), 2);
    assert!(fs::read(&other).unwrap() == vec![1; 100_000]);
    // Without the binding, as dmsetup makes it.
    let mut unbound = fs::read(&overlay).unwrap();
    unbound[16..512].fill(0);
    fs::write(&other, unbound).unwrap();
    let output = case.refused_with(&source, &other);
    assert_status(&output, 2);
    assert!(text(&output.stderr).contains("another program"));
    // Cut off, and a wrong map.
    let mut damaged = fs::read(&overlay).unwrap();
    damaged.truncate(damaged.len() / 2 / 16384 * 16384);
    fs::write(&other, &damaged).unwrap();
    assert_status(&case.refused_with(&source, &other), 5);
    // A copy with the same time is accepted, one with another content or time is not.
    let copy = case.at("copy.img");
    run(Command::new("cp")
        .args(["--preserve=timestamps"])
        .args([&source, &copy]));
    assert_eq!(case.read(&copy, "file").unwrap(), b"content");
    let file = File::options().write(true).open(&copy).unwrap();
    let time = source.metadata().unwrap().modified().unwrap();
    file.write_all_at(&[0xEE], (16 << 20) - 600_000).unwrap();
    file.set_modified(time).unwrap();
    let output = case.refused_with(&copy, &overlay);
    assert!(text(&output.stderr).contains("its content differs"));
    assert_status(&output, 2);
    file.set_modified(time + Duration::from_secs(5)).unwrap();
    let output = case.refused_with(&copy, &overlay);
    assert!(text(&output.stderr).contains("changed last"));
    case.check_source();
}

/// Without a key, a new file is not made: no credential, a wrong one, and an end at the question for one.
#[trial(needs(tools))]
fn a_volume_that_is_not_unlocked_leaves_no_file() {
    let case = Case::new();
    let empty = tempfile::tempdir().unwrap();
    let overlay = case.at("none.cow");
    let mount = |credential: &[&str]| {
        let mut mount = fve();
        mount.args(["mount", "--volume", "--overlay"]).arg(&overlay);
        mount.arg(&case.volume.path).arg(empty.path());
        mount.args(credential);
        mount
    };
    let before = fs::read_dir(case.directory.path()).unwrap().count();
    assert_status(&mount(&["--no-prompt"]).output().unwrap(), 4);
    let wrong = case.at("wrong");
    fs::write(&wrong, "not the password").unwrap();
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
    let with_wrong = ["--password-file", wrong.to_str().unwrap()];
    assert_status(&mount(&with_wrong).output().unwrap(), 4);
    fs::remove_file(&wrong).unwrap();
    let waiting = mount(&["--password-file", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut waiting = waiting.unwrap();
    let mut told = BufReader::new(waiting.stderr.take().unwrap()).lines();
    assert!(told.next().unwrap().unwrap().contains("changes go to"));
    let process = Pid::from_child(&waiting);
    kill_process(process, Signal::INT).unwrap();
    assert!(!waiting.wait().unwrap().success());
    let after = fs::read_dir(case.directory.path()).unwrap().count();
    assert_eq!(after, before);
}

#[trial(needs(tools))]
fn a_later_part_of_a_split_image_that_was_changed_is_noticed() {
    let case = Case::new();
    let bytes = fs::read(&case.volume.path).unwrap();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let parts = [case.at("disk.001"), case.at("disk.002")];
    fs::write(&parts[0], first).unwrap();
    fs::write(&parts[1], second).unwrap();
    case.write(&parts[0], "file", b"content");
    assert_eq!(case.read(&parts[0], "file").unwrap(), b"content");
    // Beside the pieces that are compared.
    let file = File::options().write(true).open(&parts[1]).unwrap();
    file.write_all_at(&[0xEE], (8 << 20) - (1 << 20) - 4096)
        .unwrap();
    let time = parts[0].metadata().unwrap().modified().unwrap();
    file.set_modified(time + Duration::from_secs(5)).unwrap();
    let output = case.refused_with(&parts[0], &case.overlay());
    assert_status(&output, 2);
    assert!(text(&output.stderr).contains("changed last"));
}

/// A server whose clients can write.
struct Nbd {
    child: Child,
    uri: String,
}

impl Nbd {
    fn start(case: &Case, source: &Path) -> Self {
        let socket = case.at("socket");
        let mut serve = fve();
        serve.args(["serve", "nbd", "-q", "--overlay"]);
        serve.arg(case.overlay()).arg(source).args(case.key());
        let serve = serve.arg("--socket").arg(&socket);
        serve.stdout(Stdio::null()).stderr(Stdio::null());
        let child = serve.spawn().unwrap();
        let uri = format!("nbd+unix:///?socket={}", socket.display());
        let start = Instant::now();
        while !socket.exists() {
            assert!(start.elapsed() < Duration::from_secs(20), "no server");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, uri }
    }

    fn qemu_io(&self, commands: &[&str]) {
        let mut qemu_io = Command::new("qemu-io");
        qemu_io.args(["-f", "raw"]);
        for command in commands {
            qemu_io.args(["-c", command]);
        }
        let said = text(&run(qemu_io.arg(&self.uri)));
        assert!(!said.contains("failed"), "{said}");
    }

    /// SIGKILL.
    fn kill(self) {}
}

impl Drop for Nbd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let socket = self.uri.rsplit('=').next().unwrap();
        let _ = fs::remove_file(socket);
    }
}

#[trial(needs(tools, qemu))]
fn flushed_writes_to_a_qcow2_survive_a_killed_server() {
    let case = Case::new();
    let source = case.at("disk.qcow2");
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-c", "-O", "qcow2"]);
    run(convert.arg(&case.volume.path).arg(&source));
    let before = hash(&source);
    let server = Nbd::start(&case, &source);
    server.qemu_io(&["write -P 0x11 12M 1M", "write -P 0x22 12582915 3", "flush"]);
    server.kill();
    let server = Nbd::start(&case, &source);
    server.qemu_io(&["read -P 0x11 12582918 1000000", "read -P 0x22 12582915 3"]);
    // Without a flush, a second is enough.
    let socket = server.uri.clone();
    let mut writer = Command::new("qemu-io");
    writer.args([
        "-t",
        "unsafe",
        "-f",
        "raw",
        "-c",
        "write -P 0x33 14M 64k",
        "-c",
        "sleep 3000",
    ]);
    let mut writer = writer.arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    server.kill();
    let _ = writer.wait();
    let server = Nbd::start(&case, &source);
    server.qemu_io(&["read -P 0x33 14M 64k", "discard 14M 64k", "flush"]);
    let copy = case.at("copy.img");
    run(Command::new("nbdcopy").arg(&server.uri).arg(&copy));
    assert!(
        fs::read(&copy).unwrap()[13 << 20..14 << 20] == case.volume.plaintext()[13 << 20..14 << 20]
    );
    server.kill();
    assert_eq!(hash(&source), before);
}

/// A small file system, unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]);
        run(mount.arg(directory.path()));
        Self(directory)
    }

    fn grow(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,size=64M"]);
        run(mount.arg(self.0.path()));
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[trial(needs(tools, trials::root))]
fn a_full_disk_is_an_error_for_the_writer_and_the_overlay_stays_valid() {
    const AT: u64 = 12 << 20;
    let case = Case::new();
    let source = case.volume.path.clone();
    let small = Small::new();
    let overlay = small.0.path().join("changes.cow");
    let [option, key] = case.key();
    let mount = || {
        let arguments = ["--overlay", overlay.to_str().unwrap(), &option, &key];
        Mounted::volume(&source, &arguments)
    };
    let open = |mounted: &Mounted| {
        let mut options = File::options();
        let options = options.read(true).write(true);
        options.open(mounted.volume_file()).unwrap()
    };
    let mounted = mount();
    let file = open(&mounted);
    file.write_all_at(&[1; 100_000], AT).unwrap();
    file.sync_all().unwrap();
    let written = file.write_all_at(&[2; 1 << 20], AT + (1 << 17));
    let error = written.and_then(|()| file.sync_all()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(28), "{error}");
    drop(file);
    mounted.unmount();
    // The script checks the map, too.
    rebuild(&source, &overlay, &case.at("rebuilt.img"));
    let mounted = mount();
    let file = open(&mounted);
    let mut found = vec![0; 100_000];
    file.read_exact_at(&mut found, AT).unwrap();
    assert!(found == [1; 100_000]);
    small.grow();
    file.write_all_at(&[3; 1 << 20], AT + (1 << 17)).unwrap();
    file.sync_all().unwrap();
    drop(file);
    mounted.unmount();
    let mounted = mount();
    let mut found = vec![0; 1 << 20];
    let file = open(&mounted);
    file.read_exact_at(&mut found, AT + (1 << 17)).unwrap();
    assert!(found == vec![3; 1 << 20]);
    drop(file);
    mounted.unmount();
    case.check_source();
}

#[trial(needs(tools))]
fn a_file_that_the_mount_would_hide_is_refused() {
    let case = Case::new();
    let shown = tempfile::tempdir().unwrap();
    for name in ["changes.cow", "./changes.cow"] {
        let mut mount = fve();
        mount.args(["mount", "--volume", "--overlay", name]);
        let mount = mount.current_dir(shown.path()).args(case.key());
        let output = mount.arg(&case.volume.path).arg(shown.path()).output();
        let output = output.unwrap();
        assert_status(&output, 2);
        assert!(text(&output.stderr).contains("hidden by the mount"));
    }
    assert_eq!(fs::read_dir(shown.path()).unwrap().count(), 0);
}

#[trial(needs(tools))]
fn others_may_read_the_source_meanwhile_but_not_write_to_it() {
    let case = Case::new();
    let source = case.volume.path.clone();
    let first = case.mount(&source);
    let mut unlock = fve();
    let unlock = unlock.arg("unlock").arg(&source).args(case.key()).output();
    let unlock = unlock.unwrap();
    assert_status(&unlock, 0);
    let told = text(&unlock.stderr);
    assert!(
        !told.contains("inconsistent") && !told.contains("writing"),
        "{told}"
    );
    assert_status(&case.refused(&source, &["--read-write"]), 5);
    // The file is new, so this also shows that a new one is locked.
    assert_status(&case.refused_with(&source, &case.overlay()), 5);
    let other = case.at("other.cow");
    let [option, key] = case.key();
    let arguments = ["--overlay", other.to_str().unwrap(), &option, &key];
    let second = Mounted::volume(&source, &arguments);
    let write = File::options().write(true).open(second.volume_file());
    write.unwrap().write_all_at(&[5; 512], 12 << 20).unwrap();
    let mut read = [0; 512];
    let file = File::open(first.volume_file()).unwrap();
    file.read_exact_at(&mut read, 12 << 20).unwrap();
    assert_ne!(read, [5; 512]);
    drop(file);
    second.unmount();
    first.unmount();
    case.check_source();
}

#[trial(needs(tools, trials::root))]
fn fstab_names_the_overlay() {
    let case = Case::new();
    let shown = tempfile::tempdir().unwrap();
    let helper = case.at("mount.fve");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_fve"), &helper).unwrap();
    let mount = |more: &str| {
        let (key, file) = (case.volume.startup_key.display(), case.overlay());
        let options = format!("startup-key={key},overlay={}{more}", file.display());
        let mut mount = Command::new(&helper);
        mount.arg(&case.volume.path).arg(shown.path());
        mount.arg("-o").arg(options).output().unwrap()
    };
    assert_status(&mount(",ro,volume"), 2);
    for turn in 0..2 {
        assert_status(&mount(",driver=ntfs-3g"), 0);
        let file = shown.path().join("new");
        match turn {
            0 => fs::write(&file, b"content").unwrap(),
            _ => assert_eq!(fs::read(&file).unwrap(), b"content"),
        }
        run(fve().arg("unmount").arg(shown.path()));
    }
    case.check_source();
}

fn ewf() -> Option<Missing> {
    trials::programs(&["ewfacquire"])
}

#[trial(needs(tools, ewf))]
fn files_of_an_e01_are_written_elsewhere_with_another_driver() {
    let case = Case::new();
    let mut acquire = Command::new("ewfacquire");
    acquire.args(["-u", "-q", "-t"]).arg(case.at("disk"));
    run(acquire.arg(&case.volume.path));
    let source = case.at("disk.E01");
    let before = hash(&source);
    let shown = case.at("files");
    fs::create_dir(&shown).unwrap();
    for turn in 0..2 {
        let mut mount = fve();
        mount.args(["mount", "--driver", "ntfs-3g", "--json", "--overlay"]);
        mount.arg(case.overlay()).args(case.key());
        let said = run(mount.arg(&source).arg(&shown));
        let document = serde_json::from_slice(&said).unwrap();
        assert_documented("mount", &document);
        assert_eq!(document["read_write"], true);
        assert_eq!(document["overlay"], case.overlay().to_str().unwrap());
        let file = shown.join("new");
        match turn {
            0 => fs::write(&file, b"content").unwrap(),
            _ => assert_eq!(fs::read(&file).unwrap(), b"content"),
        }
        run(fve().arg("unmount").arg(&shown));
    }
    assert_eq!(hash(&source), before);
}

/// The published volumes of Windows lack clusters that were free, also some that drivers need to write
/// files, so this writes bytes.
#[trial(needs(tools, dislocker, trials::corpus))]
fn a_volume_made_by_windows_is_written_elsewhere() {
    const AT: u64 = 70_000_300;
    let volumes = corpus::volumes().unwrap();
    let volume = volumes
        .iter()
        .find(|one| one.name == "cs-aes-xts-128")
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let before = hash(&volume.path);
    let entry = volume.entry();
    let password = &entry.credential(Kind::Password).value;
    fs::write(at("password"), password).unwrap();
    fs::set_permissions(at("password"), fs::Permissions::from_mode(0o600)).unwrap();
    let overlay = at("changes.cow");
    let mount = || {
        let file = at("password");
        let option = ["--password-file", file.to_str().unwrap()];
        let overlay = ["--overlay", overlay.to_str().unwrap()];
        Mounted::volume(&volume.path, &[option, overlay].concat())
    };
    let mounted = mount();
    let mut options = File::options();
    let file = options.read(true).write(true).open(mounted.volume_file());
    let file = file.unwrap();
    let mut shown = vec![0; 200_000];
    file.read_exact_at(&mut shown, AT - 50_000).unwrap();
    file.write_all_at(&[7; 100_000], AT).unwrap();
    shown[50_000..150_000].fill(7);
    drop(file);
    mounted.unmount();
    let mounted = mount();
    let again = fs::read(mounted.volume_file()).unwrap();
    mounted.unmount();
    let start = AT as usize - 50_000;
    assert!(again[start..start + shown.len()] == shown);
    assert_eq!(hash(&volume.path), before);
    rebuild(&volume.path, &overlay, &at("rebuilt.img"));
    let mut decrypt = Command::new("dislocker-file");
    decrypt.arg("-V").arg(at("rebuilt.img"));
    run(decrypt
        .arg(format!("-u{password}"))
        .arg("--")
        .arg(at("plain.img")));
    let plain = fs::read(at("plain.img")).unwrap();
    assert!(plain[start..start + shown.len()] == shown);
}
