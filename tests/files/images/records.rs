//! Changing the file records of an NTFS image: damage and states that no tool makes.

use std::ops::Range;

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()))
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// A part of an image that is a file record, whose update sequence is undone while it is changed.
pub struct Record<'a> {
    pub bytes: &'a mut [u8],
    /// Where it is in the image.
    pub offset: usize,
}

/// An attribute: its type, its name and where it is in its record.
#[derive(Debug, Clone)]
pub struct Attribute {
    pub kind: u32,
    pub name: String,
    pub range: Range<usize>,
    pub resident: bool,
}

impl Record<'_> {
    pub fn attributes(&self) -> Vec<Attribute> {
        let mut found = Vec::new();
        let mut at = u16_at(self.bytes, 0x14);
        while at + 16 <= self.bytes.len() && u32_at(self.bytes, at) != 0xFFFF_FFFF {
            let len = u32_at(self.bytes, at + 4);
            let Some(attribute) = self.bytes.get(at..at + len).filter(|_| len >= 16) else {
                break;
            };
            let name = u16_at(attribute, 10);
            let units = attribute.get(name..name + 2 * usize::from(attribute[9]));
            let units = units.unwrap_or_default().chunks(2);
            let units: Vec<u16> = units.map(|two| u16_at(two, 0) as u16).collect();
            found.push(Attribute {
                kind: u32_at(attribute, 0) as u32,
                name: String::from_utf16_lossy(&units),
                range: at..at + len,
                resident: attribute[8] == 0,
            });
            at += len;
        }
        found
    }

    /// The names of the file.
    pub fn names(&self) -> Vec<String> {
        let names = self
            .attributes()
            .into_iter()
            .filter(|one| one.kind == FILE_NAME);
        names
            .map(|one| {
                let value = one.range.start + u16_at(self.bytes, one.range.start + 0x14);
                let len = usize::from(self.bytes[value + 0x40]);
                let units = self.bytes[value + 0x42..value + 0x42 + 2 * len].chunks(2);
                let units: Vec<u16> = units.map(|two| u16_at(two, 0) as u16).collect();
                String::from_utf16_lossy(&units)
            })
            .collect()
    }

    /// The bytes of an attribute, with its header.
    pub fn attribute(&mut self, kind: u32, name: &str) -> &mut [u8] {
        let found = self.attributes();
        let mut found = found.into_iter();
        let one = found.find(|one| one.kind == kind && one.name == name);
        &mut self.bytes[one.expect("the attribute").range]
    }
}

pub const STANDARD_INFORMATION: u32 = 0x10;
pub const ATTRIBUTE_LIST: u32 = 0x20;
pub const FILE_NAME: u32 = 0x30;
pub const VOLUME_INFORMATION: u32 = 0x70;
pub const DATA: u32 = 0x80;

/// The size of a file record, from the boot sector.
pub fn record_size(image: &[u8]) -> usize {
    let sector = u16_at(image, 11);
    let cluster = match image[13] {
        powers @ 0x81.. => sector << (256 - usize::from(powers)),
        sectors => sector * usize::from(sectors),
    };
    match image[0x40] as i8 {
        clusters @ 1.. => clusters as usize * cluster,
        power => 1 << -i32::from(power),
    }
}

/// The offsets of all file records in use, also of copies in the mirror.
pub fn records(image: &[u8]) -> Vec<usize> {
    let size = record_size(image);
    let last = image.len() - size;
    let offsets = (0..=last).step_by(512);
    offsets
        .filter(|at| &image[*at..at + 4] == b"FILE" && u16_at(image, at + 0x16) & 1 == 1)
        .collect()
}

/// Calls `change` with every record whose file has this name: those of the first files have a copy in
/// $MFTMirr.
pub fn change_record(image: &mut [u8], name: &str, change: impl Fn(&mut Record<'_>)) {
    let size = record_size(image);
    let mut count = 0;
    for offset in records(image) {
        let mut record = Record {
            bytes: &mut image[offset..offset + size],
            offset,
        };
        unprotect(record.bytes);
        if record.names().iter().any(|one| one == name) {
            change(&mut record);
            count += 1;
        }
        protect(record.bytes);
    }
    assert!(count > 0, "no file {name}");
}

/// Puts the last bytes of each sector, which the update sequence holds, back in their place.
pub fn unprotect(block: &mut [u8]) {
    let (array, count) = (u16_at(block, 4), u16_at(block, 6));
    for sector in 1..count {
        let from = array + 2 * sector;
        block.copy_within(from..from + 2, sector * 512 - 2);
    }
}

/// The opposite of [`unprotect`].
pub fn protect(block: &mut [u8]) {
    let (array, count) = (u16_at(block, 4), u16_at(block, 6));
    for sector in 1..count {
        let end = sector * 512 - 2;
        block.copy_within(end..end + 2, array + 2 * sector);
        block.copy_within(array..array + 2, end);
    }
}
