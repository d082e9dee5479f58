//! The file table (`$MFT`): a file that has all file records, its own first.
//!
//! Its clusters are described by its own record and, if it is much fragmented, by extensions of that
//! record, which are in the parts of the table that are known already.

use std::sync::{Arc, Mutex, PoisonError};

use super::attribute::{Attribute, Form, types};
use super::attribute_list::{self, Listed};
use super::boot::Geometry;
use super::extents::{Extents, Plain, collect, read_pieces};
use super::record::{Record, Reference};
use crate::files::FileError;
use crate::source::{ReadAt, read_uninterrupted};

/// Bytes of the table that are read at a time and kept.
const CHUNK: u64 = 64 << 10;
/// Number of chunks that are kept.
const KEPT: u64 = 128;
/// Number of the record of the table itself.
const TABLE: u64 = 0;

/// How often the extensions are tried that are in parts of the table that were not known before.
const MAX_ROUNDS: usize = 64;

/// A chunk that is kept, with its number.
type Slot = Mutex<Option<(u64, Arc<[u8]>)>>;

/// The file table.
pub(super) struct Table {
    source: Arc<dyn ReadAt>,
    extents: Extents,
    /// Length of the table in bytes, without records that were never used.
    len: u64,
    record_len: usize,
    /// A chunk is kept in the slot that its number gives.
    slots: Vec<Slot>,
}

impl Table {
    /// Finds the table. What is damaged is added to `damaged`, if the table can be used nevertheless.
    pub(super) fn open(
        source: &Arc<dyn ReadAt>,
        geometry: &Geometry,
        damaged: &mut Vec<String>,
    ) -> Result<Self, FileError> {
        let first = match Self::open_at(source, geometry, geometry.table) {
            Ok((table, None)) => return Ok(table),
            Ok((table, Some(fault))) => Ok((table, fault)),
            Err(fault) => Err(fault),
        };
        match (first, Self::open_at(source, geometry, geometry.copy)) {
            (Err(fault), Ok((table, further))) => {
                damaged.push(format!(
                    "the first record of the file table ({fault}): its copy was used"
                ));
                damaged.extend(further.map(|fault| Self::incomplete(&fault)));
                Ok(table)
            }
            (Ok((_, fault)), Ok((table, None))) => {
                damaged.push(format!(
                    "the first record of the file table ({fault}): its copy was used"
                ));
                Ok(table)
            }
            (Ok((table, fault)), _) => {
                damaged.push(Self::incomplete(&fault));
                Ok(table)
            }
            (Err(fault), Err(_)) => Err(fault),
        }
    }

    fn incomplete(fault: &FileError) -> String {
        format!("the file table, which is not whole: {fault}")
    }

    /// Finds the table from its own record at this place. The second value says why the table is not
    /// whole.
    fn open_at(
        source: &Arc<dyn ReadAt>,
        geometry: &Geometry,
        position: u64,
    ) -> Result<(Self, Option<FileError>), FileError> {
        let mut bytes = vec![0; geometry.record_len];
        read_uninterrupted(source.as_ref(), position, &mut bytes)?;
        let record = Record::parse(TABLE, bytes, position)?;
        let wrong = |what: &str| FileError::from(record.fault(what));
        if !record.is_in_use() || record.base().is_some() {
            return Err(wrong("it is not the record of the file table"));
        }
        let data = record.attribute(types::DATA, "");
        let data = data.ok_or_else(|| wrong("it has no content"))?;
        let Form::Stored(stored) = &data.form else {
            return Err(wrong("its content is in the record"));
        };
        if stored.first != 0 || data.flags != 0 {
            return Err(wrong("its content is not stored as a file table is"));
        }
        let mut extents = Extents::default();
        collect(&mut extents, geometry, &record, data)?;
        let lens = stored.lens;
        let mut table = Self {
            source: Arc::clone(source),
            extents,
            len: lens.initialized,
            record_len: geometry.record_len,
            slots: (0..KEPT).map(|_| Slot::default()).collect(),
        };
        let list = match record.attribute(types::ATTRIBUTE_LIST, "") {
            Some(list) => read_list(source, geometry, &record, list)?,
            None => Vec::new(),
        };
        let fault = table.extend(geometry, &record, list).err();
        let whole = table.extents.whole();
        let fault = fault.or_else(|| (whole < table.len).then(|| wrong("it is cut off")));
        Ok((table, fault))
    }

    /// Adds the parts that are described in extensions of the table's own record. An extension can be
    /// in a part that another one describes.
    fn extend(
        &mut self,
        geometry: &Geometry,
        record: &Record,
        list: Vec<Listed>,
    ) -> Result<(), FileError> {
        let mut open: Vec<_> = list
            .into_iter()
            .filter(|entry| entry.kind == types::DATA && entry.name.units().is_empty())
            .filter(|entry| entry.record.number != TABLE)
            .collect();
        // Windows puts each extension in a part that those before it describe.
        open.sort_by_key(|entry| entry.first);
        let mut last = None;
        for _ in 0..MAX_ROUNDS {
            let before = open.len();
            let mut fault = None;
            let mut left = Vec::new();
            for entry in open {
                match self.extend_by(geometry, record, &entry) {
                    Ok(()) => {}
                    Err(found) => {
                        fault = Some(found);
                        left.push(entry);
                    }
                }
            }
            match fault {
                None => return Ok(()),
                Some(fault) if left.len() == before => return Err(fault),
                Some(fault) => (open, last) = (left, Some(fault)),
            }
        }
        last.map_or(Ok(()), Err)
    }

