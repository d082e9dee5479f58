//! NTFS: a bitmap of used clusters (`$Bitmap`), and a list of bad ones (`$BadClus`), whose stream
//! `$Bad` is as long as the volume and is a hole except for the bad clusters.
//!
//! | offset in the boot sector | field |
//! |---|---|
//! | 0x0B, 0x0D | bytes in a sector; sectors in a cluster; from 0x81 on, the exponent of a power of two |
//! | 0x1C, 0x28 | sectors before the partition; sectors of the volume, without the last |
//! | 0x30, 0x38 | first cluster of the file table, and of the copy of its start |
//! | 0x40 | clusters in a file record; if negative, the exponent of its size in bytes |
//!
//! Sources: the documentation of the Linux-NTFS project; what mkntfs writes.

mod record;
mod runs;

use std::ops::Range;

use self::record::{Attribute, Record, types};
use self::runs::Run;
use super::bitmap::Bitmap;
use super::{Facts, FileSystem, Image, broken, broken_field, change, dirty, read, unusable};
use crate::create::free_space::Clusters;
use crate::error::{Error, Result};
use crate::format::wire::Fields;
use crate::source::ReadAt;

const NAME: &str = "NTFS";
/// Numbers of file records.
const LOG_FILE: u64 = 2;
const VOLUME: u64 = 3;
const BITMAP: u64 = 6;
const BAD_CLUSTERS: u64 = 8;
/// Name of the stream with the bad clusters.
const BAD: &str = "$Bad";

struct Ntfs {
    facts: Facts,
    table: Table,
    bitmap: Bitmap,
}

/// The start of the file table, with the records of the file system's own files.
struct Table {
    /// Bytes in a file record.
    record_len: u64,
    start: u64,
    /// Offset of the copy of the first records, and their number.
    copy: u64,
    copied: u64,
}

impl Table {
    fn place(&self, number: u64) -> u64 {
        self.start.saturating_add(number * self.record_len)
    }

    fn record(&self, image: &dyn ReadAt, number: u64) -> Result<Record> {
        let at = self.place(number);
        let record = Record::parse(read(image, at, self.record_len)?, at).map_err(fault)?;
        if record.goes_on_elsewhere().map_err(fault)? {
            return Err(unusable(
                format!("record {number} of the NTFS file system continues in other records"),
                "defragment the file system first",
            ));
        }
        Ok(record)
    }

    fn write(&self, image: &mut Image<'_>, number: u64, record: Record) -> Result<()> {
        let bytes = record.into_disk_bytes().map_err(fault)?;
        change(image, self.place(number), &bytes)?;
        if number < self.copied {
            let at = self.copy.saturating_add(number * self.record_len);
            change(image, at, &bytes)?;
        }
        Ok(())
    }
}

fn fault(fault: crate::format::FormatError) -> Error {
    broken_field(NAME)(fault)
}

pub(super) fn open(image: &dyn ReadAt) -> Result<Option<Box<dyn FileSystem>>> {
    if image.size() < 512 {
        return Ok(None);
    }
    let boot = read(image, 0, 512)?;
    if boot.get(3..11) != Some(b"NTFS    ") {
        return Ok(None);
    }
    let mut system = Ntfs::parse(&Fields::new("boot sector", &boot, 0))?;
    if system.facts.size > image.size() {
        // The caller reports a truncated image; its records may be beyond the end.
        return Ok(Some(Box::new(system)));
    }
    system.facts.label = system.check_volume(image)?;
    system.check_log(image)?;
    let record = system.table.record(image, BITMAP)?;
    let data = record.attribute(types::DATA, "").map_err(fault)?;
    system.bitmap.pieces = system.pieces(&record, &data)?;
    if !system.bitmap.is_whole() {
        return Err(broken(NAME, "its bitmap is too short"));
    }
    Ok(Some(Box::new(system)))
}

