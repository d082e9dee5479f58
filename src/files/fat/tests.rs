//! Structures built by hand. `tests/files/fat.rs` reads what other programs wrote.

use super::*;
use crate::files::walk::Walked;
use crate::files::{FilePath, Files};

const SECTOR: usize = 512;
const COUNT: u16 = 5000;
const TABLE_SECTORS: u16 = 20;

/// A FAT16 file system with one sector in a cluster, which can be damaged.
struct Disk(Vec<u8>);

impl Disk {
    /// Offsets of the tables and of the root directory.
    const TABLES: [usize; 2] = [SECTOR, SECTOR * 21];
    const ROOT: usize = SECTOR * 41;
    const DATA: usize = Self::ROOT + 512 * 32;

    fn new() -> Self {
        let mut bytes = vec![0; Self::DATA + usize::from(COUNT) * SECTOR];
        let total = (bytes.len() / SECTOR) as u16;
        bytes[..3].copy_from_slice(b"\xEB\x3C\x90");
        bytes[0x0B..0x0D].copy_from_slice(&512u16.to_le_bytes());
        bytes[0x0D] = 1;
        bytes[0x0E..0x10].copy_from_slice(&1u16.to_le_bytes());
        bytes[0x10] = 2;
        bytes[0x11..0x13].copy_from_slice(&512u16.to_le_bytes());
        bytes[0x13..0x15].copy_from_slice(&total.to_le_bytes());
        bytes[0x15] = 0xF8;
        bytes[0x16..0x18].copy_from_slice(&TABLE_SECTORS.to_le_bytes());
        bytes[0x27..0x2B].copy_from_slice(&0x1234_5678u32.to_le_bytes());
        bytes[0x2B..0x36].copy_from_slice(b"NO NAME    ");
        bytes[0x1FE..0x200].copy_from_slice(&[0x55, 0xAA]);
        let mut disk = Self(bytes);
        disk.table(0, 0xFFF8);
        disk.table(1, 0xFFFF);
        disk
    }

    fn table(&mut self, cluster: u16, value: u16) {
        for table in 0..2 {
            self.table_of(table, cluster, value);
        }
    }

