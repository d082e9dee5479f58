//! Files that another driver shows: what is written through it is in the volume, and what may not be
//! written to is refused with the reason.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fve::source::MountEntry;

use crate::common::fve;
use crate::common::loop_device::LoopDevice;
use crate::common::mount::Mounted;
use crate::common::output::{assert_status, run, text};
use crate::common::trials::{Missing, fuse, loop_devices, programs, root, trial};

const MIB: u64 = 1 << 20;

/// Programs for NTFS.
pub fn ntfs_tools() -> Option<Missing> {
    root().or_else(|| programs(&["mkntfs", "ntfs-3g", "ntfscat"]))
}

/// Programs for exFAT. The program needs a loop device, as the kernel's drivers do.
pub fn exfat_tools() -> Option<Missing> {
    loop_devices().or_else(|| programs(&["mkfs.exfat", "mount.exfat-fuse", "fsck.exfat"]))
}

/// A volume that anyone can unlock, and a directory to mount its files on.
pub struct Volume {
    directory: tempfile::TempDir,
}

impl Volume {
    /// One with an empty NTFS file system.
    pub fn ntfs() -> Self {
        Self::new(&["mkntfs", "-q", "-F", "-Q"], 8 * MIB)
    }

    /// One with an empty exFAT file system.
    pub fn exfat() -> Self {
        Self::new(&["mkfs.exfat"], 8 * MIB)
    }

    fn new(format: &[&str], size: u64) -> Self {
        let volume = Self {
            directory: tempfile::tempdir().expect("directory"),
        };
        fs::create_dir(volume.shown()).expect("mount point");
        let image = volume.directory.path().join("image");
        let file = fs::File::create(&image).expect("image");
        file.set_len(size).expect("size");
        drop(file);
        run(Command::new(format[0]).args(&format[1..]).arg(&image));
        let mut create = fve();
        create.arg("create").arg(volume.path()).arg("--from");
        run(create.arg(&image).arg("--clear-key"));
        fs::remove_file(image).expect("remove");
        volume
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("volume.img")
    }

    /// Where the files are mounted.
    pub fn shown(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    pub fn try_to_mount(&self, arguments: &[&str]) -> Output {
        let mut mount = fve();
        mount.arg("mount").args(arguments);
        let output = mount.arg(self.path()).arg(self.shown()).output();
        output.expect("fve")
    }

    #[track_caller]
    pub fn mount(&self, arguments: &[&str]) {
        assert_status(&self.try_to_mount(arguments), 0);
    }

    pub fn try_to_unmount(&self) -> Output {
        fve()
            .arg("unmount")
            .arg(self.shown())
            .output()
            .expect("fve")
    }

    #[track_caller]
    pub fn unmount(&self) {
        assert_status(&self.try_to_unmount(), 0);
        self.assert_nothing_left();
    }

    /// The private directory, while the volume is mounted on it.
    pub fn private(&self) -> Option<PathBuf> {
        let all = MountEntry::list().expect("mount table");
        let source = self.path();
        all.into_iter()
            .find(|entry| Path::new(&entry.source) == source)
            .map(|entry| entry.directory)
    }

    /// No layer is left: no mount, no loop device, no directory in /run.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let own = self.directory.path();
        for entry in MountEntry::list().expect("mount table") {
            assert!(!entry.directory.starts_with(own), "{entry:?}");
            assert!(!Path::new(&entry.source).starts_with(own), "{entry:?}");
        }
        let id = own.file_name().expect("name").to_string_lossy();
        for private in fs::read_dir("/run/fve/mounts").into_iter().flatten() {
            let name = private.expect("entry").file_name();
            assert!(!name.to_string_lossy().contains(&*id), "{name:?}");
        }
        for device in fs::read_dir("/sys/block").expect("devices") {
            let about = device.expect("entry").path().join("loop/backing_file");
            let backing = fs::read_to_string(about).unwrap_or_default();
            assert!(!backing.contains(&*id), "{backing}");
        }
    }

    /// The plaintext, in a file.
    pub fn decrypted(&self) -> PathBuf {
        let plain = self.directory.path().join("plain.img");
        let mut decrypt = fve();
        decrypt.arg("decrypt").arg(self.path()).arg(&plain);
        run(decrypt.arg("--force"));
        plain
    }

    /// The content of a file in the NTFS file system, from another program.
    pub fn ntfs_file(&self, name: &str) -> Vec<u8> {
        run(Command::new("ntfscat").arg(self.decrypted()).arg(name))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let private = self.private();
        for directory in [Some(self.shown()), private].into_iter().flatten() {
            let _ = Command::new("umount")
                .args(["--lazy", "--quiet"])
                .arg(directory)
                .output();
        }
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7 % 251) as u8).collect()
}

