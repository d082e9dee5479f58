//! FAT12, FAT16 and FAT32.
//!
//! A file is identified by where its short entry is: the offset on the volume in bytes, a multiple of 32.
//! The root directory, which has no entry, is number 1.
//!
//! There is no checksum over a directory or a table. What can be compared is compared: the tables with one
//! another, the length of a chain with the size of the file, and the first entry of a directory with the
//! directory. On a file system that was not unmounted cleanly, a chain may be longer than its file, and the
//! first table is the one that counts.

#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod boot;
mod code_page;
mod entry;
#[cfg(test)]
mod tests;

pub(crate) use boot::{BOOT_LEN, Boot};

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::chains::{Chain, ChainContent, Clusters, End, Reader, Table};
use super::content::Content;
use super::fault::FileError;
use super::name::FileName;
use super::stat::{Condition, Entry, FileId, FileKind, Properties, Stat, Times};
use super::{Attributes, FileSystem};
use crate::format::wire::Fields;
use crate::source::{ReadAt, begins_with_known, read_uninterrupted};
use boot::{ENTRY_LEN, Root};
use entry::{ENTRY, LongName, Record, Short, fold, label, parse};

/// The number of the root directory.
const ROOT: u64 = 1;
/// Most bytes of a directory: 65,536 entries (Microsoft's FAT specification of 2000).
const MAX_DIRECTORY: u64 = 65_536 * ENTRY_LEN;
/// Bytes of a directory, or of a table that is counted, that are read at a time.
const PIECE: usize = 1 << 16;

struct Fat {
    source: Arc<dyn ReadAt>,
    boot: Boot,
    /// The clusters that have an entry in the tables.
    clusters: Clusters,
    properties: Properties,
    is_dirty: bool,
}

/// Opens the file system, if the source holds one of this kind.
pub(super) fn open(source: &Arc<dyn ReadAt>) -> Result<Option<Arc<dyn FileSystem>>, FileError> {
    let Some((boot, mut conditions)) = find(source.as_ref())? else {
        return Ok(None);
    };
    let clusters = Clusters {
        count: u32::try_from(boot.table_entries.saturating_sub(2))
            .unwrap_or(u32::MAX)
            .min(boot.clusters.count),
        ..boot.clusters
    };
    if clusters.count < boot.clusters.count {
        conditions.push(damaged(format!(
            "its tables have {} entries for {} clusters",
            boot.table_entries, boot.clusters.count
        )));
    }
    if boot.size > source.size() {
        conditions.push(damaged(format!(
            "it has {} bytes, and the volume only {}",
            boot.size,
            source.size()
        )));
    }
    let why = why_dirty(source.as_ref(), &boot);
    let is_dirty = why.is_some();
    conditions.extend(why.map(|why| Condition::Dirty { why }));
    let mut system = Fat {
        source: Arc::clone(source),
        properties: Properties {
            kind: boot.width.name(),
            label: None,
            serial: boot.serial.into(),
            size: boot.size,
            sector_size: boot.sector_size,
            cluster_size: boot.clusters.size,
            conditions,
        },
        boot,
        clusters,
        is_dirty,
    };
    system.properties.label = system.label();
    Ok(Some(Arc::new(system)))
}

fn damaged(what: String) -> Condition {
    Condition::Damaged { what }
}

