//! The files of a volume as `fve mount` shows them: what ntfs-3g shows of the same file system, for an
//! ordinary user too, until it is unmounted.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fve::source::MountEntry;
use rustix::fs::XattrFlags;
use rustix::process::Signal;

use crate::common::mount::Mounted;
use crate::common::ntfs::{self, NtfsVolume};
use crate::common::output::{assert_status, run, text};
use crate::common::trials::{self, Missing, trial};
use crate::common::{corpus, fve, send, sha256, testdata};

const LIMIT: Duration = Duration::from_secs(20);

fn fuse_and_ntfs() -> Option<Missing> {
    trials::fuse().or_else(|| trials::programs(&["mkntfs", "ntfs-3g"]))
}

/// A directory on which `fve mount` shows files. It is unmounted at the end.
struct Shown(tempfile::TempDir);

impl Shown {
    fn new(source: &Path, arguments: &[&str]) -> Self {
        let shown = Self(tempfile::tempdir().expect("directory"));
        run(fve()
            .arg("mount")
            .arg(source)
            .arg(shown.path())
            .args(arguments));
        shown
    }

    fn of(volume: &NtfsVolume, arguments: &[&str]) -> Self {
        let key = volume.startup_key.to_str().expect("UTF-8");
        Self::new(&volume.path, &[&["--startup-key", key], arguments].concat())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn is_mounted(&self) -> bool {
        MountEntry::at(self.path()).expect("mount table").is_some()
    }

    fn unmount(&self) -> Output {
        fve().arg("unmount").arg(self.path()).output().expect("fve")
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let mut command = Command::new("umount");
        let _ = command
            .args(["--lazy", "--quiet"])
            .arg(self.path())
            .output();
    }
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "timeout");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What programs see of a file.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind: char,
    inode: u64,
    size: u64,
    links: u64,
    times: [(i64, i64); 3],
    content: Option<String>,
    attributes: BTreeMap<String, Vec<u8>>,
}

/// Everything below a directory, by path.
fn tree(directory: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut tree = BTreeMap::new();
    let mut next = vec![directory.to_owned()];
    while let Some(path) = next.pop() {
        for entry in fs::read_dir(&path).expect("directory") {
            let path = entry.expect("entry").path();
            let meta = path.symlink_metadata().expect("stat");
            if meta.is_dir() {
                next.push(path.clone());
            }
            let name = path.strip_prefix(directory).expect("below").to_owned();
            tree.insert(name, seen(&path, &meta));
        }
    }
    tree
}

fn seen(path: &Path, meta: &fs::Metadata) -> Seen {
    let kind = meta.file_type();
    let content = kind
        .is_file()
        .then(|| sha256(File::open(path).expect("open")).expect("read"));
    Seen {
        kind: match kind {
            kind if kind.is_dir() => 'd',
            kind if kind.is_file() => 'f',
            kind if kind.is_symlink() => 'l',
            kind if kind.is_fifo() => 'p',
            _ => '?',
        },
        inode: meta.ino(),
        size: if kind.is_file() { meta.len() } else { 0 },
        links: meta.nlink(),
        times: [
            (meta.atime(), meta.atime_nsec()),
            (meta.mtime(), meta.mtime_nsec()),
            (meta.ctime(), meta.ctime_nsec()),
        ],
        content,
        attributes: attributes(path),
    }
}

/// The streams that are listed, and what Windows stores about the file.
fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 1 << 16];
    let len = rustix::fs::llistxattr(path, &mut list[..]).expect("llistxattr");
    let names = text(&list[..len]);
    let system = [
        "system.ntfs_attrib",
        "system.ntfs_attrib_be",
        "system.ntfs_crtime",
        "system.ntfs_crtime_be",
        "system.ntfs_times",
        "system.ntfs_times_be",
    ];
    let names = names.split_terminator('\0').chain(system);
    let mut value = vec![0; 1 << 16];
    names
        .map(|name| {
            let len = rustix::fs::lgetxattr(path, name, &mut value[..]).expect(name);
            (name.to_owned(), value[..len].to_vec())
        })
        .collect()
}

fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).expect("setxattr");
}

/// Bytes that do not compress and do not repeat.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        bytes.extend((state >> 24).to_le_bytes().iter().take(5));
    }
    bytes.truncate(len);
    bytes
}

/// Files of all kinds that ntfs-3g can make.
fn fill(directory: &Path) {
    let place = |name: &str| directory.join(name);
    fs::create_dir_all(place("Users/me/Documents")).unwrap();
    fs::write(place("empty"), b"").unwrap();
    fs::write(place("Users/small.txt"), b"in the file record").unwrap();
    fs::write(place("Users/me/large.bin"), noise(3_000_001, 1)).unwrap();
    fs::write(place("Users/me/Документы 日本語 🦀"), b"name").unwrap();
    symlink("small.txt", place("Users/link")).unwrap();
    symlink("../../sparse", place("Users/me/link")).unwrap();
    fs::hard_link(place("Users/small.txt"), place("Users/me/second name")).unwrap();
    let sparse = File::create(place("sparse")).unwrap();
    sparse.set_len(5_000_000).unwrap();
    sparse.write_all_at(&noise(70_000, 2), 2_000_000).unwrap();
    let compressed = place("compressed");
    fs::create_dir(&compressed).unwrap();
    set_attribute(&compressed, "system.ntfs_attrib_be", &[0, 0, 8, 0x10]);
    fs::write(compressed.join("zeros"), vec![0; 300_000]).unwrap();
    fs::write(compressed.join("text"), "the same line\n".repeat(20_000)).unwrap();
    // Grows in turns with another, so that it has many runs.
    let (one, other) = (place("runs"), place("other runs"));
    for turn in 0..40 {
        for path in [&one, &other] {
            let mut file = File::options()
                .create(true)
                .append(true)
                .open(path)
                .unwrap();
            std::io::Write::write_all(&mut file, &noise(8192, turn)).unwrap();
            file.sync_all().unwrap();
        }
    }
    set_attribute(&place("empty"), "user.stream", b"of an empty file");
    set_attribute(&place("Users"), "user.of a directory", b"x");
    set_attribute(&place("Users/me/large.bin"), "user.long", &noise(60_000, 3));
    set_attribute(&place("empty"), "system.ntfs_attrib_be", &[0, 0, 0, 0x23]);
    for number in 0..500 {
        fs::write(place(&format!("Users/me/Documents/{number}.txt")), b"x").unwrap();
    }
    run(Command::new("touch")
        .args(["-d", "1999-12-31T23:59:59.1234567Z"])
        .arg(place("Users/small.txt")));
}

