//! Finding the volume on a source: the source itself, a range of it, or a partition.

use std::io;
use std::sync::Arc;

use super::partition::{self, Partition, PartitionTable};
use super::{Found, ReadAt, Window, signature};
use crate::error::{Candidate, CandidateState, Error, Remedy, Result};

/// Where to look for the volume on a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// At the first byte of the source, or else in the only partition that holds a volume.
    #[default]
    Auto,
    /// At this byte of the source.
    Offset(u64),
    /// In the partition of this number.
    Partition(u32),
}

/// A volume that [`locate`] found.
#[derive(Clone)]
#[non_exhaustive]
pub struct Located {
    /// The bytes of the volume.
    pub source: Window<Arc<dyn ReadAt>>,
    /// First byte of the volume, from the start of the source.
    pub start: u64,
    /// Number of the partition, if the volume is in one.
    pub partition: Option<u32>,
    /// What the user should know: which partition was chosen, and what is wrong with the partition
    /// table.
    pub note: Option<String>,
}

impl std::fmt::Debug for Located {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Located")
            .field("start", &self.start)
            .field("size", &self.source.size())
            .field("partition", &self.partition)
            .field("note", &self.note)
            .finish_non_exhaustive()
    }
}

/// Finds the volume on a source. `probe` says whether a volume begins with the given bytes, and
/// which: this module does not know the format.
///
/// A partition is chosen automatically only if all partitions could be read: one that cannot be read
/// may hold the volume that the user means.
///
/// # Errors
/// [`Error::NotBitLocker`] with what was found instead, [`Error::Ambiguous`] with the candidates,
/// [`Error::Io`] when the source cannot be read.
pub fn locate(source: Arc<dyn ReadAt>, place: Place, probe: Probe<'_>) -> Result<Located> {
    match place {
        Place::Offset(offset) => at_offset(source, offset, probe),
        Place::Partition(number) => in_partition(source, number, probe),
        Place::Auto => search(source, probe),
    }
}

/// Partitions that a message describes: more than any disk seen has, fewer than a table can list.
const MAX_DESCRIBED: usize = 16;

/// Says which volume begins at the first byte of a source, if any; an error if the source cannot be
/// read there.
pub type Probe<'a> = &'a dyn Fn(&dyn ReadAt) -> io::Result<Option<CandidateState>>;

fn at_offset(source: Arc<dyn ReadAt>, offset: u64, probe: Probe<'_>) -> Result<Located> {
    if !offset.is_multiple_of(512) {
        let what =
            format!("no volume begins at {offset}: the offset must be a multiple of 512 bytes");
        let advice = "give the offset in bytes: a number of sectors times 512";
        return Err(Error::not_bitlocker(what).with_remedy(advice));
    }
    if offset >= source.size() {
        let what = format!(
            "offset {offset} is beyond the end of the source, which has {} bytes",
            source.size()
        );
        return Err(Error::not_bitlocker(what).with_remedy("give an offset inside the source"));
    }
    let window = Window::from(source, offset);
    let probed = probe(&window);
    let probed = probed.map_err(|error| Error::io(format!("cannot read at {offset}"), error))?;
    if probed.is_none() {
        let found = describe(&window)?;
        let remedy = match in_sectors(window.inner(), offset, probe) {
            Some(start) => Remedy::OffsetInBytes {
                sector: offset,
                start,
            },
            None => found.remedy,
        };
        let what = format!("at offset {offset} there is {}", found.what);
        return Err(Error::not_bitlocker(what).with_remedy(remedy));
    }
    Ok(Located {
        source: window,
        start: offset,
        partition: None,
        note: None,
    })
}

/// Where a volume begins if a number that was given as bytes counts sectors.
fn in_sectors(source: &Arc<dyn ReadAt>, number: u64, probe: Probe<'_>) -> Option<u64> {
    [512, 4096].into_iter().find_map(|sector| {
        let start = number.checked_mul(sector)?;
        let found = start > 0 && start < source.size();
        let window = found.then(|| Window::from(source.clone(), start))?;
        probe(&window).ok()?.map(|_| start)
    })
}

