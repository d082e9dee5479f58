//! `fve create`: each file system keeps its files, according to its own tools; keys are saved safely; and
//! unsuitable images, files and devices are refused.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use crate::common;
use crate::common::fve;
use crate::common::loop_device::LoopDevice;
use crate::common::peers;
use crate::common::trials::{self, Missing, trial};
use fve::create::Plaintext;
use fve::source::{FileSource, ReadAt};
use libtest_mimic::Failed;
use serde_json::Value;

pub(super) const PASSWORD: &str = "correct horse battery";
pub(super) const MIB: u64 = 1 << 20;

/// What a test lacks of these programs. Programs that mount or attach devices need root, too.
fn tools(tools: &[&str]) -> Option<Missing> {
    let for_root = ["losetup", "mount", "umount"];
    let root = tools.iter().find(|tool| for_root.contains(tool));
    trials::programs(tools).or_else(|| root.and_then(|_| trials::root()))
}

pub(super) fn source(path: &Path) -> Arc<dyn ReadAt> {
    Arc::new(FileSource::open(path).expect("image"))
}

pub(super) fn whole(source: &dyn ReadAt) -> Vec<u8> {
    let mut bytes = vec![0; source.size() as usize];
    source.read_exact_at(0, &mut bytes).expect("read");
    bytes
}

/// The JSON document of `fve create --json`.
pub(super) fn made(output: &Output) -> Result<Value, Failed> {
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn run(program: &str, arguments: &[&str], file: &Path) -> Result<(), Failed> {
    peers::run(Command::new(program).args(arguments).arg(file), "").map(drop)
}

pub(super) fn make_ntfs(image: &Path, size: u64, sector_size: u32) -> Result<(), Failed> {
    File::create(image)?.set_len(size)?;
    let sector = sector_size.to_string();
    let geometry = ["-p", "0", "-H", "255", "-S", "63", "-s", &sector];
    let arguments = [
        &["-F", "-Q", "-q", "-L", "made", "-c", "4096"][..],
        &geometry,
    ]
    .concat();
    run("mkntfs", &arguments, image)
}

// File systems that keep their files.

/// A kind of file system, and the programs that make, mount and check it.
#[derive(Clone, Copy)]
struct Kit {
    make: fn(&Path) -> Result<(), Failed>,
    /// The program that mounts an image on a directory; empty if files are accessed with the crate `fatfs`.
    mount: &'static [&'static str],
    check: &'static [&'static [&'static str]],
}

const NTFS: Kit = Kit {
    make: |image| make_ntfs(image, 48 * MIB, 512),
    mount: &["ntfs-3g"],
    check: &[&["ntfsfix", "-n"], &["ntfsinfo", "-m"]],
};
const NTFS_LARGE_CLUSTERS: Kit = Kit {
    make: |image| {
        File::create(image)?.set_len(64 * MIB)?;
        let geometry = ["-p", "0", "-H", "255", "-S", "63", "-s", "512"];
        run(
            "mkntfs",
            &[&["-F", "-Q", "-q", "-c", "65536"][..], &geometry].concat(),
            image,
        )
    },
    ..NTFS
};
const EXFAT: Kit = Kit {
    make: |image| {
        File::create(image)?.set_len(48 * MIB)?;
        run("mkfs.exfat", &["-L", "made"], image)
    },
    mount: &["mount.exfat-fuse"],
    check: &[&["fsck.exfat", "-n"]],
};
const FAT32: Kit = Kit {
    make: |image| {
        File::create(image)?.set_len(48 * MIB)?;
        run("mkfs.fat", &["-F", "32", "-s", "1", "-n", "MADE"], image)
    },
    mount: &[],
    check: &[&["fsck.fat", "-n"]],
};
const FAT16: Kit = Kit {
    make: |image| {
        File::create(image)?.set_len(48 * MIB)?;
        run("mkfs.fat", &["-F", "16", "-s", "4"], image)
    },
    ..FAT32
};

#[trial(
    "ntfs keeps its files and never uses the clusters of the metadata",
    needs(ntfs_tools)
)]
fn keeps_files_of_ntfs() -> Result<(), Failed> {
    keeps_its_files(NTFS)
}

#[trial(
    "ntfs with clusters of 64 KiB keeps its files and never uses the clusters of the metadata",
    needs(ntfs_tools)
)]
fn keeps_files_of_ntfs_with_large_clusters() -> Result<(), Failed> {
    keeps_its_files(NTFS_LARGE_CLUSTERS)
}

