//! The checks before writing: a device in use and the storage of the source are not overwritten, a
//! volume that another program writes to is not written to, and a mounted source is locked.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::fve;
use crate::common::loop_device::LoopDevice;
use crate::common::mount::Mounted;
use crate::common::ntfs::{self, run};
use crate::common::testdata::{CopiedVolume, Kind};
use crate::common::trials::{self, Missing, fuse, programs, trial};
use crate::common::writing::writable_file;
use fve::error::Error;
use fve::source::{Extent, check_overwrite, open_to_overwrite};

fn ntfs_tools() -> Option<Missing> {
    programs(&["ntfs-3g", "mkntfs", "ntfscluster"])
}

fn loop_devices() -> Option<Missing> {
    trials::loop_devices().or_else(|| programs(&["mkfs.ext4"]))
}

const MIB: u64 = 1 << 20;

fn image(directory: &Path, name: &str, size: u64) -> PathBuf {
    let path = directory.join(name);
    File::create(&path).unwrap().set_len(size).unwrap();
    path
}

/// A mounted device. It is unmounted when this value is dropped.
struct DiskMount(tempfile::TempDir);

impl DiskMount {
    fn of(device: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        run(Command::new("mount").arg(device).arg(directory.path()));
        Self(directory)
    }
}

impl Drop for DiskMount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[track_caller]
fn refused(result: fve::Result<()>, words: &[&str]) {
    let Err(error @ Error::Environment { .. }) = result else {
        panic!("{result:?}");
    };
    let said = format!("{error}; {}", error.remedy().unwrap());
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[trial("refuses a mounted device, and names the mount", needs(loop_devices))]
fn a_mounted_device() {
    let directory = tempfile::tempdir().unwrap();
    let disk = image(directory.path(), "disk.img", 16 * MIB);
    let device = LoopDevice::writable(&disk).unwrap();
    run(Command::new("mkfs.ext4").arg("-q").arg(device.path()));
    let mounted = DiskMount::of(device.path());
    let place = mounted.0.path().to_str().unwrap();
    let name = device.path().to_str().unwrap();
    refused(
        check_overwrite(device.path(), &[], MIB),
        &[name, "mounted on", place],
    );
    // The file under the loop device is in use as well.
    let opened = open_to_overwrite(&disk, &[], MIB).map(drop);
    refused(opened, &["is in use", name]);
    // A file on the mounted file system is not affected.
    let file = mounted.0.path().join("file");
    fs::write(&file, "old").unwrap();
    open_to_overwrite(&file, &[], MIB).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"old");
    drop(mounted);
    let opened = open_to_overwrite(device.path(), &[], MIB).unwrap();
    // The device is opened exclusively.
    let second = open_to_overwrite(device.path(), &[], MIB).map(drop);
    refused(second, &["in use"]);
    drop(opened);
}

#[trial("refuses the source under every name", needs(loop_devices))]
fn the_source_by_any_name() {
    let directory = tempfile::tempdir().unwrap();
    let disk = image(directory.path(), "disk.img", 4 * MIB);
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&disk, &link).unwrap();
    let hard = directory.path().join("hard");
    fs::hard_link(&disk, &hard).unwrap();
    let other = image(directory.path(), "other.img", 4 * MIB);
    let source = [Extent::whole(&disk)];
    for same in [&disk, &link, &hard] {
        refused(check_overwrite(same, &source, MIB), &["same storage"]);
    }
    check_overwrite(&other, &source, MIB).unwrap();
    let device = LoopDevice::writable(&disk).unwrap();
    refused(
        check_overwrite(device.path(), &source, MIB),
        &["same storage", device.path().to_str().unwrap()],
    );
    // The other way around, and a loop device over the loop device.
    let shown = [Extent::whole(device.path())];
    refused(check_overwrite(&disk, &shown, MIB), &["same storage"]);
    let upper = LoopDevice::writable(device.path()).unwrap();
    refused(
        check_overwrite(upper.path(), &source, MIB),
        &["same storage"],
    );
    // The file is a disk, and the loop device covers another part of it than the volume.
    drop(upper);
    drop(device);
    let told = Command::new("losetup")
        .args([
            "--find",
            "--show",
            "--offset",
            "1048576",
            "--sizelimit",
            "1048576",
        ])
        .arg(&disk)
        .output()
        .unwrap();
    let part = PathBuf::from(String::from_utf8(told.stdout).unwrap().trim());
    let checked = |offset| {
        let source = [Extent::part(&disk, offset, MIB)];
        check_overwrite(&part, &source, MIB)
    };
    let results = [checked(0), checked(MIB + 512), checked(2 * MIB)];
    run(Command::new("losetup").arg("--detach").arg(&part));
    let [before, inside, behind] = results;
    before.unwrap();
    refused(inside, &["same storage"]);
    behind.unwrap();
}

