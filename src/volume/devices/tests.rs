use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::{Arc, Mutex};

use super::*;
use crate::error::CandidateState;

/// Time for each device.
const PATIENCE: Duration = Duration::from_secs(20);

/// Directories with files as in /sys, /proc and /dev.
struct Tree {
    root: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        // Another user may look into it.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["sys/block", "sys/dev/block", "proc/self", "dev/mapper"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        Self { root }
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A device at `place` below `sys/block`, without a file in `dev`.
    fn described(&self, place: &str, number: &str, bytes: usize) {
        let base = format!("sys/block/{place}");
        self.write(&format!("{base}/dev"), format!("{number}\n"));
        self.write(&format!("{base}/size"), format!("{}\n", bytes / 512));
        let link = self.path(&format!("sys/dev/block/{number}"));
        symlink(self.path(&base), link).unwrap();
    }

    /// A device with this content.
    fn device(&self, place: &str, number: &str, content: &[u8]) {
        self.described(place, number, content.len());
        let name = place.rsplit('/').next().unwrap();
        self.write(&format!("dev/{name}"), content);
    }

    /// Says that the device at `place` is partition `number`, from `sector` on.
    fn partition(&self, place: &str, number: u32, sector: usize) {
        let base = format!("sys/block/{place}");
        self.write(&format!("{base}/partition"), format!("{number}\n"));
        self.write(&format!("{base}/start"), format!("{sector}\n"));
    }

    fn survey(&self) -> Survey<String> {
        survey(&Devices::below(self.root.path()), PATIENCE, name).unwrap()
    }

    /// The same as a user who is not root and owns nothing.
    fn survey_as_another(&self) -> Survey<String> {
        let devices = Devices::below(self.root.path());
        let user = || {
            // Of this thread and those that it starts; root may read everything.
            if rustix::process::geteuid().is_root() {
                let number = rustix::fs::Uid::from_raw(65_534);
                rustix::thread::set_thread_uid(number).unwrap();
            }
            survey(&devices, PATIENCE, name).unwrap()
        };
        std::thread::scope(|scope| scope.spawn(user).join().unwrap())
    }
}

/// Device and partition of a volume.
fn name(found: OnDevice) -> String {
    let device = found.device.file_name().unwrap().to_string_lossy();
    assert!(found.volume.is_ok());
    assert!(matches!(
        found.candidate.state,
        CandidateState::Identified { .. }
    ));
    match found.candidate.partition {
        Some(number) => format!("{device}:{number}"),
        None => device.into_owned(),
    }
}

fn names(survey: &Survey<String>) -> Vec<&str> {
    let volumes = survey.volumes.iter();
    volumes.map(|found| found.volume.as_str()).collect()
}

fn volume() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/xts-128.img");
    fs::read(path).unwrap()
}

/// First sector of the first partition of [`disk`].
const FIRST: usize = 64;

/// A disk with an MBR and partitions with this content.
fn disk(partitions: &[&[u8]]) -> Vec<u8> {
    let mut disk = vec![0; FIRST * 512];
    disk[510..512].copy_from_slice(b"\x55\xAA");
    for (number, content) in partitions.iter().enumerate() {
        let row = 446 + 16 * number;
        let start = (disk.len() / 512) as u32;
        disk[row + 4] = 7;
        disk[row + 8..row + 12].copy_from_slice(&start.to_le_bytes());
        disk[row + 12..row + 16].copy_from_slice(&((content.len() / 512) as u32).to_le_bytes());
        disk.extend_from_slice(content);
    }
    disk
}

#[test]
fn each_volume_is_found_once_where_it_can_be_opened() {
    let tree = Tree::new();
    let one = volume();
    tree.device("loop10", "7:10", &one);
    tree.device("loop2", "7:2", &vec![0; 1 << 16]);
    tree.device("loop3", "7:3", &[]);
    // Without devices for its partitions.
    tree.device("loop4", "7:4", &disk(&[&one, &vec![0; 1 << 16], &one]));
    // With a device for the first one, a described one without a file for the second.
    tree.device("sda", "8:0", &disk(&[&one, &one]));
    tree.device("sda/sda1", "8:1", &one);
    tree.partition("sda/sda1", 1, FIRST);
    tree.described("sda/sda2", "8:2", one.len());
    tree.partition("sda/sda2", 2, FIRST + one.len() / 512);
    let found = tree.survey();
    assert_eq!(
        names(&found),
        ["loop4:1", "loop4:3", "loop10", "sda1", "sda:2"]
    );
    assert!(found.denied.is_empty() && found.failed.is_empty());
}

#[test]
fn uses_are_named_with_their_mappings() {
    let tree = Tree::new();
    let one = volume();
    tree.device("sda", "8:0", &disk(&[&one, &one]));
    for (number, sector) in [(1, FIRST), (2, FIRST + one.len() / 512)] {
        let place = format!("sda/sda{number}");
        tree.device(&place, &format!("8:{number}"), &one);
        tree.partition(&place, number, sector);
    }
    tree.described("dm-0", "254:0", one.len());
    tree.write("sys/block/dm-0/dm/name", "windows\n");
    tree.write("dev/mapper/windows", vec![0; 1 << 16]);
    for (directory, to) in [("dm-0/slaves", "sda/sda2"), ("sda/sda2/holders", "dm-0")] {
        let directory = tree.path("sys/block").join(directory);
        fs::create_dir_all(&directory).unwrap();
        let name = to.rsplit('/').next().unwrap();
        symlink(tree.path("sys/block").join(to), directory.join(name)).unwrap();
    }
    tree.write(
        "proc/self/mountinfo",
        "36 35 254:0 / /mnt rw - ntfs3 /dev/mapper/windows rw\n",
    );
    let found = tree.survey();
    assert_eq!(names(&found), ["sda1", "sda2"]);
    let uses: Vec<_> = found.volumes.into_iter().map(|one| one.uses).collect();
    assert_eq!(uses[0], Some(vec![]));
    let mapping = tree.path("dev/mapper/windows");
    assert_eq!(
        uses[1],
        Some(vec![
            Use::Mounted {
                what: mapping.clone(),
                directory: "/mnt".into(),
                writable: true,
                own: false
            },
            Use::Mapped {
                device: mapping,
                writable: true
            }
        ])
    );
}

