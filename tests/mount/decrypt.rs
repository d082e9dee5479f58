//! `fve decrypt`: the output is complete or absent, however the command ends, and a resumed one has
//! the same bytes.
//!
//! The source is a file that this process serves through FUSE. Reads block at an offset that the
//! test chooses until it unblocks them, so that every interruption comes in the middle of the work.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common;
use crate::common::fve;
use crate::common::loop_device::LoopDevice;
use crate::common::output::{assert_status, text};
use crate::common::trials::{self, Missing, fuse, trial};
use fve::create::{NewProtector, NewVolume, Placement};
use fve::crypto::sector::Method;
use fve::secret::ClearKey;
use fve::serve::fuse::{Mount, MountOptions};
use fve::source::ReadAt;
use fve::volume::Unlocked;
use rustix::process::Signal;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 12 * MIB + 4096;
/// The offset at which reads block: in the middle, after the metadata.
const MIDDLE: u64 = 6 * MIB;

fn for_devices() -> Option<Missing> {
    trials::root().or_else(|| trials::programs(&["losetup", "mount", "mkfs.ext4"]))
}

// The volume.

/// A volume with a clear key, which needs no credential, and its plaintext, which contains zeros.
fn made() -> &'static (Vec<u8>, Vec<u8>) {
    static MADE: std::sync::OnceLock<(Vec<u8>, Vec<u8>)> = std::sync::OnceLock::new();
    MADE.get_or_init(|| {
        let placement = Placement::after_first_copy([0x1_0000, 0x3_8000, 0x6_0000]);
        let mut random = common::writing::Random::new(11);
        let mut plaintext = random.bytes(SIZE as usize);
        plaintext[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ");
        plaintext[2 * MIB as usize..3 * MIB as usize].fill(0);
        plaintext[8 * MIB as usize..9 * MIB as usize].fill(0);
        for (_, range) in placement.ranges() {
            plaintext[range.start as usize..range.end as usize].fill(0);
        }
        let method = Method::AES_XTS_128;
        let mut volume = NewVolume::new(method, 512, placement).expect("volume");
        let key = ClearKey::from_bytes(&[7; 32]);
        volume.protect(NewProtector::clear_key(key).expect("protector"));
        let mut file = tempfile::tempfile().expect("file");
        volume.write(&plaintext, &file).expect("volume");
        let mut bytes = Vec::new();
        io::Seek::rewind(&mut file).expect("seek");
        file.read_to_end(&mut bytes).expect("read");
        (bytes, plaintext)
    })
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes the volume to a file.
    fn volume(&self) -> PathBuf {
        let path = self.path("volume.img");
        fs::write(&path, &made().0).expect("volume");
        path
    }

    /// The names of the files in the directory.
    fn names(&self) -> Vec<String> {
        names(self.0.path())
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("directory");
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .into_string()
                .expect("name")
        })
        .collect();
    names.sort();
    names
}

#[track_caller]
fn assert_plaintext(path: &Path) {
    assert!(
        fs::read(path).expect("output") == made().1,
        "the content differs"
    );
}

/// A source whose reads block at an offset until they are allowed to continue.
struct Source {
    bytes: Vec<u8>,
    /// The offset at which reads block.
    stop: AtomicU64,
    /// Reads block only while this file exists.
    armed_by: Mutex<Option<PathBuf>>,
    waiting: AtomicUsize,
    slow: AtomicBool,
    unreadable: Option<Range<u64>>,
    read: Mutex<Vec<Range<u64>>>,
}

impl Source {
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            stop: AtomicU64::new(u64::MAX),
            armed_by: Mutex::new(None),
            waiting: AtomicUsize::new(0),
            slow: AtomicBool::new(false),
            unreadable: None,
            read: Mutex::new(Vec::new()),
        }
    }

    fn stop_at(&self, place: u64) {
        self.stop.store(place, Ordering::SeqCst);
    }

    fn go_on(&self) {
        self.stop_at(u64::MAX);
    }

    /// Lets reads continue, but slowly. The thread that received the signal handles it only after
    /// its read, and the other threads must not finish before that.
    fn end_slowly(&self, child: Child) -> Output {
        self.slow.store(true, Ordering::SeqCst);
        self.go_on();
        let output = child.wait_with_output().expect("fve");
        self.slow.store(false, Ordering::SeqCst);
        output
    }

    #[track_caller]
    fn wait_until_stopped(&self) {
        wait_until(|| self.waiting.load(Ordering::SeqCst) > 0);
    }

    /// The ranges that were read since the last call.
    fn taken(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut *self.read.lock().unwrap())
    }
}