fn in_partition(source: Arc<dyn ReadAt>, number: u32, probe: Probe<'_>) -> Result<Located> {
    let table = read_table(source.as_ref())?
        .ok_or_else(|| Error::not_bitlocker("the source has no partition table"))?;
    let partition = table
        .partitions
        .iter()
        .find(|partition| partition.number == number)
        .ok_or_else(|| {
            Error::not_bitlocker(format!(
                "there is no partition {number}; {}",
                listed(&table)
            ))
        })?;
    let window = window(&source, partition);
    let probed = probe(&window);
    let probed = probed.map_err(|error| unreadable_partition(number, error))?;
    if probed.is_none() {
        let found = describe(&window)?;
        let what = format!("partition {number} holds {}", found.what);
        return Err(Error::not_bitlocker(what).with_remedy(found.remedy));
    }
    let notes = table.notes.join("; ");
    Ok(found(
        window,
        partition,
        (!notes.is_empty()).then_some(notes),
    ))
}

/// All volumes of a disk: the one that fills it, or those in its partitions, in the order of their
/// numbers. A partition that cannot be read is one of them, with the reason.
///
/// # Errors
/// [`Error::Io`] when the first sector or the partition table cannot be read.
pub(crate) fn candidates(source: &Arc<dyn ReadAt>, probe: Probe<'_>) -> Result<Vec<Candidate>> {
    if let Some(state) = probe_whole(source, probe)? {
        return Ok(vec![Candidate::whole_source(source.size(), state)]);
    }
    let table = read_table(source.as_ref())?;
    Ok(table.map_or_else(Vec::new, |table| {
        Probed::of(source, &table, probe).candidates()
    }))
}

fn probe_whole(source: &Arc<dyn ReadAt>, probe: Probe<'_>) -> Result<Option<CandidateState>> {
    probe(source).map_err(|error| Error::io("cannot read the first sector", error))
}

fn search(source: Arc<dyn ReadAt>, probe: Probe<'_>) -> Result<Located> {
    if probe_whole(&source, probe)?.is_some() {
        return Ok(Located {
            source: Window::from(source, 0),
            start: 0,
            partition: None,
            note: None,
        });
    }
    let Some(table) = read_table(source.as_ref())? else {
        return Err(describe(&source)?.into_error());
    };
    let probed = Probed::of(&source, &table, probe);
    let all_read = probed.unreadable.is_empty() && table.is_complete;
    match (probed.volumes.as_slice(), all_read) {
        ([], _) => match probed.unreadable.into_iter().next() {
            Some((partition, error)) => Err(unreadable_partition(partition.number, error)),
            None => {
                let remedy = match table.is_complete {
                    true => Remedy::SearchDisk,
                    false => Remedy::AssembleOrSearchDisk,
                };
                Err(Error::not_bitlocker(contents(&source, &table)?).with_remedy(remedy))
            }
        },
        ([(partition, state)], true) => {
            let mut notes = table.notes.clone();
            notes.push(format!(
                "using partition {} of the {} disk ({state})",
                partition.number, table.scheme
            ));
            Ok(found(
                window(&source, partition),
                partition,
                Some(notes.join("; ")),
            ))
        }
        _ => Err(Error::Ambiguous {
            what: choice(
                probed.volumes.len(),
                probed.unreadable.len(),
                table.is_complete,
            ),
            candidates: probed.candidates(),
            notes: table.notes.into(),
            remedy: Remedy::ChoosePartition,
        }),
    }
}