#[trial(
    "exfat keeps its files and never uses the clusters of the metadata",
    needs(exfat_tools)
)]
fn keeps_files_of_exfat() -> Result<(), Failed> {
    keeps_its_files(EXFAT)
}

#[trial(
    "fat32 keeps its files and never uses the clusters of the metadata",
    needs(fat_tools)
)]
fn keeps_files_of_fat32() -> Result<(), Failed> {
    keeps_its_files(FAT32)
}

#[trial(
    "fat16 keeps its files and never uses the clusters of the metadata",
    needs(fat_tools)
)]
fn keeps_files_of_fat16() -> Result<(), Failed> {
    keeps_its_files(FAT16)
}

fn ntfs_tools() -> Option<Missing> {
    tools(&["mkntfs", "ntfs-3g", "ntfsfix", "dislocker-file", "umount"])
}

fn exfat_tools() -> Option<Missing> {
    tools(&[
        "mkfs.exfat",
        "fsck.exfat",
        "mount.exfat-fuse",
        "losetup",
        "dislocker-file",
        "umount",
    ])
}

fn fat_tools() -> Option<Missing> {
    tools(&["mkfs.fat", "fsck.fat", "dislocker-file", "mcopy"])
}

/// Makes a volume from an image with files, and decrypts it with dislocker. The plaintext must have the
/// files, pass the file system check, and, when it is filled to the last cluster, not use the clusters
/// that hold the metadata.
fn keeps_its_files(kit: Kit) -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let place = |name: &str| directory.path().join(name);
    let image = place("image");
    (kit.make)(&image)?;
    let files = [
        ("hello.txt", b"Hello from the file system.\n".to_vec()),
        ("numbers.bin", noise(700_000)),
        ("empty", Vec::new()),
    ];
    with_files(kit, &image, &mut |tree| {
        files
            .iter()
            .try_for_each(|(name, content)| tree.write(name, content))
    })?;
    let before = common::sha256(File::open(&image)?)?;
    let password = place("password");
    fs::write(&password, PASSWORD)?;
    let volume = place("volume");
    let mut create = fve();
    create.arg("create").arg(&volume).arg("--from").arg(&image);
    create
        .arg("--new-password-file")
        .arg(&password)
        .arg("--json");
    let made = made(&create.output()?)?;
    if common::sha256(File::open(&image)?)? != before {
        return Err("the image was changed".into());
    }
    let plaintext = place("plaintext");
    let mut dislocker = Command::new("dislocker-file");
    dislocker
        .arg("-V")
        .arg(&volume)
        .arg(format!("-u{PASSWORD}"));
    peers::run(dislocker.arg("--").arg(&plaintext), "")?;
    for check in kit.check {
        run(check[0], &check[1..], &plaintext)?;
    }
    let has_all_files = |tree: &mut dyn Tree| {
        files
            .iter()
            .try_for_each(|(name, content)| match tree.read(name)? {
                read if read == *content => Ok(()),
                _ => Err(io::Error::other(format!("{name} reads otherwise"))),
            })
    };
    with_files(kit, &plaintext, &mut |tree| {
        has_all_files(tree)?;
        tree.fill("filler")
    })?;
    let filled = fs::read(&plaintext)?;
    let used = filled.iter().filter(|byte| **byte == 0xA5).count() as u64;
    let size = filled.len() as u64;
    if used < size / 2 {
        return Err(format!("only {used} of {size} bytes could be filled").into());
    }
    for range in metadata_ranges(&made) {
        let range = range.start as usize..range.end as usize;
        if filled[range.clone()].iter().any(|byte| *byte != 0) {
            return Err(format!("{range:#x?} was written to").into());
        }
    }
    with_files(kit, &plaintext, &mut |tree| has_all_files(tree))?;
    for check in kit.check {
        run(check[0], &check[1..], &plaintext)?;
    }
    Ok(())
}

/// The ranges of the metadata copies and of the moved boot sectors, from the JSON document.
fn metadata_ranges(made: &Value) -> Vec<Range<u64>> {
    let copies = made["metadata_copies"].as_array().expect("copies");
    let copies = copies.iter().filter_map(Value::as_u64);
    let moved = made["moved_to"].as_u64().expect("place");
    let mut all: Vec<_> = copies.map(|at| at..at + 0x1_0000).collect();
    all.push(moved..moved + 0x2000);
    all
}

/// Reproducible pseudo-random bytes (xorshift64).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[5]
    });
    bytes.take(len).collect()
}

