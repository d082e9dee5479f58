//! File records and the content of their attributes, wherever these are.

use std::sync::Arc;

use super::attribute::{Attribute, COMPRESSION, Form, LZNT1, types};
use super::attribute_list::Listed;
use super::boot::Geometry;
use super::compressed::Compressed;
use super::extents::{Extents, Plain, Resident, collect};
use super::record::{Record, Reference};
use super::table::{Table, extension_attribute, read_list};
use crate::files::{Content, FileError, FileName, Unreadable};
use crate::source::ReadAt;

/// A file system: its geometry and its file table.
pub(super) struct System {
    source: Arc<dyn ReadAt>,
    geometry: Geometry,
    table: Table,
}

/// A file: its own record, and the list of its attributes if they do not fit into it.
#[derive(Debug)]
pub(super) struct File {
    record: Arc<Record>,
    list: Option<Vec<Listed>>,
}

/// An attribute of a file, and the record that has it.
#[derive(Debug, Clone)]
pub(super) struct Part {
    record: Arc<Record>,
    pub(super) attribute: Attribute,
}

impl Part {
    /// The content of an attribute that is always in its record.
    pub(super) fn resident(&self) -> Result<&[u8], FileError> {
        Ok(self.record.content(&self.attribute)?)
    }

    /// An error about the attribute.
    pub(super) fn fault(&self, what: &str) -> FileError {
        match self.record.part(&self.attribute) {
            Ok(fields) => fields.fault(what).into(),
            Err(fault) => fault.into(),
        }
    }
}

impl File {
    /// Its own record.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }
}

impl System {
    /// Opens the file table. What is damaged is added to `damaged`, if it was possible to do without.
    pub(super) fn open(
        source: &Arc<dyn ReadAt>,
        geometry: Geometry,
        damaged: &mut Vec<String>,
    ) -> Result<Self, FileError> {
        let table = Table::open(source, &geometry, damaged)?;
        Ok(Self {
            source: Arc::clone(source),
            geometry,
            table,
        })
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// A file.
    ///
    /// # Errors
    /// [`FileError::NotFound`] when no file has this number; [`FileError::Damaged`] when the record was
    /// used for another file since, or is damaged.
    pub(super) fn file(&self, reference: Reference) -> Result<File, FileError> {
        let number = reference.number;
        let record = self.table.record(number)?;
        let is_any = reference.sequence == 0;
        if is_any && (!record.is_in_use() || record.base().is_some()) {
            return Err(FileError::NotFound);
        }
        if !record.is_in_use() || !(is_any || record.sequence() == reference.sequence) {
            return Err(FileError::damaged(format!(
                "file record {number} belongs to another file now, or to none"
            )));
        }
        if record.base().is_some() {
            return Err(record.fault("it is an extension of another record").into());
        }
        let list = match record.attribute(types::ATTRIBUTE_LIST, "") {
            Some(list) => Some(read_list(&self.source, &self.geometry, &record, list)?),
            None => None,
        };
        Ok(File {
            record: Arc::new(record),
            list,
        })
    }

    /// The attributes of a type, each by its first part, which has the lengths.
    ///
    /// # Errors
    /// A record with one of them is damaged.
    pub(super) fn attributes(&self, file: &File, kind: u32) -> Result<Vec<Part>, FileError> {
        self.parts(file, &|found, _, first| found == kind && first == 0)
    }

    /// The attribute without a name of this type, by its first part.
    ///
    /// # Errors
    /// The record with it is damaged.
    pub(super) fn attribute(&self, file: &File, kind: u32) -> Result<Option<Part>, FileError> {
        let parts = self.parts(file, &|found, name, first| {
            found == kind && name.units().is_empty() && first == 0
        })?;
        Ok(parts.into_iter().next())
    }

    /// The parts of attributes that a function chooses by type, name and first cluster.
    fn parts(
        &self,
        file: &File,
        fits: &dyn Fn(u32, &FileName, u64) -> bool,
    ) -> Result<Vec<Part>, FileError> {
        let base = &file.record;
        let Some(list) = &file.list else {
            let own = base.attributes().iter();
            let own = own.filter(|own| fits(own.kind, &own.name, own.first()));
            return Ok(own
                .map(|attribute| Part {
                    record: Arc::clone(base),
                    attribute: attribute.clone(),
                })
                .collect());
        };
        let mut parts = Vec::new();
        // Neighbors in the list are often in the same record.
        let mut last = Arc::clone(base);
        let fitting = list
            .iter()
            .filter(|entry| fits(entry.kind, &entry.name, entry.first));
        for entry in fitting {
            let number = entry.record.number;
            if number == base.number() {
                last = Arc::clone(base);
            } else if number != last.number() {
                last = Arc::new(self.extension(number, base)?);
            }
            let attribute = extension_attribute(&last, base, entry)?.clone();
            parts.push(Part {
                record: Arc::clone(&last),
                attribute,
            });
        }
        Ok(parts)
    }

    fn extension(&self, number: u64, base: &Record) -> Result<Record, FileError> {
        self.table.record(number).map_err(|fault| match fault {
            FileError::NotFound => base
                .fault(format!("its extension {number} is not in the file table"))
                .into(),
            other => other,
        })
    }

    /// The content of the attribute with this type and name; `None` if the file has none.
    ///
    /// # Errors
    /// Its description is damaged, or the content is compressed in an unknown way.
    pub(super) fn content(
        &self,
        file: &File,
        kind: u32,
        name: &FileName,
    ) -> Result<Option<Box<dyn Content>>, FileError> {
        let mut parts = self.parts(file, &|found, other, _| found == kind && other == name)?;
        parts.sort_by_key(|part| part.attribute.first());
        let Some(first) = parts.first() else {
            return Ok(None);
        };
        let stored = match &first.attribute.form {
            Form::Resident(_) if parts.len() == 1 => {
                return Ok(Some(Box::new(Resident(first.resident()?.to_vec()))));
            }
            Form::Resident(_) => return Err(first.fault("it is there twice")),
            Form::Stored(stored) if stored.first != 0 => {
                return Err(first.fault("its first part is missing"));
            }
            Form::Stored(stored) => stored,
        };
        let mut extents = Extents::default();
        for part in &parts {
            collect(&mut extents, &self.geometry, &part.record, &part.attribute)?;
        }
        let lens = stored.lens;
        let whole = extents.whole();
        if extents
            .all()
            .last()
            .is_some_and(|last| last.bytes.end != whole)
            || whole < lens.len
        {
            return Err(first.fault("a part of its clusters is missing"));
        }
        let plain = Plain {
            source: Arc::clone(&self.source),
            extents,
            len: lens.len,
            initialized: lens.initialized,
        };
        let method = first.attribute.flags & COMPRESSION;
        if method == 0 {
            return Ok(Some(Box::new(plain)));
        }
        let unit = stored.unit;
        let compressed = Compressed::new(plain, self.geometry.cluster_size, unit);
        match compressed.filter(|_| method == LZNT1) {
            Some(content) => Ok(Some(Box::new(content))),
            None => Err(FileError::Unreadable(Unreadable::Compression {
                what: format!("method {method} of NTFS, with units of 2^{unit} clusters"),
            })),
        }
    }
}