#[trial("NTFS is written through ntfs-3g", needs(fuse, ntfs_tools))]
fn writes_ntfs() {
    let volume = Volume::ntfs();
    volume.mount(&["--read-write", "--uid", "1000", "--gid", "1001"]);
    let shown = volume.shown();
    let meta = shown.metadata().expect("stat");
    assert_eq!((meta.uid(), meta.gid()), (1000, 1001));
    assert_eq!(meta.mode() & 0o777, 0o750);
    let private = volume.private().expect("private directory");
    assert_eq!(private.metadata().expect("stat").mode() & 0o077, 0);
    let parent = private.parent().expect("parent").metadata().expect("stat");
    assert_eq!((parent.uid(), parent.mode() & 0o077), (0, 0));
    let content = pattern(300_000);
    fs::write(shown.join("written.bin"), &content).expect("write");
    fs::create_dir(shown.join("directory")).expect("directory");
    // A name that Windows does not allow.
    assert!(fs::write(shown.join("a:b?"), b"").is_err());
    volume.unmount();
    assert!(volume.ntfs_file("/written.bin") == content);
    // Read-only through the same driver, without programs, as fstab can ask for.
    volume.mount(&["--driver", "ntfs-3g", "--noexec"]);
    let shown_on = rustix::fs::statvfs(&shown).expect("statvfs");
    assert!(
        shown_on
            .f_flag
            .contains(rustix::fs::StatVfsMountFlags::NOEXEC)
    );
    assert!(fs::read(shown.join("written.bin")).expect("read") == content);
    assert!(fs::write(shown.join("more"), b"").is_err());
    volume.unmount();
}

#[trial("exFAT is written through a loop device", needs(fuse, exfat_tools))]
fn writes_exfat() {
    let volume = Volume::exfat();
    volume.mount(&["--read-write", "--umask", "022"]);
    let content = pattern(300_000);
    fs::write(volume.shown().join("written.bin"), &content).expect("write");
    volume.unmount();
    let plain = volume.decrypted();
    run(Command::new("fsck.exfat").arg("-n").arg(&plain));
    let device = LoopDevice::read_only(&plain).expect("loop device");
    let directory = tempfile::tempdir().expect("directory");
    let mut mount = Command::new("mount.exfat-fuse");
    run(mount
        .args(["-o", "ro"])
        .arg(device.path())
        .arg(directory.path()));
    let read = fs::read(directory.path().join("written.bin"));
    run(Command::new("umount").arg(directory.path()));
    assert!(read.expect("read") == content);
}

#[trial(
    "a hibernated or dirty NTFS is not written to",
    needs(fuse, ntfs_tools)
)]
fn refuses_what_windows_has_not_finished() {
    let volume = Volume::ntfs();
    volume.mount(&["--read-write"]);
    let memory = volume.shown().join("hiberfil.sys");
    let mut image = vec![0; 0x5000];
    image[..4].copy_from_slice(b"hibr");
    fs::write(&memory, &image).expect("write");
    volume.unmount();
    let before = fs::read(volume.path()).expect("read");
    let refused = volume.try_to_mount(&["--read-write"]);
    assert_status(&refused, 5);
    let said = text(&refused.stderr);
    assert!(
        said.contains("hibernated") && said.contains("shutdown /s /t 0"),
        "{said}"
    );
    volume.assert_nothing_left();
    volume.mount(&["--driver", "ntfs-3g"]);
    assert!(volume.shown().join("hiberfil.sys").exists());
    volume.unmount();
    assert!(fs::read(volume.path()).expect("read") == before);

    // The flag "dirty" of $VOLUME_INFORMATION (attribute 0x70), in file record 3 of the file table, 1024
    // bytes each: two bytes at offset 10 of the attribute's content.
    let dirty = Volume::ntfs();
    let mounted = Mounted::volume(&dirty.path(), &["--read-write"]);
    let mut plain = fs::read(mounted.volume_file()).expect("read");
    let cluster = u64::from(plain[0x0D]) * 512;
    let table = u64::from_le_bytes(plain[0x30..0x38].try_into().expect("cluster")) * cluster;
    let record = table as usize + 3 * 1024;
    let mut at = record + usize::from(u16::from_le_bytes([plain[record + 20], plain[record + 21]]));
    while plain[at] != 0x70 {
        at += usize::from(u16::from_le_bytes([plain[at + 4], plain[at + 5]]));
    }
    let content = at + usize::from(u16::from_le_bytes([plain[at + 20], plain[at + 21]]));
    plain[content + 10] |= 1;
    let file = fs::File::options().write(true).open(mounted.volume_file());
    let flag = [plain[content + 10]];
    std::os::unix::fs::FileExt::write_all_at(&file.expect("volume"), &flag, content as u64 + 10)
        .expect("write");
    mounted.unmount();
    let refused = dirty.try_to_mount(&["--read-write"]);
    assert_status(&refused, 5);
    let said = text(&refused.stderr);
    assert!(
        said.contains("not unmounted cleanly") && said.contains("chkdsk"),
        "{said}"
    );
    dirty.assert_nothing_left();
}