#[track_caller]
fn wait_until(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "timeout");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl ReadAt for Source {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let range = offset..offset + buf.len() as u64;
        let armed_by = self.armed_by.lock().unwrap().clone();
        // The signature of a container format can be at the end of the file.
        let waits = || {
            range.end > self.stop.load(Ordering::SeqCst)
                && range.start < 11 * MIB
                && armed_by.as_ref().is_none_or(|path| path.exists())
        };
        if waits() {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            while waits() {
                std::thread::sleep(Duration::from_millis(5));
            }
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        if self.slow.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let bad = |bad: &Range<u64>| range.start < bad.end && bad.start < range.end;
        if self.unreadable.as_ref().is_some_and(bad) {
            return Err(rustix::io::Errno::IO.into());
        }
        self.read.lock().unwrap().push(range);
        self.bytes.as_slice().read_exact_at(offset, buf)
    }
}

/// A source that is mounted as a file.
struct Shown {
    source: Arc<Source>,
    directory: tempfile::TempDir,
    server: Option<JoinHandle<()>>,
}

impl Shown {
    fn new(source: Source) -> Self {
        let source = Arc::new(source);
        let directory = tempfile::tempdir().expect("directory");
        let plain = Arc::new(Unlocked::plain(source.clone()).expect("plain"));
        let options = MountOptions::new("test").direct_io(true).threads(8);
        let mount = Mount::new(plain, directory.path(), &options).expect("mount");
        let server = std::thread::spawn(move || mount.serve().expect("serve"));
        Self {
            source,
            directory,
            server: Some(server),
        }
    }

    fn volume() -> Self {
        Self::new(Source::new(made().0.clone()))
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("volume")
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.source.go_on();
        let unmounted = Command::new("umount").arg(self.directory.path()).status();
        if unmounted.is_ok_and(|status| status.success())
            && let Some(server) = self.server.take()
        {
            let _ = server.join();
        }
    }
}

fn decrypt(source: &Path, out: &Path, arguments: &[&str]) -> Command {
    let mut command = fve();
    command.arg("decrypt").arg(source).arg(out).args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("fve")
}

#[track_caller]
fn assert_says(output: &Output, status: i32, words: &[&str]) {
    assert_status(output, status);
    let said = text(&output.stderr);
    for word in words {
        assert!(said.contains(word), "no '{word}' in: {said}");
    }
}

fn send(child: &Child, signal: Signal) {
    common::send(signal, child.id());
    // Give a thread time to handle the signal before reads continue.
    std::thread::sleep(Duration::from_millis(300));
}

/// Starts the command and interrupts it in the middle.
fn interrupted(shown: &Shown, command: &mut Command, signal: Signal) -> Output {
    shown.source.stop_at(MIDDLE);
    let child = command.spawn().expect("fve");
    shown.source.wait_until_stopped();
    send(&child, signal);
    shown.source.end_slowly(child)
}

/// The number in "interrupted at N %".
#[track_caller]
fn percent(output: &Output) -> u64 {
    let said = text(&output.stderr);
    let words = said.split_once("interrupted at ").expect(&said).1;
    words.split_once(" %").expect(&said).0.parse().expect(&said)
}

#[trial("a signal leaves no file and is reported", needs(fuse))]
fn signals() {
    let shown = Shown::volume();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let place = Place::new();
        let out = place.path("out");
        let map = place.path("map");
        let mut command = decrypt(&shown.path(), &out, &["--error-map", map.to_str().unwrap()]);
        let output = interrupted(&shown, &mut command, signal);
        assert_says(&output, 5, &["interrupted at", "removed", "--resume"]);
        assert!((30..90).contains(&percent(&output)), "{}", percent(&output));
        assert_eq!(place.names(), [""; 0], "{signal:?}");
    }
    // An existing file is not changed.
    let place = Place::new();
    let out = place.path("out");
    fs::write(&out, "precious").unwrap();
    let output = interrupted(
        &shown,
        &mut decrypt(&shown.path(), &out, &["--force"]),
        Signal::INT,
    );
    assert_status(&output, 5);
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    assert_eq!(place.names(), ["out"]);
    // Standard output.
    let mut command = decrypt(&shown.path(), Path::new("-"), &[]);
    let output = interrupted(&shown, command.stdout(Stdio::null()), Signal::TERM);
    assert_says(&output, 5, &["interrupted at", "only a part"]);
}

