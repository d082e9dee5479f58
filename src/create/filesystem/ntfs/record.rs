//! A record of the NTFS master file table: a header followed by attributes. On disk, the last two bytes
//! of each 512 are replaced by a number and kept in the header (the fixups), so that an incomplete
//! write is detected.
//!
//! | offset | field |
//! |---|---|
//! | 0x00 | `FILE` |
//! | 0x04, 0x06 | offset and count of the fixups: the number, then the replaced bytes |
//! | 0x14 | first attribute |
//! | 0x16 | flags: bit 0 in use |
//! | 0x18, 0x1C | bytes used, bytes in all |
//!
//! | offset in an attribute | field |
//! |---|---|
//! | 0x00, 0x04 | type (all ones: the end), length |
//! | 0x08 | 1: its content is in clusters outside the record |
//! | 0x09, 0x0A | length of its name in characters, and offset of the name |
//! | 0x10, 0x14 | content in the record: length and offset |
//! | 0x18, 0x20, 0x30 | content in clusters: last cluster, offset of the runs, size in bytes |

use std::ops::Range;

use crate::format::FormatError;
use crate::format::wire::Fields;

/// Bytes in a block that ends with a fixup, independent of the sector size.
const BLOCK: usize = 512;

/// Attribute types.
pub(super) mod types {
    pub(in super::super) const ATTRIBUTE_LIST: u32 = 0x20;
    pub(in super::super) const VOLUME_NAME: u32 = 0x60;
    pub(in super::super) const VOLUME_INFORMATION: u32 = 0x70;
    pub(in super::super) const DATA: u32 = 0x80;
    pub(super) const END: u32 = 0xFFFF_FFFF;
}

/// A record with its fixups undone.
pub(super) struct Record {
    bytes: Vec<u8>,
    position: u64,
}

/// The position of an attribute in its record, and its properties.
#[derive(Debug, Clone)]
pub(super) struct Attribute {
    place: Range<usize>,
    kind: u32,
    name: String,
    elsewhere: bool,
}

impl Record {
    /// Parses the record in `bytes`, from offset `position` on the volume.
    ///
    /// # Errors
    /// If it is not a record in use, or was written incompletely.
    pub(super) fn parse(mut bytes: Vec<u8>, position: u64) -> Result<Self, FormatError> {
        let fields = Fields::new("file record", &bytes, position);
        if fields.slice(0, 4)? != b"FILE" || fields.u16(0x16)? & 1 == 0 {
            return Err(fields.fault("not a file record in use"));
        }
        let fixups = fixups(&fields)?;
        let stamp: [u8; 2] = fields.array(fixups.start)?;
        let torn = fields.fault("it was written incompletely");
        for (block, kept) in bytes.clone()[fixups].chunks_exact(2).skip(1).enumerate() {
            let end = (block + 1) * BLOCK;
            match bytes.get_mut(end - 2..end) {
                Some(last) if *last == stamp => last.copy_from_slice(kept),
                _ => return Err(torn),
            }
        }
        Ok(Self { bytes, position })
    }

    /// The bytes to write to disk, with new fixups.
    pub(super) fn into_disk_bytes(mut self) -> Result<Vec<u8>, FormatError> {
        let fields = self.fields();
        let fixups = fixups(&fields)?;
        let stamp = match fields.u16(fixups.start)? {
            // Zero and the mark of unreadable blocks are not used as numbers.
            old @ (0..=0xFFFD) => old + 1,
            _ => 1,
        };
        let stamp = stamp.to_le_bytes();
        for block in 0..self.bytes.len() / BLOCK {
            let end = (block + 1) * BLOCK;
            let at = fixups.start + 2 * (block + 1);
            let last = [self.bytes[end - 2], self.bytes[end - 1]];
            self.bytes[at..at + 2].copy_from_slice(&last);
            self.bytes[end - 2..end].copy_from_slice(&stamp);
        }
        self.bytes[fixups.start..fixups.start + 2].copy_from_slice(&stamp);
        Ok(self.bytes)
    }

