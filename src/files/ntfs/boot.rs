//! The boot sector of NTFS: the sizes of sectors, clusters and records, and where the file table is. A
//! copy is in the last sector of the partition, behind the sectors of the volume.
//!
//! | offset | field |
//! |---|---|
//! | 0x03 | `NTFS` and four spaces |
//! | 0x0B, 0x0D | bytes in a sector; sectors in a cluster; from 0x81 on, the exponent of a power of two |
//! | 0x1C, 0x28 | sectors before the partition; sectors of the volume, without the last |
//! | 0x30, 0x38 | first cluster of the file table, and of the copy of its start |
//! | 0x40, 0x44 | clusters in a file record, in an index record; if negative, the exponent of its size in bytes |
//! | 0x48 | serial number |
//!
//! Sources: the documentation of the Linux-NTFS project; what mkntfs writes.

use crate::format::FormatError;
use crate::format::wire::Fields;

/// Bytes that [`Geometry::parse`] needs.
pub(crate) const BOOT_LEN: usize = 512;
/// Largest cluster, in bytes.
const MAX_CLUSTER: u64 = 1 << 21;
/// Sizes of file records and index records, in bytes.
const RECORD_LENS: std::ops::RangeInclusive<u64> = 512..=1 << 16;

/// The sizes and places that the boot sector gives.
#[derive(Debug, Clone)]
pub(crate) struct Geometry {
    /// Bytes in a sector.
    pub(crate) sector_size: u32,
    /// Bytes in a cluster.
    pub(crate) cluster_size: u64,
    /// Number of clusters.
    pub(crate) clusters: u64,
    /// Size of the volume in bytes.
    pub(crate) size: u64,
    /// Sectors before the partition.
    pub(crate) hidden_sectors: u32,
    /// Serial number.
    pub(crate) serial: u64,
    /// Bytes in a file record.
    pub(crate) record_len: usize,
    /// Where the file table begins, in bytes from the start of the volume.
    pub(crate) table: u64,
    /// Where the copy of its start begins.
    pub(crate) copy: u64,
}

impl Geometry {
    /// Whether the first sector of a volume says that it is NTFS.
    pub(crate) fn fits(boot: &[u8]) -> bool {
        boot.get(3..11) == Some(b"NTFS    ")
    }

    /// Parses a boot sector with the signature.
    ///
    /// # Errors
    /// A size that NTFS does not have, or a file table outside the volume.
    pub(crate) fn parse(boot: &[u8], position: u64) -> Result<Self, FormatError> {
        let boot = Fields::new("boot sector", boot, position);
        if !Self::fits(boot.bytes()) {
            return Err(boot.fault("it has no signature of NTFS"));
        }
        let odd = |what: &str, value: u64| boot.fault(format!("{what} of {value} bytes"));
        let sector_size = u32::from(boot.u16(0x0B)?);
        let sector = u64::from(sector_size);
        if ![512, 1024, 2048, 4096].contains(&sector_size) {
            return Err(odd("sectors", sector));
        }
        let per_cluster = match boot.u8(0x0D)? {
            count @ 0..=0x80 => u64::from(count),
            exponent => power(exponent),
        };
        let cluster_size = per_cluster.saturating_mul(sector);
        if !cluster_size.is_power_of_two() || cluster_size > MAX_CLUSTER {
            return Err(odd("clusters", cluster_size));
        }
        let record_len = |what: &str, at: usize| {
            let len = match boot.u8(at)? {
                count @ 0..=0x7F => u64::from(count).saturating_mul(cluster_size),
                exponent => power(exponent),
            };
            let fits = len.is_power_of_two() && RECORD_LENS.contains(&len);
            let len = usize::try_from(len).ok().filter(|_| fits).ok_or(len);
            len.map_err(|len| odd(what, len))
        };
        // Each index has the size of its records too.
        record_len("index records", 0x44)?;
        let sectors = boot.u64(0x28)?;
        let clusters = sectors.checked_div(per_cluster).unwrap_or(0);
        let size = sectors.checked_mul(sector).filter(|size| *size < 1 << 63);
        let size = size.ok_or_else(|| boot.fault(format!("a volume of {sectors} sectors")))?;
        let place = |what: &str, at: usize| {
            let number = boot.u64(at)?;
            let fits = number > 0 && number < clusters;
            let start = fits.then(|| number.checked_mul(cluster_size)).flatten();
            start.ok_or_else(|| boot.fault(format!("its {what} is outside the volume")))
        };
        Ok(Self {
            sector_size,
            cluster_size,
            clusters,
            size,
            hidden_sectors: boot.u32(0x1C)?,
            serial: boot.u64(0x48)?,
            record_len: record_len("file records", 0x40)?,
            table: place("file table", 0x30)?,
            copy: place("copy of the file table", 0x38)?,
        })
    }

    /// Number of records in the copy of the start of the file table: four, or as many as fit into a
    /// cluster.
    pub(crate) fn copied(&self) -> u64 {
        let in_cluster = self.cluster_size.checked_div(self.record_len as u64);
        in_cluster.unwrap_or(0).max(4)
    }
}

/// The power of two with this negative exponent.
fn power(exponent: u8) -> u64 {
    1u64.checked_shl(u32::from(0u8.wrapping_sub(exponent)))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(changes: &[(usize, &[u8])]) -> Vec<u8> {
        let mut boot = vec![0; BOOT_LEN];
        let usual: &[(usize, &[u8])] = &[
            (3, b"NTFS    "),
            (0x0B, &[0, 2, 8]),
            (0x28, &[0, 0, 1]),
            (0x30, &[4]),
            (0x38, &[0x10]),
            (0x40, &[0xF6]),
            (0x44, &[1]),
        ];
        for (at, bytes) in usual.iter().chain(changes) {
            boot[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        boot
    }

    fn parse(changes: &[(usize, &[u8])]) -> Option<Geometry> {
        Geometry::parse(&boot(changes), 0).ok()
    }

    #[test]
    fn sizes_are_counts_or_exponents() {
        let usual = parse(&[]).unwrap();
        assert_eq!((usual.cluster_size, usual.clusters), (4096, 8192));
        assert_eq!(usual.record_len, 1024);
        assert_eq!((usual.table, usual.copy), (0x4000, 0x10000));
        // Clusters of 2 MiB: 2^12 sectors.
        let large = parse(&[(0x0D, &[0xF4]), (0x2B, &[1]), (0x44, &[0xF4])]).unwrap();
        assert_eq!(large.cluster_size, 2 << 20);
        let sectors = parse(&[(0x0B, &[0, 16, 1]), (0x40, &[1])]).unwrap();
        assert_eq!((sectors.sector_size, sectors.record_len), (4096, 4096));
    }

    #[test]
    fn impossible_sizes_are_errors() {
        let cases: [(usize, &[u8]); 10] = [
            (0x0B, &[0, 3]),
            (0x0B, &[0, 0]),
            (0x0D, &[0]),
            (0x0D, &[3]),
            (0x0D, &[0x81]),
            (0x40, &[0]),
            (0x40, &[0x80]),
            (0x44, &[0xE0]),
            (0x30, &[0xFF; 8]),
            (0x28, &[0xFF; 8]),
        ];
        for case in cases {
            assert!(parse(&[case]).is_none(), "{case:?}");
        }
        for len in 0..BOOT_LEN {
            let _ = Geometry::parse(&boot(&[])[..len], 0);
        }
    }
}