/// What begins in the partitions of a disk.
struct Probed<'t> {
    volumes: Vec<(&'t Partition, CandidateState)>,
    /// Partitions whose first sector cannot be read.
    unreadable: Vec<(&'t Partition, io::Error)>,
}

impl<'t> Probed<'t> {
    fn of(source: &Arc<dyn ReadAt>, table: &'t PartitionTable, probe: Probe<'_>) -> Self {
        let mut probed = Self {
            volumes: Vec::new(),
            unreadable: Vec::new(),
        };
        for partition in &table.partitions {
            match probe(&window(source, partition)) {
                Ok(Some(state)) => probed.volumes.push((partition, state)),
                Ok(None) => {}
                Err(error) => probed.unreadable.push((partition, error)),
            }
        }
        probed
    }

    /// All of them, in the order of the partition numbers.
    fn candidates(self) -> Vec<Candidate> {
        let unreadable = self.unreadable.into_iter();
        let unreadable = unreadable.map(|(partition, error)| {
            let state = CandidateState::Unreadable(Arc::new(error));
            (partition, state)
        });
        let mut candidates: Vec<_> = self.volumes.into_iter().chain(unreadable).collect();
        candidates.sort_by_key(|(partition, _)| partition.number);
        candidates
            .into_iter()
            .map(|(partition, state)| {
                Candidate::in_partition(partition.number, partition.start, partition.size, state)
            })
            .collect()
    }
}

/// Why no partition can be chosen automatically.
fn choice(volumes: usize, unread: usize, complete: bool) -> String {
    let plural = |count| if count == 1 { "" } else { "s" };
    let mut text = format!(
        "the disk holds {volumes} BitLocker volume{}",
        plural(volumes)
    );
    if unread > 0 {
        text += &format!(
            ", and {unread} partition{} that cannot be read",
            plural(unread)
        );
    }
    if !complete {
        text += ", and its partition table may lack partitions";
    }
    text
}

fn unreadable_partition(number: u32, error: io::Error) -> Error {
    Error::io(
        format!("cannot read the first sector of partition {number}"),
        error,
    )
}

fn found(window: Window<Arc<dyn ReadAt>>, partition: &Partition, note: Option<String>) -> Located {
    Located {
        source: window,
        start: partition.start,
        partition: Some(partition.number),
        note,
    }
}

fn window(source: &Arc<dyn ReadAt>, partition: &Partition) -> Window<Arc<dyn ReadAt>> {
    Window::new(source.clone(), partition.start, partition.size)
}

fn read_table(source: &dyn ReadAt) -> Result<Option<PartitionTable>> {
    partition::read(source).map_err(|error| Error::io("cannot read the partition table", error))
}

fn describe(source: &dyn ReadAt) -> Result<Found> {
    signature::describe(source).map_err(|error| Error::io("cannot read the source", error))
}

fn listed(table: &PartitionTable) -> String {
    if table.partitions.is_empty() {
        return format!("the {} disk has none", table.scheme);
    }
    let numbers: Vec<_> = table
        .partitions
        .iter()
        .map(|partition| partition.number.to_string())
        .collect();
    format!("the {} disk has {}", table.scheme, numbers.join(", "))
}

/// What the partitions of a disk without a BitLocker volume hold, for a message.
fn contents(source: &Arc<dyn ReadAt>, table: &PartitionTable) -> Result<String> {
    let mut parts = Vec::new();
    for partition in table.partitions.iter().take(MAX_DESCRIBED) {
        let content = if partition.start >= source.size() {
            "nothing: it is beyond the end of the source".to_owned()
        } else {
            describe(&window(source, partition))?.what
        };
        parts.push(format!(
            "partition {} ({}) holds {content}",
            partition.number, partition.kind
        ));
    }
    match table.partitions.len().saturating_sub(MAX_DESCRIBED) {
        0 => {}
        more => parts.push(format!("and {more} more")),
    }
    if parts.is_empty() {
        parts.push("no partitions".to_owned());
    }
    let mut text = format!(
        "a {} disk without a BitLocker volume: {}",
        table.scheme,
        parts.join(", ")
    );
    for note in &table.notes {
        text += &format!("; {note}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guid::Guid;

    /// In these tests, a volume is a sector that begins with `V` and one byte that is its name.
    fn probe(source: &dyn ReadAt) -> io::Result<Option<CandidateState>> {
        let mut name = [0; 2];
        match source.read_exact_at(0, &mut name) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        Ok((name[0] == b'V').then(|| CandidateState::identified(id(name[1]), Vec::new())))
    }

    fn id(name: u8) -> Guid {
        Guid::from_disk([name; 16])
    }

    fn disk(volumes: &[(usize, u8)]) -> Arc<dyn ReadAt> {
        let mut disk = vec![0; 64 * 512];
        for (nth, start) in [8usize, 16, 24].into_iter().enumerate() {
            let at = 0x1BE + nth * 16;
            disk[at + 4] = 7;
            disk[at + 8] = start as u8;
            disk[at + 12] = 8;
        }
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        for (sector, name) in volumes {
            disk[sector * 512] = b'V';
            disk[sector * 512 + 1] = *name;
        }
        Arc::new(disk)
    }

    fn message(result: Result<Located>) -> String {
        match result {
            Ok(_) => "found".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_volume_at_the_start_needs_no_table() {
        let located = locate(disk(&[(0, b'a')]), Place::Auto, &probe).unwrap();
        assert_eq!((located.start, located.partition), (0, None));
        assert_eq!(located.note, None);
    }

    #[test]
    fn the_only_volume_of_a_disk_is_used_and_named() {
        let located = locate(disk(&[(16, b'b')]), Place::Auto, &probe).unwrap();
        assert_eq!((located.start, located.partition), (16 * 512, Some(2)));
        assert_eq!(located.source.size(), 8 * 512);
        assert!(located.note.unwrap().contains(&format!(
            "partition 2 of the MBR disk (volume {:X})",
            id(b'b')
        )));
    }

    #[test]
    fn several_volumes_are_listed() {
        let error = message(locate(disk(&[(8, b'x'), (24, b'y')]), Place::Auto, &probe));
        assert!(error.contains("2 BitLocker volumes"), "{error}");
        assert!(
            error.contains("\n  partition 1: 4.0 KiB (4096 bytes at 4096), volume 78787878-"),
            "{error}"
        );
        assert!(
            error.contains("\n  partition 3: 4.0 KiB (4096 bytes at 12288), volume 79797979-"),
            "{error}"
        );
    }

    #[test]
    fn says_what_was_found_instead() {
        let error = message(locate(disk(&[]), Place::Auto, &probe));
        assert!(
            error.contains("partition 1 (NTFS or exFAT) holds nothing but zeros"),
            "{error}"
        );
        let error = message(locate(disk(&[]), Place::Partition(7), &probe));
        assert!(
            error.contains("no partition 7; the MBR disk has 1, 2, 3"),
            "{error}"
        );
        let error = message(locate(disk(&[]), Place::Partition(1), &probe));
        assert!(error.contains("partition 1 holds"), "{error}");
        let error = message(locate(disk(&[]), Place::Offset(1 << 40), &probe));
        assert!(error.contains("beyond the end"), "{error}");
        let error = message(locate(disk(&[]), Place::Offset(1000), &probe));
        assert!(error.contains("must be a multiple of 512"), "{error}");
        let error = message(locate(Arc::new(b"QFI\xFB".to_vec()), Place::Auto, &probe));
        assert!(error.contains("a qcow2 disk image"), "{error}");
        let error = message(locate(Arc::new(Vec::new()), Place::Auto, &probe));
        assert!(error.contains("an empty file"), "{error}");
    }

    /// The disk, of which some sectors cannot be read.
    struct Failing(Arc<dyn ReadAt>, Vec<u64>);

    impl ReadAt for Failing {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn sector_size(&self) -> Option<u32> {
            Some(512)
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
    fn a_partition_that_cannot_be_read_makes_the_choice_ambiguous() {
        let whole = disk(&[(8, b'x'), (16, b'y')]);
        let failing = |sectors: &[u64]| -> Arc<dyn ReadAt> {
            Arc::new(Failing(whole.clone(), sectors.to_vec()))
        };
        let result = locate(failing(&[8]), Place::Auto, &probe);
        assert!(
            matches!(&result, Err(Error::Ambiguous { candidates, .. }) if candidates.len() == 2)
        );
        let error = message(result);
        assert!(
            error.contains("1 BitLocker volume, and 1 partition that cannot be read"),
            "{error}"
        );
        assert!(error.contains("partition 1: 4.0 KiB"), "{error}");
        assert!(error.contains("volume 79797979-"), "{error}");
        // A partition that can be read can still be chosen by its number.
        let located = locate(failing(&[8]), Place::Partition(2), &probe).unwrap();
        assert_eq!(located.partition, Some(2));
        for place in [Place::Partition(1), Place::Offset(8 * 512)] {
            let result = locate(failing(&[8]), place, &probe);
            assert!(matches!(result, Err(Error::Io { .. })), "{place:?}");
        }
        // No partition holds a volume: one that cannot be read may.
        let result = locate(failing(&[8, 16]), Place::Auto, &probe);
        assert!(
            matches!(&result, Err(Error::Io { source, .. }) if source.raw_os_error() == Some(5))
        );
        let error = message(result);
        assert!(error.contains("partition 1"), "{error}");
        // Nothing is chosen if the first sector of the disk cannot be read.
        let result = locate(failing(&[0]), Place::Auto, &probe);
        assert!(matches!(result, Err(Error::Io { .. })));
    }

    #[test]
    fn a_table_that_may_lack_partitions_makes_the_choice_ambiguous() {
        let source = disk(&[(16, b'b')]);
        let mut bytes = vec![0; source.size() as usize];
        source.read_exact_at(0, &mut bytes).unwrap();
        // An extended partition whose first link is damaged.
        let at = 0x1BE + 3 * 16;
        bytes[at + 4] = 5;
        bytes[at + 8] = 40;
        bytes[at + 12] = 8;
        let error = message(locate(Arc::new(bytes), Place::Auto, &probe));
        assert!(error.contains("may lack partitions"), "{error}");
        assert!(error.contains("partition 2"), "{error}");
    }

    #[test]
    fn a_volume_at_an_offset_reaches_to_the_end_of_the_source() {
        let located = locate(disk(&[(16, b'b')]), Place::Offset(16 * 512), &probe).unwrap();
        assert_eq!(located.start, 16 * 512);
        assert_eq!(located.source.size(), 48 * 512);
    }
}