/// The boot sector: that at the start, or its copy if it is unreadable, empty or damaged.
fn find(source: &dyn ReadAt) -> Result<Option<(Boot, Vec<Condition>)>, FileError> {
    /// Where mkfs.fat and Windows put the copy, in sectors.
    const COPY: u64 = 6;
    let mut bytes = [0; BOOT_LEN];
    if source.size() < BOOT_LEN as u64 {
        return Ok(None);
    }
    let read = read_uninterrupted(source, 0, &mut bytes);
    let fault = match &read {
        Ok(()) => match Boot::parse(&bytes) {
            Ok(Some(boot)) if has_its_table(source, &boot) => {
                let conditions = compare_with_copy(source, &boot);
                return Ok(Some((boot, conditions.into_iter().collect())));
            }
            Ok(_) => None,
            Err(fault) => Some(FileError::from(fault)),
        },
        Err(_) => None,
    };
    // A sector of another kind is the truth, and the copy only a remainder. So is a file system that
    // begins with zeros.
    let is_empty = bytes.iter().all(|byte| *byte == 0);
    let is_damaged = read.is_err()
        || fault.is_some()
        || is_empty && !begins_with_known(source).unwrap_or(true)
        || bytes.get(0x52..0x57) == Some(b"FAT32");
    for sector in [512, 1024, 2048, 4096_u64]
        .into_iter()
        .filter(|_| is_damaged)
    {
        let offset = COPY.saturating_mul(sector);
        let mut copy = [0; BOOT_LEN];
        if read_uninterrupted(source, offset, &mut copy).is_ok()
            && let Ok(Some(boot)) = Boot::parse(&copy)
            && boot.copy == Some(offset)
            && has_its_table(source, &boot)
        {
            let what = "the boot sector; its copy is used instead".to_owned();
            return Ok(Some((boot, vec![damaged(what)])));
        }
    }
    match (fault, read) {
        (Some(fault), _) => Err(fault),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => Ok(None),
    }
}

/// Whether a table begins as the boot sector says. A sector that is not that of a file system, but has
/// possible values by chance, has no table.
pub(crate) fn has_its_table(source: &dyn ReadAt, boot: &Boot) -> bool {
    // Entry 0 is a byte for the medium below bits that are set.
    let bad = boot.width.bad();
    boot.tables.iter().any(|table| {
        let entry = Reader::new(source, *table, BOOT_LEN).entry(0);
        entry.is_ok_and(|entry| entry | 0xFF == bad | 0xFF && matches!(entry & 0xFF, 0xF0 | 0xF8..))
    })
}

fn compare_with_copy(source: &dyn ReadAt, boot: &Boot) -> Option<Condition> {
    let mut bytes = [0; BOOT_LEN];
    read_uninterrupted(source, boot.copy?, &mut bytes).ok()?;
    let copy = Boot::parse(&bytes).ok()??;
    let same = (copy.clusters, &copy.tables, copy.root) == (boot.clusters, &boot.tables, boot.root);
    (!same).then(|| damaged("the boot sector or its copy: they differ".to_owned()))
}

