//! The index of a directory, `$I30`: its names, in a B-tree that is sorted by their upper case. The root
//! is in the file record (`$INDEX_ROOT`); the other nodes are index records in `$INDEX_ALLOCATION`,
//! whose bitmap (`$BITMAP`) says which of them are used.
//!
//! | offset in the root | offset in an index record | field |
//! |---|---|---|
//! | | 0x00, 0x04 | `INDX`, fixups |
//! | | 0x10 | its own number (VCN) |
//! | 0x00, 0x04 | | type of the attribute (0x30), way of sorting (1) |
//! | 0x08 | | bytes in an index record |
//! | 0x10 | 0x18 | the entries |
//!
//! | offset | field of the entries |
//! |---|---|
//! | 0x00, 0x04 | offset of the first entry, and of the end of the last, from here |
//!
//! | offset in an entry | field |
//! |---|---|
//! | 0x00 | reference of the file: record number in 48 bits, sequence number |
//! | 0x08, 0x0A | length of the entry, and of the name attribute in it |
//! | 0x0C | flags: bit 0 names before this one are in another node, bit 1 last entry, without a name |
//! | 0x10 | reference of the directory, in the name attribute (`$FILE_NAME`) |
//! | 0x48, 0x4C | attributes; tag of the reparse point |
//! | 0x50, 0x51 | length of the name in units, and its kind (2: only a short name) |
//! | 0x52 | name |
//! | last 8 bytes | VCN of the other node |
//!
//! A VCN counts clusters, or pieces of 512 bytes if a cluster is larger than an index record.
//!
//! Source: the documentation of the Linux-NTFS project.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::fixups;
use super::upcase::UpCase;
use crate::files::{Content, FileError, FileId, FileName};
use crate::format::FormatError;
use crate::format::wire::Fields;

/// Sizes of index records.
const RECORD_LENS: std::ops::RangeInclusive<usize> = 512..=65536;
/// Nodes between the root and a leaf. With three entries in each, they hold more names than records
/// that a volume can have.
const MAX_DEPTH: usize = 32;
/// Most index records that are looked at: 16 GiB, usually.
const MAX_RECORDS: usize = 4 << 20;
/// Most index records that may be damaged before the rest is no longer looked at.
const MAX_DAMAGED: usize = 1 << 16;
/// A bit of the attributes in an index: it is a directory.
const DIRECTORY: u32 = 0x1000_0000;
const REPARSE_POINT: u32 = 0x0400;
const SYSTEM: u32 = 0x0004;
/// The kind of a name that is only a short name.
const DOS: u8 = 2;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: FileName,
    pub(super) id: FileId,
    pub(super) is_directory: bool,
    /// Whether it has the attribute "system", as links of Interix have.
    pub(super) is_system: bool,
    /// The tag of its reparse point; 0 if the index does not say which tag.
    pub(super) reparse_tag: Option<u32>,
    /// Whether it is only a short name.
    is_short: bool,
}

impl Found {
    /// Whether it is left out of listings: it is only a short name, or the root directory in itself.
    fn is_hidden(&self) -> bool {
        self.is_short || self.name.units() == [u16::from(b'.')]
    }
}

/// The index of a directory.
pub(super) struct Index {
    /// The record of the directory.
    directory: u64,
    root: Vec<u8>,
    records: Option<Records>,
}

/// The nodes outside the file record.
struct Records {
    content: Box<dyn Content>,
    bitmap: Option<Box<dyn Content>>,
    /// Bytes in each.
    len: usize,
    /// Bytes that a VCN counts.
    vcn_len: u64,
}