#[test]
fn a_device_that_fails_does_not_stop_the_others() {
    let tree = Tree::new();
    let one = volume();
    tree.device("sdc", "8:32", &one);
    // Reading this file of the kernel at its beginning is an I/O error.
    for (name, number) in [("sda", "8:0"), ("sr0", "11:0"), ("fd0", "2:0")] {
        tree.described(name, number, 1 << 20);
        symlink("/proc/self/mem", tree.path("dev").join(name)).unwrap();
    }
    // The kernel has this one, and no file leads to it.
    tree.described("sdb", "8:16", 1 << 20);
    let found = tree.survey();
    assert_eq!(names(&found), ["sdc"]);
    let failed: Vec<_> = found
        .failed
        .iter()
        .map(|(path, error)| (path.clone(), error.kind()))
        .collect();
    let io = crate::ErrorKind::Io;
    // A CD or floppy drive that cannot be read is empty.
    assert_eq!(
        failed,
        [(tree.path("dev/sda"), io), (tree.path("dev/sdb"), io)]
    );
    assert!(
        found.failed[1]
            .1
            .with_causes()
            .to_string()
            .contains("No such file")
    );
}

#[test]
fn devices_that_the_user_may_not_read_are_named() {
    let tree = Tree::new();
    let one = volume();
    let close = |name: &str| {
        let path = tree.path("dev").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    };
    let with_partitions = |disk_name: &str, major: u32| {
        tree.device(disk_name, &format!("{major}:0"), &disk(&[&one, &one]));
        for (number, sector) in [(1, FIRST), (2, FIRST + one.len() / 512)] {
            let place = format!("{disk_name}/{disk_name}{number}");
            tree.device(&place, &format!("{major}:{number}"), &one);
            tree.partition(&place, number, sector);
        }
    };
    // Everything is closed: the disk stands for its partitions.
    with_partitions("sda", 8);
    ["sda", "sda1", "sda2"].into_iter().for_each(close);
    // One partition is open.
    with_partitions("sdb", 9);
    ["sdb", "sdb1"].into_iter().for_each(close);
    // Nothing is lost if only the disk is closed.
    with_partitions("sdc", 10);
    close("sdc");
    // The disk shows a closed partition.
    with_partitions("sdd", 12);
    close("sdd1");
    tree.device("sde", "13:0", &one);
    close("sde");
    let found = tree.survey_as_another();
    assert_eq!(names(&found), ["sdb2", "sdc1", "sdc2", "sdd2", "sdd:1"]);
    let denied = ["dev/sda", "dev/sdb1", "dev/sde"].map(|name| tree.path(name));
    assert_eq!(found.denied, denied);
    assert!(found.failed.is_empty());
}

#[test]
fn a_device_that_does_not_answer_is_left_behind() {
    let tree = Tree::new();
    tree.device("sda", "8:0", &volume());
    tree.device("sdb", "8:16", &volume());
    // Its description does not end before the test does.
    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock().unwrap();
    let slow = lock.clone();
    let describe = move |found: OnDevice| {
        if found.device.ends_with("sda") {
            drop(slow.lock());
        }
        name(found)
    };
    let patience = Duration::from_secs(2);
    let devices = Devices::below(tree.root.path());
    let found = survey(&devices, patience, describe).unwrap();
    drop(held);
    assert_eq!(names(&found), ["sdb"]);
    let (path, error) = &found.failed[0];
    assert_eq!(path, &tree.path("dev/sda"));
    assert_eq!(
        error.with_causes().to_string(),
        "cannot read the device: no answer within 2 seconds"
    );
}

#[test]
fn a_disk_cannot_fill_the_list() {
    // A GPT whose partitions are all the same bytes.
    const COUNT: usize = MAX_VOLUMES + 5;
    let mut entries = vec![0; 128 * 128];
    let one = volume();
    for entry in entries.chunks_mut(128).take(COUNT) {
        entry[..16].fill(0xA2);
        entry[32..40].copy_from_slice(&(FIRST as u64).to_le_bytes());
        let last = FIRST + one.len() / 512 - 1;
        entry[40..48].copy_from_slice(&(last as u64).to_le_bytes());
    }
    let mut header = vec![0; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&0x1_0000u32.to_le_bytes());
    header[12..16].copy_from_slice(&92u32.to_le_bytes());
    header[24..32].copy_from_slice(&1u64.to_le_bytes());
    header[72..80].copy_from_slice(&2u64.to_le_bytes());
    header[80..84].copy_from_slice(&128u32.to_le_bytes());
    header[84..88].copy_from_slice(&128u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
    let crc = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    let mut content = disk(&[&one]);
    content[446 + 4] = 0xEE;
    content[512..512 + 92].copy_from_slice(&header);
    content[1024..1024 + entries.len()].copy_from_slice(&entries);
    let tree = Tree::new();
    tree.device("sda", "8:0", &content);
    let found = tree.survey();
    assert_eq!((found.volumes.len(), found.left_out), (MAX_VOLUMES, 5));
}
