//! File systems that no tool makes, from their records.

use std::sync::Arc;

use super::attribute::types;
use super::fixups;
use crate::files::{FileError, FileId, FileSystem};

const CLUSTER: usize = 4096;
/// The first cluster of the file table.
const TABLE: usize = 4;
/// The file of the tests, and its first extension.
const FILE: u64 = 30;
const EXTENSION: u64 = 64;

/// A file system with records of `len` bytes.
struct Maker {
    len: usize,
    clusters: u64,
    bytes: Vec<u8>,
}

impl Maker {
    /// A file system that says it has so many clusters, and has `count` file records.
    fn new(len: usize, clusters: u64, count: usize) -> Self {
        let table = (count * len).next_multiple_of(CLUSTER);
        let mut made = Self {
            len,
            clusters,
            bytes: vec![0; TABLE * CLUSTER + table],
        };
        let exponent = (-(len.ilog2() as i32)) as u8;
        let fields: [(usize, &[u8]); 7] = [
            (3, b"NTFS    "),
            (0x0B, &[0, 2, 8]),
            (0x28, &(clusters * 8).to_le_bytes()),
            (0x30, &[TABLE as u8]),
            (0x38, &[TABLE as u8]),
            (0x40, &[exponent]),
            (0x44, &[1]),
        ];
        for (at, field) in fields {
            made.bytes[at..at + field.len()].copy_from_slice(field);
        }
        let mut run = vec![0x14];
        run.extend(((table / CLUSTER) as u32).to_le_bytes());
        run.extend([TABLE as u8, 0]);
        let end = (table / CLUSTER) as u64;
        made.record(0, None, &[content(types::DATA, 0, end, table as u64, &run)]);
        made
    }

    fn record(&mut self, number: u64, base: Option<u64>, attributes: &[Vec<u8>]) {
        let mut record = b"FILE".to_vec();
        record.resize(0x48, 0);
        let fields: [(usize, &[u8]); 6] = [
            (4, &[0x30, 0, (self.len / 512 + 1) as u8, 0]),
            (0x10, &[1]),
            (0x14, &[0x48]),
            (0x16, &[1]),
            (0x20, &base.map_or(0, |base| base | 1 << 48).to_le_bytes()),
            (0x2C, &(number as u32).to_le_bytes()),
        ];
        for (at, field) in fields {
            record[at..at + field.len()].copy_from_slice(field);
        }
        record.extend(attributes.concat());
        record.extend([0xFF; 8]);
        let used = record.len() as u32;
        assert!(record.len() <= self.len, "{used}");
        record[0x18..0x1C].copy_from_slice(&used.to_le_bytes());
        record.resize(self.len, 0);
        fixups::renew("file record", &mut record, 0).unwrap();
        let at = TABLE * CLUSTER + number as usize * self.len;
        self.bytes[at..at + self.len].copy_from_slice(&record);
    }

    /// A file with as many extensions, each of which has as many runs of a cluster.
    fn fragmented(&mut self, extensions: u64, runs: u64) {
        let list_len = 26 * extensions as usize;
        let list_clusters = list_len.div_ceil(CLUSTER);
        let mut run = vec![0x21, list_clusters as u8];
        let behind = (self.bytes.len() / CLUSTER) as u16;
        run.extend(behind.to_le_bytes());
        run.push(0);
        let mut list = content(
            types::ATTRIBUTE_LIST,
            0,
            list_clusters as u64,
            list_len as u64,
            &run,
        );
        list[0x0E] = 1;
        self.record(FILE, None, &[list]);
        // Two clusters on, each time.
        let one = [0x11, 1, 2].repeat(runs as usize);
        let one = [one, vec![0]].concat();
        let size = extensions * runs * CLUSTER as u64;
        for number in 0..extensions {
            let (first, end) = (number * runs, (number + 1) * runs);
            let part = content(types::DATA, first, end, size, &one);
            self.record(EXTENSION + number, Some(FILE), &[part]);
            let mut entry = types::DATA.to_le_bytes().to_vec();
            entry.extend([26, 0, 0, 0]);
            entry.extend(first.to_le_bytes());
            entry.extend(((EXTENSION + number) | 1 << 48).to_le_bytes());
            entry.extend([0; 2]);
            self.bytes.extend(entry);
        }
        let len = self.bytes.len().next_multiple_of(CLUSTER);
        self.bytes.resize(len, 0);
    }

    fn open(self) -> Arc<dyn FileSystem> {
        assert!(self.clusters > (self.bytes.len() / CLUSTER) as u64);
        let source: Arc<dyn crate::source::ReadAt> = Arc::new(self.bytes);
        super::open(&source).unwrap().unwrap()
    }
}

/// An attribute whose content is in clusters.
fn content(kind: u32, first: u64, end: u64, len: u64, runs: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.resize(0x40, 0);
    bytes[8] = 1;
    bytes[0x10..0x18].copy_from_slice(&first.to_le_bytes());
    bytes[0x18..0x20].copy_from_slice(&(end.wrapping_sub(1)).to_le_bytes());
    bytes[0x20] = 0x40;
    for at in [0x28, 0x30, 0x38] {
        bytes[at..at + 8].copy_from_slice(&len.to_le_bytes());
    }
    bytes.extend(runs);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let all = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&all.to_le_bytes());
    bytes
}

#[test]
fn a_file_of_300_000_pieces_is_read() {
    let (extensions, runs) = (1024, 293);
    let mut made = Maker::new(1024, 1 << 24, 1200);
    made.fragmented(extensions, runs);
    let cluster = |bytes: &[u8], number: usize| bytes[number * CLUSTER..][..CLUSTER].to_vec();
    // The runs of each extension are at clusters 2, 4 and so on.
    let expected = [cluster(&made.bytes, 6), cluster(&made.bytes, 8)].concat();
    let files = made.open();
    let content = files.open(FileId::from_number(FILE), None).unwrap();
    assert_eq!(content.size(), extensions * runs * CLUSTER as u64);
    let mut found = vec![0; 2 * CLUSTER];
    let last = (extensions - 1) * runs + 2;
    content
        .read_exact_at(last * CLUSTER as u64, &mut found)
        .unwrap();
    assert!(found == expected);
}

#[test]
fn a_file_of_millions_of_pieces_is_refused() {
    // The longest list, and as many runs as records of 4 KiB have space for.
    let mut made = Maker::new(4096, 1 << 24, 10_200);
    made.fragmented(10_082, 1300);
    let refused = made.open().open(FileId::from_number(FILE), None);
    let Err(FileError::Io(error)) = refused.map(|_| ()) else {
        panic!("it is read");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
}

#[test]
fn free_space_on_more_clusters_than_ntfs_can_have_is_not_counted() {
    let clusters = 1u64 << 50;
    let mut made = Maker::new(1024, clusters, 40);
    // A hole.
    let run = [0x05, 0, 0, 0, 0, 8, 0];
    made.record(
        6,
        None,
        &[content(types::DATA, 0, 1 << 35, clusters / 8, &run)],
    );
    assert!(matches!(made.open().free(), Err(FileError::Damaged { .. })));
}
