//! The entries of a directory of FAT, 32 bytes each.
//!
//! | offset | short entry | offset | piece of a long name |
//! |---|---|---|---|
//! | 0x00 | name (8 bytes, 3 bytes); first byte 0: end, E5: deleted, 05: stands for E5 | 0x00 | number, from 1 on; bit 6: the last piece, which comes first |
//! | 0x0B | attributes: 08 label, 10 directory | 0x0B | 0F |
//! | 0x0C | 08: name in lower case, 10: extension in lower case | 0x0C | 0 |
//! | 0x0D | hundredths of a second of the creation | 0x0D | checksum of the short name |
//! | 0x0E, 0x10 | time and date of the creation | 0x01 | characters 1–5 |
//! | 0x12 | date of the last access | 0x0E | characters 6–11 |
//! | 0x14 | upper half of the first cluster (FAT32) | 0x1A | 0 |
//! | 0x16, 0x18 | time and date of the last change | 0x1C | characters 12–13 |
//! | 0x1A | lower half of the first cluster | | |
//! | 0x1C | size in bytes | | |
//!
//! The pieces of a long name come before the short entry that they belong to, the last one first. A
//! program that does not know them may leave them behind; they are joined to a short entry only if all
//! numbers and the checksum fit. A name ends with 0 unless it fills its pieces.
//!
//! Sources: Microsoft's FAT specification of 2000; for the bits at 0x0C, Linux's `msdos_fs.h`.

use super::boot::ENTRY_LEN;
use super::code_page::decode;
use crate::files::chains::{Width, date, date_and_time, upper};
use crate::files::name::FileName;
use crate::files::stat::{Attributes, FileKind, Times};
use crate::format::FormatError;
use crate::format::wire::Fields;

pub(super) const ENTRY: usize = ENTRY_LEN as usize;

const END: u8 = 0;
const DELETED: u8 = 0xE5;
/// Stands for 0xE5 at the start of a name, which is a letter in Japanese.
const STANDS_FOR_E5: u8 = 0x05;

const LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
/// The attributes of a piece of a long name, of those that are defined.
const LONG: u8 = 0x0F;
const DEFINED: u8 = 0x3F;

/// Longest long name, in UTF-16 units.
const MAX_NAME: usize = 255;
/// Most pieces of a long name.
const MAX_PIECES: u8 = 20;

/// What an entry is.
pub(super) enum Record<'a> {
    /// No entry follows.
    End,
    /// Not in use.
    Deleted,
    /// A piece of a long name.
    Piece(Fields<'a>),
    /// The label of the file system.
    Label([u8; 11]),
    /// The directory itself, or the one that contains it.
    Dot(Short),
    /// A file or directory.
    Short(Short),
}

/// A short entry.
#[derive(Debug, Clone)]
pub(super) struct Short {
    name: [u8; 11],
    case: u8,
    pub(super) attributes: Attributes,
    pub(super) kind: FileKind,
    pub(super) times: Times,
    pub(super) first: u32,
    pub(super) len: u32,
}