/// How it is known that the file system was not unmounted cleanly.
fn why_dirty(source: &dyn ReadAt, boot: &Boot) -> Option<String> {
    let (clean, sound) = boot.marks();
    let entry = boot
        .tables
        .first()
        .and_then(|table| Reader::new(source, *table, BOOT_LEN).entry(1).ok());
    let lacks = |mark: u32| entry.is_some_and(|entry| entry & mark != mark);
    let why = if lacks(clean) || boot.flags & Boot::DIRTY != 0 {
        "its dirty bit is set"
    } else if lacks(sound) {
        "it recorded a disk error"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// The parts of a directory that can be read, as ranges of bytes on the volume, and what is wrong with
/// the rest.
struct Parts {
    ranges: Vec<Range<u64>>,
    fault: Option<FileError>,
}

impl Fat {
    /// The chain of a file of `count` clusters. All tables must agree; a table that is damaged there
    /// counts only if all are.
    fn chain(&self, first: u32, count: u32) -> Result<Chain, FileError> {
        let mut found: Option<Chain> = None;
        let mut fault = None;
        for table in &self.boot.tables {
            match self.chain_of(table, first, count) {
                Ok(chain) if found.is_none() => found = Some(chain),
                Ok(chain) if found.as_ref() != Some(&chain) && !self.is_dirty => {
                    return Err(tables_differ(first));
                }
                Ok(_) => {}
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        found.ok_or_else(|| fault.unwrap_or(FileError::NotFound))
    }

    fn chain_of(&self, table: &Table, first: u32, count: u32) -> Result<Chain, FileError> {
        let source = self.source.as_ref();
        let followed = table.follow(source, self.clusters, first, count);
        let len = followed.chain.count();
        match followed.end {
            End::Fault(fault) => Err(fault),
            _ if len < count => Err(FileError::damaged(format!(
                "the chain of clusters that begins with {first} has {len} clusters, and the file needs {count}"
            ))),
            End::GoesOn if !self.is_dirty => Err(FileError::damaged(format!(
                "the chain of clusters that begins with {first} is longer than the file, which needs {count}"
            ))),
            _ => Ok(followed.chain),
        }
    }

    /// The first `most` clusters of a directory, as far as the chain is not damaged.
    fn directory_chain(&self, first: u32, most: u32) -> (Chain, Option<FileError>) {
        let longest = self.clusters.needed(MAX_DIRECTORY);
        let longest = longest.unwrap_or(self.clusters.count).max(1);
        let most = longest.min(most);
        let mut whole: Option<Chain> = None;
        let mut part: Option<(Chain, FileError)> = None;
        for table in &self.boot.tables {
            let source = self.source.as_ref();
            let followed = table.follow(source, self.clusters, first, most);
            let fault = match followed.end {
                End::Fault(fault) => fault,
                End::GoesOn => FileError::damaged("the directory has more than 65,536 entries"),
                End::Marked => {
                    let chain = followed.chain;
                    match &whole {
                        None => whole = Some(chain),
                        Some(other) if *other != chain && !self.is_dirty => {
                            return (other.common(&chain), Some(tables_differ(first)));
                        }
                        Some(_) => {}
                    }
                    continue;
                }
            };
            let is_longer = part
                .as_ref()
                .is_none_or(|(chain, _)| chain.count() < followed.chain.count());
            if is_longer {
                part = Some((followed.chain.up_to_repeat(), fault));
            }
        }
        match (whole, part) {
            (Some(chain), _) => (chain, None),
            (None, Some((chain, fault))) => (chain, Some(fault)),
            (None, None) => (Chain::default(), None),
        }
    }

    fn parts_of_chain(&self, first: u32, most: u32) -> Parts {
        let (chain, fault) = self.directory_chain(first, most);
        let ranges = chain.ranges(self.clusters).collect();
        Parts { ranges, fault }
    }

    /// The first `most` clusters of a directory.
    fn parts(&self, directory: FileId, most: u32) -> Result<Parts, FileError> {
        if directory.number == ROOT {
            return Ok(match self.boot.root {
                Root::Fixed { start, end } => Parts {
                    ranges: std::iter::once(start..end).collect(),
                    fault: None,
                },
                Root::Chain(first) => self.parts_of_chain(first, most),
            });
        }
        let short = self.short(directory)?;
        if short.kind != FileKind::Directory {
            return Err(FileError::NotADirectory);
        }
        self.check_directory(&short)?;
        Ok(self.parts_of_chain(short.first, most))
    }

    /// Checks that the first entry of a directory is that for itself. Without that, any content could
    /// be taken for a directory.
    fn check_directory(&self, short: &Short) -> Result<(), FileError> {
        let cluster = short.first;
        if !self.clusters.contains(cluster) {
            return Err(FileError::damaged(format!(
                "the directory begins with cluster {cluster}, which does not exist"
            )));
        }
        let start = self.clusters.bytes(cluster, 1).start;
        // Some programs write a long name before it.
        for position in [start, start.saturating_add(ENTRY_LEN)] {
            let bytes = self.entry_at(position)?;
            let fields = Fields::new("directory", &bytes, 0);
            match parse(fields, self.boot.width)? {
                Record::Piece(_) if position == start => {}
                Record::Dot(dot) if dot.is_itself() && [0, cluster].contains(&dot.first) => {
                    return Ok(());
                }
                _ => break,
            }
        }
        Err(FileError::damaged(format!(
            "what begins with cluster {cluster} is no directory"
        )))
    }

    fn entry_at(&self, position: u64) -> Result<[u8; ENTRY], FileError> {
        let mut bytes = [0; ENTRY];
        read_uninterrupted(self.source.as_ref(), position, &mut bytes)?;
        Ok(bytes)
    }

    /// The short entry of a file.
    fn short(&self, file: FileId) -> Result<Short, FileError> {
        let position = file.number;
        let in_root = match self.boot.root {
            Root::Fixed { start, end } => (start..end).contains(&position),
            Root::Chain(_) => false,
        };
        let is_possible = position.is_multiple_of(ENTRY_LEN)
            && (in_root || self.clusters.holding(position).is_some());
        if !is_possible {
            return Err(FileError::NotFound);
        }
        let bytes = self.entry_at(position)?;
        match parse(Fields::new("directory", &bytes, position), self.boot.width)? {
            Record::Short(short) => Ok(short),
            _ => Err(FileError::NotFound),
        }
    }

    /// Calls `tell` with all entries of a directory but those that are not in use, and where they are.
    fn read(
        &self,
        parts: Parts,
        tell: &mut dyn FnMut(Record<'_>, u64) -> ControlFlow<()>,
    ) -> Result<(), FileError> {
        let mut fault = parts.fault;
        let mut bytes = Vec::new();
        for part in parts.ranges {
            let mut at = part.start;
            while at < part.end {
                let len = part.end.saturating_sub(at).min(PIECE as u64);
                bytes.resize(usize::try_from(len).unwrap_or(0), 0);
                let position = at;
                at = at.saturating_add(len);
                if let Err(error) = read_uninterrupted(self.source.as_ref(), position, &mut bytes) {
                    fault = fault.or(Some(error.into()));
                    // The pieces of a long name before the gap belong to an entry in it.
                    let _ = tell(Record::Deleted, position);
                    continue;
                }
                let (entries, _) = bytes.as_chunks::<ENTRY>();
                let mut position = position;
                for entry in entries {
                    let record = parse(Fields::new("directory", entry, position), self.boot.width)?;
                    if matches!(record, Record::End) {
                        return fault.map_or(Ok(()), Err);
                    }
                    if tell(record, position).is_break() {
                        return Ok(());
                    }
                    position = position.saturating_add(ENTRY_LEN);
                }
            }
        }
        fault.map_or(Ok(()), Err)
    }

    /// Calls `tell` with the files of a directory: name, short name, entry.
    fn files(
        &self,
        directory: FileId,
        tell: &mut dyn FnMut(FileName, &Short, FileId) -> ControlFlow<()>,
    ) -> Result<(), FileError> {
        let mut long = LongName::default();
        let mut unnamed = 0u32;
        let mut is_over = false;
        self.read(self.parts(directory, u32::MAX)?, &mut |record, position| {
            match record {
                Record::Piece(piece) => {
                    if long.add(piece).is_err() {
                        long.clear();
                    }
                }
                Record::Short(short) => {
                    let name = long.take(&short).unwrap_or_else(|| short.name());
                    if name.units().is_empty() {
                        unnamed = unnamed.saturating_add(1);
                    } else {
                        let flow = tell(name, &short, FileId::from_number(position));
                        is_over = flow.is_break();
                        return flow;
                    }
                }
                _ => long.clear(),
            }
            ControlFlow::Continue(())
        })?;
        match unnamed {
            _ if is_over => Ok(()),
            0 => Ok(()),
            _ => Err(FileError::damaged(format!(
                "entries of the directory that have no name: {unnamed}"
            ))),
        }
    }

    fn label(&self) -> Option<String> {
        let mut found = None;
        let parts = self.parts(FileId::from_number(ROOT), u32::MAX).ok()?;
        // What is damaged there is an error when the directory is listed.
        let _ = self.read(parts, &mut |record, _| match record {
            Record::Label(bytes) => {
                found = Some(label(&bytes));
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
        found.unwrap_or_else(|| label(&self.boot.label))
    }
}

fn tables_differ(first: u32) -> FileError {
    FileError::damaged(format!(
        "the tables differ in the chain of clusters that begins with {first}"
    ))
}

impl FileSystem for Fat {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn free(&self) -> Result<u64, FileError> {
        let Some(table) = self.boot.tables.first() else {
            return Ok(0);
        };
        let mut reader = Reader::new(self.source.as_ref(), *table, PIECE);
        let free = reader.count_free(self.clusters)?;
        Ok(u64::from(free).saturating_mul(self.clusters.size))
    }

    fn root(&self) -> FileId {
        FileId::from_number(ROOT)
    }

    fn stat(&self, file: FileId) -> Result<Stat, FileError> {
        let (kind, attributes, times, len) = if file.number == ROOT {
            let attributes = Attributes::DIRECTORY;
            (FileKind::Directory, attributes, Times::default(), 0)
        } else {
            let short = self.short(file)?;
            (short.kind, short.attributes, short.times, short.len)
        };
        let allocated = match kind {
            FileKind::Directory => self.parts(file, u32::MAX).map_or(0, |parts| {
                let lens = parts.ranges.iter();
                lens.map(|range| range.end.saturating_sub(range.start))
                    .fold(0, u64::saturating_add)
            }),
            _ => u64::from(len).next_multiple_of(self.clusters.size),
        };
        Ok(Stat {
            id: file,
            kind,
            len: match kind {
                FileKind::Directory => 0,
                _ => len.into(),
            },
            allocated,
            links: 1,
            times,
            attributes,
            reparse_tag: None,
            unreadable: None,
            parent: None,
        })
    }

    fn look_up(&self, directory: FileId, name: &FileName) -> Result<Option<Entry>, FileError> {
        let wanted = fold(name);
        // The best entry so far: one whose long name fits comes before one whose short name does.
        let mut best: Option<(u8, Entry)> = None;
        let listed = self.files(directory, &mut |found, short, id| {
            let rank = if found == *name {
                3
            } else if found.units().len() == wanted.units().len() && fold(&found) == wanted {
                2
            } else if fold(&short.name()) == wanted {
                1
            } else {
                return ControlFlow::Continue(());
            };
            if best.as_ref().is_none_or(|(other, _)| *other < rank) {
                best = Some((rank, Entry::new(found, id, short.kind)));
            }
            match rank {
                3 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        match best {
            Some((_, entry)) => Ok(Some(entry)),
            None => listed.map(|()| None),
        }
    }

    fn list(
        &self,
        directory: FileId,
        tell: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), FileError> {
        self.files(directory, &mut |name, short, id| {
            tell(Entry::new(name, id, short.kind))
        })
    }

    fn places(&self, directory: FileId, clusters: u32) -> Vec<Range<u64>> {
        self.parts(directory, clusters)
            .map_or_else(|_| Vec::new(), |parts| parts.ranges)
    }

    fn open(&self, file: FileId, stream: Option<&FileName>) -> Result<Box<dyn Content>, FileError> {
        if stream.is_some() {
            self.stat(file)?;
            return Err(FileError::NotFound);
        }
        if file.number == ROOT {
            return Err(FileError::IsADirectory);
        }
        let short = self.short(file)?;
        if short.kind == FileKind::Directory {
            return Err(FileError::IsADirectory);
        }
        let len = u64::from(short.len);
        let chain = match self.clusters.needed(len) {
            Some(0) => Chain::default(),
            Some(count) => self.chain(short.first, count)?,
            None => {
                return Err(FileError::damaged(format!(
                    "the file has {len} bytes, more than the volume"
                )));
            }
        };
        let source = Arc::clone(&self.source);
        let content = ChainContent::new(source, self.clusters, chain, len, len);
        Ok(Box::new(content))
    }
}