#[trial("shows the same files as ntfs-3g", needs(fuse_and_ntfs))]
fn shows_the_same_files() {
    let directory = tempfile::tempdir().expect("directory");
    let volume = ntfs::make_with(directory.path(), "aes-xts-128", 512, 64 << 20, fill, |_| ());
    let theirs = Mounted::ntfs(&directory.path().join("ntfs.img"));
    let ours = Shown::of(&volume, &[]);
    let (expected, found) = (tree(theirs.path()), tree(ours.path()));
    let names: Vec<_> = expected.keys().collect();
    assert_eq!(found.keys().collect::<Vec<_>>(), names);
    for (path, expected) in &expected {
        assert_eq!(&found[path], expected, "{}", path.display());
    }
    assert!(expected.len() > 500);

    // Windows ignores case; the exact name comes first.
    let same = fs::read(ours.path().join("users/SMALL.TXT")).expect("another case");
    assert_eq!(same, b"in the file record");
    let sizes = |path: &Path| rustix::fs::statvfs(path).expect("statvfs");
    let (one, other) = (sizes(ours.path()), sizes(theirs.path()));
    assert_eq!(one.f_bfree * one.f_frsize, other.f_bfree * other.f_frsize);
    let difference = (one.f_blocks * one.f_frsize).abs_diff(other.f_blocks * other.f_frsize);
    assert!(difference <= 8192, "{difference}");
    assert_eq!(one.f_namemax, 1020);
    assert_eq!(ours.path().metadata().expect("root").ino(), 1);

    // Nothing can be written, and nothing leaves the mount.
    for result in [
        fs::write(ours.path().join("new"), b"x"),
        fs::write(ours.path().join("empty"), b"x"),
        fs::create_dir(ours.path().join("directory")),
        fs::remove_file(ours.path().join("empty")),
        fs::rename(ours.path().join("empty"), ours.path().join("full")),
        symlink("x", ours.path().join("link")),
        fs::set_permissions(ours.path().join("empty"), PermissionsExt::from_mode(0o777)),
    ] {
        let error = result.expect_err("read-only");
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
    let options = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let line = options
        .lines()
        .find(|line| line.contains(&*ours.path().to_string_lossy()))
        .expect("entry");
    for option in ["ro", "nodev", "nosuid", "fuse.fve"] {
        assert!(line.contains(option), "{line}");
    }
}

#[trial(
    "reparse points are attributes, and streams larger than Linux allows are an error",
    needs(fuse_and_ntfs)
)]
fn large_streams() {
    const REPARSE_DATA: &str = "system.ntfs_reparse_data";
    // Of an NFS server: the tag, the length of the data, and data.
    let point = [&[0x14, 0, 0, 0x80, 8, 0, 0, 0], b"FIFO\0\0\0\0".as_slice()].concat();
    let directory = tempfile::tempdir().expect("directory");
    let image = directory.path().join("ntfs.img");
    ntfs::format(&image, 512, 16 << 20);
    {
        let mount = tempfile::tempdir().expect("directory");
        run(Command::new("ntfs-3g")
            .args(["-o", "streams_interface=windows"])
            .arg(&image)
            .arg(mount.path()));
        fs::write(mount.path().join("file"), b"x").expect("file");
        fs::write(mount.path().join("file:large"), noise(70_000, 1)).expect("stream");
        fs::write(mount.path().join("point"), b"").expect("file");
        set_attribute(&mount.path().join("point"), REPARSE_DATA, &point);
        run(Command::new("umount").arg(mount.path()));
    }
    // A file system that is not encrypted is shown, too.
    let shown = Shown::new(&image, &[]);
    let file = shown.path().join("file");
    let mut value = vec![0; 1 << 16];
    let reparse_point = shown.path().join("point");
    let len = rustix::fs::getxattr(&reparse_point, REPARSE_DATA, &mut value[..]).expect("value");
    assert_eq!(value[..len], point);
    let error = rustix::fs::getxattr(&file, REPARSE_DATA, &mut value[..]).expect_err("none");
    assert_eq!(error, rustix::io::Errno::NODATA);
    let error = rustix::fs::getxattr(&file, "user.large", &mut value[..]).expect_err("too large");
    assert_eq!(error, rustix::io::Errno::TOOBIG);
    let error = rustix::fs::getxattr(&file, "user.none", &mut value[..]).expect_err("none");
    assert_eq!(error, rustix::io::Errno::NODATA);
    let mut small = [0; 2];
    let error = rustix::fs::getxattr(&file, "system.ntfs_attrib", &mut small[..]);
    assert_eq!(error.expect_err("small"), rustix::io::Errno::RANGE);
}

#[trial("a directory of 20,000 entries is listed whole", needs(fuse_and_ntfs))]
fn large_directory() {
    let directory = tempfile::tempdir().expect("directory");
    let image = directory.path().join("ntfs.img");
    ntfs::format(&image, 512, 64 << 20);
    {
        let mounted = Mounted::ntfs_for_writing(&image);
        for number in 0..20_000 {
            File::create(mounted.path().join(format!("file {number:05}"))).expect("file");
        }
    }
    let shown = Shown::new(&image, &[]);
    for _ in 0..2 {
        let mut names: Vec<OsString> = fs::read_dir(shown.path())
            .expect("directory")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names.len(), 20_000);
        assert_eq!(names[12_345], "file 12345");
        names.dedup();
        assert_eq!(names.len(), 20_000);
    }
    assert!(shown.path().join("file 19999").exists());
    assert!(!shown.path().join("file 20000").exists());
}