#[trial("a resumed output has the same bytes", needs(fuse))]
fn resumes() {
    let shown = Shown::volume();
    let place = Place::new();
    let out = place.path("out");
    let resume = ["--resume", "--sha256"];
    let output = interrupted(
        &shown,
        &mut decrypt(&shown.path(), &out, &resume),
        Signal::INT,
    );
    assert_says(&output, 5, &["interrupted at", "out.partial", "continue"]);
    let done = percent(&output);
    assert_eq!(place.names(), ["out.partial", "out.partial.progress"]);
    for name in place.names() {
        assert_eq!(mode(&place.path(&name)), 0o600, "{name}");
    }
    // Without --resume, the partial file is not changed.
    let output = run(&mut decrypt(&shown.path(), &out, &[]));
    assert_says(&output, 2, &["out.partial", "--resume"]);
    // With it, the part between the first and last bytes is not read again.
    shown.source.taken();
    let output = run(&mut decrypt(&shown.path(), &out, &resume));
    assert_says(&output, 0, &[&format!("at {done} %")]);
    let again = 2 * MIB..4 * MIB;
    let taken = shown.source.taken();
    let overlaps = |range: &Range<u64>| range.start < again.end && again.start < range.end;
    assert!(!taken.iter().any(overlaps), "{taken:?}");
    assert_plaintext(&out);
    let hash = common::sha256(made().1.as_slice()).unwrap();
    assert!(text(&output.stdout).starts_with(&hash));
    assert_eq!(place.names(), ["out"]);
    // Holes are still holes.
    assert!(out.metadata().unwrap().blocks() * 512 < SIZE - MIB);
    // Without a partial file, it starts at the beginning.
    let second = place.path("second");
    let output = run(&mut decrypt(&shown.path(), &second, &resume));
    assert_says(&output, 0, &["starting from the beginning"]);
    assert_plaintext(&second);
}

#[trial("a process that is killed leaves no output", needs(fuse))]
fn killed() {
    let shown = Shown::volume();
    let place = Place::new();
    let out = place.path("out");
    let output = interrupted(&shown, &mut decrypt(&shown.path(), &out, &[]), Signal::KILL);
    assert_eq!(output.status.code(), None);
    assert_eq!(place.names(), ["out.partial", "out.partial.progress"]);
    let output = run(&mut decrypt(&shown.path(), &out, &[]));
    assert_says(&output, 2, &["out.partial", "--resume", "remove"]);
    let output = run(&mut decrypt(&shown.path(), &out, &["--resume"]));
    assert_status(&output, 0);
    assert_plaintext(&out);
    assert_eq!(place.names(), ["out"]);
}

#[trial("refuses to resume a file that does not match", needs(fuse))]
fn checks() {
    let shown = Shown::volume();
    let place = Place::new();
    let out = place.path("out");
    let partial = place.path("out.partial");
    let record = place.path("out.partial.progress");
    interrupted(
        &shown,
        &mut decrypt(&shown.path(), &out, &["--resume"]),
        Signal::INT,
    );
    let (bytes, said) = (fs::read(&partial).unwrap(), fs::read(&record).unwrap());
    let refused = |words: &[&str]| {
        let output = run(&mut decrypt(&shown.path(), &out, &["--resume"]));
        assert_says(&output, 2, words);
        assert!(!out.exists() && partial.exists());
    };
    // A file with other content.
    let mut other = bytes.clone();
    other[1000] ^= 1;
    fs::write(&partial, &other).unwrap();
    refused(&["differ from those of the volume"]);
    fs::write(&partial, &bytes[..4096]).unwrap();
    refused(&["it has 4096 bytes"]);
    fs::write(&partial, &bytes).unwrap();
    // A record with other values.
    for (record_text, words) in [
        ("{}".to_owned(), "is not the progress file"),
        (
            text(&said).replace("\"size\":", "\"size\":1"),
            "progress file",
        ),
        (
            text(&said).replace("aes-xts-128", "aes-xts-256"),
            "another volume",
        ),
    ] {
        fs::write(&record, record_text).unwrap();
        refused(&[words]);
    }
    fs::remove_file(&record).unwrap();
    refused(&["cannot be read"]);
    // A source that was changed meanwhile.
    fs::write(&record, &said).unwrap();
    let copy = place.volume();
    let output = run(&mut decrypt(&copy, &out, &["--resume"]));
    assert_says(&output, 2, &["another volume, or the source has changed"]);
    // Two commands at the same time.
    let held = File::open(&partial).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    refused(&["written by another program"]);
    let output = run(&mut decrypt(&shown.path(), &out, &["--force"]));
    assert_says(&output, 2, &["written by another program"]);
    drop(held);
    // A symbolic link.
    let elsewhere = place.path("elsewhere");
    fs::rename(&partial, &elsewhere).unwrap();
    symlink(&elsewhere, &partial).unwrap();
    let output = run(&mut decrypt(&shown.path(), &out, &["--resume"]));
    assert_status(&output, 5);
    assert_eq!(fs::read(&elsewhere).unwrap(), bytes);
    fs::remove_file(&partial).unwrap();
    fs::rename(&elsewhere, &partial).unwrap();
    // A file of another user, who could read the plaintext.
    let own = rustix::process::geteuid();
    if own.is_root() {
        std::os::unix::fs::chown(&partial, Some(1), None).unwrap();
        let output = run(&mut decrypt(&shown.path(), &out, &["--resume"]));
        assert_says(&output, 5, &["of your own"]);
        std::os::unix::fs::chown(&partial, Some(own.as_raw()), None).unwrap();
    }
    // The partial file can still be resumed, or overwritten.
    let output = run(&mut decrypt(&shown.path(), &out, &["--force"]));
    assert_status(&output, 0);
    assert_plaintext(&out);
    assert!(!partial.exists() && !record.exists());
}

