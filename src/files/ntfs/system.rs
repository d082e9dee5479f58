//! File records and the content of their attributes, wherever these are.

use std::sync::Arc;

use super::attribute::{Attribute, COMPRESSION, Form, LZNT1, Stored, types};
use super::attribute_list::Listed;
use super::boot::Geometry;
use super::compressed::Compressed;
use super::extents::{Extents, OpenRuns, Plain, Resident, collect};
use super::record::{Record, Reference};
use super::table::{Table, extension_attribute, read_list};
use crate::files::{Content, FileError, FileName, Unreadable};
use crate::source::ReadAt;

/// A file system: its geometry and its file table.
pub(super) struct System {
    source: Arc<dyn ReadAt>,
    geometry: Geometry,
    table: Table,
    open_runs: OpenRuns,
}

/// A file: its own record, and the list of its attributes if they do not fit into it.
#[derive(Debug)]
pub(super) struct File {
    record: Record,
    list: Option<Vec<Listed>>,
}

/// An attribute of a file, or a part of one, and the record that has it.
#[derive(Clone, Copy)]
struct Part<'a> {
    record: &'a Record,
    attribute: &'a Attribute,
}

impl Part<'_> {
    /// An error about the attribute.
    fn fault(&self, what: &str) -> FileError {
        match self.record.part(self.attribute) {
            Ok(fields) => fields.fault(what).into(),
            Err(fault) => fault.into(),
        }
    }
}

/// Which attributes are meant, by type, name and first cluster.
type Fits<'a> = &'a dyn Fn(u32, &FileName, u64) -> bool;

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
            open_runs: OpenRuns::default(),
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
        Ok(File { record, list })
    }

    /// The attributes of a type, each by its first part, which has the lengths.
    ///
    /// # Errors
    /// A record with one of them is damaged.
    pub(super) fn attributes(&self, file: &File, kind: u32) -> Result<Vec<Attribute>, FileError> {
        let mut found = Vec::new();
        let fits = |other, _: &FileName, first| other == kind && first == 0;
        self.parts(file, &fits, &mut |part| {
            found.push(part.attribute.clone());
            Ok(())
        })?;
        Ok(found)
    }

    /// Calls `tell` with the content of each attribute of a type whose content is always in its record.
    ///
    /// # Errors
    /// A record with one of them is damaged, or the content is elsewhere; or what `tell` returns.
    pub(super) fn values(
        &self,
        file: &File,
        kind: u32,
        tell: &mut dyn FnMut(&[u8]) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        let fits = |other, _: &FileName, first| other == kind && first == 0;
        self.parts(file, &fits, &mut |part| {
            tell(part.record.content(part.attribute)?)
        })
    }

    /// The content of the first attribute without a name of a type whose content is always in its record.
    ///
    /// # Errors
    /// The record with it is damaged, or the content is elsewhere.
    pub(super) fn value(&self, file: &File, kind: u32) -> Result<Option<Vec<u8>>, FileError> {
        let mut found = None;
        let fits =
            |other, name: &FileName, first| other == kind && name.units().is_empty() && first == 0;
        self.parts(file, &fits, &mut |part| {
            if found.is_none() {
                found = Some(part.record.content(part.attribute)?.to_vec());
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Calls `tell` with each part of attributes that is meant, in the order of their first clusters.
    /// Only one record at a time is in memory, since a list can name thousands.
    fn parts(
        &self,
        file: &File,
        fits: Fits<'_>,
        tell: &mut dyn FnMut(Part<'_>) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        let base = &file.record;
        let Some(list) = &file.list else {
            let own = base.attributes().iter();
            let mut own: Vec<_> = own
                .filter(|own| fits(own.kind, &own.name, own.first()))
                .collect();
            own.sort_by_key(|own| own.first());
            return own.into_iter().try_for_each(|attribute| {
                let record = base;
                tell(Part { record, attribute })
            });
        };
        let mut entries: Vec<_> = list
            .iter()
            .filter(|entry| fits(entry.kind, &entry.name, entry.first))
            .collect();
        // Each record is read once.
        entries.sort_by_key(|entry| (entry.first, entry.record.number));
        let mut last: Option<Record> = None;
        for entry in entries {
            let number = entry.record.number;
            let record = match last.take() {
                _ if number == base.number() => base,
                Some(record) if record.number() == number => &*last.insert(record),
                _ => &*last.insert(self.extension(number, base)?),
            };
            let attribute = extension_attribute(record, base, entry)?;
            tell(Part { record, attribute })?;
        }
        Ok(())
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
        self.content_in(file, kind, name, u64::MAX)
    }

    /// The whole content of an attribute that is never longer than `max` bytes.
    ///
    /// # Errors
    /// Those of [`System::content`]; it is longer, or has more clusters than it can need.
    pub(super) fn small(
        &self,
        file: &File,
        kind: u32,
        name: &FileName,
        max: u64,
    ) -> Result<Option<Vec<u8>>, FileError> {
        let clusters = max.div_ceil(self.geometry.cluster_size.max(1));
        let Some(content) = self.content_in(file, kind, name, clusters)? else {
            return Ok(None);
        };
        let len = content.size();
        let fits = usize::try_from(len).ok().filter(|_| len <= max);
        let too_long = || FileError::damaged(format!("an attribute of {len} bytes"));
        let mut bytes = vec![0; fits.ok_or_else(too_long)?];
        content.read_exact_at(0, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// The content of an attribute that has at most so many clusters.
    fn content_in(
        &self,
        file: &File,
        kind: u32,
        name: &FileName,
        clusters: u64,
    ) -> Result<Option<Box<dyn Content>>, FileError> {
        let mut extents = Extents::counted(&self.open_runs);
        let mut resident = None;
        let mut first: Option<(Stored, u16)> = None;
        // The cluster that the next part begins with.
        let mut next = 0;
        let fits = |found, other: &FileName, _| found == kind && other == name;
        self.parts(file, &fits, &mut |part| {
            let Part { record, attribute } = part;
            let stored = match &attribute.form {
                _ if resident.is_some() => return Err(part.fault("it is there twice")),
                Form::Resident(_) if first.is_some() => {
                    return Err(part.fault("it is there twice"));
                }
                Form::Resident(_) => {
                    resident = Some(record.content(attribute)?.to_vec());
                    return Ok(());
                }
                Form::Stored(stored) => stored,
            };
            if first.is_none() {
                if stored.first != 0 {
                    return Err(part.fault("its first part is missing"));
                }
                first = Some((stored.clone(), attribute.flags));
            }
            if stored.first != next {
                return Err(part.fault("a part of its clusters is missing or there twice"));
            }
            if stored.end > clusters {
                return Err(part.fault("it has more clusters than it can need"));
            }
            next = stored.end;
            collect(&mut extents, &self.geometry, record, attribute)
        })?;
        if let Some(bytes) = resident {
            return Ok(Some(Box::new(Resident(bytes))));
        }
        let Some((stored, flags)) = first else {
            return Ok(None);
        };
        let lens = stored.lens;
        if extents.whole() < lens.len {
            let record = &file.record;
            let what = "a part of the clusters of an attribute is missing";
            return Err(record.fault(what).into());
        }
        let plain = Plain {
            source: Arc::clone(&self.source),
            extents,
            len: lens.len,
            initialized: lens.initialized,
        };
        let method = flags & COMPRESSION;
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
