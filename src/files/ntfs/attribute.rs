//! The attributes in a file record. Everything about a file is an attribute: its names, its times, its
//! content.
//!
//! | offset in an attribute | field |
//! |---|---|
//! | 0x00, 0x04 | type (all ones: the end), length |
//! | 0x08 | 1: its content is in clusters outside the record |
//! | 0x09, 0x0A | length of its name in characters, and offset of the name |
//! | 0x0C | flags: low byte compression (1: LZNT1), 0x4000 encrypted, 0x8000 sparse |
//! | 0x0E | its number in the record |
//! | 0x10, 0x14 | content in the record: length and offset |
//! | 0x10, 0x18 | content in clusters: the first and the last cluster (of the content) in this attribute |
//! | 0x20, 0x22 | offset of the runs; exponent of the clusters in a compression unit |
//! | 0x28, 0x30, 0x38 | allocated bytes, length, initialized length |
//! | 0x40 | compressed or sparse: bytes of the clusters that it really has |
//!
//! The content of a much fragmented file is described by several attributes of the same type and name.
//! Only the first of them has the lengths.
//!
//! Source: the documentation of the Linux-NTFS project.

use std::ops::Range;

use crate::files::FileName;
use crate::format::FormatError;
use crate::format::wire::Fields;

/// Attribute types.
pub(crate) mod types {
    pub(crate) const STANDARD_INFORMATION: u32 = 0x10;
    pub(crate) const ATTRIBUTE_LIST: u32 = 0x20;
    pub(crate) const FILE_NAME: u32 = 0x30;
    pub(crate) const VOLUME_NAME: u32 = 0x60;
    pub(crate) const VOLUME_INFORMATION: u32 = 0x70;
    pub(crate) const DATA: u32 = 0x80;
    pub(crate) const INDEX_ROOT: u32 = 0x90;
    pub(crate) const INDEX_ALLOCATION: u32 = 0xA0;
    pub(crate) const BITMAP: u32 = 0xB0;
    pub(crate) const REPARSE_POINT: u32 = 0xC0;
    pub(crate) const LOGGED_UTILITY_STREAM: u32 = 0x100;
    pub(super) const END: u32 = 0xFFFF_FFFF;
}

/// Bits of the flags: the method of compression.
pub(crate) const COMPRESSION: u16 = 0x00FF;
/// The only method of compression that NTFS knows.
pub(crate) const LZNT1: u16 = 1;
/// The content is encrypted.
pub(crate) const ENCRYPTED: u16 = 0x4000;
/// Parts of the content may be holes.
pub(crate) const SPARSE: u16 = 0x8000;

/// Length of the header of an attribute whose content is in the record, in bytes.
const SHORTEST: usize = 0x18;

/// An attribute: its properties, and its place in its record.
#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    /// Type, see [`types`].
    pub(crate) kind: u32,
    pub(crate) name: FileName,
    /// Its number in the record.
    pub(crate) id: u16,
    pub(crate) flags: u16,
    /// Its bytes in the record.
    pub(crate) place: Range<usize>,
    pub(crate) form: Form,
}

/// Where the content of an attribute is.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// In the record: its bytes in the attribute.
    Resident(Range<usize>),
    /// In clusters.
    Stored(Stored),
}

/// Content in clusters.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// The first cluster of the content that this attribute describes.
    pub(crate) first: u64,
    /// The cluster behind the last one.
    pub(crate) end: u64,
    /// Offset of the list of runs in the attribute.
    pub(crate) runs: usize,
    /// Exponent of the number of clusters in a compression unit.
    pub(crate) unit: u8,
    /// The lengths, which only the first attribute of the content has.
    pub(crate) lens: Lens,
}

/// The lengths of content in clusters, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lens {
    /// Length of the content.
    pub(crate) len: u64,
    /// How much of it was ever written; the rest reads as zeros.
    pub(crate) initialized: u64,
    /// Bytes of its clusters.
    pub(crate) allocated: u64,
}

impl Attribute {
    /// Parses the attributes of a record, from the first one at `start` to the end mark.
    pub(super) fn parse_all(record: &Fields<'_>, start: usize) -> Result<Vec<Self>, FormatError> {
        let mut found = Vec::new();
        let mut start = start;
        loop {
            let kind = record.u32(start)?;
            if kind == types::END {
                return Ok(found);
            }
            let len = record.u32(start.saturating_add(4))?;
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            if len < SHORTEST || len % 8 != 0 {
                return Err(record.fault("an attribute of an impossible length"));
            }
            let end = start.saturating_add(len);
            let fields = record.part("attribute", start, end)?;
            found.push(Self::parse(&fields, kind, start..end)?);
            start = end;
        }
    }

    fn parse(fields: &Fields<'_>, kind: u32, place: Range<usize>) -> Result<Self, FormatError> {
        let name_len = usize::from(fields.u8(9)?).saturating_mul(2);
        let name = match name_len {
            0 => FileName::default(),
            len => FileName::from_le_bytes(fields.slice(usize::from(fields.u16(0xA)?), len)?),
        };
        let flags = fields.u16(0xC)?;
        let form = match fields.u8(8)? {
            0 => {
                let len = usize::try_from(fields.u32(0x10)?).unwrap_or(usize::MAX);
                let at = usize::from(fields.u16(0x14)?);
                fields.slice(at, len)?;
                Form::Resident(at..at.saturating_add(len))
            }
            1 => Form::Stored(Stored::parse(fields, flags)?),
            other => return Err(fields.fault(format!("its content is of the form {other}"))),
        };
        Ok(Self {
            kind,
            name,
            id: fields.u16(0xE)?,
            flags,
            place,
            form,
        })
    }

    /// Whether it has this name.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name.units().iter().copied().eq(name.encode_utf16())
    }

    /// The first cluster of the content that it describes; 0 if the content is in the record.
    pub(crate) fn first(&self) -> u64 {
        match &self.form {
            Form::Resident(_) => 0,
            Form::Stored(stored) => stored.first,
        }
    }

    /// The length of the content in bytes.
    pub(crate) fn len(&self) -> u64 {
        match &self.form {
            Form::Resident(place) => place.len() as u64,
            Form::Stored(stored) => stored.lens.len,
        }
    }

    /// Bytes of the clusters of the content.
    pub(crate) fn allocated(&self) -> u64 {
        match &self.form {
            Form::Resident(_) => 0,
            Form::Stored(stored) => stored.lens.allocated,
        }
    }
}

impl Stored {
    fn parse(fields: &Fields<'_>, flags: u16) -> Result<Self, FormatError> {
        let first = fields.u64(0x10)?;
        // The last cluster is -1 if there is none.
        let end = fields.u64(0x18)?.wrapping_add(1);
        if end < first || end >= 1 << 63 {
            return Err(fields.fault("its first cluster comes after its last"));
        }
        let mut lens = Lens::default();
        if first == 0 {
            lens = Lens {
                len: fields.u64(0x30)?,
                initialized: fields.u64(0x38)?,
                allocated: fields.u64(0x28)?,
            };
            if lens.len >= 1 << 63 {
                return Err(fields.fault("its length is negative"));
            }
            lens.initialized = lens.initialized.min(lens.len);
            if flags & (COMPRESSION | SPARSE) != 0 {
                lens.allocated = fields.u64(0x40)?;
            }
        }
        Ok(Self {
            first,
            end,
            runs: usize::from(fields.u16(0x20)?),
            unit: fields.u8(0x22)?,
            lens,
        })
    }
}