impl Index {
    /// The index of the directory in a file record on a volume with clusters of this size, with the
    /// content of its `$INDEX_ROOT`, `$INDEX_ALLOCATION` and `$BITMAP`.
    ///
    /// # Errors
    /// Its root is damaged, or sorted in another way.
    pub(super) fn open(
        cluster_size: u64,
        directory: u64,
        root: Vec<u8>,
        allocation: Option<Box<dyn Content>>,
        bitmap: Option<Box<dyn Content>>,
    ) -> Result<Self, FileError> {
        let fields = Fields::new("index root", &root, 0);
        let fault = |what: String| {
            let of = format!("index root of directory {directory}: {what}");
            FileError::damaged(of)
        };
        let (kind, sorting) = (fields.u32(0)?, fields.u32(4)?);
        if (kind, sorting) != (0x30, 1) {
            return Err(fault(format!(
                "attribute {kind:#x}, sorted by rule {sorting:#x}"
            )));
        }
        let len = fields.u32(8)? as usize;
        let is_possible = len.is_power_of_two() && RECORD_LENS.contains(&len);
        let records = match allocation {
            None => None,
            Some(_) if !is_possible => {
                return Err(fault(format!("index records of {len} bytes")));
            }
            Some(content) => Some(Records {
                content,
                bitmap,
                len,
                vcn_len: match cluster_size <= len as u64 {
                    true => cluster_size,
                    false => 512,
                },
            }),
        };
        Ok(Self {
            directory,
            root,
            records,
        })
    }

    /// Calls `tell` with every name but short ones, in the order of the index, until it breaks.
    ///
    /// # Errors
    /// What is damaged, after all that could be read was told.
    pub(super) fn list(
        &self,
        tell: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), FileError> {
        self.list_all(&mut |found| match found.is_hidden() {
            true => ControlFlow::Continue(()),
            false => tell(found),
        })
    }

    /// The entry with this name: exactly this one, or else one that differs by case.
    ///
    /// # Errors
    /// The index is damaged, and the name is not in what is left of it.
    pub(super) fn look_up(
        &self,
        name: &FileName,
        upcase: &UpCase,
    ) -> Result<Option<Found>, FileError> {
        let mut search = Search {
            name,
            upcase,
            found: None,
        };
        match self.descend(&mut search) {
            Ok(()) if search.found.is_some() || upcase.is_own() => return Ok(search.found),
            _ => {}
        }
        // The tree is damaged, or may be sorted in another way. What was found may be right, but an
        // entry with exactly this name comes first.
        let listed = self.list_all(&mut |found| search.consider(found));
        match search.found {
            Some(found) => Ok(Some(found)),
            None => listed.map(|()| None),
        }
    }

    fn root_node(&self) -> Result<Node<'_>, FormatError> {
        Node::parse(Fields::new("index root", &self.root, 0), 0x10)
    }

    /// Follows the tree to all entries that differ from a name only by case.
    fn descend(&self, search: &mut Search<'_>) -> Result<(), FileError> {
        let mut next = Vec::new();
        if self
            .search(search, self.root_node()?, &mut next)?
            .is_break()
        {
            return Ok(());
        }
        // Each node leads to one node, unless several names differ only by case.
        let mut todo: Vec<(u64, usize)> = next.iter().map(|vcn| (*vcn, 1)).collect();
        let mut visited = HashSet::new();
        while let Some((vcn, depth)) = todo.pop() {
            if depth > MAX_DEPTH || !visited.insert(vcn) {
                return Err(self.damaged("its nodes are nested in a loop"));
            }
            let record = self.records()?.read(vcn)?;
            next.clear();
            if self.search(search, record.node()?, &mut next)?.is_break() {
                return Ok(());
            }
            let depth = depth.saturating_add(1);
            todo.extend(next.iter().map(|vcn| (*vcn, depth)));
        }
        Ok(())
    }

    fn records(&self) -> Result<&Records, FileError> {
        let records = self.records.as_ref();
        records.ok_or_else(|| self.damaged("its index records are missing"))
    }

    fn damaged(&self, what: impl std::fmt::Display) -> FileError {
        FileError::damaged(format!("index of directory {}: {what}", self.directory))
    }

    /// Calls `tell` with every name, in the order of the tree. Where a node is damaged, the records that
    /// the bitmap shows as used, but the tree did not lead to, come last.
    fn list_all(&self, tell: &mut dyn FnMut(Found) -> ControlFlow<()>) -> Result<(), FileError> {
        let mut walk = Walk {
            index: self,
            reader: self.records.as_ref().map(Reader::new),
            visited: HashSet::new(),
            damaged: 0,
            fault: None,
        };
        if walk.tree(tell).is_break() {
            return Ok(());
        }
        if walk.fault.is_some() && walk.rest(tell).is_break() {
            return Ok(());
        }
        walk.fault.map_or(Ok(()), Err)
    }

    /// The name in an entry.
    fn found(&self, entry: &Entry<'_>) -> Result<Found, FormatError> {
        let key = &entry.fields;
        let directory = key.u64(0x10)? & NUMBER;
        if directory != self.directory {
            let what = format!(
                "a name of directory {directory} is in directory {}",
                self.directory
            );
            return Err(key.fault(what));
        }
        let attributes = key.u32(0x48)?;
        let reparse_tag = match attributes & REPARSE_POINT {
            0 => None,
            _ => Some(key.u32(0x4C)?),
        };
        let reference = key.u64(0)?;
        Ok(Found {
            name: FileName::from_le_bytes(entry.name()?),
            id: FileId::new(reference & NUMBER, (reference >> 48) as u16),
            is_directory: attributes & DIRECTORY != 0,
            is_system: attributes & SYSTEM != 0,
            reparse_tag,
            is_short: key.u8(0x51)? == DOS,
        })
    }
}

