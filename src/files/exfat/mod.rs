//! exFAT.
//!
//! A file is identified by where its first entry is: the offset on the volume in bytes, a multiple of 32.
//! Bit 0 is set if the clusters of its directory follow one another: its other entries can be in the next
//! cluster, and the table does not say which one that is. The root directory, which has no entry, is
//! number 2.
//!
//! A chain that is longer than its file is damage, unless the file system was not unmounted cleanly.

#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod boot;
mod entry;
#[cfg(test)]
mod tests;
mod upper_case;

pub(crate) use boot::{Boot, Found, NOT_COUNTED, PERCENT, find};
pub(crate) use entry::Special;

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::FileSystem;
use super::chains::{Chain, ChainContent, Clusters, End, FIRST, Reader};
use super::content::Content;
use super::fault::FileError;
use super::name::FileName;
use super::stat::{Attributes, Condition, Entry, FileId, FileKind, Properties, Stat, Times};
use crate::source::{ReadAt, read_uninterrupted};
use entry::{Collected, Collector, ENTRY, File, Raw, followers, parse};
use upper_case::UpperCase;

/// The number of the root directory.
const ROOT: u64 = 2;
/// Set in the number of a file in a directory without a chain.
const IN_CONTIGUOUS: u64 = 1;
/// Most bytes of a directory (Microsoft's exFAT specification of 2019, section 7.4).
const MAX_DIRECTORY: u64 = 256 << 20;
/// Bytes of the root directory that are searched for the bitmap, the table of upper case and the label.
/// They are the first entries.
const MAX_SPECIAL: u64 = 1 << 20;
/// Bytes of a directory or of the bitmap that are read at a time.
const PIECE: u64 = 1 << 16;

/// The parts of a directory that can be read, what is wrong with the rest, and whether its clusters
/// follow one another.
type Parts = (Vec<Range<u64>>, Option<FileError>, bool);

struct ExFat {
    source: Arc<dyn ReadAt>,
    boot: Boot,
    bitmap: Option<Special>,
    upper_case: UpperCase,
    properties: Properties,
}

/// Opens the file system, if the source holds one of this kind.
pub(super) fn open(source: &Arc<dyn ReadAt>) -> Result<Option<Arc<dyn FileSystem>>, FileError> {
    let Some(Found { boot, is_copy }) = find(source.as_ref())? else {
        return Ok(None);
    };
    let mut conditions = Vec::new();
    let mut damaged = |what: String| conditions.push(Condition::Damaged { what });
    if is_copy {
        damaged("the boot region; its copy is used instead".to_owned());
    }
    if boot.size > source.size() {
        damaged(format!(
            "it has {} bytes, and the volume only {}",
            boot.size,
            source.size()
        ));
    }
    // What is damaged in the root directory is an error when it is listed.
    let special = SpecialEntries::read(source.as_ref(), &boot).unwrap_or_default();
    if special.bitmap.is_none() {
        damaged("the root directory has no entry for the bitmap of clusters".to_owned());
    }
    let upper_case = special
        .upper_case
        .ok_or_else(|| FileError::damaged("the root directory has no entry for it"))
        .and_then(|at| UpperCase::read(source.as_ref(), &boot, at));
    let upper_case = upper_case.unwrap_or_else(|fault| {
        damaged(format!("the table of upper case: {fault}"));
        UpperCase::of_unicode()
    });
    conditions.extend(boot.why_dirty().map(|why| Condition::Dirty {
        why: why.to_owned(),
    }));
    Ok(Some(Arc::new(ExFat {
        source: Arc::clone(source),
        properties: Properties {
            kind: "exFAT",
            label: special.label,
            serial: boot.serial.into(),
            size: boot.size,
            sector_size: boot.sector_size,
            cluster_size: boot.clusters.size,
            conditions,
        },
        bitmap: special.bitmap,
        upper_case,
        boot,
    })))
}

/// The entries of the root directory that are not files.
#[derive(Default)]
pub(crate) struct SpecialEntries {
    /// The bitmap of the clusters that are in use.
    pub(crate) bitmap: Option<Special>,
    upper_case: Option<Special>,
    /// The label.
    pub(crate) label: Option<String>,
}