#[trial("names an unreadable sector", needs(fuse))]
fn unreadable_sector() {
    let mut source = Source::new(made().0.clone());
    let bad = MIDDLE + 0x1_2000..MIDDLE + 0x1_2200;
    source.unreadable = Some(bad.clone());
    let shown = Shown::new(source);
    let place = Place::new();
    let out = place.path("out");
    let name = shown.path().display().to_string();
    let output = run(&mut decrypt(&shown.path(), &out, &[]));
    assert_says(&output, 5, &[&name, "0x612", "--error-map", "removed"]);
    assert!(
        !text(&output.stderr).contains("out:"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(place.names(), [""; 0]);
    // With a map, it continues.
    let map = place.path("map");
    let arguments = ["--error-map", map.to_str().unwrap()];
    let output = run(&mut decrypt(&shown.path(), &out, &arguments));
    assert_says(&output, 5, &["missing"]);
    assert_eq!(place.names(), ["map", "out"]);
    let map = fs::read_to_string(map).unwrap();
    assert!(map.contains("-\n"), "{map}");
    // The record keeps it when the command is interrupted.
    let again = place.path("again");
    let map = place.path("map-again");
    let arguments = ["--resume", "--error-map", map.to_str().unwrap()];
    // Early enough that unread blocks remain when every thread is blocked.
    shown.source.stop_at(MIDDLE + MIB);
    let child = decrypt(&shown.path(), &again, &arguments).spawn().unwrap();
    shown.source.wait_until_stopped();
    send(&child, Signal::INT);
    let output = shown.source.end_slowly(child);
    assert_says(&output, 5, &["interrupted"]);
    assert!(!map.exists());
    let output = run(&mut decrypt(&shown.path(), &again, &arguments));
    assert_says(&output, 5, &["continuing", "missing"]);
    assert_eq!(fs::read(&again).unwrap(), fs::read(&out).unwrap());
    assert_eq!(
        fs::read_to_string(&map).unwrap(),
        fs::read_to_string(place.path("map")).unwrap()
    );
}

#[trial("an ignored HUP stays ignored", needs(fuse))]
fn ignored_hangup() {
    let shown = Shown::volume();
    let place = Place::new();
    let out = place.path("out");
    let mut command = Command::new("sh");
    let inner = [
        "-c",
        "trap '' HUP; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_fve"),
        "decrypt",
    ];
    command.args(inner).arg(shown.path()).arg(&out);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let output = interrupted(&shown, &mut command, Signal::HUP);
    assert_status(&output, 0);
    assert_plaintext(&out);
}

#[trial("interrupted: create", needs(fuse))]
fn create_interrupted() {
    let ntfs = common::testdata::volume("ntfs-xts-128");
    let place = Place::new();
    let plain = place.path("plain");
    let mut command = fve();
    command.arg("decrypt").arg(&ntfs.file).arg(&plain);
    assert_status(&run(command.arg("--startup-key").arg(ntfs.bek())), 0);
    let shown = Shown::new(Source::new(fs::read(&plain).unwrap()));
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let out = place.path("volume");
        // The image is checked first.
        *shown.source.armed_by.lock().unwrap() = Some(out.clone());
        shown.source.stop_at(0);
        let keys = place.path("keys");
        fs::create_dir(&keys).unwrap();
        let mut command = fve();
        command
            .arg("create")
            .arg(&out)
            .arg("--from")
            .arg(shown.path());
        command.arg("--startup-key-to").arg(&keys);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        shown.source.wait_until_stopped();
        send(&child, signal);
        shown.source.go_on();
        let output = child.wait_with_output().unwrap();
        assert_says(&output, 5, &["interrupted at", "was removed"]);
        assert!(!out.exists());
        assert_eq!(names(&keys), [""; 0]);
        fs::remove_dir(keys).unwrap();
    }
}

