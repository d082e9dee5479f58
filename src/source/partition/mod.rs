//! Partition tables, read-only.
//!
//! They are parsed here because the crates that were tried do not withstand hostile tables. `gpt`
//! 4.1 panics (`assert_eq!`) on an entry size other than 128, and allocates as much as the entry
//! count says. `mbrman` 0.6 panics on a partition that starts at sector 0, adds the start of a
//! logical partition in 32 bits, and does not return the primary partitions if a logical one is
//! damaged.
//!
//! Which table is used if there are several (as Linux decides, except for a lost first sector):
//!
//! | first sector | table |
//! |---|---|
//! | boot sector of a file system | none; a GPT in the following sectors is left from an earlier use |
//! | MBR with partitions, none of them protective | the MBR |
//! | protective MBR | the GPT, or its backup, or the other partitions of the MBR |
//! | anything else | the GPT, if there is one; its backup, if the disk begins with no known format |

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod gpt;
mod kind;
mod mbr;

use std::fmt;
use std::io;

pub use kind::Kind;

use super::{ReadAt, signature};
use mbr::FirstSector;

/// The partition table of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionTable {
    /// GPT or MBR.
    pub scheme: Scheme,
    /// The partitions in the order of their numbers.
    pub partitions: Vec<Partition>,
    /// What the user should know about the table, such as damage; a sentence each.
    pub notes: Vec<String>,
    /// Whether `partitions` has every partition of the disk. `false` if a part of the table is
    /// damaged or cannot be read.
    pub is_complete: bool,
}

/// The format of a partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// GUID partition table (UEFI specification 2.10, section 5.3).
    Gpt,
    /// Master boot record.
    Mbr,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gpt => "GPT",
            Self::Mbr => "MBR",
        })
    }
}

/// A partition as its table describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Its number, as Linux counts: the logical partitions of an MBR disk begin at 5.
    pub number: u32,
    /// First byte, from the start of the disk.
    pub start: u64,
    /// Size in bytes; the disk may end before.
    pub size: u64,
    /// Its type: a GUID or a byte.
    pub kind: Kind,
    /// Its name in a GPT; empty for an MBR.
    pub name: String,
}

/// The partition table of a disk, if it has one.
///
/// # Errors
/// The reason why the disk cannot be read.
pub fn read(disk: &dyn ReadAt) -> io::Result<Option<PartitionTable>> {
    // An image does not say the size of its sectors, and the adapter of a disk may show others than
    // those that its table counts. A GPT is in the second sector, wherever that begins.
    let own = disk.sector_size().filter(|size| is_sector_size(*size));
    let own = own.map(u64::from);
    let others = SECTOR_SIZES.into_iter().filter(|size| own != Some(*size));
    let sizes: Vec<u64> = own.into_iter().chain(others).collect();
    let with_note = |mut table: PartitionTable, counted: u64| {
        if let Some(own) = own.filter(|own| *own != counted) {
            table.notes.push(format!(
                "the partition table counts sectors of {counted} bytes, and the device has sectors of {own}"
            ));
        }
        Some(table)
    };
    let first = mbr::first_sector(disk)?;
    let (protective, entries) = match first {
        FirstSector::FileSystem => return Ok(None),
        FirstSector::Table(entries) => (entries.iter().any(mbr::Entry::is_protective), entries),
        FirstSector::Other => (false, Vec::new()),
    };
    if protective || entries.is_empty() {
        // A table that cannot be read may exist. Unless the other one can be read, the reading error
        // is reported.
        let mut unread = None;
        for sector in &sizes {
            match gpt::read_primary(disk, *sector) {
                Ok(Some(table)) => return Ok(with_note(table, *sector)),
                Ok(None) => {}
                Err(error) => unread = unread.or(Some(error)),
            }
        }
        // Without a protective MBR, the backup may be left from an earlier use of the disk.
        if protective || !signature::begins_with_known(disk)? {
            for sector in &sizes {
                match gpt::read_backup(disk, *sector) {
                    Ok(Some(table)) => return Ok(with_note(table, *sector)),
                    Ok(None) => {}
                    Err(error) => unread = unread.or(Some(error)),
                }
            }
        }
        if let Some(error) = unread {
            return Err(error);
        }
    }
    if entries.is_empty() {
        return Ok(None);
    }
    let sector = mbr::sector_size(disk, &entries, &sizes, own)?;
    let table = mbr::read(disk, sector, &entries)?;
    Ok(with_note(table, sector))
}

/// Sizes of the sectors that partition tables count.
const SECTOR_SIZES: [u64; 2] = [512, 4096];

/// Whether a medium can have sectors of this size in bytes.
fn is_sector_size(size: u32) -> bool {
    size.is_power_of_two() && (512..=4096).contains(&size)
}

