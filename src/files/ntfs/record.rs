//! A record of the NTFS file table: a header followed by attributes. It describes a file, or is an
//! extension that has some attributes of a file.
//!
//! | offset | field |
//! |---|---|
//! | 0x00, 0x04 | `FILE`, and the fixups |
//! | 0x10 | sequence number: how often the record was used |
//! | 0x12 | number of names, with the short ones |
//! | 0x14 | first attribute |
//! | 0x16 | flags: 1 in use, 2 directory |
//! | 0x18, 0x1C | bytes used, bytes in all |
//! | 0x20 | in an extension: the reference to the file's own record |
//! | 0x2C | since Windows XP: the number of the record; the fixups begin at 0x30 then |
//!
//! A reference to a record has its number in 48 bits and its sequence number in 16.
//!
//! Source: the documentation of the Linux-NTFS project.

use super::attribute::{Attribute, Form, types};
use super::fixups;
use crate::format::FormatError;
use crate::format::wire::Fields;

/// Signature of a record.
const SIGNATURE: &[u8; 4] = b"FILE";
/// Name of the structure in messages.
const NAME: &str = "file record";
/// The record is in use.
const IN_USE: u16 = 1;
/// Where the fixups begin, if the header contains the number of the record.
const HEADER_WITH_NUMBER: usize = 0x30;
/// It describes a directory.
const DIRECTORY: u16 = 2;

/// A reference to a file record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    /// Number of the record.
    pub(crate) number: u64,
    /// Its sequence number; 0 stands for any.
    pub(crate) sequence: u16,
}

impl Reference {
    /// The reference that is stored as this number.
    pub(crate) fn from_disk(stored: u64) -> Self {
        let [a, b, c, d, e, f, low, high] = stored.to_le_bytes();
        Self {
            number: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
            sequence: u16::from_le_bytes([low, high]),
        }
    }
}

/// A record with its fixups undone and its attributes parsed.
#[derive(Debug)]
pub(crate) struct Record {
    number: u64,
    position: u64,
    bytes: Vec<u8>,
    attributes: Vec<Attribute>,
}

impl Record {
    /// Parses the record `number` in `bytes`, from offset `position` on the volume.
    ///
    /// # Errors
    /// If it is not a record, was written incompletely, belongs to another place of the file table, or its
    /// attributes are malformed.
    pub(crate) fn parse(
        number: u64,
        mut bytes: Vec<u8>,
        position: u64,
    ) -> Result<Self, FormatError> {
        fixups::undo(NAME, SIGNATURE, &mut bytes, position)?;
        let fields = Fields::new(NAME, &bytes, position);
        let used = usize::try_from(fields.u32(0x18)?).unwrap_or(usize::MAX);
        let used = fields.part(NAME, 0, used)?;
        let in_use = used.u16(0x16)? & IN_USE != 0;
        // A disk that writes a record to the wrong place must not make a file show the content of another.
        let has_number = usize::from(fields.u16(4)?) >= HEADER_WITH_NUMBER;
        if in_use && has_number {
            let stored = u64::from(fields.u32(0x2C)?);
            if stored != number & u64::from(u32::MAX) {
                return Err(
                    fields.fault(format!("it is record {stored}, in the place of {number}"))
                );
            }
        }
        let attributes = match in_use {
            true => Attribute::parse_all(&used, usize::from(used.u16(0x14)?))?,
            // What a deleted file left is not read.
            false => Vec::new(),
        };
        Ok(Self {
            number,
            position,
            bytes,
            attributes,
        })
    }