/// The record number in a reference.
const NUMBER: u64 = 0xFFFF_FFFF_FFFF;

/// The entries of a node.
#[derive(Clone)]
struct Node<'a> {
    fields: Fields<'a>,
    /// The next entry.
    at: usize,
    end: usize,
}

impl<'a> Node<'a> {
    /// The node whose header of the entries is at `header`.
    fn parse(fields: Fields<'a>, header: usize) -> Result<Self, FormatError> {
        let first = fields.u32(header)? as usize;
        let used = fields.u32(header.saturating_add(4))? as usize;
        let (at, end) = (header.saturating_add(first), header.saturating_add(used));
        if first < 0x10 || !first.is_multiple_of(8) || at > end || end > fields.bytes().len() {
            return Err(fields.fault(format!("its entries are at {first:#x} to {used:#x}")));
        }
        Ok(Self { fields, at, end })
    }

    /// The next entry. The last one has no name, but may have a node.
    fn next(&mut self) -> Result<Entry<'a>, FormatError> {
        let head = self.fields.part("index entry", self.at, self.end)?;
        let len = usize::from(head.u16(8)?);
        let flags = head.u16(0x0C)?;
        let end = self.at.saturating_add(len);
        if len < 0x10 || len % 8 != 0 || end > self.end {
            return Err(head.fault(format!("it has {len} bytes")));
        }
        let fields = self.fields.part("index entry", self.at, end)?;
        let entry = Entry {
            fields,
            node: match flags & 1 {
                0 => None,
                _ => Some(fields.u64(len.saturating_sub(8))?),
            },
            is_last: flags & 2 != 0,
        };
        let behind = match flags & 1 {
            0 => len,
            _ => len.saturating_sub(8),
        };
        let key = usize::from(head.u16(0x0A)?);
        if !entry.is_last && key.saturating_add(0x10) > behind {
            return Err(fields.fault("its name is longer than the entry"));
        }
        self.at = end;
        Ok(entry)
    }
}

/// An entry of a node.
struct Entry<'a> {
    fields: Fields<'a>,
    /// The VCN of the node with the names before this one.
    node: Option<u64>,
    is_last: bool,
}

impl<'a> Entry<'a> {
    /// The units of its name.
    fn name(&self) -> Result<&'a [u8], FormatError> {
        let units = usize::from(self.fields.u8(0x50)?);
        let len = units.saturating_mul(2);
        let key = usize::from(self.fields.u16(0x0A)?);
        if units == 0 || len.saturating_add(0x42) > key {
            return Err(self.fields.fault(format!("a name of {units} characters")));
        }
        self.fields.slice(0x52, len)
    }
}

fn units(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks().0.iter().map(|u| u16::from_le_bytes(*u))
}

/// A search for a name.
struct Search<'a> {
    name: &'a FileName,
    upcase: &'a UpCase,
    found: Option<Found>,
}

impl Search<'_> {
    /// Takes the entry if it has the name, and breaks if it is exactly the name.
    fn consider(&mut self, found: Found) -> ControlFlow<()> {
        if found.name == *self.name {
            self.found = Some(found);
            return ControlFlow::Break(());
        }
        let name = self.name.units().iter().copied();
        let other = found.name.units().iter().copied();
        if self.found.is_none() && self.upcase.compare(name, other).is_eq() {
            self.found = Some(found);
        }
        ControlFlow::Continue(())
    }
}