#[trial("refuses a file on the source", needs(loop_devices))]
fn a_file_on_the_source() {
    let directory = tempfile::tempdir().unwrap();
    let disk = image(directory.path(), "disk.img", 16 * MIB);
    let device = LoopDevice::writable(&disk).unwrap();
    run(Command::new("mkfs.ext4").arg("-q").arg(device.path()));
    let mounted = DiskMount::of(device.path());
    let new = mounted.0.path().join("new");
    for source in [&disk, device.path()] {
        let result = check_overwrite(&new, &[Extent::whole(source)], MIB);
        refused(result, &["same storage"]);
    }
    // A file of a split image that is the source.
    let part = image(directory.path(), "part", MIB);
    check_overwrite(&part, &[], MIB).unwrap();
    let reading = File::open(&part).unwrap();
    refused(check_overwrite(&part, &[], MIB), &["part of the source"]);
    drop(reading);
    // Another file on the same file system.
    let other = mounted.0.path().join("other");
    fs::write(&other, "").unwrap();
    check_overwrite(&new, &[Extent::whole(&other)], MIB).unwrap();
}

#[trial("refuses a device that is too small", needs(loop_devices))]
fn a_small_device() {
    let directory = tempfile::tempdir().unwrap();
    let disk = image(directory.path(), "disk.img", MIB);
    let device = LoopDevice::writable(&disk).unwrap();
    let result = open_to_overwrite(device.path(), &[], 2 * MIB).map(drop);
    refused(result, &["1048576", "2097152"]);
    open_to_overwrite(device.path(), &[], MIB).unwrap();
    device.protect().unwrap();
    let result = open_to_overwrite(device.path(), &[], MIB).map(drop);
    refused(result, &["read-only"]);
}

impl CopiedVolume {
    fn write(&self, offset: u64, bytes: &[u8]) {
        let start = Instant::now();
        let volume = loop {
            let key = self.entry.credential(Kind::StartupKey).protector();
            match writable_file(&self.path, key) {
                // Between fork and exec, a process that another test starts holds all descriptors
                // of this one.
                Err(Error::Environment { .. }) if start.elapsed() < Duration::from_secs(10) => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => break other.unwrap(),
            }
        };
        volume.write_all_at(offset, bytes).unwrap();
        volume.flush().unwrap();
    }
}