#[trial("interrupted: repair scan", needs(fuse))]
fn scan_interrupted() {
    let shown = Shown::volume();
    shown.source.stop_at(MIDDLE);
    let mut command = fve();
    command.args(["repair", "scan"]).arg(shown.path());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    shown.source.wait_until_stopped();
    send(&child, Signal::INT);
    shown.source.go_on();
    assert_says(&child.wait_with_output().unwrap(), 5, &["interrupted"]);
    // An incomplete copy is removed.
    let place = Place::new();
    let to = place.path("copy");
    shown.source.stop_at(MIDDLE);
    let mut command = fve();
    command
        .args(["repair", "rebuild-header", "--whole"])
        .arg(shown.path());
    command.arg("--to").arg(&to).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    shown.source.wait_until_stopped();
    assert_eq!(place.names(), ["copy.partial"]);
    send(&child, Signal::TERM);
    shown.source.go_on();
    assert_says(&child.wait_with_output().unwrap(), 5, &["interrupted"]);
    assert_eq!(place.names(), [""; 0]);
}

#[trial("a reader that ends early is an error")]
fn broken_pipe() {
    let place = Place::new();
    let mut child = decrypt(&place.volume(), Path::new("-"), &[])
        .spawn()
        .unwrap();
    let mut start = [0; 10];
    let mut reader = child.stdout.take().unwrap();
    reader.read_exact(&mut start).unwrap();
    drop(reader);
    let output = child.wait_with_output().unwrap();
    assert_says(&output, 5, &["standard output", "Broken pipe"]);
    // The same for a named pipe.
    let pipe = place.path("pipe");
    let status = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(status.success());
    let child = decrypt(&place.path("volume.img"), &pipe, &["--force"]).spawn();
    let mut reader = File::open(&pipe).unwrap();
    reader.read_exact(&mut start).unwrap();
    drop(reader);
    let output = child.unwrap().wait_with_output().unwrap();
    assert_says(&output, 5, &["pipe", "Broken pipe"]);
}

#[trial("a closed standard output is an error")]
fn closed_stdout() {
    let place = Place::new();
    let mut command = Command::new("sh");
    let inner = [
        "-c",
        "exec \"$@\" >&-",
        "sh",
        env!("CARGO_BIN_EXE_fve"),
        "decrypt",
    ];
    command.args(inner).arg(place.volume()).arg("-");
    assert_says(&run(&mut command), 5, &["standard output", "closed"]);
    // Writing to /dev/null is allowed if it is named explicitly.
    let mut command = decrypt(&place.path("volume.img"), Path::new("-"), &[]);
    assert_status(&run(command.stdout(Stdio::null())), 0);
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("metadata").permissions().mode() & 0o777
}

/// Runs `fve` with umask 0.
fn with_umask_0(arguments: &[&Path]) -> Output {
    let mut command = Command::new("sh");
    let inner = [
        "-c",
        "umask 0; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_fve"),
    ];
    command.args(inner).args(arguments).stdin(Stdio::null());
    run(&mut command)
}