/// The files of a file system.
trait Tree {
    fn write(&mut self, name: &str, content: &[u8]) -> io::Result<()>;
    fn read(&mut self, name: &str) -> io::Result<Vec<u8>>;
    /// Writes one file until the file system is full, to the last cluster.
    fn fill(&mut self, name: &str) -> io::Result<()>;
}

fn with_files(
    kit: Kit,
    image: &Path,
    work: &mut dyn FnMut(&mut dyn Tree) -> io::Result<()>,
) -> Result<(), Failed> {
    if let [program, ..] = kit.mount {
        let mut mounted = Mounted::new(program, image)?;
        work(&mut mounted)?;
        return mounted.unmount();
    }
    let mut disk = io::Cursor::new(fs::read(image)?);
    let system = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new())?;
    work(&mut Fat(&system))?;
    system.unmount()?;
    fs::write(image, disk.into_inner())?;
    Ok(())
}

fn fill(mut write: impl FnMut(&[u8]) -> io::Result<usize>) {
    // Large pieces first, then the rest in single sectors.
    for len in [1 << 16, 512] {
        let piece = vec![0xA5; len];
        while write(&piece).is_ok_and(|written| written > 0) {}
    }
}

struct Fat<'a, 'b>(&'a fatfs::FileSystem<&'b mut io::Cursor<Vec<u8>>>);

impl Tree for Fat<'_, '_> {
    fn write(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.0.root_dir().create_file(name)?.write_all(content)
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.0
            .root_dir()
            .open_file(name)?
            .read_to_end(&mut content)?;
        Ok(content)
    }

    fn fill(&mut self, name: &str) -> io::Result<()> {
        let mut file = self.0.root_dir().create_file(name)?;
        fill(|piece| file.write(piece));
        match self.0.stats()?.free_clusters() {
            0 => Ok(()),
            left => Err(io::Error::other(format!("{left} clusters are left"))),
        }
    }
}

/// An image mounted for writing, through a loop device if the program needs one.
struct Mounted {
    directory: Option<tempfile::TempDir>,
    device: Option<LoopDevice>,
}

impl Mounted {
    fn new(program: &str, image: &Path) -> Result<Self, Failed> {
        let directory = tempfile::tempdir()?;
        let mut mounted = Self {
            directory: None,
            device: None,
        };
        if program == "mount.exfat-fuse" {
            mounted.device = Some(LoopDevice::writable(image)?);
        }
        let what = mounted.device.as_ref().map_or(image, LoopDevice::path);
        let mut mount = Command::new(program);
        peers::run(mount.arg(what).arg(directory.path()), "")?;
        mounted.directory = Some(directory);
        Ok(mounted)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.as_ref().expect("mounted").path().join(name)
    }

    fn unmount(mut self) -> Result<(), Failed> {
        let directory = self.directory.take().expect("mounted");
        run("umount", &[], directory.path())?;
        // The program exits after writing everything; only then is the image complete.
        std::thread::sleep(std::time::Duration::from_millis(500));
        match self.device.take() {
            Some(device) => Ok(device.detach()?),
            None => Ok(()),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            let _ = Command::new("umount").arg(directory.path()).output();
        }
    }
}

impl Tree for Mounted {
    fn write(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        fs::write(self.path(name), content)
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(name))
    }

    fn fill(&mut self, name: &str) -> io::Result<()> {
        let mut file = File::create(self.path(name))?;
        fill(|piece| file.write(piece));
        Ok(())
    }
}

/// Changes random bytes of the structures: each image must be accepted or refused, without a panic.
#[trial("does not panic on a file system with changed bytes", needs(|| tools(&["mkntfs", "mkfs.fat", "mkfs.exfat"])))]
fn survives_changed_bytes() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    for kit in [NTFS, EXFAT, FAT32, FAT16] {
        let image = directory.path().join("image");
        let _ = fs::remove_file(&image);
        (kit.make)(&image)?;
        let whole: Arc<Vec<u8>> = Arc::new(fs::read(&image)?);
        // Only nonzero bytes are changed: that is where the structures are.
        let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
        for (round, pair) in noise(4 * 600).chunks_exact(4).enumerate() {
            let pick = usize::from(pair[0]) << 8 | usize::from(pair[1]);
            // Every second change is in the first sector, on which everything depends.
            let at = if round % 2 == 0 {
                pick % 512
            } else {
                used[pick * 7919 % used.len()]
            };
            let changed = Changed {
                image: whole.clone(),
                at: at as u64,
                byte: pair[2],
            };
            let _ = Plaintext::of_file_system(Arc::new(changed));
        }
    }
    Ok(())
}

