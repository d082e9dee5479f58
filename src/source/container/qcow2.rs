//! qcow2, versions 2 and 3 (QEMU, docs/interop/qcow2).
//!
//! The crate `imago` 0.2 was tried and withstood the tests; it adds some 30 crates, and keeps caches
//! behind locks.
//!
//! All numbers are big-endian. The disk is divided into clusters. The L1 table has the offsets of L2
//! tables, and those have the offsets of the clusters.
//!
//! | header | field |
//! |---|---|
//! | 0, 4 | `QFI` 0xFB, version |
//! | 8, 16 | offset and length of the backing file's name |
//! | 20, 24 | base-2 logarithm of the cluster size, size of the disk |
//! | 32 | encryption method; 0 for none |
//! | 36, 40 | entries of the L1 table, its offset |
//! | 72 | version 3: features without which the image cannot be read |
//! | 104 | compression method, if feature bit 3 is set; 0 for deflate |

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use flate2::{Decompress, FlushDecompress, Status};

use super::blocks::{Stored, at_most, be32, be64, bytes_at, fill, has_at, read_in_blocks};
use super::{damaged, unsupported};
use crate::source::ReadAt;

const MAGIC: &[u8] = b"QFI\xFB";
const HEADER_LEN: usize = 112;
/// Base-2 logarithm of the cluster size: at least 9 in the format, at most 21 (2 MiB) in QEMU.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// Bits 9 to 55 of an entry: the offset of its table or cluster.
const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;
const COMPRESSED: u64 = 1 << 62;
const ZEROS: u64 = 1;
const ENTRY_LEN: u64 = 8;
/// Unit of the length of a compressed cluster, in bytes.
const SECTOR: u64 = 512;

/// Feature bits that do not keep the image from being read: dirty (only the reference counts may be
/// wrong), and the one that says that there is a compression method.
const HARMLESS: u64 = 1 | COMPRESSION;
const COMPRESSION: u64 = 1 << 3;
/// Feature bits that are refused, and the words of the message.
const FEATURES: [(u64, &str); 3] = [
    (
        1 << 1,
        "that is marked as corrupt; 'qemu-img check' may repair it",
    ),
    (1 << 2, "whose data is in another file"),
    (1 << 4, "with subclusters"),
];

pub(super) fn fits(file: &dyn ReadAt) -> io::Result<bool> {
    has_at(file, 0, MAGIC)
}

pub(super) fn open(file: Arc<dyn ReadAt>) -> io::Result<Arc<dyn ReadAt>> {
    let header: [u8; HEADER_LEN] = bytes_at(&file, 0)?;
    let version = be32(&header, 4);
    refuse(&header, version)?;
    let cluster_bits = be32(&header, 20);
    if !CLUSTER_BITS.contains(&cluster_bits) {
        return Err(damaged(format!("its clusters have 2^{cluster_bits} bytes")));
    }
    let disk = Qcow2 {
        size: be64(&header, 24),
        cluster_bits,
        l1_table: be64(&header, 40),
        zeros: if version >= 3 { ZEROS } else { 0 },
        file,
    };
    let tables = u64::from(be32(&header, 36));
    let table_len = disk
        .cluster_len()
        .saturating_mul(disk.cluster_len() / ENTRY_LEN);
    if disk.size.div_ceil(table_len.max(1)) > tables {
        return Err(damaged(format!(
            "its table has {tables} entries, too few for a disk of {} bytes",
            disk.size
        )));
    }
    Ok(Arc::new(disk))
}