/// `len` bytes at `offset`; `None` where the disk ends before.
fn bytes_at(disk: &dyn ReadAt, offset: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
    let fits = offset
        .checked_add(len as u64)
        .is_some_and(|end| end <= disk.size());
    if !fits {
        return Ok(None);
    }
    let mut bytes = vec![0; len];
    disk.read_exact_at(offset, &mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A disk with an MBR: one primary partition, and an extended one with two logical ones.
    pub(super) fn mbr_disk() -> Vec<u8> {
        let mut disk = vec![0; 512 * 64];
        let mut entry = |table: usize, nth: usize, kind: u8, start: u32, len: u32| {
            let at = table * 512 + 0x1BE + nth * 16;
            disk[at + 4] = kind;
            disk[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
            disk[at + 12..at + 16].copy_from_slice(&len.to_le_bytes());
            disk[table * 512 + 510..table * 512 + 512].copy_from_slice(&[0x55, 0xAA]);
        };
        entry(0, 0, 0x07, 2, 6);
        entry(0, 1, 0x05, 10, 40);
        entry(10, 0, 0x07, 1, 9);
        entry(10, 1, 0x05, 10, 20);
        entry(20, 0, 0x0B, 2, 8);
        disk
    }

    /// A disk with a GPT of two partitions, and its backup.
    pub(super) fn gpt_disk(sector: usize) -> Vec<u8> {
        let sectors = 64;
        let mut disk = vec![0; sector * sectors];
        let mut entries = vec![0; 128 * 4];
        for (nth, first, last) in [(0usize, 20u64, 29u64), (2, 30, 39)] {
            let entry = &mut entries[nth * 128..][..128];
            entry[..16].fill(0xA2);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            entry[56..58].copy_from_slice(b"C\0");
        }
        let header = |here: u64, there: u64, table: u64| {
            let mut header = vec![0; 92];
            header[..8].copy_from_slice(b"EFI PART");
            header[8..12].copy_from_slice(&0x1_0000u32.to_le_bytes());
            header[12..16].copy_from_slice(&92u32.to_le_bytes());
            header[24..32].copy_from_slice(&here.to_le_bytes());
            header[32..40].copy_from_slice(&there.to_le_bytes());
            header[72..80].copy_from_slice(&table.to_le_bytes());
            header[80..84].copy_from_slice(&4u32.to_le_bytes());
            header[84..88].copy_from_slice(&128u32.to_le_bytes());
            header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
            let crc = crc32fast::hash(&header);
            header[16..20].copy_from_slice(&crc.to_le_bytes());
            header
        };
        let last = sectors as u64 - 1;
        disk[sector..sector + 92].copy_from_slice(&header(1, last, 2));
        disk[2 * sector..][..entries.len()].copy_from_slice(&entries);
        disk[(sectors - 1) * sector..][..92].copy_from_slice(&header(last, 1, last - 1));
        disk[(sectors - 2) * sector..][..entries.len()].copy_from_slice(&entries);
        disk[0x1BE + 4] = 0xEE;
        disk[0x1BE + 12] = 63;
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        disk
    }

    fn numbers(disk: &[u8]) -> Vec<(u32, u64, u64)> {
        read(&disk.to_vec())
            .unwrap()
            .map(|table| table.partitions)
            .unwrap_or_default()
            .iter()
            .map(|partition| (partition.number, partition.start, partition.size))
            .collect()
    }

    #[test]
    fn reads_primary_and_logical_partitions() {
        assert_eq!(
            numbers(&mbr_disk()),
            [
                (1, 2 * 512, 6 * 512),
                (5, 11 * 512, 9 * 512),
                (6, 22 * 512, 8 * 512)
            ]
        );
    }

    #[test]
    fn reads_a_gpt_of_either_sector_size() {
        for sector in [512, 4096] {
            let size = sector as u64;
            assert_eq!(
                numbers(&gpt_disk(sector)),
                [(1, 20 * size, 10 * size), (3, 30 * size, 10 * size)]
            );
        }
    }

    /// A disk with sectors of a size that its adapter makes up.
    struct Adapter(Vec<u8>, u32);

    impl ReadAt for Adapter {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn sector_size(&self) -> Option<u32> {
            Some(self.1)
        }

        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
            self.0.read_exact_at(offset, buf)
        }
    }

    #[test]
    fn a_table_may_count_other_sectors_than_the_device_has() {
        for (counted, own) in [(512, 4096), (4096, 512), (512, 2048)] {
            let disk = gpt_disk(counted);
            let table = read(&Adapter(disk.clone(), own)).unwrap().unwrap();
            assert_eq!(table.partitions, read(&disk).unwrap().unwrap().partitions);
            assert!(
                table.notes[0].contains(&format!("counts sectors of {counted} bytes")),
                "{:?}",
                table.notes
            );
            let mut lost = disk.clone();
            lost[counted] ^= 1;
            let table = read(&Adapter(lost, own)).unwrap().unwrap();
            assert_eq!(table.partitions, read(&disk).unwrap().unwrap().partitions);
            assert_eq!(table.notes.len(), 2, "{:?}", table.notes);
            // An MBR does not say: the partition with a known format decides.
            let mut disk = vec![0; 4096 * 64];
            disk[0x1BE + 4] = 7;
            disk[0x1BE + 8] = 8;
            disk[0x1BE + 12] = 8;
            disk[510..512].copy_from_slice(&[0x55, 0xAA]);
            disk[8 * counted + 3..][..8].copy_from_slice(b"NTFS    ");
            let table = read(&Adapter(disk, own)).unwrap().unwrap();
            assert_eq!(table.partitions[0].start, 8 * counted as u64);
            assert_eq!(table.notes.len(), 1, "{:?}", table.notes);
        }
        let table = read(&Adapter(gpt_disk(4096), 4096)).unwrap().unwrap();
        assert_eq!(table.notes, [""; 0]);
    }

    #[test]
    fn falls_back_to_the_backup_when_the_first_gpt_is_damaged() {
        let whole = numbers(&gpt_disk(512));
        for damaged in [512, 512 + 20, 1024 + 33] {
            let mut disk = gpt_disk(512);
            disk[damaged] ^= 1;
            assert_eq!(numbers(&disk), whole, "{damaged}");
            let table = read(&disk).unwrap().unwrap();
            assert!(table.notes[0].contains("backup"), "{:?}", table.notes);
        }
    }

    #[test]
    fn a_file_systems_boot_sector_is_no_table() {
        for name in [&b"NTFS    "[..], b"MSDOS5.0", b"EXFAT   ", b"-FVE-FS-"] {
            for mut disk in [mbr_disk(), gpt_disk(512)] {
                disk[0] = 0xEB;
                disk[2] = 0x90;
                disk[3..11].copy_from_slice(name);
                disk[11..13].copy_from_slice(&512u16.to_le_bytes());
                assert_eq!(read(&disk).unwrap(), None);
            }
        }
        assert_eq!(read(&vec![0; 512 * 8]).unwrap(), None);
        assert_eq!(read(&vec![0; 100]).unwrap(), None);
    }

    #[test]
    fn a_chain_of_logical_partitions_that_loops_ends() {
        let mut disk = mbr_disk();
        // The second points back to the first.
        let at = 20 * 512 + 0x1BE + 16;
        disk[at + 4] = 0x05;
        disk[at + 8..at + 12].copy_from_slice(&0u32.to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&10u32.to_le_bytes());
        assert_eq!(numbers(&disk).len(), 3);
    }

    #[test]
    fn a_chain_of_logical_partitions_may_lead_backwards() {
        let mut disk = mbr_disk();
        // The first link, at 10, leads to 30, that one back to 20.
        let next = |disk: &mut Vec<u8>, table: usize, start: u8| {
            let at = table * 512 + 0x1BE + 16;
            disk[at + 4] = 0x05;
            disk[at + 8] = start;
            disk[at + 12] = 8;
            disk[table * 512 + 510..table * 512 + 512].copy_from_slice(&[0x55, 0xAA]);
        };
        next(&mut disk, 10, 20);
        next(&mut disk, 30, 10);
        disk[30 * 512 + 0x1BE + 4] = 0x07;
        disk[30 * 512 + 0x1BE + 8] = 1;
        disk[30 * 512 + 0x1BE + 12] = 4;
        let starts: Vec<_> = numbers(&disk)
            .iter()
            .map(|(n, at, _)| (*n, at / 512))
            .collect();
        assert_eq!(starts, [(1, 2), (5, 11), (6, 31), (7, 22)]);
    }

    #[test]
    fn a_leftover_gpt_does_not_hide_the_mbr() {
        let mut disk = gpt_disk(512);
        disk[0x1BE + 4] = 0x07;
        disk[0x1BE + 8] = 8;
        assert_eq!(numbers(&disk), [(1, 8 * 512, 63 * 512)]);
    }

    #[test]
    fn a_lost_first_sector_does_not_hide_the_gpt() {
        let whole = numbers(&gpt_disk(512));
        let mut disk = gpt_disk(512);
        disk[..512].fill(0);
        assert_eq!(numbers(&disk), whole);
        disk[512..2048].fill(0);
        assert_eq!(numbers(&disk), whole);
        // A file system since then: the backup is left over.
        disk[..4].copy_from_slice(b"XFSB");
        assert_eq!(read(&disk).unwrap(), None);
    }

    /// A disk, and the sectors of it that cannot be read.
    struct Failing(Vec<u8>, Vec<u64>);

    impl ReadAt for Failing {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
            let end = offset + buf.len() as u64;
            let fails = |sector: &u64| sector * 512 < end && offset < (sector + 1) * 512;
            if self.1.iter().any(fails) {
                return Err(io::Error::from_raw_os_error(5));
            }
            self.0.read_exact_at(offset, buf)
        }
    }

    #[test]
    fn uses_the_backup_of_a_gpt_that_cannot_be_read_and_fails_if_neither_can() {
        let whole = numbers(&gpt_disk(512));
        for sectors in [vec![1], vec![2]] {
            let table = read(&Failing(gpt_disk(512), sectors)).unwrap().unwrap();
            assert!(table.notes[0].contains("backup"), "{:?}", table.notes);
            assert_eq!(table.partitions.len(), whole.len());
        }
        for sectors in [vec![0], vec![1, 63], vec![2, 62]] {
            let error = read(&Failing(gpt_disk(512), sectors)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(5));
        }
    }

    #[test]
    fn a_chain_of_logical_partitions_that_cannot_be_read_is_an_error() {
        let error = read(&Failing(mbr_disk(), vec![20])).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5));
    }

    #[test]
    fn a_partition_that_cannot_be_read_does_not_hide_the_table() {
        let mut disk = mbr_disk();
        disk[11 * 512 + 3..][..8].copy_from_slice(b"NTFS    ");
        let table = read(&Failing(disk, vec![2])).unwrap().unwrap();
        assert_eq!(table.partitions.len(), 3);
        assert!(table.is_complete);
    }

    #[test]
    fn says_that_no_copy_of_the_gpt_can_be_read() {
        let mut disk = gpt_disk(512);
        disk[512] ^= 1;
        disk[63 * 512] ^= 1;
        let table = read(&disk).unwrap().unwrap();
        assert_eq!(table.partitions, []);
        assert!(!table.is_complete);
        assert!(table.notes[0].contains("neither"), "{:?}", table.notes);
    }

    #[test]
    fn reads_entries_larger_than_usual() {
        let mut disk = gpt_disk(512);
        for (header, table) in [(1, 2), (63, 62)] {
            // Two entries of 256 bytes instead of four of 128: the same bytes.
            let header = &mut disk[header * 512..][..92];
            header[80..84].copy_from_slice(&2u32.to_le_bytes());
            header[84..88].copy_from_slice(&256u32.to_le_bytes());
            header[16..20].fill(0);
            let crc = crc32fast::hash(header);
            header[16..20].copy_from_slice(&crc.to_le_bytes());
            let _ = table;
        }
        assert_eq!(
            numbers(&disk),
            [(1, 20 * 512, 10 * 512), (2, 30 * 512, 10 * 512)]
        );
    }

    #[test]
    fn names_the_kinds_that_windows_makes() {
        let id = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7".parse().unwrap();
        assert_eq!(Kind::Gpt(id).to_string(), "Microsoft basic data");
        assert_eq!(Kind::Mbr(0x07).to_string(), "NTFS or exFAT");
        assert_eq!(Kind::Mbr(0x99).to_string(), "type 0x99");
    }

    #[test]
    fn recognizes_an_mbr_in_sectors_of_4096_bytes_by_its_partitions() {
        let mut disk = vec![0; 4096 * 64];
        disk[0x1BE + 4] = 0x07;
        disk[0x1BE + 8] = 8;
        disk[0x1BE + 12] = 16;
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        assert_eq!(numbers(&disk), [(1, 8 * 512, 16 * 512)]);
        disk[8 * 4096 + 3..][..8].copy_from_slice(b"NTFS    ");
        disk[8 * 4096 + 510..][..2].copy_from_slice(&[0x55, 0xAA]);
        assert_eq!(numbers(&disk), [(1, 8 * 4096, 16 * 4096)]);
    }

    proptest! {
        #[test]
        fn no_table_makes_it_panic(
            gpt: bool,
            changes in prop::collection::vec((0usize..512 * 64, any::<u8>()), 0..24),
            repair: bool,
        ) {
            let mut disk = if gpt { gpt_disk(512) } else { mbr_disk() };
            for (at, value) in changes {
                disk[at] = value;
            }
            if repair {
                disk[512 + 16..512 + 20].fill(0);
                let crc = crc32fast::hash(&disk[512..512 + 92]);
                disk[512 + 16..512 + 20].copy_from_slice(&crc.to_le_bytes());
            }
            if let Some(table) = read(&disk).unwrap() {
                prop_assert!(table.partitions.len() <= 256);
            }
        }
    }
}