/// An image with one byte changed.
struct Changed {
    image: Arc<Vec<u8>>,
    at: u64,
    byte: u8,
}

impl ReadAt for Changed {
    fn size(&self) -> u64 {
        self.image.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.image.read_exact_at(offset, buf)?;
        if let Some(at) = self.at.checked_sub(offset)
            && let Some(byte) = buf.get_mut(at as usize)
        {
            *byte = self.byte;
        }
        Ok(())
    }
}

// Keys, and what must be refused.

struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        fs::write(directory.path().join("password"), PASSWORD).expect("password");
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs `fve create` with these arguments in the directory.
    fn create(&self, arguments: &[&str]) -> Output {
        let mut create = fve();
        create
            .arg("create")
            .args(arguments)
            .current_dir(self.directory.path());
        create.stdin(Stdio::null()).output().expect("fve create")
    }

    /// Runs it with a password too; it must be refused with this status and these words in the message.
    fn refused(&self, arguments: &[&str], status: i32, words: &[&str]) -> Result<(), Failed> {
        let with_password = [arguments, &["--new-password-file", "password"]].concat();
        self.refused_bare(&with_password, status, words)
    }

    fn refused_bare(&self, arguments: &[&str], status: i32, words: &[&str]) -> Result<(), Failed> {
        let before = self.names();
        let output = self.create(arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let missing = words.iter().find(|word| !message.contains(*word));
        if output.status.code() != Some(status) || missing.is_some() {
            return Err(format!("{arguments:?}: {}, {missing:?}: {message}", output.status).into());
        }
        if message.contains("panicked") || !output.stdout.is_empty() {
            return Err(format!("{arguments:?}: {message}").into());
        }
        if self.names() != before {
            return Err(format!("{arguments:?} left something behind").into());
        }
        Ok(())
    }

    fn names(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path()).expect("directory");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
        names.sort();
        names
    }
}

#[trial("prints a new recovery password once, and it unlocks the volume")]
fn prints_a_recovery_password() -> Result<(), Failed> {
    let bench = Bench::new();
    let output = bench.create(&["volume", "--size", "1M", "--recovery-password"]);
    let printed = String::from_utf8(output.stdout)?;
    fs::write(bench.path("key"), &printed)?;
    let mut unlock = fve();
    unlock.arg("unlock").arg(bench.path("volume"));
    unlock
        .arg("--recovery-password-file")
        .arg(bench.path("key"));
    peers::run(&mut unlock, "")?;
    let mut info = fve();
    let output = peers::run(info.arg("info").arg("--json").arg(bench.path("volume")), "")?;
    let info: Value = serde_json::from_slice(&output.stdout)?;
    let description = info["volume"]["description"].as_str().unwrap_or_default();
    if description.split(' ').count() < 3 || !description.contains(" volume 20") {
        return Err(format!("the description is '{description}'").into());
    }
    Ok(())
}

#[trial("saves keys in files that only the owner can read")]
fn saves_keys() -> Result<(), Failed> {
    let bench = Bench::new();
    fs::create_dir(bench.path("keys"))?;
    let arguments = [
        "--size",
        "1M",
        "--recovery-password-to",
        "keys",
        "--startup-key-to",
        "keys",
    ];
    let output = bench.create(&[&["volume"][..], &arguments].concat());
    let printed = String::from_utf8(output.stdout)?;
    let keys: Vec<_> = fs::read_dir(bench.path("keys"))?.collect::<Result<_, _>>()?;
    if keys.len() != 2 {
        return Err(format!("{keys:?}: {printed}").into());
    }
    for key in keys {
        if key.metadata()?.permissions().mode() & 0o777 != 0o600 {
            return Err(format!("{key:?} can be read by others").into());
        }
        let option = if key.path().extension().is_some_and(|end| end == "BEK") {
            "--startup-key"
        } else {
            "--recovery-password-file"
        };
        let mut unlock = fve();
        unlock
            .arg("unlock")
            .arg(bench.path("volume"))
            .arg(option)
            .arg(key.path());
        peers::run(&mut unlock, "")?;
    }
    let digits = printed
        .split(|c: char| !c.is_ascii_digit())
        .filter(|word| word.len() == 6);
    if digits.count() >= 8 {
        return Err("a password that was saved is printed too".into());
    }
    // If a key cannot be saved or the volume cannot be created, neither file is left.
    fs::write(bench.path("taken"), "")?;
    bench.refused_bare(
        &["other", "--size", "1M", "--recovery-password-to", "taken"],
        2,
        &["taken", "exists"],
    )?;
    bench.refused_bare(
        &[
            "no/such/place",
            "--size",
            "1M",
            "--recovery-password-to",
            "new",
        ],
        5,
        &["no/such/place"],
    )
}

