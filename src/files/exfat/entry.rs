//! The entries of a directory of exFAT, 32 bytes each.
//!
//! | bits of the type (offset 0) | meaning |
//! |---|---|
//! | 7 | in use; the type 0 ends the directory |
//! | 6 | belongs to the entry before it |
//! | 5 | may be ignored by those who do not know it |
//!
//! | type | entry |
//! |---|---|
//! | 81 | bitmap of the clusters: which of two (1), first cluster (20), length (24) |
//! | 82 | table of upper case: checksum (4), first cluster (20), length (24) |
//! | 83 | label: number of characters (1), characters (2) |
//! | 85 | file: number of entries that follow (1), checksum of all (2), attributes (4), created (8), modified (12), accessed (16), hundredths of a second (20, 21), time zones (22–24) |
//! | C0 | its content: flags (1: bit 1 the clusters follow one another), length of the name (3), written bytes (8), first cluster (20), length (24) |
//! | C1 | its name: 15 characters (2) |
//! | A0, A1, E0, E1 | GUID of the volume, padding of TexFAT, data of a vendor |
//!
//! The entries of a file follow one another, and the checksum is over all of them: if it is wrong, nothing
//! of the file can be trusted. The hash of the name (C0, 4) only makes a search faster and is not used.
//! A time zone is a number of quarters of an hour east of UTC with 7 bits, if bit 7 is set.
//!
//! Source: Microsoft's exFAT specification of 2019, sections 6 and 7.

use crate::files::chains::date_and_time;
use crate::files::name::FileName;
use crate::files::stat::{Attributes, FileKind, FileTime, Times};
use crate::format::FormatError;
use crate::format::wire::Fields;

pub(super) const ENTRY: usize = 32;

/// An entry as it is stored.
pub(super) type Raw = [u8; ENTRY];

const BITMAP: u8 = 0x81;
const UPPER_CASE: u8 = 0x82;
const LABEL: u8 = 0x83;
const FILE: u8 = 0x85;
const CONTENT: u8 = 0xC0;
const NAME: u8 = 0xC1;

const IN_USE: u8 = 0x80;
const SECONDARY: u8 = 0x40;
/// May be ignored.
const BENIGN: u8 = 0x20;

/// Characters in an entry of a name.
const NAME_PART: usize = 15;

/// A file or directory.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) name: FileName,
    pub(super) kind: FileKind,
    pub(super) attributes: Attributes,
    pub(super) times: Times,
    /// Its clusters follow one another, and have no entries in the table.
    pub(super) is_contiguous: bool,
    pub(super) first: u32,
    pub(super) len: u64,
    /// Bytes that were written; the rest are zeros.
    pub(super) valid: u64,
}

/// How many entries follow that of a file: those of its content and of its name, and any of vendors. `None`
/// if it is not one.
pub(super) fn followers(entry: &Raw) -> Option<usize> {
    match entry {
        [FILE, count @ 2..=u8::MAX, ..] => Some(usize::from(*count)),
        _ => None,
    }
}

/// A structure with an entry in the root directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Special {
    /// Its first cluster.
    pub(crate) first: u32,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// Its checksum, if it has one.
    pub(super) checksum: u32,
}

/// What a collector made of an entry.
pub(super) enum Collected {
    /// No entry follows.
    End,
    /// Nothing yet, or nothing that matters.
    Nothing,
    /// One of the two bitmaps of the clusters.
    Bitmap { is_second: bool, at: Special },
    /// The table of upper case.
    UpperCase(Special),
    /// The label of the file system.
    Label(FileName),
    /// A file, and the position of its first entry.
    File(Box<File>, u64),
}

/// Joins the entries of files.
#[derive(Default)]
pub(super) struct Collector {
    entries: Vec<Raw>,
    position: u64,
    /// How many entries of the current file are missing.
    missing: usize,
    /// How many entries follow that belong to one that is not known.
    unknown: u8,
    /// How many files were left out because their entries are damaged.
    pub(super) damaged: u32,
    /// The last entry belonged to no file.
    is_stray: bool,
}

impl Collector {
    /// Forgets an incomplete file, because its other entries cannot be read.
    pub(super) fn interrupt(&mut self) {
        if self.missing > 0 {
            self.missing = 0;
            self.count_damaged();
        }
        self.unknown = 0;
        // What follows may belong to a file in the gap.
        self.is_stray = true;
    }

    fn count_damaged(&mut self) {
        self.damaged = self.damaged.saturating_add(1);
    }