#[trial(
    "a dirty exFAT is not written to until it is checked",
    needs(fuse, exfat_tools)
)]
fn refuses_dirty_exfat() {
    /// Offset of the flags of the volume, of which bit 1 is the dirty bit.
    const FLAGS: u64 = 0x6A;
    let volume = Volume::exfat();
    let mounted = Mounted::volume(&volume.path(), &["--read-write"]);
    let file = fs::File::options().write(true).open(mounted.volume_file());
    std::os::unix::fs::FileExt::write_all_at(&file.expect("volume"), &[2], FLAGS).expect("write");
    mounted.unmount();
    let refused = volume.try_to_mount(&["--read-write"]);
    assert_status(&refused, 5);
    let said = text(&refused.stderr);
    for word in [
        "not unmounted cleanly",
        "chkdsk",
        "fsck.exfat -a",
        "read-only",
    ] {
        assert!(said.contains(word), "{said}");
    }
    volume.assert_nothing_left();
    // What the help says: the volume as a file, and the program.
    let mounted = Mounted::volume(&volume.path(), &["--read-write"]);
    run(Command::new("fsck.exfat")
        .arg("-a")
        .arg(mounted.volume_file()));
    mounted.unmount();
    volume.mount(&["--read-write"]);
    volume.unmount();
}

#[trial(
    "after umount, the volume can be mounted at once",
    needs(fuse, ntfs_tools)
)]
fn mounts_at_once_after_umount() {
    let volume = Volume::ntfs();
    for turn in 0..3 {
        volume.mount(&["--read-write"]);
        fs::write(volume.shown().join("turn"), [turn]).expect("write");
        run(Command::new("umount").arg(volume.shown()));
    }
    volume.mount(&["--read-write"]);
    assert_eq!(fs::read(volume.shown().join("turn")).expect("read"), [2]);
    volume.unmount();
}

#[trial("another file system is refused by name", needs(fuse, ntfs_tools))]
fn refuses_unaware_file_systems() {
    let volume = Volume::ntfs();
    let mounted = Mounted::volume(&volume.path(), &["--read-write"]);
    let file = fs::File::options().write(true).open(mounted.volume_file());
    let file = file.expect("volume");
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 0x1000], 0).expect("write");
    std::os::unix::fs::FileExt::write_all_at(&file, b"\x53\xEF", 0x438).expect("write");
    drop(file);
    mounted.unmount();
    let refused = volume.try_to_mount(&["--read-write"]);
    assert_status(&refused, 3);
    let said = text(&refused.stderr);
    assert!(said.contains("ext4") && said.contains("--volume"), "{said}");
    volume.assert_nothing_left();
}

#[trial(
    "a driver that cannot mount leaves nothing behind",
    needs(fuse, ntfs_tools, exfat_tools)
)]
fn a_failure_leaves_nothing_behind() {
    let volume = Volume::exfat();
    let refused = volume.try_to_mount(&["--driver", "ntfs-3g"]);
    assert_status(&refused, 2);
    let refused = volume.try_to_mount(&["--driver", "own", "--read-write"]);
    assert_status(&refused, 2);
    // A boot sector that ends in the middle: the driver does not recognize its file system.
    let mounted = Mounted::volume(&volume.path(), &["--read-write"]);
    let file = fs::File::options().write(true).open(mounted.volume_file());
    std::os::unix::fs::FileExt::write_all_at(&file.expect("volume"), &[0; 400], 0x40)
        .expect("write");
    mounted.unmount();
    let refused = volume.try_to_mount(&["--driver", "kernel"]);
    assert!(!refused.status.success());
    volume.assert_nothing_left();
    let refused = volume.try_to_mount(&["--read-write"]);
    assert!(!refused.status.success());
    volume.assert_nothing_left();
}