fn said(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

/// Mounts and immediately unmounts.
fn mounted(source: &Path, key: &Path, extra: &[&str]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = fve();
    command.args(["mount", "--volume"]);
    command.arg(source).arg(directory.path());
    command.arg("--startup-key").arg(key).args(extra);
    let (status, text) = said(&mut command);
    if status == Some(0) {
        run(fve().arg("unmount").arg(directory.path()));
    }
    // Ignore the warning that other users can read the key files of the tests.
    let of_the_source = text.lines().filter(|line| !line.contains("every user"));
    (status, of_the_source.collect::<Vec<_>>().join("\n"))
}

/// A process that has a file open for writing. It is stopped when this value is dropped.
struct OtherProgram(Child);

impl OtherProgram {
    fn writing_to(path: &Path) -> Self {
        let file = OpenOptions::new().append(true).open(path).unwrap();
        let mut program = Command::new("sleep");
        program.arg("600").stdin(Stdio::from(file));
        Self(program.spawn().unwrap())
    }

    fn name(&self) -> String {
        format!("sleep (process {})", self.0.id())
    }
}

impl Drop for OtherProgram {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[trial("names programs that write to the source", needs(fuse))]
fn other_writers() {
    let copied = CopiedVolume::of("xts-128");
    let before = fs::read(&copied.path).unwrap();
    let backup = copied.path.with_extension("backup");
    run(fve()
        .args(["metadata", "backup"])
        .arg(&copied.path)
        .arg(&backup));
    let key = copied.entry.bek();
    let other = OtherProgram::writing_to(&copied.path);
    let name = other.name();
    let add = ["protector", "add", "--clear-key", "--startup-key"];
    let restore = ["metadata", "restore", "--startup-key"];
    let create = ["create", "--force", "--size", "32M", "--clear-key"];
    for (status, text) in [
        mounted(&copied.path, &key, &["--read-write"]),
        said(fve().args(add).arg(&key).arg(&copied.path)),
        said(fve().args(restore).arg(&key).arg(&copied.path).arg(&backup)),
        said(fve().args(create).arg(&copied.path)),
    ] {
        assert_eq!(status, Some(5), "{text}");
        assert!(text.contains(&name), "{text}");
    }
    assert!(fs::read(&copied.path).unwrap() == before);
    // A mount is named by its directory, also for read-only commands.
    let own = CopiedVolume::of("xts-256");
    let bek = own.entry.bek();
    let options = ["--read-write", "--startup-key", bek.to_str().unwrap()];
    let shown = Mounted::volume(&own.path, &options);
    for extra in [&[][..], &["--read-write"]] {
        let (status, text) = mounted(&own.path, &bek, extra);
        assert_eq!(status, Some(5), "{text}");
        assert!(text.contains(shown.path().to_str().unwrap()), "{text}");
    }
    shown.unmount();
    // Read-only commands warn, and work.
    let (status, text) = mounted(&copied.path, &key, &[]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("warning") && text.contains(&name), "{text}");
    drop(other);
    let (status, text) = mounted(&copied.path, &key, &["--read-write"]);
    assert_eq!(status, Some(0), "{text}");
}

#[trial("a mounted device is opened exclusively", needs(fuse, loop_devices))]
fn a_device_that_is_shown() {
    let copied = CopiedVolume::of("xts-128");
    let key = copied.entry.bek();
    let device = LoopDevice::writable(&copied.path).unwrap();
    let options = ["--startup-key", key.to_str().unwrap()];
    let exclusively = || {
        let mut options = OpenOptions::new();
        let flag = i32::try_from(rustix::fs::OFlags::EXCL.bits()).unwrap();
        options.read(true).custom_flags(flag).open(device.path())
    };
    exclusively().unwrap();
    let shown = Mounted::volume(device.path(), &options);
    let busy = exclusively().unwrap_err();
    assert_eq!(busy.kind(), std::io::ErrorKind::ResourceBusy);
    let place = shown.path().to_str().unwrap();
    for extra in [&[][..], &["--read-write"]] {
        let (status, text) = mounted(device.path(), &key, extra);
        assert_eq!(status, Some(5), "{text}");
        assert!(
            text.contains("mounted on") && text.contains(place),
            "{text}"
        );
    }
    // Commands that only read metadata or copy are still possible.
    run(fve().arg("info").arg(device.path()));
    let out = copied.path.with_extension("out");
    run(fve()
        .arg("decrypt")
        .arg(device.path())
        .arg(&out)
        .args(options));
    shown.unmount();
    // The server ends shortly after the mount.
    let start = Instant::now();
    while exclusively().is_err() {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    // A write-protected device cannot change, so it need not be opened exclusively.
    device.protect().unwrap();
    let first = Mounted::volume(device.path(), &options);
    let second = Mounted::volume(device.path(), &options);
    first.unmount();
    second.unmount();
}

#[trial(
    "refuses file systems that do not know the areas of BitLocker",
    needs(fuse)
)]
fn unaware_file_systems() {
    let copied = CopiedVolume::of("xts-128");
    let key = copied.entry.bek();
    let allowed = ["--read-write", "--allow-unaware-file-system"];
    let read_write = &allowed[..1];
    // Offsets and signatures of some file systems; the rest is not needed here.
    copied.write(0, &[0; 0x1000]);
    let (status, text) = mounted(&copied.path, &key, read_write);
    assert_eq!(status, Some(0), "{text}");
    assert!(
        text.contains("warning") && text.contains("bytes "),
        "{text}"
    );
    for (offset, mark, name) in [
        (0x438, &b"\x53\xEF"[..], "ext4"),
        (0, b"XFSB", "XFS"),
        (0, b"LUKS\xBA\xBE", "LUKS"),
    ] {
        copied.write(0, &[0; 0x1000]);
        copied.write(offset, mark);
        let before = fs::read(&copied.path).unwrap();
        let (status, text) = mounted(&copied.path, &key, read_write);
        assert_eq!(status, Some(2), "{text}");
        for word in [name, "--allow-unaware-file-system", "bytes "] {
            assert!(text.contains(word), "{text}");
        }
        let (status, text) = mounted(&copied.path, &key, &allowed);
        assert_eq!(status, Some(0), "{text}");
        assert!(text.contains("warning") && text.contains(name), "{text}");
        let (status, text) = mounted(&copied.path, &key, &[]);
        assert_eq!(status, Some(0), "{text}");
        assert!(!text.contains("warning"), "{text}");
        assert!(fs::read(&copied.path).unwrap() == before);
    }
}

/// NTFS with the layout of Windows needs no warning; NTFS created in an empty volume has free
/// clusters in the areas of BitLocker.
#[trial(
    "warns of free clusters in the areas of BitLocker",
    needs(fuse, ntfs_tools)
)]
fn free_clusters() {
    let directory = tempfile::tempdir().unwrap();
    let volume = ntfs::make(directory.path(), "aes-xts-128", 512, 16 * MIB);
    let (status, text) = mounted(&volume.path, &volume.startup_key, &["--read-write"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(!text.contains("warning"), "{text}");
    let key = volume.startup_key.to_str().unwrap();
    let shown = Mounted::volume(&volume.path, &["--read-write", "--startup-key", key]);
    // Without the placeholder file, its clusters are free.
    {
        let files = Mounted::ntfs_for_writing(&shown.volume_file());
        fs::remove_file(files.path().join("FVE2.2")).unwrap();
    }
    shown.unmount();
    let (status, text) = mounted(&volume.path, &volume.startup_key, &["--read-write"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(
        text.contains("NTFS") && text.contains("lost: bytes"),
        "{text}"
    );
}

#[trial("warns of a hibernated Windows", needs(fuse, ntfs_tools))]
fn hibernated() {
    for (mark, is_hibernated) in [(b"hibr", true), (b"HIBR", true), (b"wake", false)] {
        let directory = tempfile::tempdir().unwrap();
        let image = image(directory.path(), "ntfs-only.img", 16 * MIB);
        run(Command::new("mkntfs").args(["-F", "-Q", "-q"]).arg(&image));
        let mut memory = vec![7; 0x5000];
        memory[..4].copy_from_slice(mark);
        {
            let files = Mounted::ntfs_for_writing(&image);
            fs::write(files.path().join("hiberfil.sys"), &memory).unwrap();
        }
        let out = directory.path().join("new.img");
        let mut create = fve();
        create.arg("create").arg(&out).arg("--from").arg(&image);
        let (status, text) = said(create.arg("--clear-key"));
        assert_eq!(status, Some(i32::from(is_hibernated)), "{text}");
        assert_eq!(text.contains("hibernated"), is_hibernated, "{text}");
        assert_eq!(out.exists(), !is_hibernated);
        let files = |root: &Path| fs::write(root.join("hiberfil.sys"), &memory).unwrap();
        let volume = ntfs::make_with(
            directory.path(),
            "aes-xts-128",
            512,
            16 * MIB,
            files,
            |_| (),
        );
        let (status, text) = mounted(&volume.path, &volume.startup_key, &["--read-write"]);
        assert_eq!(status, Some(0), "{text}");
        assert_eq!(text.contains("hibernated"), is_hibernated, "{text}");
    }
}