impl Index {
    /// Considers the entries of a node that may have the name, and adds the nodes to follow.
    fn search(
        &self,
        search: &mut Search<'_>,
        mut node: Node<'_>,
        next: &mut Vec<u64>,
    ) -> Result<ControlFlow<()>, FormatError> {
        let mut last: Option<&[u8]> = None;
        let mut is_behind = false;
        loop {
            let entry = node.next()?;
            let order = match entry.is_last {
                true => Ordering::Less,
                false => {
                    let name = entry.name()?;
                    if last
                        .is_some_and(|last| search.upcase.compare(units(last), units(name)).is_gt())
                    {
                        return Err(entry.fields.fault("it is not in order"));
                    }
                    last = Some(name);
                    let wanted = search.name.units().iter().copied();
                    search.upcase.compare(wanted, units(name))
                }
            };
            // The names of its node are before it, and behind the entry before it.
            if order.is_le() && !is_behind {
                next.extend(entry.node);
            }
            if order.is_eq() && search.consider(self.found(&entry)?).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            is_behind = is_behind || order.is_lt();
            if entry.is_last {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }
}

/// A node outside the file record.
struct Record {
    bytes: Vec<u8>,
    /// Its offset in the index records.
    position: u64,
}

impl Record {
    fn fields(&self) -> Fields<'_> {
        Fields::new("index record", &self.bytes, self.position)
    }

    fn node(&self) -> Result<Node<'_>, FormatError> {
        Node::parse(self.fields(), 0x18)
    }
}

impl Records {
    /// Where the record is that has this VCN.
    fn position(&self, vcn: u64) -> Result<u64, FileError> {
        let position = vcn.checked_mul(self.vcn_len);
        let position = position.filter(|position| {
            let end = position.checked_add(self.len as u64);
            position.is_multiple_of(self.len as u64)
                && end.is_some_and(|end| end <= self.content.size())
        });
        position
            .ok_or_else(|| FileError::damaged(format!("an index record {vcn:#x} does not exist")))
    }

    /// The record with this VCN.
    fn read(&self, vcn: u64) -> Result<Record, FileError> {
        let position = self.position(vcn)?;
        let mut bytes = vec![0; self.len];
        self.content.read_exact_at(position, &mut bytes)?;
        self.checked(vcn, position, bytes)
    }

    fn checked(&self, vcn: u64, position: u64, mut bytes: Vec<u8>) -> Result<Record, FileError> {
        fixups::undo("index record", b"INDX", &mut bytes, position)?;
        let record = Record { bytes, position };
        let own = record.fields().u64(0x10)?;
        if own != vcn {
            let what = format!("it is record {own:#x}, not {vcn:#x}");
            return Err(record.fields().fault(what).into());
        }
        Ok(record)
    }
}

/// Reads records in larger pieces and keeps some of them, since neighbors are often needed soon.
struct Reader<'a> {
    records: &'a Records,
    /// With the offset of each.
    pieces: VecDeque<(u64, Arc<[u8]>)>,
}

/// Bytes in a piece: at least a record.
const PIECE: usize = 1 << 16;
/// Most pieces to keep.
const PIECES: usize = 32;

impl<'a> Reader<'a> {
    fn new(records: &'a Records) -> Self {
        Self {
            records,
            pieces: VecDeque::new(),
        }
    }

    /// The record with this VCN.
    fn read(&mut self, vcn: u64) -> Result<Record, FileError> {
        let position = self.records.position(vcn)?;
        let inside = position.checked_rem(PIECE as u64).unwrap_or(0);
        let start = position.saturating_sub(inside);
        let Ok(piece) = self.piece(start) else {
            // Perhaps only another record of the piece is unreadable.
            return self.records.read(vcn);
        };
        let inside = usize::try_from(inside).unwrap_or(usize::MAX);
        let end = inside.saturating_add(self.records.len);
        let bytes = piece.get(inside..end).ok_or_else(|| {
            FileError::damaged(format!("an index record {vcn:#x} does not exist"))
        })?;
        self.records.checked(vcn, position, bytes.to_vec())
    }