#[trial("refuses wrong command lines with a message")]
fn refuses_usage() -> Result<(), Failed> {
    let bench = Bench::new();
    fs::write(bench.path("nothing"), "")?;
    bench.refused_bare(
        &["volume", "--size", "1M"],
        2,
        &["protector", "--recovery-password"],
    )?;
    bench.refused(&["volume"], 2, &["--size"])?;
    bench.refused(&["volume", "--size", "200K"], 2, &["too few", "278528"])?;
    bench.refused(
        &["volume", "--size", "1000001"],
        2,
        &["whole sectors of 512"],
    )?;
    bench.refused(
        &["volume", "--size", "1M", "--sector-size", "1024"],
        2,
        &["--sector-size", "512, 4096"],
    )?;
    let odd = ["volume", "--size", "1049088", "--sector-size", "4096"];
    bench.refused(&odd, 2, &["whole sectors of 4096"])?;
    bench.refused(
        &["volume", "--size", "1M", "--cipher", "rot13"],
        2,
        &["aes-xts-256"],
    )?;
    bench.refused(
        &["volume", "--size", "1M", "--description", "a\nb"],
        2,
        &["one line"],
    )?;
    let empty = ["volume", "--size", "1M", "--new-password-file", "nothing"];
    bench.refused_bare(&empty, 4, &["empty"])?;
    let unasked = ["volume", "--size", "1M", "--new-password"];
    bench.refused_bare(&unasked, 2, &["--new-password-file"])
}

#[trial("refuses an image without a clean file system", needs(|| tools(&["mkfs.fat", "mkfs.exfat", "mkntfs"])))]
fn refuses_images() -> Result<(), Failed> {
    let bench = Bench::new();
    let image = bench.path("image");
    let from = ["volume", "--from", "image"];
    fs::write(&image, vec![0; 4 << 20])?;
    bench.refused(&from, 1, &["no NTFS, FAT or exFAT", "zeros"])?;
    fs::write(&image, noise(4 << 20))?;
    bench.refused(&from, 1, &["no NTFS, FAT or exFAT"])?;
    let encrypted = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/xts-128.img");
    fs::copy(encrypted, &image)?;
    bench.refused(&from, 1, &["no NTFS, FAT or exFAT", "a BitLocker volume"])?;
    let refuse_changed = |kit: Kit, changes: &[(usize, u8)], words: &[&str]| {
        fs::remove_file(&image)?;
        (kit.make)(&image)?;
        let mut bytes = fs::read(&image)?;
        changes.iter().for_each(|(at, bits)| bytes[*at] |= bits);
        fs::write(&image, bytes)?;
        bench.refused(&from, 1, words)
    };
    let unclean = "not unmounted cleanly";
    refuse_changed(FAT32, &[(0x41, 1)], &["FAT32", unclean])?;
    refuse_changed(FAT16, &[(0x25, 1)], &["FAT16", unclean])?;
    refuse_changed(EXFAT, &[(0x6A, 2)], &["exFAT", unclean])?;
    fs::remove_file(&image)?;
    (NTFS.make)(&image)?;
    let flags = volume_flags(&fs::read(&image)?)?;
    refuse_changed(NTFS, &[(flags, 1)], &["NTFS", unclean])?;
    // An image that was cut off.
    (FAT32.make)(&image)?;
    File::options()
        .write(true)
        .open(&image)?
        .set_len(40 * MIB)?;
    bench.refused(&from, 1, &["FAT32", "truncated"])?;
    let other_size = ["volume", "--from", "image", "--size", "64M"];
    (FAT32.make)(&image)?;
    bench.refused(&other_size, 2, &["equal"])?;
    bench.refused(
        &["image", "--from", "image", "--force"],
        2,
        &["the image itself"],
    )?;
    let sectors = ["volume", "--from", "image", "--sector-size", "4096"];
    bench.refused(&sectors, 2, &["sectors of 512 bytes"])
}