    fn fields(&self) -> Fields<'_> {
        Fields::new("file record", &self.bytes, self.position)
    }

    /// The first attribute of that type and name.
    ///
    /// # Errors
    /// If there is none, or the attributes are malformed.
    pub(super) fn attribute(&self, kind: u32, name: &str) -> Result<Attribute, FormatError> {
        let found = self
            .attributes()?
            .into_iter()
            .find(|attribute| attribute.kind == kind && attribute.name == name);
        found.ok_or_else(|| {
            self.fields()
                .fault(format!("it has no attribute {kind:#x}"))
        })
    }

    fn attributes(&self) -> Result<Vec<Attribute>, FormatError> {
        let record = self.fields();
        let mut found = Vec::new();
        let mut start = usize::from(record.u16(0x14)?);
        loop {
            let kind = record.u32(start)?;
            if kind == types::END {
                return Ok(found);
            }
            let len = usize::try_from(record.u32(start + 4)?).unwrap_or(usize::MAX);
            // The shortest attribute is a header without content.
            if len < 0x18 || len % 8 != 0 {
                return Err(record.fault("an attribute of an impossible length"));
            }
            let end = start.saturating_add(len);
            let fields = record.part("attribute", start, end)?;
            let name_len = usize::from(fields.u8(9)?) * 2;
            let name = fields.slice(usize::from(fields.u16(0xA)?), name_len)?;
            let units = name
                .chunks_exact(2)
                .map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            found.push(Attribute {
                place: start..end,
                kind,
                name: char::decode_utf16(units)
                    .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect(),
                elsewhere: fields.u8(8)? != 0,
            });
            start = end;
        }
    }

    /// Whether some of its attributes are in other records.
    pub(super) fn goes_on_elsewhere(&self) -> Result<bool, FormatError> {
        let mut attributes = self.attributes()?.into_iter();
        Ok(attributes.any(|attribute| attribute.kind == types::ATTRIBUTE_LIST))
    }

    /// The content of an attribute whose content is in the record.
    pub(super) fn content(&self, attribute: &Attribute) -> Result<&[u8], FormatError> {
        let fields = self.part(attribute)?;
        if attribute.elsewhere {
            return Err(fields.fault("its content is not in the record"));
        }
        let len = usize::try_from(fields.u32(0x10)?).unwrap_or(usize::MAX);
        fields.slice(usize::from(fields.u16(0x14)?), len)
    }

    /// The runs of a nonresident attribute, its last cluster, and its length in bytes.
    pub(super) fn runs(
        &self,
        attribute: &Attribute,
    ) -> Result<(Fields<'_>, u64, u64), FormatError> {
        let fields = self.part(attribute)?;
        if !attribute.elsewhere {
            return Err(fields.fault("its content is in the record"));
        }
        let at = usize::from(fields.u16(0x20)?);
        let end = attribute.place.len();
        let list = fields.part("list of runs", at, end)?;
        Ok((list, fields.u64(0x18)?, fields.u64(0x30)?))
    }

    fn part(&self, attribute: &Attribute) -> Result<Fields<'_>, FormatError> {
        let Range { start, end } = attribute.place;
        self.fields().part("attribute", start, end)
    }

    /// Replaces the list of runs of an attribute, and moves what follows it.
    ///
    /// # Errors
    /// The record has not enough space for it.
    pub(super) fn replace_runs(
        &mut self,
        attribute: &Attribute,
        list: &[u8],
    ) -> Result<(), FormatError> {
        /// Alignment of attributes in bytes.
        const ALIGNMENT: usize = 8;
        let record = self.fields();
        let Range { start, end } = attribute.place.clone();
        let list_at = start + usize::from(self.part(attribute)?.u16(0x20)?);
        let used = usize::try_from(record.u32(0x18)?).unwrap_or(usize::MAX);
        let allocated = usize::try_from(record.u32(0x1C)?).unwrap_or(usize::MAX);
        let new_end = (list_at - start + list.len()).next_multiple_of(ALIGNMENT) + start;
        let new_used = (used + new_end).checked_sub(end);
        let new_used = new_used.filter(|new| *new <= allocated.min(self.bytes.len()));
        let (Some(new_used), Some(behind)) = (new_used, self.bytes.get(end..used)) else {
            return Err(record.fault("it has too little space"));
        };
        let behind = behind.to_vec();
        self.bytes[list_at..].fill(0);
        self.bytes[list_at..list_at + list.len()].copy_from_slice(list);
        self.bytes[new_end..new_end + behind.len()].copy_from_slice(&behind);
        let mut put = |at: usize, value: usize| {
            let value = u32::try_from(value).unwrap_or(0);
            self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        put(start + 4, new_end - start);
        put(0x18, new_used);
        Ok(())
    }
}

/// The offset of the fixups: the number that is on disk in each block, then the replaced bytes.
fn fixups(record: &Fields<'_>) -> Result<Range<usize>, FormatError> {
    let start = usize::from(record.u16(4)?);
    let count = usize::from(record.u16(6)?);
    let blocks = record.bytes().len() / BLOCK;
    let end = start + 2 * count;
    if count != blocks + 1 || start < 8 || end > BLOCK - 2 {
        return Err(record.fault(format!("{count} fixups for {blocks} blocks")));
    }
    Ok(start..end)
}