/// Refuses an image whose features would make the disk read wrongly.
fn refuse(header: &[u8], version: u32) -> io::Result<()> {
    if !matches!(version, 2 | 3) {
        return Err(unsupported(format!("a qcow image of version {version}")));
    }
    if be64(header, 8) != 0 {
        return Err(unsupported(
            "a qcow2 image with a backing file, which is not followed",
        ));
    }
    if be32(header, 32) != 0 {
        return Err(unsupported("an encrypted qcow2 image"));
    }
    if version == 2 {
        return Ok(());
    }
    let features = be64(header, 72);
    for (bit, what) in FEATURES {
        if features & bit != 0 {
            return Err(unsupported(format!("a qcow2 image {what}")));
        }
    }
    if features & COMPRESSION != 0 && header.get(104).is_some_and(|method| *method != 0) {
        return Err(unsupported("a qcow2 image with zstd clusters"));
    }
    let known = FEATURES
        .iter()
        .fold(HARMLESS, |known, (bit, _)| known | bit);
    if features & !known != 0 {
        return Err(unsupported(format!(
            "a qcow2 image with unknown features ({features:#x})"
        )));
    }
    Ok(())
}

struct Qcow2 {
    file: Arc<dyn ReadAt>,
    size: u64,
    cluster_bits: u32,
    l1_table: u64,
    /// The bit of an entry that says "zeros"; 0 in version 2, which has none.
    zeros: u64,
}

impl Qcow2 {
    fn cluster_len(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// The L2 entry of the cluster with the byte at `offset`; 0 if there is no L2 table.
    fn entry(&self, offset: u64) -> io::Result<u64> {
        let cluster = offset >> self.cluster_bits;
        let per_table = self.cluster_len() / ENTRY_LEN;
        let l1 = cluster.checked_div(per_table).unwrap_or(0);
        let table = self.table_entry(self.l1_table, l1)? & OFFSET;
        if table == 0 {
            return Ok(0);
        }
        self.table_entry(table, cluster.checked_rem(per_table).unwrap_or(0))
    }

    fn table_entry(&self, table: u64, index: u64) -> io::Result<u64> {
        let offset = table.saturating_add(index.saturating_mul(ENTRY_LEN));
        Ok(be64(&bytes_at::<8>(&self.file, offset)?, 0))
    }

    /// The content of a compressed cluster. The low bits of its entry are the offset in bytes, the
    /// bits above them the number of sectors that it has after the first.
    fn decompressed(&self, entry: u64) -> io::Result<Vec<u8>> {
        let offset_bits = 62u32.saturating_sub(self.cluster_bits.saturating_sub(8));
        let mask = (1u64 << offset_bits).saturating_sub(1);
        let offset = entry & mask;
        let sectors = ((entry & (COMPRESSED - 1)) >> offset_bits).saturating_add(1);
        let len = sectors
            .saturating_mul(SECTOR)
            .saturating_sub(offset % SECTOR);
        // The file may end inside the last sector.
        let len = len.min(self.file.size().saturating_sub(offset));
        let mut packed = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::InvalidData)?];
        self.file.read_exact_at(offset, &mut packed)?;
        let mut cluster = vec![0; usize::try_from(self.cluster_len()).unwrap_or(0)];
        let mut inflate = Decompress::new(false);
        let status = inflate
            .decompress(&packed, &mut cluster, FlushDecompress::Finish)
            .map_err(|_| damaged("a compressed cluster is damaged"))?;
        if inflate.total_out() != self.cluster_len() || status == Status::BufError {
            return Err(damaged("a compressed cluster is cut off"));
        }
        Ok(cluster)
    }
}

impl ReadAt for Qcow2 {
    fn size(&self) -> u64 {
        self.size
    }

    fn modified(&self) -> Option<SystemTime> {
        self.file.modified()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        read_in_blocks(self.size, offset, buf, |offset, buf| {
            let inside = offset & self.cluster_len().saturating_sub(1);
            let limit = self.cluster_len().saturating_sub(inside);
            let entry = self.entry(offset)?;
            if entry & COMPRESSED != 0 {
                let cluster = self.decompressed(entry)?;
                let buf = at_most(buf, limit);
                cluster.as_slice().read_exact_at(inside, buf)?;
                return Ok(buf.len());
            }
            let cluster = entry & OFFSET;
            let stored = if cluster == 0 || entry & self.zeros != 0 {
                Stored::Zeros
            } else {
                Stored::At(cluster.saturating_add(inside))
            };
            fill(&self.file, stored, limit, buf)
        })
    }
}