    fn piece(&mut self, start: u64) -> Result<Arc<[u8]>, FileError> {
        if let Some((_, piece)) = self.pieces.iter().find(|(at, _)| *at == start) {
            return Ok(Arc::clone(piece));
        }
        let content = &self.records.content;
        let rest = content.size().saturating_sub(start);
        let mut bytes = vec![0; usize::try_from(rest).unwrap_or(PIECE).min(PIECE)];
        content.read_exact_at(start, &mut bytes)?;
        let piece: Arc<[u8]> = bytes.into();
        if self.pieces.len() >= PIECES {
            self.pieces.pop_front();
        }
        self.pieces.push_back((start, Arc::clone(&piece)));
        Ok(piece)
    }
}

/// A walk through all nodes.
struct Walk<'a> {
    index: &'a Index,
    reader: Option<Reader<'a>>,
    /// The positions of the records that were tried.
    visited: HashSet<u64>,
    /// How many of them could not be read.
    damaged: usize,
    /// The first fault.
    fault: Option<FileError>,
}

/// A node that the walk is in.
struct Level {
    /// `None` for the root.
    record: Option<Record>,
    at: usize,
    end: usize,
    /// Whether the node before the next entry was entered.
    is_entered: bool,
}

impl Level {
    fn new(record: Option<Record>, at: usize, end: usize) -> Self {
        Self {
            record,
            at,
            end,
            is_entered: false,
        }
    }
}

impl Walk<'_> {
    fn note(&mut self, fault: FileError) {
        if self.fault.is_none() {
            self.fault = Some(match fault {
                FileError::Damaged { what } => self.index.damaged(what),
                other => other,
            });
        }
    }

    /// Reads a record that was not read before. `None` if it is damaged.
    fn enter(&mut self, vcn: u64, depth: usize) -> Option<Level> {
        match self.read(vcn, depth) {
            Ok(level) => Some(level),
            Err(fault) => {
                self.damaged = self.damaged.saturating_add(1);
                self.note(fault);
                None
            }
        }
    }

    fn read(&mut self, vcn: u64, depth: usize) -> Result<Level, FileError> {
        let records = self.index.records()?;
        let is_new = self.visited.insert(records.position(vcn)?);
        if !is_new || depth > MAX_DEPTH {
            return Err(FileError::damaged("its nodes are nested in a loop"));
        }
        let Some(reader) = &mut self.reader else {
            return Err(FileError::NotFound);
        };
        let record = reader.read(vcn)?;
        let Node { at, end, .. } = record.node()?;
        Ok(Level::new(Some(record), at, end))
    }

    /// Whether nothing more is read, since too much is damaged.
    fn is_over(&mut self) -> bool {
        let is_over = self.damaged > MAX_DAMAGED || self.visited.len() > MAX_RECORDS;
        if is_over {
            self.note(FileError::damaged("it has too many index records"));
        }
        is_over
    }

    /// Goes through the tree in its order.
    fn tree(&mut self, tell: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<()> {
        let index = self.index;
        let mut levels = Vec::new();
        match index.root_node() {
            Ok(Node { at, end, .. }) => levels.push(Level::new(None, at, end)),
            Err(fault) => self.note(fault.into()),
        }
        loop {
            let depth = levels.len();
            let Some(level) = levels.last_mut() else {
                return ControlFlow::Continue(());
            };
            let fields = match &level.record {
                Some(record) => record.fields(),
                None => Fields::new("index root", &index.root, 0),
            };
            let mut node = Node {
                fields,
                at: level.at,
                end: level.end,
            };
            let entry = match node.next() {
                Ok(entry) => entry,
                Err(fault) => {
                    self.note(fault.into());
                    levels.pop();
                    continue;
                }
            };
            if let Some(vcn) = entry.node.filter(|_| !level.is_entered) {
                level.is_entered = true;
                if self.is_over() {
                    return ControlFlow::Continue(());
                }
                levels.extend(self.enter(vcn, depth));
                continue;
            }
            if entry.is_last {
                levels.pop();
                continue;
            }
            let found = index.found(&entry);
            level.is_entered = false;
            level.at = node.at;
            match found {
                Ok(found) => tell(found)?,
                Err(fault) => self.note(fault.into()),
            }
        }
    }

    /// Goes through the records in use that were not visited.
    fn rest(&mut self, tell: &mut dyn FnMut(Found) -> ControlFlow<()>) -> ControlFlow<()> {
        let Some(records) = &self.index.records else {
            return ControlFlow::Continue(());
        };
        let len = records.len as u64;
        let mut used = Used::new(records.bitmap.as_deref());
        let mut position = 0;
        for _ in 0..MAX_RECORDS {
            // Holes have no records, whatever the length of the content is.
            let Some(stored) = records.content.stored_from(position) else {
                return ControlFlow::Continue(());
            };
            let start = stored
                .start
                .checked_next_multiple_of(len)
                .unwrap_or(u64::MAX);
            let at = position.max(start);
            position = at.saturating_add(len);
            if position > records.content.size() || self.is_over() {
                return ControlFlow::Continue(());
            }
            let number = at.checked_div(len).unwrap_or_default();
            if !used.contains(number) || self.visited.contains(&at) {
                continue;
            }
            let vcn = at.checked_div(records.vcn_len).unwrap_or_default();
            if let Some(level) = self.enter(vcn, 0) {
                self.names(&level, tell)?;
            }
        }
        self.note(FileError::damaged("it has too many index records"));
        ControlFlow::Continue(())
    }

    /// Calls `tell` with the names in a record only.
    fn names(
        &mut self,
        level: &Level,
        tell: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let index = self.index;
        let Some(Ok(mut node)) = level.record.as_ref().map(Record::node) else {
            return ControlFlow::Continue(());
        };
        loop {
            match node.next() {
                Ok(entry) if entry.is_last => return ControlFlow::Continue(()),
                Ok(entry) => match index.found(&entry) {
                    Ok(found) => tell(found)?,
                    Err(fault) => self.note(fault.into()),
                },
                Err(fault) => {
                    self.note(fault.into());
                    return ControlFlow::Continue(());
                }
            }
        }
    }
}