#[trial("new files can be read only by their owner")]
fn modes() {
    let place = Place::new();
    let volume = place.volume();
    let (out, map) = (place.path("out"), place.path("map"));
    let word = Path::new;
    let decrypt = [word("decrypt"), &volume, &out, word("--error-map"), &map];
    assert_status(&with_umask_0(&decrypt), 0);
    assert_eq!((mode(&out), mode(&map)), (0o600, 0o600));
    assert_plaintext(&out);
    // A file that is replaced keeps its mode.
    fs::set_permissions(&out, fs::Permissions::from_mode(0o644)).unwrap();
    assert_status(
        &with_umask_0(&[&decrypt[..3], &[word("--force")]].concat()),
        0,
    );
    assert_eq!(mode(&out), 0o644);
    // Other files with keys.
    let (new, digits) = (place.path("new"), place.path("digits"));
    let (package, backup) = (place.path("package"), place.path("backup"));
    let create = [word("create"), &new, word("--size"), word("1M")];
    let digits_to = [word("--recovery-password-to"), &digits];
    assert_status(&with_umask_0(&[&create[..], &digits_to].concat()), 0);
    let key = [word("--recovery-password-file"), &digits];
    let export = [word("export"), word("key-package"), &new, &package];
    assert_status(&with_umask_0(&[&export[..], &key].concat()), 0);
    let metadata = [word("metadata"), word("backup"), &new, &backup];
    assert_status(&with_umask_0(&metadata), 0);
    let escrow = place.path("escrow");
    let rotate = [word("protector"), word("rotate-recovery"), &new];
    let to = [word("--escrow-to"), escrow.as_path()];
    assert_status(&with_umask_0(&[&rotate[..], &key, &to].concat()), 0);
    for path in [&new, &digits, &package, &backup, &escrow] {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
}

#[trial("existing files are not overwritten without an option")]
fn existing() {
    let place = Place::new();
    let volume = place.volume();
    let out = place.path("out");
    fs::write(&out, "precious").unwrap();
    let output = run(&mut decrypt(&volume, &out, &[]));
    assert_says(&output, 2, &["out already exists", "--force"]);
    // All commands that create a file report it in the same way, before they ask for a credential.
    let new = out.to_str().unwrap();
    let volume = volume.to_str().unwrap();
    for arguments in [
        &["export", "key-package", volume, new][..],
        &["metadata", "backup", volume, new],
        &["protector", "rotate-recovery", volume, "--escrow-to", new],
        &["protector", "add", volume, "--recovery-password-to", new],
        &["protector", "suspend", volume, "--backup", new],
        &["repair", "rebuild-header", volume, "--to", new],
        &["create", new, "--size", "1M", "--recovery-password"],
    ] {
        let output = run(fve().args(arguments).stdin(Stdio::null()));
        assert_says(&output, 2, &["out already exists"]);
        assert_eq!(fs::read(&out).unwrap(), b"precious");
        // '-' is not the name of a file either.
        let dash: Vec<_> = arguments
            .iter()
            .map(|word| if *word == new { "-" } else { word })
            .collect();
        let mut command = fve();
        command.args(&dash).current_dir(place.0.path());
        assert_says(&run(command.stdin(Stdio::null())), 2, &["'-'"]);
    }
    assert!(
        fs::read(volume).unwrap() == made().0,
        "the volume was changed"
    );
    assert_eq!(place.names(), ["out", "volume.img"]);
}

#[trial("writes nothing through a dangling link")]
fn dangling_links() {
    let place = Place::new();
    let volume = place.volume();
    let link = place.path("link");
    symlink(place.path("elsewhere"), &link).unwrap();
    let out = place.path("out");
    for force in [&[][..], &["--force"]] {
        let output = run(&mut decrypt(&volume, &link, force));
        assert_says(&output, 2, &["link already exists"]);
        let map = ["--error-map", link.to_str().unwrap()];
        let output = run(&mut decrypt(&volume, &out, &[force, &map].concat()));
        assert_says(&output, 2, &["link already exists"]);
    }
    let mut create = fve();
    create.arg("create").arg(&link);
    let output = run(create.args(["--size", "1M", "--recovery-password"]));
    assert_says(&output, 2, &["link already exists"]);
    assert_eq!(place.names(), ["link", "volume.img"]);
}

#[trial("refuses to overwrite a part of the source")]
fn parts_of_the_source() {
    let place = Place::new();
    let bytes = &made().0;
    let (first, second) = (place.path("disk.001"), place.path("disk.002"));
    let (head, tail) = bytes.split_at(8 * MIB as usize);
    fs::write(&first, head).unwrap();
    fs::write(&second, tail).unwrap();
    assert_plaintext_of(&first, &place);
    for (part, status) in [(&first, 2), (&second, 5)] {
        let output = run(&mut decrypt(&first, part, &["--force"]));
        assert_status(&output, status);
    }
    // It is not treated as a partial file either.
    let volume = place.path("out.partial");
    fs::write(&volume, bytes).unwrap();
    for word in ["--force", "--resume"] {
        let output = run(&mut decrypt(&volume, &place.path("out"), &[word]));
        assert_says(&output, 2, &["is the encrypted volume itself"]);
    }
    assert!(fs::read(&first).unwrap() == head && fs::read(&second).unwrap() == tail);
    assert!(fs::read(&volume).unwrap() == *bytes);
}

fn assert_plaintext_of(source: &Path, place: &Place) {
    let out = place.path("plain");
    assert_status(&run(&mut decrypt(source, &out, &[])), 0);
    assert_plaintext(&out);
}

#[trial("removes the error map if the command fails")]
fn error_map() {
    let place = Place::new();
    let volume = place.volume();
    let (out, map) = (place.path("out"), place.path("map"));
    let arguments = ["--error-map", map.to_str().unwrap()];
    // If the map cannot be created, no other file is created either.
    let nowhere = ["--error-map", "/nowhere/map"];
    let output = run(&mut decrypt(&volume, &out, &nowhere));
    assert_says(&output, 5, &["/nowhere/map"]);
    assert_eq!(place.names(), ["volume.img"]);
    // An existing map.
    fs::write(&map, "precious").unwrap();
    let output = run(&mut decrypt(&volume, &out, &arguments));
    assert_says(&output, 2, &["map already exists", "--force"]);
    assert_eq!(fs::read(&map).unwrap(), b"precious");
    let output = run(&mut decrypt(
        &volume,
        &out,
        &[&arguments[..], &["--force"]].concat(),
    ));
    assert_status(&output, 0);
    assert!(fs::read_to_string(&map).unwrap().starts_with("# Mapfile"));
    assert_eq!(place.names(), ["map", "out", "volume.img"]);
    // Another name of the output.
    for name in ["out", "out.partial", "out.partial.progress", "volume.img"] {
        let path = place.path(name);
        let arguments = ["--force", "--error-map", path.to_str().unwrap()];
        let output = run(&mut decrypt(&volume, &out, &arguments));
        assert_says(&output, 5, &["already the source or the output"]);
    }
}

/// A small mounted file system. It is unmounted when this value is dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn new(kind: &str, options: &str, what: &Path) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", kind, "-o", options]).arg(what);
        let output = run(mount.arg(directory.path()));
        assert_status(&output, 0);
        Self(directory)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[trial("a full file system leaves no file", needs(for_devices))]
fn full() {
    let place = Place::new();
    let volume = place.volume();
    let small = Small::new("tmpfs", "size=4M", Path::new("tmpfs"));
    let out = small.0.path().join("out");
    let output = run(&mut decrypt(&volume, &out, &[]));
    assert_says(&output, 5, &["out", "No space left", "removed"]);
    assert_eq!(names(small.0.path()), [""; 0]);
    fs::write(&out, "precious").unwrap();
    let output = run(&mut decrypt(&volume, &out, &["--force"]));
    assert_status(&output, 5);
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    assert_eq!(names(small.0.path()), ["out"]);
    drop(small);
    // A search reports before it begins that the password cannot be saved. So do the other
    // commands, and the volume is not changed.
    let before = fs::read(&volume).unwrap();
    for arguments in [&["export", "key-package"][..], &["metadata", "backup"]] {
        let mut command = fve();
        command.args(arguments).arg(&volume).arg("/nowhere/file");
        assert_says(&run(command.stdin(Stdio::null())), 5, &["/nowhere/file"]);
    }
    for arguments in [
        &["protector", "rotate-recovery", "--escrow-to"][..],
        &["protector", "add", "--recovery-password-to"],
        &["protector", "add", "--startup-key-to"],
        &["protector", "save-startup-key", "--to"],
        &["protector", "suspend", "--backup"],
        &["repair", "rebuild-header", "--to"],
    ] {
        let mut command = fve();
        command.args(arguments).arg("/nowhere/file").arg(&volume);
        assert_says(&run(command.stdin(Stdio::null())), 5, &["/nowhere/file"]);
    }
    for option in ["--recovery-password-to", "--startup-key-to"] {
        let new = place.path("new");
        let mut command = fve();
        command.arg("create").arg(&new).args(["--size", "1M"]);
        command.args([option, "/nowhere/file"]);
        assert_says(&run(command.stdin(Stdio::null())), 5, &["/nowhere/file"]);
        assert!(!new.exists());
    }
    assert!(
        fs::read(&volume).unwrap() == before,
        "the volume was changed"
    );
}

#[trial("writes to a device if its path is confirmed", needs(for_devices))]
fn devices() {
    let place = Place::new();
    let volume = place.volume();
    let disk = place.path("disk");
    fs::write(&disk, vec![0x5A; 16 * MIB as usize]).unwrap();
    let device = LoopDevice::writable(&disk).expect("loop device");
    let name = device.path().to_str().unwrap().to_owned();
    let confirmed = ["--device-confirm", &name];
    for arguments in [&[][..], &["--force"], &["--device-confirm", "/dev/other"]] {
        let output = run(&mut decrypt(&volume, device.path(), arguments));
        assert_says(&output, 2, &["--device-confirm", &name]);
    }
    let output = run(&mut decrypt(
        &volume,
        device.path(),
        &["--resume", confirmed[0], confirmed[1]],
    ));
    assert_says(&output, 2, &["--resume"]);
    assert!(fs::read(&disk).unwrap().iter().all(|byte| *byte == 0x5A));
    let output = run(&mut decrypt(&volume, device.path(), &confirmed));
    assert_status(&output, 0);
    let written = fs::read(&disk).unwrap();
    assert!(written[..SIZE as usize] == made().1, "the content differs");
    // If the command is interrupted, it says that the device is incomplete.
    if trials::fuse().is_none() {
        let shown = Shown::volume();
        let mut command = decrypt(&shown.path(), device.path(), &confirmed);
        let output = interrupted(&shown, &mut command, Signal::INT);
        assert_says(&output, 5, &["interrupted at", &name, "incomplete"]);
    }
    drop(device);
    // A device that is too small is not changed.
    fs::write(&disk, vec![0x5A; 4 * MIB as usize]).unwrap();
    let device = LoopDevice::writable(&disk).expect("loop device");
    let name = device.path().to_str().unwrap().to_owned();
    let confirmed = ["--device-confirm", &name];
    let output = run(&mut decrypt(&volume, device.path(), &confirmed));
    assert_says(&output, 5, &[&name, "bytes"]);
    drop(device);
    assert!(fs::read(&disk).unwrap().iter().all(|byte| *byte == 0x5A));
    // Neither is a mounted device.
    fs::write(&disk, vec![0; 16 * MIB as usize]).unwrap();
    let made = run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk));
    assert_status(&made, 0);
    let device = LoopDevice::writable(&disk).expect("loop device");
    let name = device.path().to_str().unwrap().to_owned();
    let confirmed = ["--force", "--device-confirm", &name];
    let mounted = Small::new("ext4", "rw", device.path());
    let output = run(&mut decrypt(&volume, device.path(), &confirmed));
    assert_says(&output, 5, &["mounted"]);
    drop(mounted);
}