#[trial("four threads read at once", needs(fuse_and_ntfs))]
fn many_readers() {
    let directory = tempfile::tempdir().expect("directory");
    let content = noise(8_000_003, 5);
    let volume = ntfs::make_with(
        directory.path(),
        "aes-xts-256",
        4096,
        32 << 20,
        |path| fs::write(path.join("file"), &content).expect("file"),
        |_| (),
    );
    let shown = Shown::of(&volume, &[]);
    std::thread::scope(|scope| {
        for reader in 0..4_usize {
            let (shown, content) = (&shown, &content);
            scope.spawn(move || {
                let file = File::open(shown.path().join("file")).expect("file");
                let mut buf = vec![0; 100_000];
                for turn in 0..100 {
                    let at = (reader * 7_919_001 + turn * 1_000_003) % content.len();
                    let len = buf.len().min(content.len() - at);
                    let read = file.read_at(&mut buf, at as u64).expect("read");
                    assert!(read == len || read > 0);
                    assert!(buf[..read] == content[at..at + read], "at {at}");
                }
            });
        }
    });
    let file = File::open(shown.path().join("file")).expect("file");
    assert_eq!(file.read_at(&mut [0; 10], 8_000_003).expect("end"), 0);
    let hash = sha256(content.as_slice()).expect("hash");
    assert_eq!(sha256(file).expect("read"), hash);
}

/// Hashes the files of a volume in a mount.
fn has_its_files(entry: &testdata::Entry, files: &[(&str, &str)]) {
    let secret = tempfile::tempdir().expect("directory");
    let credential = &entry.credentials[0];
    let path = secret.path().join("secret");
    fs::write(&path, &credential.value).expect("secret");
    let path = path.to_str().expect("UTF-8");
    let arguments: &[&str] = match credential.kind {
        testdata::Kind::Password => &["--password-file", path],
        testdata::Kind::RecoveryPassword => &["--recovery-password-file", path],
        testdata::Kind::StartupKey => &["--startup-key", &credential.value],
        testdata::Kind::ClearKey => &[],
    };
    let shown = Shown::new(&entry.file, arguments);
    for (path, hash) in files {
        let content = File::open(shown.path().join(path)).expect("file");
        assert_eq!(sha256(content).expect("read"), *hash, "{path}");
    }
}

#[trial("files of testdata are shown", needs(trials::fuse))]
fn files_of_testdata() {
    for name in [
        "ntfs-xts-128",
        "elephant-256",
        "xts-128-4k",
        "clear-key-only",
        "encrypt-on-write",
    ] {
        let entry = testdata::volume(name);
        let files = entry.files.iter();
        let files: Vec<_> = files.map(|file| (&*file.path, &*file.sha256)).collect();
        assert!(!files.is_empty());
        has_its_files(&entry, &files);
    }
}

#[trial(
    "files of volumes made by Windows are shown",
    needs(trials::fuse, trials::corpus)
)]
fn files_of_the_corpus() {
    let volumes = corpus::volumes().expect("the corpus");
    let mut with_files = volumes.iter().filter(|volume| !volume.files.is_empty());
    let mut seen = 0;
    for volume in &mut with_files {
        let files = volume.files.iter();
        let files: Vec<_> = files.map(|file| (&*file.path, &*file.sha256)).collect();
        has_its_files(&volume.entry(), &files);
        seen += files.len();
    }
    assert!(seen > 0);
}

#[trial("what is not read is named with --volume", needs(trials::fuse))]
fn other_file_systems() {
    let directory = tempfile::tempdir().expect("directory");
    let (volume, key) = (directory.path().join("v"), directory.path().join("k"));
    fs::write(&key, "correct horse battery").expect("key");
    run(fve()
        .args(["create", "--size", "8M", "--new-password-file"])
        .arg(&key)
        .arg(&volume));
    let place = tempfile::tempdir().expect("directory");
    let mut mount = fve();
    mount.arg("mount").arg(&volume).arg(place.path());
    mount.arg("--password-file").arg(&key);
    let output = mount.output().expect("fve");
    assert_status(&output, 3);
    let said = text(&output.stderr);
    assert!(said.contains("fve mount --volume"), "{said}");
    assert!(MountEntry::at(place.path()).expect("table").is_none());

    let mut mount = fve();
    mount.args(["mount", "--direct-io"]).arg(&volume);
    let output = mount.arg(place.path()).output().expect("fve");
    assert_status(&output, 2);
    let said = text(&output.stderr);
    assert!(said.contains("--volume"), "{said}");
}