/// Offset of the flags of an NTFS volume: in record 3, attribute 0x70.
fn volume_flags(image: &[u8]) -> Result<usize, Failed> {
    let u32_at = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().expect("4")) as usize;
    let record = u32_at(0x30) * 4096 + 3 * 1024;
    let mut at = record + usize::from(image[record + 0x14]);
    while u32_at(at) != 0x70 {
        if u32_at(at) == 0xFFFF_FFFF {
            return Err("there is no attribute 0x70".into());
        }
        at += u32_at(at + 4);
    }
    Ok(at + usize::from(image[at + 0x14]) + 0x0A)
}

#[trial("refuses a full file system", needs(|| tools(&["mkfs.fat"])))]
fn refuses_a_full_file_system() -> Result<(), Failed> {
    let bench = Bench::new();
    (FAT16.make)(&bench.path("image"))?;
    with_files(FAT16, &bench.path("image"), &mut |tree| tree.fill("filler"))?;
    bench.refused(
        &["volume", "--from", "image"],
        1,
        &["adjacent free clusters", "0 free bytes"],
    )
}

#[trial("does not touch a file that exists or is in use")]
fn leaves_files_alone() -> Result<(), Failed> {
    let bench = Bench::new();
    let path = bench.path("volume");
    fs::write(&path, b"precious")?;
    let create = ["volume", "--size", "1M"];
    bench.refused(&create, 2, &["volume already exists", "--force"])?;
    let forced = ["volume", "--size", "1M", "--force"];
    let held = fve::source::ExclusiveFile::open(&path)?;
    bench.refused(&forced, 5, &["in use"])?;
    drop(held);
    if fs::read(&path)? != b"precious" {
        return Err("the file was changed".into());
    }
    bench.refused(&["directory/", "--size", "1M"], 5, &["directory"])?;
    fs::create_dir(bench.path("directory"))?;
    bench.refused(&["directory", "--size", "1M"], 5, &["neither a file"])?;
    // With --force, and while no other program uses it, it is overwritten.
    let output = bench.create(&[&forced[..], &["--new-password-file", "password"]].concat());
    if !output.status.success() || path.metadata()?.len() != MIB {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(())
}

#[trial("leaves no file when the disk is full", needs(|| tools(&["mount", "umount"])))]
fn full_disk() -> Result<(), Failed> {
    let bench = Bench::new();
    let small = bench.path("small");
    fs::create_dir(&small)?;
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=4M", "none"])
        .arg(&small);
    peers::run(&mut mount, "")?;
    let result = bench.refused(
        &["small/volume", "--size", "16M"],
        5,
        &["16777216", "space"],
    );
    let left = fs::read_dir(&small)?.count();
    let old = fs::write(small.join("volume"), b"precious");
    let forced = ["small/volume", "--size", "16M", "--force"];
    let forced = bench.refused(&forced, 5, &["space"]);
    let kept = fs::read(small.join("volume"));
    run("umount", &[], &small)?;
    result?;
    forced?;
    old?;
    if left != 0 || kept? != b"precious" {
        return Err("something was left behind or lost".into());
    }
    Ok(())
}

#[trial("writes to a device only with --device-confirm and if it is not in use", needs(|| tools(&["losetup", "mkfs.fat"])))]
fn devices() -> Result<(), Failed> {
    let bench = Bench::new();
    let backing = bench.path("backing");
    (FAT32.make)(&backing)?;
    let device = LoopDevice::writable(&backing)?;
    let path = device.path().to_str().ok_or("no text")?;
    on_device(&bench, path)?;
    Ok(device.detach()?)
}

fn on_device(bench: &Bench, device: &str) -> Result<(), Failed> {
    bench.refused(&[device], 2, &["would be destroyed", "--device-confirm"])?;
    bench.refused(
        &[device, "--device-confirm", "/dev/null"],
        2,
        &["/dev/null"],
    )?;
    let confirmed = [device, "--device-confirm", device];
    bench.refused(&[&confirmed[..], &["--size", "1M"]].concat(), 2, &["equal"])?;
    // The file behind the loop device is in use.
    bench.refused(&["backing", "--size", "48M", "--force"], 5, &["in use"])?;
    let made = bench.create(&[&confirmed[..], &["--new-password-file", "password"]].concat());
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned().into());
    }
    let mut unlock = fve();
    unlock
        .args(["unlock", device, "--password-file"])
        .arg(bench.path("password"));
    peers::run(&mut unlock, "").map(drop)
}