    /// Its number in the file table.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    fn fields(&self) -> Fields<'_> {
        Fields::new(NAME, &self.bytes, self.position)
    }

    fn flags(&self) -> u16 {
        self.fields().u16(0x16).unwrap_or(0)
    }

    /// Whether it describes a file, or is an extension of one.
    pub(crate) fn is_in_use(&self) -> bool {
        self.flags() & IN_USE != 0
    }

    /// Whether it describes a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.flags() & DIRECTORY != 0
    }

    /// How often it was used.
    pub(crate) fn sequence(&self) -> u16 {
        self.fields().u16(0x10).unwrap_or(0)
    }

    /// The file of an extension; `None` for the file's own record.
    pub(crate) fn base(&self) -> Option<Reference> {
        let stored = self.fields().u64(0x20).unwrap_or(0);
        (stored != 0).then(|| Reference::from_disk(stored))
    }

    /// Its attributes.
    pub(crate) fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// The attribute of that type and name.
    pub(crate) fn attribute(&self, kind: u32, name: &str) -> Option<&Attribute> {
        self.attributes
            .iter()
            .find(|attribute| attribute.kind == kind && attribute.is_named(name))
    }

    /// The bytes of an attribute, for messages and for its parts.
    pub(crate) fn part(&self, attribute: &Attribute) -> Result<Fields<'_>, FormatError> {
        let place = &attribute.place;
        self.fields().part("attribute", place.start, place.end)
    }

    /// The content of an attribute of this record whose content is in the record.
    ///
    /// # Errors
    /// Its content is elsewhere.
    pub(crate) fn content(&self, attribute: &Attribute) -> Result<&[u8], FormatError> {
        let fields = self.part(attribute)?;
        match &attribute.form {
            Form::Resident(place) => fields.slice(place.start, place.len()),
            Form::Stored(_) => Err(fields.fault("its content is not in the record")),
        }
    }

    /// An error about the record.
    pub(crate) fn fault(&self, what: impl Into<String>) -> FormatError {
        self.fields().fault(what)
    }

    /// The list of runs of an attribute of this record.
    ///
    /// # Errors
    /// Its content is in the record.
    pub(crate) fn runs(&self, attribute: &Attribute) -> Result<Fields<'_>, FormatError> {
        let fields = self.part(attribute)?;
        match &attribute.form {
            Form::Stored(stored) => fields.part("list of runs", stored.runs, fields.bytes().len()),
            Form::Resident(_) => Err(fields.fault("its content is in the record")),
        }
    }

    /// The bytes to write to disk, with new fixups.
    pub(crate) fn into_disk_bytes(mut self) -> Result<Vec<u8>, FormatError> {
        fixups::renew(NAME, &mut self.bytes, self.position)?;
        Ok(self.bytes)
    }

    /// The record with another list of runs in one of its attributes; what follows that is moved.
    ///
    /// # Errors
    /// The record has not enough space for it.
    pub(crate) fn with_runs(
        &self,
        attribute: &Attribute,
        list: &[u8],
    ) -> Result<Self, FormatError> {
        /// Alignment of attributes in bytes.
        const ALIGNMENT: usize = 8;
        let Form::Stored(stored) = &attribute.form else {
            return Err(self.fault("its content is in the record"));
        };
        let full = || self.fault("it has too little space");
        let record = self.fields();
        let used = usize::try_from(record.u32(0x18)?).unwrap_or(usize::MAX);
        let allocated = usize::try_from(record.u32(0x1C)?).unwrap_or(usize::MAX);
        let allocated = allocated.min(self.bytes.len());
        let place = &attribute.place;
        let list_at = place.start.checked_add(stored.runs).ok_or_else(full)?;
        let before = self.bytes.get(..list_at).ok_or_else(full)?;
        let behind = self.bytes.get(place.end..used).ok_or_else(full)?;
        let mut bytes = before.to_vec();
        bytes.extend(list);
        let len = bytes.len().saturating_sub(place.start);
        let len = len.checked_next_multiple_of(ALIGNMENT).ok_or_else(full)?;
        bytes.resize(place.start.checked_add(len).ok_or_else(full)?, 0);
        bytes.extend(behind);
        let new_used = bytes.len();
        if new_used > allocated {
            return Err(full());
        }
        bytes.resize(self.bytes.len(), 0);
        for (at, value) in [(place.start.saturating_add(4), len), (0x18, new_used)] {
            let value = u32::try_from(value).map_err(|_| full())?;
            let field = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
            *field.ok_or_else(full)? = value.to_le_bytes();
        }
        let fields = Fields::new(NAME, &bytes, self.position);
        let used = fields.part(NAME, 0, new_used)?;
        Ok(Self {
            number: self.number,
            position: self.position,
            attributes: Attribute::parse_all(&used, usize::from(used.u16(0x14)?))?,
            bytes,
        })
    }

    /// The content of the first attribute of a type without a name, if the record has it.
    pub(crate) fn resident(&self, kind: u32) -> Option<&[u8]> {
        self.content(self.attribute(kind, "")?).ok()
    }

    /// Whether some of its attributes are in other records.
    pub(crate) fn goes_on_elsewhere(&self) -> bool {
        self.attribute(types::ATTRIBUTE_LIST, "").is_some()
    }
}