/// Which records are used, as the bitmap says. Without a bitmap all are, and where it cannot be read.
struct Used<'a> {
    bitmap: Option<&'a dyn Content>,
    /// A piece of it, and where the piece begins.
    piece: (u64, Vec<u8>),
}

impl<'a> Used<'a> {
    fn new(bitmap: Option<&'a dyn Content>) -> Self {
        Self {
            bitmap,
            piece: (0, Vec::new()),
        }
    }

    fn contains(&mut self, number: u64) -> bool {
        /// Bytes that are read at once.
        const LEN: u64 = 4096;
        let Some(bitmap) = self.bitmap else {
            return true;
        };
        let at = number >> 3;
        let start = at.saturating_sub(at % LEN);
        if self.piece.1.is_empty() || self.piece.0 != start {
            let len = bitmap.size().saturating_sub(start).min(LEN);
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
            if bitmap.read_exact_at(start, &mut bytes).is_err() {
                bytes.clear();
            }
            // What is behind its end, or unreadable, counts as used.
            bytes.resize(LEN as usize, 0xFF);
            self.piece = (start, bytes);
        }
        let inside = usize::try_from(at % LEN).unwrap_or_default();
        let byte = self.piece.1.get(inside).copied().unwrap_or(0xFF);
        byte >> (number & 7) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::ops::Range;

    use super::*;
    use crate::source::ReadAt;

    const DIRECTORY_NUMBER: u64 = 64;
    const LEN: usize = 4096;

    /// Bytes that are all stored.
    struct Stored(Vec<u8>);

    impl ReadAt for Stored {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
            let found = usize::try_from(offset).ok().and_then(|start| {
                let end = start.checked_add(buf.len())?;
                self.0.get(start..end)
            });
            buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
    }

    impl Content for Stored {
        fn stored_from(&self, offset: u64) -> Option<Range<u64>> {
            (offset < self.size()).then(|| 0..self.size())
        }
    }

    fn entry(name: Option<(&str, u64, u8)>, node: Option<u64>) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        let mut flags = u16::from(node.is_some());
        match name {
            None => flags |= 2,
            Some((name, number, kind)) => {
                let units: Vec<u16> = name.encode_utf16().collect();
                let key = 0x42 + units.len() * 2;
                bytes[..8].copy_from_slice(&(number | 1 << 48).to_le_bytes());
                bytes[0x0A..0x0C].copy_from_slice(&(key as u16).to_le_bytes());
                bytes.extend(DIRECTORY_NUMBER.to_le_bytes());
                bytes.resize(0x52, 0);
                bytes[0x50] = units.len() as u8;
                bytes[0x51] = kind;
                bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
                bytes.resize(bytes.len().next_multiple_of(8), 0);
            }
        }
        if let Some(node) = node {
            bytes.extend(node.to_le_bytes());
        }
        let len = bytes.len() as u16;
        bytes[8..10].copy_from_slice(&len.to_le_bytes());
        bytes[0x0C..0x0E].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    type Names<'a> = &'a [(&'a str, u64, u8, Option<u64>)];

    /// The header and the entries of a node.
    fn node(names: Names<'_>, last: Option<u64>, first: u32) -> Vec<u8> {
        let mut entries = Vec::new();
        for (name, number, kind, node) in names {
            entries.extend(entry(Some((name, *number, *kind)), *node));
        }
        entries.extend(entry(None, last));
        let end = first + entries.len() as u32;
        let mut bytes: Vec<u8> = [first, end, end, 1]
            .iter()
            .flat_map(|f| f.to_le_bytes())
            .collect();
        bytes.resize(first as usize, 0);
        bytes.extend(entries);
        bytes
    }

    fn root(names: Names<'_>, last: Option<u64>) -> Vec<u8> {
        let head = [0x30u32, 1, LEN as u32, 1];
        let mut bytes: Vec<u8> = head.iter().flat_map(|f| f.to_le_bytes()).collect();
        bytes.extend(node(names, last, 0x10));
        bytes
    }

    fn record(vcn: u64, names: Names<'_>, last: Option<u64>) -> Vec<u8> {
        let mut bytes = b"INDX".to_vec();
        bytes.extend([0x28, 0, 9, 0]);
        bytes.resize(0x10, 0);
        bytes.extend(vcn.to_le_bytes());
        bytes.extend(node(names, last, 0x28));
        bytes.resize(LEN, 0);
        fixups::renew("index record", &mut bytes, 0).unwrap();
        bytes
    }

    /// Three leaves, one of them below another node; record 3 is not used.
    fn tree() -> (Vec<u8>, Vec<u8>) {
        let root = root(&[("m", 100, 1, Some(0))], Some(2));
        let records = [
            record(
                0,
                &[
                    ("b", 101, 1, None),
                    ("B", 102, 0, None),
                    ("F~1", 103, 2, None),
                ],
                None,
            ),
            record(1, &[("x", 104, 1, None)], None),
            record(2, &[("p", 105, 1, None), ("y", 106, 1, Some(1))], None),
            record(3, &[("old", 107, 1, None)], None),
        ];
        (root, records.concat())
    }

    fn opened(root: Vec<u8>, records: Vec<u8>) -> Result<Index, FileError> {
        let bitmap: Box<dyn Content> = Box::new(Stored(vec![0b0111]));
        let records: Box<dyn Content> = Box::new(Stored(records));
        Index::open(4096, DIRECTORY_NUMBER, root, Some(records), Some(bitmap))
    }

    fn listed(index: &Index) -> (Vec<String>, bool) {
        let mut names = Vec::new();
        let done = index.list(&mut |found| {
            names.push(found.name.to_text_lossy());
            ControlFlow::Continue(())
        });
        (names, done.is_ok())
    }

    fn number(index: &Index, name: &str) -> Option<u64> {
        let found = index.look_up(&name.into(), &UpCase::of_unicode());
        found.ok()?.map(|found| found.id.number)
    }

    #[test]
    fn names_are_listed_in_order_and_found() {
        let (root, records) = tree();
        let index = opened(root, records).unwrap();
        assert_eq!(
            listed(&index),
            (
                ["b", "B", "m", "p", "x", "y"].map(str::to_owned).into(),
                true
            )
        );
        for (name, expected) in [
            ("b", Some(101)),
            ("B", Some(102)),
            ("f~1", Some(103)),
            ("M", Some(100)),
            ("X", Some(104)),
            ("y", Some(106)),
            ("old", None),
            ("z", None),
        ] {
            assert_eq!(number(&index, name), expected, "{name}");
        }
    }

    #[test]
    fn short_names_and_the_root_in_itself_are_found_but_not_listed() {
        let index = opened(
            root(
                &[
                    ("$MFT", 0, 3, None),
                    (".", 5, 3, None),
                    ("A~1", 70, 2, None),
                    ("a", 70, 1, None),
                ],
                None,
            ),
            Vec::new(),
        );
        let index = index.unwrap();
        let names = ["$MFT", "a"].map(str::to_owned).to_vec();
        assert_eq!(listed(&index), (names, true));
        assert_eq!(number(&index, "$mft"), Some(0));
        assert_eq!(number(&index, "a~1"), Some(70));
    }

    #[test]
    fn a_damaged_record_hides_only_its_own_names() {
        let (root, mut records) = tree();
        records[2 * LEN + 510] ^= 1;
        let index = opened(root, records).unwrap();
        assert_eq!(
            listed(&index),
            (["b", "B", "m", "x"].map(str::to_owned).into(), false)
        );
        assert_eq!(number(&index, "x"), Some(104));
        assert_eq!(number(&index, "b"), Some(101));
        assert!(index.look_up(&"y".into(), &UpCase::of_unicode()).is_err());
    }

    #[test]
    fn a_loop_ends_and_names_of_other_directories_are_refused() {
        let (root_bytes, mut records) = tree();
        records[LEN..2 * LEN].copy_from_slice(&record(1, &[("x", 104, 1, Some(2))], None));
        let index = opened(root_bytes, records.clone()).unwrap();
        let (names, is_whole) = listed(&index);
        assert!(names.contains(&"x".to_owned()) && !is_whole);
        assert!(index.look_up(&"w".into(), &UpCase::of_unicode()).is_err());
        let (root_bytes, _) = tree();
        let records: Box<dyn Content> = Box::new(Stored(records));
        let index = Index::open(4096, 65, root_bytes, Some(records), None).unwrap();
        assert_eq!(listed(&index), (Vec::new(), false));
    }

    /// Content of this length, of which nothing can be read, or which is all zeros.
    struct Endless(u64, bool);

    impl ReadAt for Endless {
        fn size(&self) -> u64 {
            self.0
        }

        fn read_exact_at(&self, _: u64, buf: &mut [u8]) -> io::Result<()> {
            buf.fill(0);
            match self.1 {
                true => Ok(()),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    impl Content for Endless {}

    #[test]
    fn index_records_without_an_end_are_given_up() {
        for (is_readable, is_used) in [(false, false), (true, true)] {
            let records: Box<dyn Content> = Box::new(Endless(1 << 62, is_readable));
            let bitmap: Box<dyn Content> = Box::new(Endless(1 << 50, !is_used));
            let root = root(&[("m", 100, 1, Some(1))], None);
            let index = Index::open(4096, DIRECTORY_NUMBER, root, Some(records), Some(bitmap));
            let names = listed(&index.unwrap());
            assert_eq!(names, (vec!["m".to_owned()], false));
        }
    }

    #[test]
    fn an_impossible_size_of_records_is_refused() {
        for len in [0u32, 100, 3 << 10, 1 << 17, 0xFE00_0000] {
            let (mut root, records) = tree();
            root[8..12].copy_from_slice(&len.to_le_bytes());
            assert!(opened(root, records).is_err());
        }
    }

    #[test]
    fn damage_never_panics_and_ends() {
        let (root, records) = tree();
        let mut state = 14u64;
        let mut next = |bound: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % bound
        };
        for _ in 0..2000 {
            let (mut root, mut records) = (root.clone(), records.clone());
            for _ in 0..=next(3) {
                match next(2) {
                    0 => {
                        let at = next(root.len());
                        root[at] = next(256) as u8;
                    }
                    _ => {
                        let at = next(4) * LEN + next(0x180);
                        records[at] = next(256) as u8;
                    }
                }
            }
            let Ok(index) = opened(root, records) else {
                continue;
            };
            let (names, _) = listed(&index);
            assert!(names.len() < 100);
            let _ = number(&index, "x");
        }
    }
}