/// A small volume, and a user who is not root.
struct Place {
    directory: tempfile::TempDir,
}

/// A user without rights who is on every system: fusermount3 requires one with a name.
const USER: u32 = 65_534;

impl Place {
    fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().expect("directory"),
        };
        for name in ["ntfs-xts-128.img", "ntfs-xts-128.recovery.txt"] {
            let from = testdata::directory().join(name);
            fs::copy(from, place.path(name)).expect("copy");
        }
        fs::create_dir(place.mount()).expect("directory");
        // Copied by another process: a file that is open for writing here cannot be executed.
        run(Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_fve"))
            .arg(place.path("fve")));
        run(Command::new("chown")
            .args(["-R", &USER.to_string()])
            .arg(place.directory.path()));
        run(Command::new("chmod")
            .args(["600"])
            .arg(place.path("ntfs-xts-128.recovery.txt")));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        let directory = self.directory.path().canonicalize().expect("path");
        directory.join(name)
    }

    fn mount(&self) -> PathBuf {
        self.path("mnt")
    }

    fn arguments(&self) -> Vec<OsString> {
        vec![
            "mount".into(),
            self.path("ntfs-xts-128.img").into(),
            self.mount().into(),
            "--recovery-password-file".into(),
            self.path("ntfs-xts-128.recovery.txt").into(),
        ]
    }

    /// A command of the user.
    fn user(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args([
            format!("--reuid={USER}"),
            format!("--regid={USER}"),
            "--clear-groups".to_owned(),
            program.to_owned(),
        ]);
        command
    }

    fn is_mounted(&self) -> bool {
        MountEntry::at(&self.mount())
            .expect("mount table")
            .is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut command = Command::new("umount");
        let _ = command
            .args(["--lazy", "--quiet"])
            .arg(self.mount())
            .output();
    }
}

fn fuse_and_setpriv() -> Option<Missing> {
    trials::fuse().or_else(|| trials::programs(&["setpriv", "fusermount3"]))
}

#[trial("an ordinary user mounts, reads and unmounts", needs(fuse_and_setpriv))]
fn ordinary_user() {
    let place = Place::new();
    let fve = place.path("fve").display().to_string();
    let output = place
        .user(&fve)
        .args(place.arguments())
        .stdin(Stdio::null())
        .output();
    assert_status(&output.expect("fve"), 0);
    let hello = place
        .user("cat")
        .arg(place.mount().join("hello.txt"))
        .output();
    let hello = hello.expect("cat");
    assert_status(&hello, 0);
    assert!(!hello.stdout.is_empty());
    let listed = place.user("ls").arg("-la").arg(place.mount()).output();
    assert!(text(&listed.expect("ls").stdout).contains("hello.txt"));
    // Another user, even root, cannot look into it.
    assert!(fs::read_dir(place.mount()).is_err());
    // Nor can another user end it.
    let mut other = Command::new("setpriv");
    other.args(["--reuid=1", "--regid=1", "--clear-groups", &fve]);
    let output = other
        .arg("unmount")
        .arg(place.mount())
        .output()
        .expect("fve");
    assert_status(&output, 5);
    let said = text(&output.stderr);
    assert!(said.contains("by another user"), "{said}");
    let output = place.user(&fve).arg("unmount").arg(place.mount()).output();
    assert_status(&output.expect("fve"), 0);
    assert!(!place.is_mounted());
    // A directory of another user is refused before the volume is unlocked.
    fs::set_permissions(place.mount(), fs::Permissions::from_mode(0o755)).expect("mode");
    std::os::unix::fs::chown(place.mount(), Some(0), Some(0)).expect("owner");
    let mut mount = place.user(&fve);
    let output = mount.args(place.arguments()).output().expect("fve");
    assert_status(&output, 5);
    let said = text(&output.stderr);
    assert!(said.contains("may not write to the mount point"), "{said}");
    assert!(said.contains("of your own"), "{said}");
}