    fn table_of(&mut self, table: usize, cluster: u16, value: u16) {
        let at = Self::TABLES[table] + usize::from(cluster) * 2;
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn chain(&mut self, clusters: &[u16]) {
        for pair in clusters.windows(2) {
            self.table(pair[0], pair[1]);
        }
        self.table(*clusters.last().unwrap(), 0xFFFF);
    }

    fn cluster(cluster: u16) -> usize {
        Self::DATA + (usize::from(cluster) - 2) * SECTOR
    }

    fn put(&mut self, at: usize, name: &[u8; 11], attributes: u8, first: u16, len: u32) {
        let entry = &mut self.0[at..at + 32];
        entry[..11].copy_from_slice(name);
        entry[11] = attributes;
        entry[0x1A..0x1C].copy_from_slice(&first.to_le_bytes());
        entry[0x1C..].copy_from_slice(&len.to_le_bytes());
    }

    /// A file in the root directory.
    fn file(&mut self, index: usize, name: &[u8; 11], first: u16, len: u32) {
        self.put(Self::ROOT + index * 32, name, 0x20, first, len);
    }

    /// An empty directory.
    fn directory(&mut self, at: usize, name: &[u8; 11], clusters: &[u16]) {
        self.put(at, name, 0x10, clusters[0], 0);
        self.chain(clusters);
        self.put(
            Self::cluster(clusters[0]),
            b".          ",
            0x10,
            clusters[0],
            0,
        );
        self.put(Self::cluster(clusters[0]) + 32, b"..         ", 0x10, 0, 0);
    }

    fn piece(&mut self, at: usize, number: u8, checksum: u8, text: &str) {
        let mut units: Vec<u16> = text.encode_utf16().collect();
        if units.len() < 13 {
            units.push(0);
        }
        units.resize(13, 0xFFFF);
        let entry = &mut self.0[at..at + 32];
        entry[0] = number;
        entry[11] = 0x0F;
        entry[13] = checksum;
        for (unit, at) in units
            .iter()
            .zip([1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30])
        {
            entry[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
    }

    fn open(&self) -> Files {
        let source: Arc<dyn ReadAt> = Arc::new(self.0.clone());
        Files::new(open(&source).unwrap().unwrap())
    }

    fn names(&self) -> Vec<String> {
        let files = self.open();
        files
            .walk(files.root(), FilePath::parse(""))
            .map(|found| match found {
                Ok(Walked { path, .. }) => path.to_string(),
                Err(error) => format!("{}: {}", error.path, error.fault),
            })
            .collect()
    }

    fn content(&self, path: &str) -> Result<Vec<u8>, String> {
        let read = self.open().read(&FilePath::parse(path), 1 << 20);
        read.map_err(|fault| fault.to_string())
    }
}

fn checksum(name: &[u8; 11]) -> u8 {
    name.iter()
        .fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[test]
fn a_chain_must_fit_the_size_of_its_file() {
    let mut disk = Disk::new();
    disk.file(0, b"A       TXT", 5, 1300);
    disk.chain(&[5, 9, 6]);
    for (cluster, byte) in [(5, b'a'), (9, b'b'), (6, b'c')] {
        let at = Disk::cluster(cluster);
        disk.0[at..at + SECTOR].fill(byte);
    }
    let whole = disk.content("a.txt").unwrap();
    assert_eq!(whole.len(), 1300);
    assert_eq!((whole[0], whole[512], whole[1024]), (b'a', b'b', b'c'));
    assert!(disk.open().properties().conditions.is_empty());
    let with = |change: &dyn Fn(&mut Disk)| {
        let mut changed = Disk(disk.0.clone());
        change(&mut changed);
        changed.content("a.txt")
    };
    // One table is damaged: the other one counts.
    assert_eq!(with(&|disk| disk.table_of(0, 9, 0)).unwrap(), whole);
    assert_eq!(with(&|disk| disk.table_of(1, 9, 9)).unwrap(), whole);
    assert_eq!(with(&|disk| disk.table_of(0, 9, 20)).unwrap(), whole);
    let fault = |change: &dyn Fn(&mut Disk)| with(change).unwrap_err();
    // Both are possible.
    let other = fault(&|disk| {
        disk.table_of(0, 9, 20);
        disk.table(20, 0xFFFF);
    });
    assert!(other.ends_with("the tables differ in the chain of clusters that begins with 5"));
    let short = fault(&|disk| disk.table(9, 0xFFFF));
    assert!(
        short.ends_with("has 2 clusters, and the file needs 3"),
        "{short}"
    );
    let long = fault(&|disk| disk.chain(&[6, 10]));
    assert!(
        long.ends_with("is longer than the file, which needs 3"),
        "{long}"
    );
    // After a crash, a file may have more clusters than its size says.
    let dirty = with(&|disk| {
        disk.chain(&[6, 10]);
        disk.table(1, 0x7FFF);
    });
    assert_eq!(dirty.unwrap(), whole);
    assert!(
        fault(&|disk| disk.file(0, b"A       TXT", 0, 1300)).ends_with("leads to a free cluster")
    );
    let large = fault(&|disk| disk.file(0, b"A       TXT", 5, u32::MAX));
    assert!(large.contains("4294967295 bytes"), "{large}");
    let empty = with(&|disk| disk.file(0, b"A       TXT", 0, 0));
    assert!(empty.unwrap().is_empty());
}

#[test]
fn long_names_are_joined_only_if_they_fit() {
    let mut disk = Disk::new();
    let short = b"LONGNA~1TXT";
    let sum = checksum(short);
    let root = Disk::ROOT;
    // Whole.
    disk.piece(root, 0x42, sum, "e in two.txt");
    disk.piece(root + 32, 0x01, sum, "A longer nam ");
    disk.file(2, short, 0, 0);
    // Another checksum.
    disk.piece(root + 96, 0x41, sum ^ 1, "orphan");
    disk.file(4, b"ORPHAN     ", 0, 0);
    // A piece is missing.
    disk.piece(root + 160, 0x43, checksum(b"GAP        "), "gap");
    disk.piece(root + 192, 0x01, checksum(b"GAP        "), "gap");
    disk.file(7, b"GAP        ", 0, 0);
    // A deleted file, the label, and lower case.
    disk.file(8, b"\xE5ONE    TXT", 0, 0);
    disk.put(root + 9 * 32, b"THE LABEL  ", 0x08, 0, 0);
    disk.file(10, b"\x05\x8E      \x81  ", 0, 0);
    disk.file(11, b"README  TXT", 0, 0);
    disk.0[root + 11 * 32 + 12] = 0x18;
    let names = disk.names();
    assert_eq!(
        names,
        [
            "/A longer nam e in two.txt",
            "/ORPHAN",
            "/GAP",
            "/σÄ.ü",
            "/readme.txt"
        ]
    );
    let files = disk.open();
    assert_eq!(files.properties().label.as_deref(), Some("THE LABEL"));
    assert_eq!(files.properties().serial, 0x1234_5678);
    let find = |name: &str| {
        let found = files.look_up(files.root(), &name.into()).unwrap();
        found.map(|entry| entry.name.to_string())
    };
    for name in ["longna~1.txt", "a LONGER nam E in two.TXT"] {
        assert_eq!(find(name).as_deref(), Some("A longer nam e in two.txt"));
    }
    assert_eq!(find("ReadMe.txt").as_deref(), Some("readme.txt"));
    assert_eq!(find("one.txt"), None);
    assert_eq!(find("the label"), None);
}

#[test]
fn damaged_directories_end_and_name_what_is_wrong() {
    let mut disk = Disk::new();
    let root = Disk::ROOT;
    disk.directory(root, b"SUB        ", &[5, 6]);
    disk.put(Disk::cluster(6), b"BEHIND     ", 0x20, 0, 0);
    for index in 2..16 {
        disk.put(Disk::cluster(5) + index * 32, b"\xE5          ", 0x20, 0, 0);
    }
    assert_eq!(disk.names(), ["/SUB", "/SUB/BEHIND"]);
    let with = |change: &dyn Fn(&mut Disk)| {
        let mut changed = Disk(disk.0.clone());
        change(&mut changed);
        changed.names().join("; ")
    };
    let looped = with(&|disk| disk.table(6, 5));
    assert!(
        looped.contains("BEHIND") && looped.contains("back into itself"),
        "{looped}"
    );
    let lost = with(&|disk| disk.table(5, 0));
    assert!(lost.ends_with("leads to a free cluster"), "{lost}");
    let wrong = with(&|disk| disk.put(root, b"SUB        ", 0x10, 6, 0));
    assert!(
        wrong.ends_with("what begins with cluster 6 is no directory"),
        "{wrong}"
    );
    let none = with(&|disk| disk.put(root, b"SUB        ", 0x10, 0, 0));
    assert!(none.ends_with("cluster 0, which does not exist"), "{none}");
    // A directory that contains itself.
    let own = with(&|disk| disk.put(Disk::cluster(6), b"BEHIND     ", 0x10, 5, 0));
    assert!(
        own.ends_with("the directory has the entries of another directory"),
        "{own}"
    );
    let other = with(&|disk| {
        disk.table_of(1, 5, 7);
        disk.table(7, 0xFFFF);
    });
    assert!(
        other.contains("the tables differ") && !other.contains("BEHIND"),
        "{other}"
    );
    let nameless = with(&|disk| disk.put(root + 32, b"           ", 0x20, 0, 0));
    assert!(nameless.ends_with("that have no name: 1"), "{nameless}");
}

#[test]
fn identifies_files_by_their_entries() {
    let mut disk = Disk::new();
    disk.directory(Disk::ROOT, b"SUB        ", &[5]);
    let at = Disk::cluster(5) + 64;
    disk.put(at, b"X          ", 0x21, 7, 5);
    disk.chain(&[7]);
    let files = disk.open();
    let found = files.find(&FilePath::parse("sub/x")).unwrap();
    assert_eq!(found.id.number, at as u64);
    let stat = files.stat(found.id).unwrap();
    assert_eq!((stat.len, stat.allocated, stat.links), (5, 512, 1));
    assert!(stat.attributes.contains(Attributes::READ_ONLY));
    assert_eq!(files.stat(files.root()).unwrap().allocated, 512 * 32);
    for wrong in [
        0,
        2,
        31,
        512,
        at as u64 + 1,
        at as u64 + 32,
        u64::MAX,
        u64::MAX - 31,
    ] {
        let id = FileId::from_number(wrong);
        assert!(
            matches!(files.stat(id), Err(FileError::NotFound)),
            "{wrong}"
        );
    }
    let stream = files.open(found.id, Some(&"s".into()));
    assert!(matches!(stream, Err(FileError::NotFound)));
    assert!(matches!(
        files.open(files.root(), None),
        Err(FileError::IsADirectory)
    ));
    assert!(matches!(files.link(found.id), Err(FileError::NotALink)));
    // 5000 clusters, one for the directory and one for the file.
    assert_eq!(files.free().unwrap(), 4998 * 512);
}

#[test]
fn only_what_is_whole_is_taken_for_fat() {
    let disk = Disk::new();
    let opened = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = disk.0.clone();
        change(&mut bytes);
        let source: Arc<dyn ReadAt> = Arc::new(bytes);
        open(&source).map(|found| found.is_some())
    };
    assert!(opened(&|_| ()).unwrap());
    for name in [b"NTFS    ", b"EXFAT   ", b"-FVE-FS-"] {
        assert!(!opened(&|bytes| bytes[3..11].copy_from_slice(name)).unwrap());
    }
    for (at, byte) in [
        (0, 0x33),
        (0x0B, 1),
        (0x0D, 3),
        (0x10, 0),
        (0x15, 1),
        (0x1FE, 0),
    ] {
        assert!(!opened(&|bytes| bytes[at] = byte).unwrap(), "{at:#x}");
    }
    assert!(!opened(&|bytes| bytes[SECTOR..SECTOR * 41].fill(0)).unwrap());
    assert!(!opened(&|bytes| bytes.truncate(511)).unwrap());
    // More clusters than FAT16 can have.
    assert!(
        opened(&|bytes| {
            bytes[0x13..0x15].fill(0);
            bytes[0x20..0x24].copy_from_slice(&70_000u32.to_le_bytes());
        })
        .is_err()
    );
    // The discovery volume of BitLocker To Go.
    let guid = crate::format::boot::NORMAL.to_disk();
    assert!(!opened(&|bytes| bytes[0x1A8..0x1B8].copy_from_slice(&guid)).unwrap());
}
