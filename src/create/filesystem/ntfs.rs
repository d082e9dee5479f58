//! NTFS: a bitmap of used clusters (`$Bitmap`), and a list of bad ones (`$BadClus`), whose stream
//! `$Bad` is as long as the volume and is a hole except for the bad clusters. The boot sector, file
//! records and lists of runs are parsed by [`crate::files`].

use std::ops::Range;

use super::bitmap::Bitmap;
use super::{Facts, FileSystem, Image, broken, broken_field, change, dirty, read, unusable};
use crate::create::free_space::Clusters;
use crate::error::{Error, Result};
use crate::files::ntfs::attribute::{Attribute, Form, types};
use crate::files::ntfs::boot::{BOOT_LEN, Geometry};
use crate::files::ntfs::record::Record;
use crate::files::ntfs::runs::{self, Run};
use crate::files::ntfs::volume;
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
    geometry: Geometry,
    bitmap: Bitmap,
}

fn fault(fault: crate::format::FormatError) -> Error {
    broken_field(NAME)(fault)
}

pub(super) fn open(image: &dyn ReadAt) -> Result<Option<Box<dyn FileSystem>>> {
    if image.size() < BOOT_LEN as u64 {
        return Ok(None);
    }
    let boot = read(image, 0, BOOT_LEN as u64)?;
    if !Geometry::fits(&boot) {
        return Ok(None);
    }
    let mut system = Ntfs::new(Geometry::parse(&boot, 0).map_err(fault)?);
    if system.facts.size > image.size() {
        // The caller reports a truncated image; its records may be beyond the end.
        return Ok(Some(Box::new(system)));
    }
    system.facts.label = system.check_volume(image)?;
    system.check_log(image)?;
    let record = system.record(image, BITMAP)?;
    system.bitmap.pieces = system.pieces(&record, attribute(&record, types::DATA, "")?)?;
    if !system.bitmap.is_whole() {
        return Err(broken(NAME, "its bitmap is too short"));
    }
    Ok(Some(Box::new(system)))
}

/// The attribute of that type and name.
fn attribute<'r>(record: &'r Record, kind: u32, name: &str) -> Result<&'r Attribute> {
    let found = record.attribute(kind, name);
    found.ok_or_else(|| fault(record.fault(format!("it has no attribute {kind:#x}"))))
}

impl Ntfs {
    fn new(geometry: Geometry) -> Self {
        Self {
            facts: Facts {
                name: NAME,
                sector_size: geometry.sector_size,
                hidden_sectors: geometry.hidden_sectors,
                label: None,
                size: geometry.size,
                clusters: Clusters {
                    start: 0,
                    size: geometry.cluster_size,
                    count: geometry.clusters,
                },
            },
            bitmap: Bitmap {
                pieces: Vec::new(),
                clusters: geometry.clusters,
            },
            geometry,
        }
    }

    /// The offset of a record in the file table or the copy of its start, which begins at `table`.
    fn place(&self, table: u64, number: u64) -> u64 {
        table.saturating_add(number * self.geometry.record_len as u64)
    }

    fn record(&self, image: &dyn ReadAt, number: u64) -> Result<Record> {
        let at = self.place(self.geometry.table, number);
        let bytes = read(image, at, self.geometry.record_len as u64)?;
        let record = Record::parse(number, bytes, at).map_err(fault)?;
        if !record.is_in_use() {
            return Err(fault(record.fault("it is not in use")));
        }
        if record.goes_on_elsewhere() {
            return Err(unusable(
                format!("record {number} of the NTFS file system continues in other records"),
                "defragment the file system first",
            ));
        }
        Ok(record)
    }

    fn write(&self, image: &mut Image<'_>, number: u64, record: Record) -> Result<()> {
        let bytes = record.into_disk_bytes().map_err(fault)?;
        change(image, self.place(self.geometry.table, number), &bytes)?;
        if number < self.geometry.copied() {
            change(image, self.place(self.geometry.copy, number), &bytes)?;
        }
        Ok(())
    }

    /// The byte ranges of an attribute's content.
    fn pieces(&self, record: &Record, attribute: &Attribute) -> Result<Vec<Range<u64>>> {
        let mut left = attribute.len();
        let mut pieces = Vec::new();
        let list = record.runs(attribute).map_err(fault)?;
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
        let record = self.record(image, VOLUME)?;
        let information = attribute(&record, types::VOLUME_INFORMATION, "")?;
        let information = record.content(information).map_err(fault)?;
        if let Some(why) = volume::unfinished(information).map_err(fault)? {
            return Err(dirty(NAME, &why));
        }
        Ok(record.resident(types::VOLUME_NAME).and_then(volume::label))
    }

    /// Checks that the log has no unfinished operations: Windows would replay them and undo the changes
    /// made here.
    fn check_log(&self, image: &dyn ReadAt) -> Result<()> {
        let record = self.record(image, LOG_FILE)?;
        let pieces = self.pieces(&record, attribute(&record, types::DATA, "")?)?;
        let first = pieces.first();
        let Some(first) = first.filter(|piece| piece.end - piece.start >= volume::LOG_LEN) else {
            return Err(dirty(NAME, "its log cannot be read"));
        };
        match volume::is_log_clean(&read(image, first.start, volume::LOG_LEN)?) {
            true => Ok(()),
            false => Err(dirty(NAME, "its log has unfinished operations")),
        }
    }

    /// Adds clusters to the list of bad clusters.
    fn mark_bad(&self, image: &mut Image<'_>, clusters: &[Range<u64>]) -> Result<()> {
        let record = self.record(image, BAD_CLUSTERS)?;
        let bad = attribute(&record, types::DATA, BAD)?;
        let list = record.runs(bad).map_err(fault)?;
        let count = match &bad.form {
            Form::Stored(stored) => stored.end,
            Form::Resident(_) => 0,
        };
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
        let record = record.with_runs(bad, &list).map_err(|fault| {
            unusable(
                format!(
                    "the list of bad clusters of the NTFS file system cannot be extended: {fault}"
                ),
                "copy its files to a new file system",
            )
        })?;
        self.write(image, BAD_CLUSTERS, record)
    }
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