#[trial("a busy mount stays, and ends when it is free", needs(trials::fuse))]
fn busy() {
    let image = testdata::directory().join("ntfs-xts-128.img");
    let key = testdata::directory().join("ntfs-xts-128.recovery.txt");
    let key = key.to_str().expect("UTF-8");
    let shown = Shown::new(&image, &["--recovery-password-file", key]);
    let held = File::open(shown.path().join("hello.txt")).expect("open");
    let output = shown.unmount();
    assert_status(&output, 5);
    assert!(shown.is_mounted());
    let mut byte = [0];
    held.read_exact_at(&mut byte, 0).expect("still served");
    drop(held);
    assert_status(&shown.unmount(), 0);
    assert!(!shown.is_mounted());
}

/// A server in the foreground.
struct Foreground(Child);

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[trial("SIGTERM ends a mount of files", needs(trials::fuse))]
fn ends_on_a_signal() {
    let place = Place::new();
    let mut mount = fve();
    mount.args(place.arguments()).arg("--foreground");
    let mut server = Foreground(mount.stderr(Stdio::null()).spawn().expect("fve"));
    wait_until(|| place.mount().join("hello.txt").exists());
    send(Signal::TERM, server.0.id());
    wait_until(|| server.0.try_wait().expect("wait").is_some());
    assert!(server.0.wait().expect("wait").success());
    assert!(!place.is_mounted());
}

#[trial(
    "fstab shows files, and with the word volume the volume",
    needs(trials::fuse)
)]
fn words_of_fstab() {
    let place = Place::new();
    let helper = place.path("mount.fve");
    symlink(env!("CARGO_BIN_EXE_fve"), &helper).expect("link");
    let key = place.path("ntfs-xts-128.recovery.txt");
    let mount = |options: &str| {
        let mut mount = Command::new(&helper);
        mount.arg(place.path("ntfs-xts-128.img")).arg(place.mount());
        mount.arg("-o");
        let key = key.display();
        mount.arg(format!("{options},recovery-password-file={key}"));
        mount.output().expect("mount.fve")
    };
    let unmount = || {
        let mut unmount = fve();
        let output = unmount.arg("unmount").arg(place.mount()).output();
        assert_status(&output.expect("fve"), 0);
    };
    let output = mount("ro,nofail,uid=1000,gid=5,umask=027,x-systemd.automount");
    assert_status(&output, 0);
    assert_eq!(text(&output.stderr), "");
    let meta = place.mount().join("hello.txt").metadata().expect("stat");
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o7777),
        (1000, 5, 0o440)
    );
    let meta = place.mount().metadata().expect("stat");
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o7777),
        (1000, 5, 0o550)
    );
    unmount();
    assert_status(&mount("ro,volume"), 0);
    assert!(place.mount().join("volume").exists());
    unmount();
    assert_status(&mount("ro,direct_io"), 2);
    assert!(!place.is_mounted());
}

#[trial("on a terminal, one line says what is shown", needs(trials::fuse, || trials::programs(&["script"])))]
fn one_line_on_a_terminal() {
    let place = Place::new();
    let program = Path::new(env!("CARGO_BIN_EXE_fve"));
    let words: Vec<_> = place
        .arguments()
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let command = format!("{} {}", program.display(), words.join(" "));
    let output = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .expect("script");
    assert_status(&output, 0);
    let said = text(&output.stdout);
    let end = format!("end with 'fve unmount {}'", place.mount().display());
    assert!(
        said.contains("the files of the NTFS volume") && said.contains(&end),
        "{said}"
    );
    let output = fve().arg("unmount").arg(place.mount()).output();
    assert_status(&output.expect("fve"), 0);
}