impl Ntfs {
    fn parse(boot: &Fields<'_>) -> Result<Self> {
        let sector = u64::from(boot.u16(0x0B).map_err(fault)?);
        let odd = |what: &str, value: u64| broken(NAME, format!("{what} of {value} bytes"));
        if ![512, 1024, 2048, 4096].contains(&sector) {
            return Err(odd("sectors", sector));
        }
        let per_cluster = match boot.u8(0x0D).map_err(fault)? {
            n @ 0..=0x80 => u64::from(n),
            n => 1 << 0u8.wrapping_sub(n).min(31),
        };
        let cluster = per_cluster * sector;
        if !cluster.is_power_of_two() || cluster > 1 << 21 {
            return Err(odd("clusters", cluster));
        }
        let record_len = match boot.u8(0x40).map_err(fault)? {
            n @ 0..=0x7F => u64::from(n) * cluster,
            n => 1 << 0u8.wrapping_sub(n).min(31),
        };
        if !record_len.is_power_of_two() || !(512..=65536).contains(&record_len) {
            return Err(odd("file records", record_len));
        }
        let sectors = boot.u64(0x28).map_err(fault)?;
        let count = sectors / per_cluster;
        let place = |at| {
            let number = boot.u64(at).map_err(fault)?;
            let fits = number > 0 && number < count;
            let start = fits.then(|| number.checked_mul(cluster)).flatten();
            start.ok_or_else(|| broken(NAME, "its file table is outside the volume"))
        };
        Ok(Self {
            facts: Facts {
                name: NAME,
                sector_size: u32::try_from(sector).unwrap_or(0),
                hidden_sectors: boot.u32(0x1C).map_err(fault)?,
                label: None,
                size: sectors.saturating_mul(sector),
                clusters: Clusters {
                    start: 0,
                    size: cluster,
                    count,
                },
            },
            table: Table {
                record_len,
                start: place(0x30)?,
                copy: place(0x38)?,
                // Four records, or as many as fit into a cluster.
                copied: (cluster / record_len).max(4),
            },
            bitmap: Bitmap {
                pieces: Vec::new(),
                clusters: count,
            },
        })
    }

    /// The byte ranges of an attribute's content.
    fn pieces(&self, record: &Record, attribute: &Attribute) -> Result<Vec<Range<u64>>> {
        let (list, _, len) = record.runs(attribute).map_err(fault)?;
        let mut left = len;
        let mut pieces = Vec::new();
        for run in runs::decode(&list).map_err(fault)? {
            let end = run.at.and_then(|at| at.checked_add(run.len));
            let (Some(at), Some(end)) =
                (run.at, end.filter(|end| *end <= self.facts.clusters.count))
            else {
                return Err(broken(NAME, "its bitmap is outside the volume"));
            };
            let mut bytes = self.facts.clusters.bytes(&(at..end));
            bytes.end = bytes.end.min(bytes.start.saturating_add(left));
            left -= bytes.end - bytes.start;
            pieces.push(bytes);
        }
        Ok(pieces)
    }

    /// Checks that Windows has no pending work on the file system, and returns its label.
    fn check_volume(&self, image: &dyn ReadAt) -> Result<Option<String>> {
        /// Flags for dirty and for pending work of Windows: resize the log, upgrade, delete the change
        /// journal, repair identifiers, continue a check.
        const UNFINISHED: u16 = 0x4037;
        /// Offset of the flags in the attribute.
        const FLAGS: usize = 0x0A;
        let record = self.table.record(image, VOLUME)?;
        let information = record.attribute(types::VOLUME_INFORMATION, "");
        let information = information
            .and_then(|found| record.content(&found))
            .map_err(fault)?;
        let fields = Fields::new("volume information", information, 0);
        let flags = fields.u16(FLAGS).map_err(fault)?;
        if flags & UNFINISHED != 0 {
            return Err(dirty(NAME, &format!("its volume flags are {flags:#06x}")));
        }
        let label = record.attribute(types::VOLUME_NAME, "");
        let label = label.and_then(|found| record.content(&found)).ok();
        let units = label.unwrap_or_default().chunks_exact(2);
        let units: Vec<u16> = units
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .collect();
        let label = String::from_utf16_lossy(&units);
        Ok((!label.is_empty()).then_some(label))
    }

    /// Checks that the log has no unfinished operations: Windows would replay them and undo the changes
    /// made here. The first two pages of the log show this; an emptied log is all ones.
    fn check_log(&self, image: &dyn ReadAt) -> Result<()> {
        let record = self.table.record(image, LOG_FILE)?;
        let data = record.attribute(types::DATA, "").map_err(fault)?;
        let pieces = self.pieces(&record, &data)?;
        let Some(first) = pieces
            .first()
            .filter(|piece| piece.end - piece.start >= LOG_LEN)
        else {
            return Err(dirty(NAME, "its log cannot be read"));
        };
        let log = read(image, first.start, LOG_LEN)?;
        let pages = log.chunks_exact(log.len() / 2);
        let newest = pages
            .filter_map(restart)
            .max_by_key(|restart| restart.sequence);
        let emptied = log.iter().all(|byte| *byte == 0xFF);
        match newest {
            Some(newest) if newest.is_clean => Ok(()),
            None if emptied => Ok(()),
            _ => Err(dirty(NAME, "its log has unfinished operations")),
        }
    }