/// The device and the number of a file, after links were followed.
fn identity(path: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let file = fs::metadata(path).unwrap();
    (file.dev(), file.ino())
}

#[trial("refuses its source under another name", needs(for_devices))]
fn other_names_of_the_source() {
    let place = Place::new();
    let volume = place.volume();
    let device = LoopDevice::writable(&volume).expect("loop device");
    let name = device.path().to_str().unwrap().to_owned();
    let link = place.path("link");
    symlink(&volume, &link).unwrap();
    let hard = place.path("hard");
    fs::hard_link(&volume, &hard).unwrap();
    let words = ["--force", "--device-confirm", &name];
    let device = device.path();
    for (source, out) in [
        (volume.as_path(), device),
        (device, volume.as_path()),
        (device, device),
        (&link, &volume),
        (&volume, &link),
        (&volume, &hard),
        (device, &hard),
    ] {
        let output = run(&mut decrypt(source, out, &words));
        // An OUT that is SOURCE is a mistake in the command line. That two names share their storage
        // is found out by the check before anything is overwritten.
        let is_source = identity(source) == identity(out);
        assert_status(&output, if is_source { 2 } else { 5 });
        // Standard output that a shell redirected to the source.
        let opened = File::options().write(true).open(out).unwrap();
        let mut command = decrypt(source, Path::new("-"), &[]);
        assert_status(&run(command.stdout(opened)), 5);
    }
    assert!(
        fs::read(&volume).unwrap() == made().0,
        "the volume was changed"
    );
}