/// The process that serves the mount on a directory.
fn server_of(directory: &Path) -> u32 {
    let word = directory.to_str().expect("UTF-8");
    let found = fs::read_dir("/proc").expect("processes").flatten();
    let found = found.filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        (line.contains(word) && line.contains("--background-child")).then_some(id)
    });
    let found: Vec<u32> = found.collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

fn wait_until_gone(is_mounted: impl Fn() -> bool) {
    let start = Instant::now();
    while is_mounted() {
        assert!(start.elapsed() < LIMIT, "still mounted");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[trial(
    "a killed server leaves no mount with --auto-unmount",
    needs(fuse_and_setpriv)
)]
fn auto_unmount() {
    let image = testdata::directory().join("ntfs-xts-128.img");
    let key = testdata::directory().join("ntfs-xts-128.recovery.txt");
    let key = key.to_str().expect("UTF-8");
    let arguments = ["--recovery-password-file", key, "--auto-unmount"];
    let shown = Shown::new(&image, &arguments);
    // Also while a program uses it.
    let held = File::open(shown.path().join("hello.txt")).expect("open");
    send(Signal::KILL, server_of(shown.path()));
    wait_until_gone(|| shown.is_mounted());
    drop(held);
    // Without the option, it stays, and every access to it fails.
    let shown = Shown::new(&image, &arguments[..2]);
    send(Signal::KILL, server_of(shown.path()));
    std::thread::sleep(Duration::from_millis(500));
    assert!(shown.is_mounted());
    assert!(fs::read_dir(shown.path()).is_err());
    // The same for an ordinary user, for whom fusermount3 unmounts; and one that ends by itself.
    let place = Place::new();
    let fve = place.path("fve").display().to_string();
    for killed in [true, false] {
        let output = place
            .user(&fve)
            .args(place.arguments())
            .arg("--auto-unmount")
            .stdin(Stdio::null())
            .output();
        assert_status(&output.expect("fve"), 0);
        let server = server_of(&place.mount());
        match killed {
            true => send(Signal::KILL, server),
            false => send(Signal::TERM, server),
        }
        wait_until_gone(|| place.is_mounted());
    }
}

fn fuse_and_unshare() -> Option<Missing> {
    fuse_and_setpriv().or_else(|| trials::programs(&["unshare"]))
}

/// fusermount3 lets a user give others access only if /etc/fuse.conf says so, so the test has one of its own.
#[trial(
    "root, and no other user, reads a mount with --allow-root",
    needs(fuse_and_unshare)
)]
fn allow_root() {
    let place = Place::new();
    fs::write(place.path("fuse.conf"), "user_allow_other\n").expect("configuration");
    fs::write(place.path("empty.conf"), "").expect("configuration");
    fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    let script = format!(
        r#"
        touch /etc/fuse.conf; mount --bind {0}/fuse.conf /etc/fuse.conf || exit 90
        as() {{ id=$1; shift; setpriv --reuid=$id --regid=$id --clear-groups "$@"; }}
        mount() {{ as {USER} {0}/fve mount {0}/ntfs-xts-128.img {0}/mnt --recovery-password-file {0}/ntfs-xts-128.recovery.txt "$@" </dev/null; }}
        mount --allow-root --umask 022 || exit 91
        cat {0}/mnt/hello.txt || exit 92
        as {USER} cat {0}/mnt/hello.txt || exit 93
        as 1 cat {0}/mnt/hello.txt && exit 94
        as 1 ls {0}/mnt && exit 95
        stat --format=%a {0}/mnt/hello.txt
        as {USER} {0}/fve unmount {0}/mnt || exit 96
        mount --allow-root --allow-other; [ $? = 2 ] || exit 97
        /bin/mount --bind {0}/empty.conf /etc/fuse.conf || exit 98
        mount --allow-root && exit 99
        exit 0
        "#,
        place
            .directory
            .path()
            .canonicalize()
            .expect("path")
            .display()
    );
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .output()
        .expect("unshare");
    let said = text(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    assert!(text(&output.stdout).ends_with("400\n"), "{output:?}");
    assert!(
        said.contains("user_allow_other") && said.contains("--allow-root"),
        "{said}"
    );
}