/// Reads the entry in these bytes.
pub(super) fn parse(fields: Fields<'_>, width: Width) -> Result<Record<'_>, FormatError> {
    let name: [u8; 11] = fields.array(0)?;
    let attributes = fields.u8(0x0B)?;
    match name {
        [END, ..] => return Ok(Record::End),
        [DELETED, ..] => return Ok(Record::Deleted),
        _ if attributes & DEFINED == LONG => return Ok(Record::Piece(fields)),
        name if attributes & (LABEL | DIRECTORY) == LABEL => return Ok(Record::Label(name)),
        _ => {}
    }
    let high = match width {
        Width::Fat32 => u32::from(fields.u16(0x14)?) << 16,
        _ => 0,
    };
    let short = Short {
        name,
        case: fields.u8(0x0C)?,
        attributes: Attributes(u32::from(attributes & DEFINED & !LABEL)),
        kind: match attributes & DIRECTORY {
            0 => FileKind::File,
            _ => FileKind::Directory,
        },
        times: Times {
            created: date_and_time(fields.u16(0x10)?, fields.u16(0x0E)?, fields.u8(0x0D)?, 0),
            modified: date_and_time(fields.u16(0x18)?, fields.u16(0x16)?, 0, 0),
            changed: None,
            accessed: date(fields.u16(0x12)?),
        },
        first: high | u32::from(fields.u16(0x1A)?),
        len: fields.u32(0x1C)?,
    };
    let is_dot = name == *b".          " || name == *b"..         ";
    Ok(match is_dot && short.kind == FileKind::Directory {
        true => Record::Dot(short),
        false => Record::Short(short),
    })
}

impl Short {
    /// Whether it is the entry of a directory for itself.
    pub(super) fn is_itself(&self) -> bool {
        self.name == *b".          "
    }

    /// Its name, in lower case where it says so.
    pub(super) fn name(&self) -> FileName {
        const LOWER_NAME: u8 = 0x08;
        const LOWER_EXTENSION: u8 = 0x10;
        let mut bytes = self.name;
        if let [first, ..] = &mut bytes
            && *first == STANDS_FOR_E5
        {
            *first = DELETED;
        }
        let (name, extension) = bytes.split_at(8);
        let mut text = part(name, self.case & LOWER_NAME != 0);
        let extension = part(extension, self.case & LOWER_EXTENSION != 0);
        if !extension.is_empty() {
            text.push('.');
            text.push_str(&extension);
        }
        text.as_str().into()
    }

    /// The checksum of the name, which the pieces of its long name have.
    fn checksum(&self) -> u8 {
        self.name
            .iter()
            .fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
    }
}

/// A name or an extension without the spaces at its end.
fn part(bytes: &[u8], is_lower: bool) -> String {
    let text: String = bytes.iter().map(|byte| decode(*byte)).collect();
    let text = text.trim_end_matches(' ');
    match is_lower {
        true => text.to_lowercase(),
        false => text.to_owned(),
    }
}

/// The label of a file system, if it is one.
pub(super) fn label(bytes: &[u8; 11]) -> Option<String> {
    let text: String = bytes.iter().map(|byte| decode(*byte)).collect();
    let text = text.trim_end_matches([' ', '\0']);
    (!text.is_empty() && text != "NO NAME").then(|| text.to_owned())
}

/// Joins the pieces of a long name.
#[derive(Default)]
pub(super) struct LongName {
    /// Its units, those of the first piece that was found last.
    units: Vec<u16>,
    checksum: u8,
    /// The number of the piece that was found last; 0 if there is none.
    number: u8,
}

impl LongName {
    /// Forgets the pieces.
    pub(super) fn clear(&mut self) {
        self.units.clear();
        self.number = 0;
    }

    /// Adds a piece.
    pub(super) fn add(&mut self, piece: Fields<'_>) -> Result<(), FormatError> {
        const LAST: u8 = 0x40;
        let (number, checksum) = (piece.u8(0)?, piece.u8(0x0D)?);
        if number & LAST != 0 {
            self.clear();
            self.number = number & !LAST;
            self.checksum = checksum;
        } else if Some(number) == self.number.checked_sub(1) && checksum == self.checksum {
            self.number = number;
        } else {
            self.number = 0;
        }
        if !(1..=MAX_PIECES).contains(&self.number) {
            self.clear();
            return Ok(());
        }
        let mut units = Vec::with_capacity(13_usize.saturating_add(self.units.len()));
        for (at, len) in [(0x01, 10), (0x0E, 12), (0x1C, 4)] {
            let (pairs, _) = piece.slice(at, len)?.as_chunks();
            units.extend(pairs.iter().map(|pair| u16::from_le_bytes(*pair)));
        }
        units.append(&mut self.units);
        self.units = units;
        Ok(())
    }

    /// The name, if all its pieces were found and belong to this entry. Forgets the pieces.
    pub(super) fn take(&mut self, short: &Short) -> Option<FileName> {
        let is_whole = self.number == 1 && self.checksum == short.checksum();
        let mut parts = self.units.split(|unit| *unit == 0);
        let name = parts
            .next()
            .filter(|name| is_whole && (1..=MAX_NAME).contains(&name.len()))
            .map(FileName::from_units);
        self.clear();
        name
    }
}

/// A name in upper case.
pub(super) fn fold(name: &FileName) -> FileName {
    let units: Vec<u16> = name.units().iter().map(|unit| upper(*unit)).collect();
    FileName::from_units(units)
}