    /// Adds clusters to the list of bad clusters.
    fn mark_bad(&self, image: &mut Image<'_>, clusters: &[Range<u64>]) -> Result<()> {
        let mut record = self.table.record(image, BAD_CLUSTERS)?;
        let bad = record.attribute(types::DATA, BAD).map_err(fault)?;
        let (list, last, _) = record.runs(&bad).map_err(fault)?;
        let count = last.saturating_add(1);
        let mut all = clusters.to_vec();
        let mut number = 0u64;
        for run in runs::decode(&list).map_err(fault)? {
            let end = number.saturating_add(run.len);
            if run.at.is_some_and(|at| at != number) || end > count {
                return Err(broken(NAME, "its list of bad clusters is wrong"));
            }
            if run.at.is_some() {
                all.push(number..end);
            }
            number = end;
        }
        let list = bad_runs(all, count).as_deref().and_then(runs::encode);
        let list = list.ok_or_else(|| broken(NAME, "its list of bad clusters is too short"))?;
        record.replace_runs(&bad, &list).map_err(|fault| {
            unusable(
                format!(
                    "the list of bad clusters of the NTFS file system cannot be extended: {fault}"
                ),
                "copy its files to a new file system",
            )
        })?;
        self.table.write(image, BAD_CLUSTERS, record)
    }
}

/// Bytes of the log's first two pages.
const LOG_LEN: u64 = 2 * 4096;

/// State of the log according to a restart page.
struct Restart {
    sequence: u64,
    is_clean: bool,
}

fn restart(page: &[u8]) -> Option<Restart> {
    /// No program has the log open.
    const NOT_OPEN: u16 = 0xFFFF;
    /// It was closed properly.
    const CLEAN: u16 = 0x0002;
    let page = Fields::new("log", page, 0);
    if page.slice(0, 4).ok()? != b"RSTR" {
        return None;
    }
    let area = usize::from(page.u16(0x18).ok()?);
    Some(Restart {
        sequence: page.u64(area).ok()?,
        is_clean: page.u16(area + 0x0C).ok()? == NOT_OPEN
            || page.u16(area + 0x0E).ok()? & CLEAN != 0,
    })
}

/// The stream `$Bad` for `count` clusters, of which these are bad, with holes between them.
fn bad_runs(mut bad: Vec<Range<u64>>, count: u64) -> Option<Vec<Run>> {
    bad.sort_by_key(|range| range.start);
    let mut runs: Vec<Run> = Vec::new();
    let mut number = 0;
    for range in bad {
        if range.start > number {
            let len = range.start - number;
            runs.push(Run { len, at: None });
        } else if range.start < number {
            return None;
        }
        let len = range.end - range.start;
        match runs.last_mut() {
            Some(last) if last.at.is_some_and(|at| at + last.len == range.start) => last.len += len,
            _ => runs.push(Run {
                len,
                at: Some(range.start),
            }),
        }
        number = range.end;
    }
    let rest = count.checked_sub(number)?;
    if rest > 0 {
        runs.push(Run {
            len: rest,
            at: None,
        });
    }
    Some(runs)
}

impl FileSystem for Ntfs {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn free(&self, image: &dyn ReadAt, tell: &mut dyn FnMut(Range<u64>)) -> Result<()> {
        self.bitmap.clear(image, tell)
    }

    fn reserve(&self, image: &mut Image<'_>, clusters: &[Range<u64>]) -> Result<()> {
        self.mark_bad(image, clusters)?;
        clusters
            .iter()
            .try_for_each(|run| self.bitmap.set(image, run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_clean_if_it_is_not_open_or_its_flag_says_so() {
        let page = |in_use: u16, flags: u16| {
            let mut page = vec![0; 4096];
            page[..4].copy_from_slice(b"RSTR");
            page[0x18] = 0x30;
            page[0x3C..0x3E].copy_from_slice(&in_use.to_le_bytes());
            page[0x3E..0x40].copy_from_slice(&flags.to_le_bytes());
            restart(&page).map(|restart| restart.is_clean)
        };
        assert_eq!(page(0xFFFF, 0), Some(true));
        assert_eq!(page(0, 2), Some(true));
        assert_eq!(page(0, 0), Some(false));
        assert!(restart(&[0xFF; 4096]).is_none());
    }

    #[test]
    fn bad_clusters_lie_between_holes() {
        let run = |len, at| Run { len, at };
        let runs = bad_runs(vec![50..60, 10..12, 60..61], 100).unwrap();
        let expected = [
            run(10, None),
            run(2, Some(10)),
            run(38, None),
            run(11, Some(50)),
            run(39, None),
        ];
        assert_eq!(runs, expected);
        assert_eq!(bad_runs(vec![5..10, 9..12], 100), None);
        assert_eq!(bad_runs(vec![90..91, 95..101], 100), None);
    }
}
