//! Structures built by hand. `tests/files/exfat.rs` reads what other programs wrote.

use super::*;
use crate::files::walk::Walked;
use crate::files::{FilePath, Files};

const SECTOR: usize = 512;
const COUNT: u32 = 1000;
const TABLE: usize = 24 * SECTOR;
const DATA: usize = 40 * SECTOR;
/// The clusters of the bitmap, of the table of upper case, and of the root directory.
const BITMAP: u32 = 2;
const UPPER_CASE: u32 = 3;
const ROOT_CLUSTER: u32 = 4;
const END: u32 = u32::MAX;
/// Entry of the first file in the root directory.
const FILES: usize = 3;

/// A file system with one sector in a cluster, which can be damaged.
struct Disk(Vec<u8>);

impl Disk {
    fn new() -> Self {
        let mut bytes = vec![0; DATA + COUNT as usize * SECTOR];
        let sectors = (bytes.len() / SECTOR) as u64;
        bytes[..11].copy_from_slice(b"\xEB\x76\x90EXFAT   ");
        bytes[0x48..0x50].copy_from_slice(&sectors.to_le_bytes());
        for (at, value) in [
            (0x50, 24),
            (0x54, 16),
            (0x58, 40),
            (0x5C, COUNT),
            (0x60, ROOT_CLUSTER),
            (0x64, 0x1234_5678),
        ] {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        bytes[0x69] = 1;
        bytes[0x6C] = 9;
        bytes[0x6E] = 1;
        bytes[0x1FE..0x200].copy_from_slice(&[0x55, 0xAA]);
        let mut disk = Self(bytes);
        disk.seal();
        for cluster in [BITMAP, UPPER_CASE, ROOT_CLUSTER] {
            disk.table(cluster, END);
        }
        // Three clusters are in use, and all bits behind the last one are set.
        let bitmap = Self::cluster(BITMAP);
        disk.0[bitmap] = 0b111;
        disk.0[bitmap + 125..bitmap + SECTOR].fill(0xFF);
        let root = Self::cluster(ROOT_CLUSTER);
        disk.0[root] = 0x81;
        disk.special(root, BITMAP, 125);
        disk.0[root + 32] = 0x82;
        // A to Z, in a table that is shortened.
        let mut units = vec![0xFFFF, 0x61];
        units.extend(0x41..=0x5Au16);
        let table: Vec<u8> = units.into_iter().flat_map(u16::to_le_bytes).collect();
        let sum = table.iter().fold(0, |sum, byte| boot::add(sum, *byte));
        disk.0[root + 36..root + 40].copy_from_slice(&sum.to_le_bytes());
        disk.special(root + 32, UPPER_CASE, table.len() as u64);
        let at = Self::cluster(UPPER_CASE);
        disk.0[at..at + table.len()].copy_from_slice(&table);
        let label = root + 64;
        disk.0[label..label + 6].copy_from_slice(&[0x83, 2, b'A', 0, b'b', 0]);
        disk
    }

    /// Writes the checksum of the boot region, and its copy.
    fn seal(&mut self) {
        let mut sum = 0;
        for (at, byte) in self.0[..11 * SECTOR].iter().enumerate() {
            if !matches!(at, 0x6A | 0x6B | 0x70) {
                sum = boot::add(sum, *byte);
            }
        }
        for unit in self.0[11 * SECTOR..12 * SECTOR].chunks_exact_mut(4) {
            unit.copy_from_slice(&sum.to_le_bytes());
        }
        self.0.copy_within(..12 * SECTOR, 12 * SECTOR);
    }

    fn cluster(cluster: u32) -> usize {
        DATA + (cluster as usize - 2) * SECTOR
    }

    fn table(&mut self, cluster: u32, value: u32) {
        let at = TABLE + cluster as usize * 4;
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn chain(&mut self, clusters: &[u32]) {
        for pair in clusters.windows(2) {
            self.table(pair[0], pair[1]);
        }
        self.table(*clusters.last().unwrap(), END);
    }

    fn special(&mut self, at: usize, first: u32, len: u64) {
        self.0[at + 20..at + 24].copy_from_slice(&first.to_le_bytes());
        self.0[at + 24..at + 32].copy_from_slice(&len.to_le_bytes());
    }

    /// Puts entries of 32 bytes at these offsets.
    fn put(&mut self, places: &[usize], entries: &[Raw]) {
        for (at, entry) in places.iter().zip(entries) {
            self.0[*at..*at + ENTRY].copy_from_slice(entry);
        }
    }

    /// The file number `index`, of three entries, in the root directory.
    fn file(&mut self, index: usize, new: &New) {
        let start = Self::cluster(ROOT_CLUSTER) + (FILES + index * 3) * ENTRY;
        self.put(&[start, start + 32, start + 64], &new.entries());
    }

    fn open(&self) -> Files {
        let source: Arc<dyn ReadAt> = Arc::new(self.0.clone());
        Files::new(open(&source).unwrap().unwrap())
    }

    fn names(&self) -> String {
        let files = self.open();
        let names = files
            .walk(files.root(), FilePath::parse(""))
            .map(|found| match found {
                Ok(Walked { path, .. }) => path.to_string(),
                Err(error) => format!("{}: {}", error.path, error.fault),
            });
        names.collect::<Vec<_>>().join("; ")
    }

    fn content(&self, path: &str) -> Result<Vec<u8>, String> {
        let read = self.open().read(&FilePath::parse(path), 1 << 20);
        read.map_err(|fault| fault.to_string())
    }

    fn conditions(&self) -> String {
        let files = self.open();
        let shown = files.properties().conditions.iter();
        shown
            .map(|condition| match condition {
                Condition::Damaged { what } => what.clone(),
                Condition::Dirty { why } => why.clone(),
                Condition::Hibernated => "hibernated".to_owned(),
            })
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn changed(&self, change: &dyn Fn(&mut Self)) -> Self {
        let mut changed = Self(self.0.clone());
        change(&mut changed);
        changed
    }
}

/// A file to write.
#[derive(Clone)]
struct New {
    name: &'static str,
    attributes: u16,
    is_contiguous: bool,
    first: u32,
    len: u64,
    valid: u64,
}

impl New {
    fn file(name: &'static str, first: u32, len: u64) -> Self {
        Self {
            name,
            attributes: 0x20,
            is_contiguous: false,
            first,
            len,
            valid: len,
        }
    }

    fn directory(name: &'static str, first: u32, len: u64, is_contiguous: bool) -> Self {
        Self {
            attributes: 0x10,
            is_contiguous,
            ..Self::file(name, first, len)
        }
    }

    /// Three entries, for a name of at most 15 characters.
    fn entries(&self) -> Vec<Raw> {
        let mut entries = vec![[0; ENTRY]; 3];
        entries[0][..2].copy_from_slice(&[0x85, 2]);
        entries[0][4..6].copy_from_slice(&self.attributes.to_le_bytes());
        // 2026-11-26 14:47:20.15, an hour east of UTC.
        let time = (46u32 << 9 | 11 << 5 | 26) << 16 | 14 << 11 | 47 << 5 | 10;
        for at in [8, 12, 16] {
            entries[0][at..at + 4].copy_from_slice(&time.to_le_bytes());
        }
        entries[0][20] = 15;
        entries[0][22..25].copy_from_slice(&[0x84, 0x84, 0]);
        let units: Vec<u16> = self.name.encode_utf16().collect();
        entries[1][0] = 0xC0;
        entries[1][1] = 1 | u8::from(self.is_contiguous) << 1;
        entries[1][3] = units.len() as u8;
        entries[1][8..16].copy_from_slice(&self.valid.to_le_bytes());
        entries[1][20..24].copy_from_slice(&self.first.to_le_bytes());
        entries[1][24..32].copy_from_slice(&self.len.to_le_bytes());
        entries[2][0] = 0xC1;
        for (at, unit) in units.iter().enumerate() {
            entries[2][2 + at * 2..4 + at * 2].copy_from_slice(&unit.to_le_bytes());
        }
        seal(&mut entries);
        entries
    }
}

/// Writes the checksum of the entries of a file.
fn seal(entries: &mut [Raw]) {
    let mut sum = 0u16;
    for (at, byte) in entries.as_flattened().iter().enumerate() {
        if !matches!(at, 2 | 3) {
            sum = sum.rotate_right(1).wrapping_add(u16::from(*byte));
        }
    }
    entries[0][2..4].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn reads_properties_and_content() {
    let mut disk = Disk::new();
    disk.file(0, &New::file("Chained", 10, 1300));
    disk.chain(&[10, 15, 11]);
    let mut in_order = New::file("In order", 20, 1000);
    in_order.is_contiguous = true;
    in_order.valid = 600;
    disk.file(1, &in_order);
    disk.file(2, &New::file("empty", 0, 0));
    for cluster in 10..30 {
        let at = Disk::cluster(cluster);
        disk.0[at..at + SECTOR].fill(cluster as u8);
    }
    let files = disk.open();
    let properties = files.properties();
    assert_eq!(properties.label.as_deref(), Some("Ab"));
    assert_eq!(properties.serial, 0x1234_5678);
    assert_eq!(disk.conditions(), "");
    assert_eq!(files.free().unwrap(), (1000 - 3) * 512);
    assert_eq!(disk.names(), "/Chained; /In order; /empty");
    let chained = disk.content("CHAINED").unwrap();
    assert_eq!((chained[0], chained[512], chained[1299]), (10, 15, 11));
    // Zeros behind what was written.
    let in_order = disk.content("in ORDER").unwrap();
    assert!(in_order[..512].iter().all(|byte| *byte == 20));
    assert!(in_order[512..600].iter().all(|byte| *byte == 21));
    assert!(in_order[600..].iter().all(|byte| *byte == 0));
    assert!(disk.content("empty").unwrap().is_empty());
    let id = files.find(&FilePath::parse("chained")).unwrap().id;
    let stat = files.stat(id).unwrap();
    assert_eq!((stat.len, stat.allocated), (1300, 1536));
    let shown = |time: Option<crate::files::FileTime>| time.unwrap().to_string();
    assert_eq!(shown(stat.times.created), "2026-11-26T13:47:20.15Z");
    assert_eq!(shown(stat.times.modified), "2026-11-26T13:47:20Z");
    assert_eq!(shown(stat.times.accessed), "2026-11-26T14:47:20Z");
    for wrong in [0, 1, id.number + 32, id.number + 2, u64::MAX, DATA as u64] {
        let found = files.stat(FileId::from_number(wrong));
        assert!(matches!(found, Err(FileError::NotFound)), "{wrong}");
    }
}

#[test]
fn content_that_does_not_fit_is_refused() {
    let mut disk = Disk::new();
    disk.file(0, &New::file("a", 10, 1300));
    disk.chain(&[10, 15, 11]);
    let fault = |change: &dyn Fn(&mut Disk)| disk.changed(change).content("a").unwrap_err();
    assert!(fault(&|disk| disk.table(15, END)).ends_with("has 2 clusters, and the file needs 3"));
    assert!(fault(&|disk| disk.table(15, 0)).ends_with("leads to a free cluster"));
    assert!(fault(&|disk| disk.table(15, 10)).ends_with("leads back into itself"));
    let longer = |disk: &mut Disk| disk.chain(&[11, 12]);
    assert!(fault(&longer).ends_with("is longer than the file, which needs 3"));
    let dirty = disk.changed(&|disk| {
        longer(disk);
        disk.0[0x6A] = 2;
    });
    assert_eq!(dirty.content("a").unwrap().len(), 1300);
    assert_eq!(dirty.conditions(), "its dirty bit is set");
    let with = |change: &dyn Fn(&mut New)| {
        fault(&|disk| {
            let mut new = New::file("a", 10, 1300);
            change(&mut new);
            disk.file(0, &new);
        })
    };
    assert!(with(&|new| new.len = u64::MAX).ends_with("more than the volume"));
    assert!(with(&|new| new.valid = 1301).ends_with("of which 1301 were written"));
    let beyond = with(&|new| {
        new.is_contiguous = true;
        new.first = COUNT;
    });
    assert!(beyond.ends_with("3 clusters from 1000 on, which do not exist"));
    assert!(with(&|new| new.first = 0).ends_with("leads to a free cluster"));
}

#[test]
fn a_file_whose_entries_are_damaged_is_left_out_and_counted() {
    let mut disk = Disk::new();
    for (index, name) in ["one", "two", "three", "four"].into_iter().enumerate() {
        disk.file(index, &New::file(name, 0, 0));
    }
    let entry = |file: usize, entry: usize| {
        Disk::cluster(ROOT_CLUSTER) + (FILES + file * 3 + entry) * ENTRY
    };
    assert_eq!(disk.names(), "/one; /two; /three; /four");
    let left_out = "/one; /three; /four; /: the file system is damaged: files of the directory whose \
                    entries are damaged, and which are left out: 1";
    let with = |change: &dyn Fn(&mut Disk)| disk.changed(change).names();
    assert_eq!(with(&|disk| disk.0[entry(1, 2) + 4] ^= 1), left_out);
    assert_eq!(with(&|disk| disk.0[entry(1, 0) + 1] = 0), left_out);
    assert_eq!(with(&|disk| disk.0[entry(1, 0)] = 0x05), left_out);
    assert_eq!(with(&|disk| disk.0[entry(1, 1)] = 0x40), left_out);
    assert_eq!(with(&|disk| disk.0[entry(1, 2)] = 0x41), left_out);
    // Deleted as a whole.
    let deleted = with(&|disk| {
        for (part, kind) in [(0, 0x05), (1, 0x40), (2, 0x41)] {
            disk.0[entry(1, part)] = kind;
        }
    });
    assert_eq!(deleted, "/one; /three; /four");
    // An entry of a vendor that nothing is known of, with one that belongs to it.
    let vendor = with(&|disk| {
        disk.0[entry(1, 0)..entry(1, 2)].fill(0);
        disk.0[entry(1, 0)] = 0xA5;
        disk.0[entry(1, 0) + 1] = 2;
        disk.0[entry(1, 1)] = 0xE0;
        disk.0[entry(1, 2)] = 0xE1;
    });
    assert_eq!(vendor, "/one; /three; /four");
    // The root directory ends within a file.
    let cut = with(&|disk| disk.0[entry(3, 1)] = 0);
    assert!(cut.ends_with("left out: 1"), "{cut}");
}

#[test]
fn entries_may_continue_in_another_cluster() {
    for is_contiguous in [true, false] {
        let mut disk = Disk::new();
        let clusters = if is_contiguous { [30, 31] } else { [30, 50] };
        disk.file(0, &New::directory("dir", 30, 1024, is_contiguous));
        if !is_contiguous {
            disk.chain(&clusters);
        }
        let first = Disk::cluster(30);
        for at in 0..15 {
            disk.0[first + at * ENTRY] = 0x05;
        }
        let next = Disk::cluster(clusters[1]);
        disk.put(
            &[first + 15 * ENTRY, next, next + ENTRY],
            &New::file("across", 40, 5).entries(),
        );
        disk.chain(&[40]);
        assert_eq!(disk.names(), "/dir; /dir/across");
        let files = disk.open();
        let found = files.find(&FilePath::parse("DIR/Across")).unwrap();
        assert_eq!(found.id.number & 1 != 0, is_contiguous);
        assert_eq!(files.stat(found.id).unwrap().len, 5);
        assert_eq!(disk.content("dir/across").unwrap(), [0; 5]);
        // The directory contains itself.
        let own = New::directory("own", 30, 1024, is_contiguous).entries();
        disk.put(&[next + 64, next + 96, next + 128], &own);
        let names = disk.names();
        assert!(
            names.ends_with("has the entries of another directory"),
            "{names}"
        );
    }
}

#[test]
fn directories_with_the_same_entries_are_entered_once() {
    let mut disk = Disk::new();
    disk.file(0, &New::directory("dir", 30, 1024, true));
    let at = Disk::cluster(30);
    for (index, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        // Some begin in the middle of the others.
        let (first, len) = [(30, 1024), (31, 512)][index % 2];
        let at = at + index * 96;
        let own = New::directory(name, first, len, true).entries();
        disk.put(&[at, at + 32, at + 64], &own);
    }
    let names = disk.names();
    assert_eq!(
        names.matches("the entries of another").count(),
        5,
        "{names}"
    );
    assert_eq!(names.matches("; ").count(), 5, "{names}");
}

#[test]
fn entries_of_vendors_are_passed_over() {
    let mut disk = Disk::new();
    disk.file(0, &New::directory("dir", 30, 1024, true));
    // More than fit into a cluster.
    let mut entries = New::file("x", 40, 5).entries();
    entries[0][1] = 20;
    entries.resize(21, [0xE0; ENTRY]);
    seal(&mut entries);
    let at = Disk::cluster(30);
    let places: Vec<_> = (0..21).map(|index| at + index * ENTRY).collect();
    disk.put(&places, &entries);
    disk.chain(&[40]);
    assert_eq!(disk.names(), "/dir; /dir/x");
    assert_eq!(disk.content("dir/x").unwrap(), [0; 5]);
}

#[test]
fn damaged_directories_end() {
    let mut disk = Disk::new();
    disk.file(0, &New::directory("dir", 30, 1024, false));
    disk.chain(&[30, 31]);
    let at = Disk::cluster(30);
    disk.put(&[at, at + 32, at + 64], &New::file("x", 0, 0).entries());
    let with = |change: &dyn Fn(&mut Disk)| disk.changed(change).names();
    let looped = with(&|disk| disk.table(30, 30));
    assert!(looped.starts_with("/dir; /dir/x; /dir: ") && looped.ends_with("back into itself"));
    let short = with(&|disk| disk.table(30, END));
    assert!(
        short.ends_with("the directory has 1 clusters, and needs 2"),
        "{short}"
    );
    let huge = with(&|disk| disk.file(0, &New::directory("dir", 30, u64::MAX, false)));
    assert!(
        huge.contains("/dir/x") && huge.contains("damaged"),
        "{huge}"
    );
    let root = with(&|disk| disk.table(ROOT_CLUSTER, ROOT_CLUSTER));
    assert!(
        root.contains("/dir/x") && root.ends_with("back into itself"),
        "{root}"
    );
}

#[test]
fn what_is_damaged_for_all_files_is_a_condition() {
    let disk = Disk::new().changed(&|disk| disk.file(0, &New::file("Name", 0, 0)));
    let root = Disk::cluster(ROOT_CLUSTER);
    let with = |change: &dyn Fn(&mut Disk)| {
        let changed = disk.changed(change);
        assert!(changed.content("nAME").unwrap().is_empty());
        changed.conditions()
    };
    let table = with(&|disk| disk.0[Disk::cluster(UPPER_CASE) + 8] ^= 1);
    assert!(table.ends_with("its checksum is wrong"), "{table}");
    assert!(with(&|disk| disk.0[root + 32] = 0xA0).ends_with("no entry for it"));
    assert!(with(&|disk| disk.0[root] = 0xA0).ends_with("no entry for the bitmap of clusters"));
    let copy = "the boot region; its copy is used instead";
    assert_eq!(with(&|disk| disk.0[0x64] ^= 1), copy);
    assert_eq!(with(&|disk| disk.0[0x58] ^= 1), copy);
    assert_eq!(with(&|disk| disk.0[..12 * SECTOR].fill(0)), copy);
    // Fields that change while the file system is mounted have no checksum.
    assert_eq!(with(&|disk| disk.0[0x70] = 55), "");
    let opened = |change: &dyn Fn(&mut Disk)| {
        let source: Arc<dyn ReadAt> = Arc::new(disk.changed(change).0);
        open(&source).map(|found| found.is_some())
    };
    let both = |disk: &mut Disk| {
        disk.0[0x64] ^= 1;
        disk.0[12 * SECTOR + 0x64] ^= 1;
    };
    assert!(opened(&both).is_err());
    assert!(!opened(&|disk| disk.0[3..11].copy_from_slice(b"NTFS    ")).unwrap());
    assert!(!opened(&|disk| disk.0[..24 * SECTOR].fill(0)).unwrap());
    // Another format that begins with zeros: the copy is a remainder.
    assert!(
        !opened(&|disk| {
            disk.0[..12 * SECTOR].fill(0);
            disk.0[0x218..0x21C].copy_from_slice(b"LVM2");
        })
        .unwrap()
    );
    for (at, byte) in [
        (0x6C, 8),
        (0x6D, 17),
        (0x6E, 3),
        (0x69, 2),
        (0x0B, 1),
        (0x60, 1),
        (0x54, 1),
    ] {
        assert!(
            opened(&|disk| {
                disk.0[at] = byte;
                disk.seal();
            })
            .is_err()
        );
    }
}

#[test]
fn texfat_uses_the_active_table_and_bitmap() {
    let mut disk = Disk::new();
    disk.file(0, &New::file("a", 10, 600));
    disk.chain(&[10, 15]);
    // The second table is empty but for the bitmap and the directory.
    disk.0[0x6E] = 2;
    disk.0[0x54] = 8;
    disk.0[0x6A] = 1;
    disk.seal();
    let second = TABLE + 8 * SECTOR;
    for cluster in [BITMAP, UPPER_CASE, ROOT_CLUSTER, 10, 60] {
        let at = second + cluster as usize * 4;
        disk.0[at..at + 4].fill(0xFF);
    }
    disk.0[second + 40..second + 44].copy_from_slice(&70u32.to_le_bytes());
    disk.0[second + 280..second + 284].fill(0xFF);
    let root = Disk::cluster(ROOT_CLUSTER);
    let at = root + (FILES + 3) * ENTRY;
    disk.0[at..at + 2].copy_from_slice(&[0x81, 1]);
    disk.special(at, 60, 125);
    disk.0[Disk::cluster(70)] = 7;
    assert_eq!(disk.content("a").unwrap()[512], 7);
    assert_eq!(disk.open().free().unwrap(), 1000 * 512);
}