impl SpecialEntries {
    /// Reads them.
    ///
    /// # Errors
    /// The root directory cannot be read.
    pub(crate) fn read(source: &dyn ReadAt, boot: &Boot) -> Result<Self, FileError> {
        let mut found = Self::default();
        let most = boot.clusters.needed(MAX_SPECIAL);
        let most = most.unwrap_or(boot.clusters.count).max(1);
        let (parts, _) = parts_of_chain(source, boot, boot.root, most);
        let wanted = boot.uses_second();
        read_parts(source, parts, &mut |collected| {
            match collected {
                Collected::Bitmap { is_second, at } if is_second == wanted => {
                    found.bitmap = Some(at);
                }
                Collected::UpperCase(at) => found.upper_case = Some(at),
                Collected::Label(label) if !label.units().is_empty() => {
                    found.label = Some(label.to_text_lossy());
                }
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}

/// The clusters of a chain, as ranges of bytes on the volume, and why it goes no further.
fn parts_of_chain(
    source: &dyn ReadAt,
    boot: &Boot,
    first: u32,
    most: u32,
) -> (Vec<Range<u64>>, End) {
    let followed = boot.table.follow(source, boot.clusters, first, most);
    let chain = followed.chain.up_to_repeat();
    let ranges = chain.ranges(boot.clusters).collect();
    (ranges, followed.end)
}

/// Calls `tell` with what the entries of a directory are. Returns how many files are damaged and were
/// left out.
fn read_parts(
    source: &dyn ReadAt,
    parts: Vec<Range<u64>>,
    tell: &mut dyn FnMut(Collected) -> ControlFlow<()>,
) -> Result<u32, FileError> {
    let mut collector = Collector::default();
    let mut fault = None;
    let mut bytes = Vec::new();
    'parts: for part in parts {
        let mut at = part.start;
        while at < part.end {
            let len = part.end.saturating_sub(at).min(PIECE);
            bytes.resize(usize::try_from(len).unwrap_or(0), 0);
            let mut position = at;
            at = at.saturating_add(len);
            if let Err(error) = read_uninterrupted(source, position, &mut bytes) {
                fault = fault.or(Some(error));
                collector.interrupt();
                continue;
            }
            let (entries, _) = bytes.as_chunks::<ENTRY>();
            for entry in entries {
                let collected = collector.add(entry, position)?;
                if matches!(collected, Collected::End) {
                    break 'parts;
                }
                if tell(collected).is_break() {
                    return Ok(0);
                }
                position = position.saturating_add(ENTRY as u64);
            }
        }
    }
    collector.interrupt();
    match fault {
        Some(error) => Err(error.into()),
        None => Ok(collector.damaged),
    }
}

impl ExFat {
    fn clusters(&self) -> Clusters {
        self.boot.clusters
    }

    /// The entries of a file.
    fn file(&self, id: FileId) -> Result<File, FileError> {
        let position = id.number & !IN_CONTIGUOUS;
        let cluster = self.clusters().holding(position);
        let cluster = cluster.filter(|_| position.is_multiple_of(ENTRY as u64));
        let mut cluster = cluster.ok_or(FileError::NotFound)?;
        let first = self.entry_at(position)?;
        let mut missing = followers(&first).ok_or(FileError::NotFound)?;
        let mut entries = vec![first];
        let mut at = position;
        while missing > 0 {
            at = at.saturating_add(ENTRY as u64);
            if at >= self.clusters().bytes(cluster, 1).end {
                cluster = match id.number & IN_CONTIGUOUS {
                    0 => Reader::new(self.source.as_ref(), self.boot.table, 512).entry(cluster)?,
                    _ => cluster.saturating_add(1),
                };
                if !self.clusters().contains(cluster) {
                    return Err(FileError::damaged("the entries of the file are incomplete"));
                }
                at = self.clusters().bytes(cluster, 1).start;
            }
            entries.push(self.entry_at(at)?);
            missing = missing.saturating_sub(1);
        }
        parse(&entries, position)?
            .ok_or_else(|| FileError::damaged("the checksum of the entries of the file is wrong"))
    }

    fn entry_at(&self, position: u64) -> Result<Raw, FileError> {
        let mut bytes = [0; ENTRY];
        read_uninterrupted(self.source.as_ref(), position, &mut bytes)?;
        Ok(bytes)
    }

    /// The clusters of a file that follow one another.
    fn contiguous(&self, file: &File, count: u32) -> Result<Chain, FileError> {
        let end = file.first.checked_add(count.saturating_sub(1));
        let last = end.filter(|last| self.clusters().contains(*last));
        match last {
            Some(_) if self.clusters().contains(file.first) => {
                Ok(Chain::contiguous(file.first, count))
            }
            _ => Err(FileError::damaged(format!(
                "{count} clusters from {} on, which do not exist",
                file.first
            ))),
        }
    }

    /// The clusters of a file.
    fn chain(&self, file: &File) -> Result<Chain, FileError> {
        let len = file.len;
        let count = self.clusters().needed(len).ok_or_else(|| {
            FileError::damaged(format!("the file has {len} bytes, more than the volume"))
        })?;
        if count == 0 {
            return Ok(Chain::default());
        }
        if file.is_contiguous {
            return self.contiguous(file, count);
        }
        let (source, first) = (self.source.as_ref(), file.first);
        let followed = self
            .boot
            .table
            .follow(source, self.clusters(), first, count);
        let found = followed.chain.count();
        match followed.end {
            End::Fault(fault) => Err(fault),
            _ if found < count => Err(FileError::damaged(format!(
                "the chain of clusters that begins with {first} has {found} clusters, and the file needs {count}"
            ))),
            End::GoesOn if self.boot.why_dirty().is_none() => Err(FileError::damaged(format!(
                "the chain of clusters that begins with {first} is longer than the file, which needs {count}"
            ))),
            _ => Ok(followed.chain),
        }
    }

    /// The parts of a directory that can be read, of its first `most` clusters, what is wrong with the rest,
    /// and whether its clusters follow one another.
    fn parts(&self, directory: FileId, most: u32) -> Result<Parts, FileError> {
        let source = self.source.as_ref();
        let too_long = || FileError::damaged("the directory has more than 256 MiB");
        let longest = self.clusters().needed(MAX_DIRECTORY);
        let longest = longest.unwrap_or(self.clusters().count).max(1);
        let most = longest.min(most);
        if directory.number == ROOT {
            let (ranges, end) = parts_of_chain(source, &self.boot, self.boot.root, most);
            let fault = match end {
                End::Fault(fault) => Some(fault),
                End::GoesOn => Some(too_long()),
                End::Marked => None,
            };
            return Ok((ranges, fault, false));
        }
        let file = self.file(directory)?;
        if file.kind != FileKind::Directory {
            return Err(FileError::NotADirectory);
        }
        let needed = self.clusters().needed(file.len).unwrap_or(u32::MAX);
        let count = needed.min(most);
        let is_cut = (needed > most).then(too_long);
        if count == 0 {
            return Ok((Vec::new(), None, file.is_contiguous));
        }
        if file.is_contiguous {
            let chain = self.contiguous(&file, count)?;
            let ranges = chain.ranges(self.clusters()).collect();
            return Ok((ranges, is_cut, true));
        }
        let followed = self
            .boot
            .table
            .follow(source, self.clusters(), file.first, count);
        let fault = match followed.end {
            End::Fault(fault) => Some(fault),
            _ if followed.chain.count() < count => Some(FileError::damaged(format!(
                "the directory has {} clusters, and needs {count}",
                followed.chain.count()
            ))),
            _ => is_cut,
        };
        let chain = followed.chain.up_to_repeat();
        Ok((chain.ranges(self.clusters()).collect(), fault, false))
    }

    /// Calls `tell` with the files of a directory.
    fn files(
        &self,
        directory: FileId,
        tell: &mut dyn FnMut(File, FileId) -> ControlFlow<()>,
    ) -> Result<(), FileError> {
        let (parts, fault, is_contiguous) = self.parts(directory, u32::MAX)?;
        let mark = if is_contiguous { IN_CONTIGUOUS } else { 0 };
        let mut is_over = false;
        let damaged = read_parts(self.source.as_ref(), parts, &mut |collected| {
            let Collected::File(file, position) = collected else {
                return ControlFlow::Continue(());
            };
            let flow = tell(*file, FileId::from_number(position | mark));
            is_over = flow.is_break();
            flow
        })?;
        match (damaged, fault) {
            _ if is_over => Ok(()),
            (0, None) => Ok(()),
            (0, Some(fault)) => Err(fault),
            (count, _) => Err(FileError::damaged(format!(
                "files of the directory whose entries are damaged, and which are left out: {count}"
            ))),
        }
    }
}

impl FileSystem for ExFat {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn free(&self) -> Result<u64, FileError> {
        let at = self
            .bitmap
            .ok_or_else(|| FileError::damaged("there is no bitmap of the clusters"))?;
        let count = u64::from(self.clusters().count);
        let len = count.div_ceil(8);
        if at.len < len {
            return Err(FileError::damaged(
                "the bitmap of the clusters is too short",
            ));
        }
        // Bits behind the last cluster do not count.
        let behind = len.saturating_mul(8).saturating_sub(count);
        let mut used = 0u64;
        let mut last = 0;
        let mut bytes = Vec::new();
        for range in self.boot.ranges(self.source.as_ref(), at.first, len)? {
            let mut position = range.start;
            while position < range.end {
                let piece = range.end.saturating_sub(position).min(PIECE);
                bytes.resize(usize::try_from(piece).unwrap_or(0), 0);
                read_uninterrupted(self.source.as_ref(), position, &mut bytes)?;
                for byte in &bytes {
                    used = used.saturating_add(byte.count_ones().into());
                    last = *byte;
                }
                position = position.saturating_add(piece);
            }
        }
        let first_behind = u32::try_from(8_u64.saturating_sub(behind)).unwrap_or(8);
        let beyond = last.checked_shr(first_behind).unwrap_or(0).count_ones();
        let free = count.saturating_sub(used.saturating_sub(beyond.into()));
        Ok(free.saturating_mul(self.clusters().size))
    }

    fn root(&self) -> FileId {
        FileId::from_number(ROOT)
    }

    fn stat(&self, id: FileId) -> Result<Stat, FileError> {
        let (kind, attributes, times, len, allocated) = if id.number == ROOT {
            let (parts, _, _) = self.parts(id, u32::MAX)?;
            let lens = parts.iter();
            let allocated = lens
                .map(|part| part.end.saturating_sub(part.start))
                .fold(0, u64::saturating_add);
            let attributes = Attributes::DIRECTORY;
            (
                FileKind::Directory,
                attributes,
                Times::default(),
                0,
                allocated,
            )
        } else {
            let file = self.file(id)?;
            let needed = self.clusters().needed(file.len).unwrap_or(0);
            let allocated = self.clusters().bytes(FIRST, needed);
            let allocated = allocated.end.saturating_sub(allocated.start);
            let len = match file.kind {
                FileKind::Directory => 0,
                _ => file.len,
            };
            (file.kind, file.attributes, file.times, len, allocated)
        };
        Ok(Stat {
            id,
            kind,
            len,
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
        let wanted = self.upper_case.fold(name);
        let mut found: Option<Entry> = None;
        let listed = self.files(directory, &mut |file, id| {
            if file.name == *name {
                found = Some(Entry::new(file.name, id, file.kind));
                return ControlFlow::Break(());
            }
            let same_len = file.name.units().len() == wanted.units().len();
            if found.is_none() && same_len && self.upper_case.fold(&file.name) == wanted {
                found = Some(Entry::new(file.name, id, file.kind));
            }
            ControlFlow::Continue(())
        });
        match found {
            Some(entry) => Ok(Some(entry)),
            None => listed.map(|()| None),
        }
    }

    fn list(
        &self,
        directory: FileId,
        tell: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), FileError> {
        self.files(directory, &mut |file, id| {
            tell(Entry::new(file.name, id, file.kind))
        })
    }

    fn places(&self, directory: FileId, clusters: u32) -> Vec<Range<u64>> {
        self.parts(directory, clusters)
            .map_or_else(|_| Vec::new(), |(ranges, _, _)| ranges)
    }

    fn open(&self, id: FileId, stream: Option<&FileName>) -> Result<Box<dyn Content>, FileError> {
        if stream.is_some() {
            self.stat(id)?;
            return Err(FileError::NotFound);
        }
        if id.number == ROOT {
            return Err(FileError::IsADirectory);
        }
        let file = self.file(id)?;
        if file.kind == FileKind::Directory {
            return Err(FileError::IsADirectory);
        }
        if file.valid > file.len {
            return Err(FileError::damaged(format!(
                "the file has {} bytes, of which {} were written",
                file.len, file.valid
            )));
        }
        let chain = self.chain(&file)?;
        let source = Arc::clone(&self.source);
        let content = ChainContent::new(source, self.clusters(), chain, file.len, file.valid);
        Ok(Box::new(content))
    }
}