    /// Takes the next entry, which is at this position of the volume.
    pub(super) fn add(&mut self, entry: &Raw, position: u64) -> Result<Collected, FormatError> {
        let [kind, count, ..] = *entry;
        let is_follower = kind & (IN_USE | SECONDARY) == IN_USE | SECONDARY;
        if is_follower && self.missing > 0 {
            self.entries.push(*entry);
            self.missing = self.missing.saturating_sub(1);
            if self.missing > 0 {
                return Ok(Collected::Nothing);
            }
            return Ok(match parse(&self.entries, self.position)? {
                Some(file) => Collected::File(Box::new(file), self.position),
                None => {
                    self.count_damaged();
                    Collected::Nothing
                }
            });
        }
        let is_incomplete = self.missing > 0;
        if is_incomplete {
            self.missing = 0;
            self.count_damaged();
        }
        if is_follower && self.unknown > 0 {
            self.unknown = self.unknown.saturating_sub(1);
            return Ok(Collected::Nothing);
        }
        if is_follower {
            if !self.is_stray {
                self.count_damaged();
            }
            self.is_stray = true;
            return Ok(Collected::Nothing);
        }
        // The rest of an incomplete file is not counted again.
        self.is_stray = is_incomplete && kind & IN_USE == 0;
        self.unknown = 0;
        let fields = Fields::new("directory entry", entry, position);
        let special = |checksum| -> Result<Special, FormatError> {
            Ok(Special {
                first: fields.u32(20)?,
                len: fields.u64(24)?,
                checksum,
            })
        };
        Ok(match kind {
            0 => Collected::End,
            FILE => {
                match followers(entry) {
                    Some(missing) => {
                        self.missing = missing;
                        self.position = position;
                        self.entries.clear();
                        self.entries.push(*entry);
                    }
                    None => {
                        self.count_damaged();
                        self.is_stray = true;
                    }
                }
                Collected::Nothing
            }
            BITMAP => Collected::Bitmap {
                is_second: count & 1 != 0,
                at: special(0)?,
            },
            UPPER_CASE => Collected::UpperCase(special(fields.u32(4)?)?),
            LABEL => {
                let len = usize::from(count.min(11)).saturating_mul(2);
                Collected::Label(FileName::from_le_bytes(fields.slice(2, len)?))
            }
            kind if kind & IN_USE != 0 => {
                self.unknown = count;
                Collected::Nothing
            }
            _ => Collected::Nothing,
        })
    }
}

/// Reads a file from its entries, the first of which is at this position. `None` if they are damaged.
pub(super) fn parse(entries: &[Raw], position: u64) -> Result<Option<File>, FormatError> {
    let [first, content, names @ ..] = entries else {
        return Ok(None);
    };
    let head = Fields::new("directory entry", first, position);
    let sum = (0..)
        .zip(entries.as_flattened())
        .fold(0u16, |sum, (at, byte)| match matches!(at, 2 | 3) {
            true => sum,
            false => sum.rotate_right(1).wrapping_add(u16::from(*byte)),
        });
    if head.u16(2)? != sum {
        return Ok(None);
    }
    let stream = Fields::new("directory entry", content, position);
    let name_len = usize::from(stream.u8(3)?);
    let name_parts = name_len.div_ceil(NAME_PART);
    let (names, others) = names.split_at(name_parts.min(names.len()));
    let has_kinds = stream.u8(0)? == CONTENT
        && names.len() == name_parts
        && names.iter().all(|entry| entry.first() == Some(&NAME))
        && others
            .iter()
            .all(|entry| entry.first().is_some_and(|kind| kind & BENIGN != 0));
    if !has_kinds || name_len == 0 {
        return Ok(None);
    }
    let mut units: Vec<u16> = Vec::with_capacity(names.len().saturating_mul(NAME_PART));
    for name in names {
        let (pairs, _) = name.as_chunks();
        units.extend(pairs.iter().skip(1).map(|pair| u16::from_le_bytes(*pair)));
    }
    units.truncate(name_len);
    let attributes = Attributes(head.u16(4)?.into());
    let time = |at: usize, hundredths: u8, zone: usize| -> Result<Option<FileTime>, FormatError> {
        let (time, date) = (head.u16(at)?, head.u16(at.saturating_add(2))?);
        Ok(date_and_time(
            date,
            time,
            hundredths,
            quarters(head.u8(zone)?),
        ))
    };
    let times = Times {
        created: time(8, head.u8(20)?, 22)?,
        modified: time(12, head.u8(21)?, 23)?,
        changed: None,
        accessed: time(16, 0, 24)?,
    };
    Ok(Some(File {
        name: FileName::from_units(units),
        kind: match attributes.contains(Attributes::DIRECTORY) {
            true => FileKind::Directory,
            false => FileKind::File,
        },
        attributes,
        times,
        is_contiguous: stream.u8(1)? & 0b10 != 0,
        first: stream.u32(20)?,
        len: stream.u64(24)?,
        valid: stream.u64(8)?,
    }))
}

/// The time zone in quarters of an hour east of UTC; 0 if it is not stored.
fn quarters(stored: u8) -> i8 {
    const IS_STORED: u8 = 0x80;
    match stored & IS_STORED {
        0 => 0,
        // The sign is bit 6.
        _ => (stored << 1).cast_signed() >> 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_zones_have_seven_bits() {
        // Examples of the exFAT specification, section 7.4.10.
        assert_eq!(quarters(0x80), 0);
        assert_eq!(quarters(0xFF), -1);
        assert_eq!(quarters(0xD0), -48);
        assert_eq!(quarters(0xB8), 56);
        assert_eq!(quarters(0x04), 0);
    }
}