    fn extend_by(
        &mut self,
        geometry: &Geometry,
        base: &Record,
        entry: &Listed,
    ) -> Result<(), FileError> {
        let (bytes, position) = self.bytes(entry.record.number)?;
        let record = Record::parse(entry.record.number, bytes, position)?;
        let attribute = extension_attribute(&record, base, entry)?;
        collect(&mut self.extents, geometry, &record, attribute)?;
        Ok(())
    }

    /// Number of records.
    pub(super) fn count(&self) -> u64 {
        self.len.checked_div(self.record_len as u64).unwrap_or(0)
    }

    /// Reads and parses a record.
    ///
    /// # Errors
    /// [`FileError::NotFound`] when the table has no such record, or why it cannot be read.
    pub(super) fn record(&self, number: u64) -> Result<Record, FileError> {
        let (bytes, position) = self.bytes(number)?;
        Ok(Record::parse(number, bytes, position)?)
    }

    /// The bytes of a record, and their place on the volume.
    fn bytes(&self, number: u64) -> Result<(Vec<u8>, u64), FileError> {
        if number >= self.count() {
            return Err(FileError::NotFound);
        }
        let start = number.saturating_mul(self.record_len as u64);
        let place = self.extents.pieces(start..start.saturating_add(1)).next();
        let position = match place {
            Some(Ok((_, Some(position)))) => position,
            _ => {
                return Err(FileError::damaged(format!(
                    "file record {number} is in a part of the file table that is missing"
                )));
            }
        };
        if let Some(bytes) = self.kept(start) {
            return Ok((bytes, position));
        }
        // The chunk cannot be read as a whole; the record may still be readable.
        let mut bytes = vec![0; self.record_len];
        read_pieces(self.source.as_ref(), &self.extents, start, &mut bytes)?;
        Ok((bytes, position))
    }

    /// The record that begins at byte `start` of the table, from a chunk that is kept or read now.
    fn kept(&self, start: u64) -> Option<Vec<u8>> {
        let number = start.checked_div(CHUNK)?;
        let slot = usize::try_from(number % KEPT).ok()?;
        let slot = self.slots.get(slot)?;
        let kept = slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let chunk = match kept.filter(|(kept, _)| *kept == number) {
            Some((_, chunk)) => chunk,
            None => {
                let first = number.checked_mul(CHUNK)?;
                let len = self.len.saturating_sub(first).min(CHUNK);
                let mut bytes = vec![0; usize::try_from(len).ok()?];
                read_pieces(self.source.as_ref(), &self.extents, first, &mut bytes).ok()?;
                let chunk: Arc<[u8]> = bytes.into();
                let kept = Some((number, Arc::clone(&chunk)));
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = kept;
                chunk
            }
        };
        let at = usize::try_from(start % CHUNK).ok()?;
        let end = at.checked_add(self.record_len)?;
        chunk.get(at..end).map(<[u8]>::to_vec)
    }
}

/// Reads the attribute list of a file from the file's own record.
pub(super) fn read_list(
    source: &Arc<dyn ReadAt>,
    geometry: &Geometry,
    record: &Record,
    list: &Attribute,
) -> Result<Vec<Listed>, FileError> {
    let position = record.part(list)?.position();
    let stored = match &list.form {
        Form::Resident(_) => {
            return Ok(attribute_list::parse(record.content(list)?, position)?);
        }
        Form::Stored(stored) => stored,
    };
    let lens = stored.lens;
    if lens.len > attribute_list::MAX_LEN || stored.first != 0 || lens.initialized != lens.len {
        return Err(record
            .fault(format!("an attribute list of {} bytes", lens.len))
            .into());
    }
    let mut extents = Extents::default();
    collect(&mut extents, geometry, record, list)?;
    let content = Plain {
        source: Arc::clone(source),
        extents,
        len: lens.len,
        initialized: lens.initialized,
    };
    let mut bytes = vec![0; usize::try_from(lens.len).unwrap_or(0)];
    content.read_exact_at(0, &mut bytes)?;
    Ok(attribute_list::parse(&bytes, position)?)
}

/// The attribute of an extension that an entry of an attribute list means.
///
/// # Errors
/// The record is another one, not an extension of the file, or has no such attribute.
pub(super) fn extension_attribute<'r>(
    record: &'r Record,
    base: &Record,
    entry: &Listed,
) -> Result<&'r Attribute, FileError> {
    let own = Reference {
        number: base.number(),
        sequence: base.sequence(),
    };
    let is_its = record.number() == own.number || record.base() == Some(own);
    if !record.is_in_use() || !is_its || record.sequence() != entry.record.sequence {
        return Err(record
            .fault(format!(
                "it is not an extension of file record {}",
                own.number
            ))
            .into());
    }
    let attributes = record.attributes().iter();
    let mut fitting = attributes.filter(|attribute| {
        attribute.kind == entry.kind
            && attribute.id == entry.id
            && attribute.name == entry.name
            && attribute.first() == entry.first
    });
    let found = fitting.next();
    found.ok_or_else(|| {
        record
            .fault(format!(
                "it has no attribute {:#x} as the list of file record {} says",
                entry.kind, own.number
            ))
            .into()
    })
}
