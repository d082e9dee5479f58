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

/// Splits the run list of $MFT into `parts`, as when it is too long for a record: an attribute list in
/// record 0 says which part is in which record. No tool makes such an $MFT. Windows also takes the
/// records after the first 16 for the other parts.
pub fn split_mft(image: &mut [u8], parts: usize) {
    let size = record_size(image);
    let cluster = u16_at(image, 11) * usize::from(image[13]);
    let mft = u32_at(image, 0x30) * cluster;
    let extension = |part: usize| 15 + part;
    let sequences: Vec<u16> = (1..parts)
        .map(|part| u16_at(image, mft + extension(part) * size + 16) as u16)
        .collect();
    let reference = |part: usize| match part {
        0 => 1 << 48,
        part => extension(part) as u64 | u64::from(sequences[part - 1]) << 48,
    };

    // The runs, in parts of nearly the same number.
    let mut record = image[mft..mft + size].to_vec();
    unprotect(&mut record);
    let attributes = Record { bytes: &mut record }.attributes();
    let bytes_of = |one: &Attribute| record[one.range.clone()].to_vec();
    let data = attributes.iter().find(|one| one.kind == DATA).unwrap();
    let data = bytes_of(data);
    let runs = decode_runs(&data[u16_at(&data, 0x20)..]);
    assert!(runs.len() >= parts, "$MFT has {} runs", runs.len());
    let groups: Vec<&[(u64, u64)]> = runs.chunks(runs.len().div_ceil(parts)).collect();
    assert_eq!(groups.len(), parts, "{} runs", runs.len());
    let mut first = 0;
    let extents: Vec<(u64, Vec<u8>)> = groups
        .iter()
        .map(|group| {
            let start = first;
            first += group.iter().map(|(_, count)| count).sum::<u64>();
            (start, extent(&data, start, first - 1, group))
        })
        .collect();

    // The attribute list: one entry for each attribute and part.
    let mut entries = Vec::new();
    let mut entry = |kind: u32, start: u64, part: usize, id: [u8; 2]| {
        entries.extend_from_slice(&kind.to_le_bytes());
        entries.extend_from_slice(&[32, 0, 0, 26]);
        entries.extend_from_slice(&start.to_le_bytes());
        entries.extend_from_slice(&reference(part).to_le_bytes());
        entries.extend_from_slice(&id);
        entries.extend_from_slice(&[0; 6]);
    };
    for one in &attributes {
        let id = [record[one.range.start + 14], record[one.range.start + 15]];
        entry(one.kind, 0, 0, id);
        if one.kind == DATA {
            for (part, (start, _)) in extents.iter().enumerate().skip(1) {
                entry(DATA, *start, part, [0; 2]);
            }
        }
    }
    let next_id = u16_at(&record, 40) as u16;
    let mut list = ATTRIBUTE_LIST.to_le_bytes().to_vec();
    list.extend_from_slice(&(24 + entries.len() as u32).to_le_bytes());
    list.extend_from_slice(&[0, 0, 24, 0, 0, 0]);
    list.extend_from_slice(&next_id.to_le_bytes());
    list.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    list.extend_from_slice(&[24, 0, 0, 0]);
    list.extend_from_slice(&entries);

    let mut new = Vec::new();
    for one in &attributes {
        match one.kind {
            DATA => new.extend_from_slice(&extents[0].1),
            _ => new.extend_from_slice(&bytes_of(one)),
        }
        if one.kind == STANDARD_INFORMATION {
            new.extend_from_slice(&list);
        }
    }
    record[40..42].copy_from_slice(&(next_id + 1).to_le_bytes());
    set_attributes(&mut record, &new);
    protect(&mut record);
    let mirror = u32_at(image, 0x38) * cluster;
    for place in [mft, mirror] {
        image[place..place + size].copy_from_slice(&record);
    }
    for (part, (_, extent)) in extents.iter().enumerate().skip(1) {
        let place = mft + extension(part) * size;
        let record = &mut image[place..place + size];
        unprotect(record);
        record[18..20].fill(0);
        record[22] = 1;
        record[32..40].copy_from_slice(&reference(0).to_le_bytes());
        record[40..42].copy_from_slice(&1u16.to_le_bytes());
        record[44..48].copy_from_slice(&(extension(part) as u32).to_le_bytes());
        set_attributes(record, extent);
        protect(record);
    }
}

/// Replaces the attributes of a record.
fn set_attributes(record: &mut [u8], attributes: &[u8]) {
    let start = u16_at(record, 20);
    let end = start + attributes.len();
    assert!(end + 8 <= record.len(), "{end} bytes do not fit");
    record[start..].fill(0);
    record[start..end].copy_from_slice(attributes);
    record[end..end + 4].fill(0xFF);
    record[24..28].copy_from_slice(&(end as u32 + 8).to_le_bytes());
}

/// The runs of a run list: first cluster on the volume, and count.
fn decode_runs(mut list: &[u8]) -> Vec<(u64, u64)> {
    let number = |bytes: &[u8]| {
        let sign = bytes.last().map_or(0, |last| (*last as i8 >> 7) as u8);
        let mut eight = [sign; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        i64::from_le_bytes(eight)
    };
    let (mut runs, mut at) = (Vec::new(), 0);
    while list[0] != 0 {
        let (count, place) = (usize::from(list[0] & 15), usize::from(list[0] >> 4));
        at += number(&list[1 + count..1 + count + place]);
        runs.push((at as u64, number(&list[1..1 + count]) as u64));
        list = &list[1 + count + place..];
    }
    runs
}

/// An attribute like `first`, which holds these runs of a longer run list.
fn extent(first: &[u8], start: u64, last: u64, runs: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = first[..u16_at(first, 0x20)].to_vec();
    if start > 0 {
        bytes[14..16].fill(0);
        bytes[40..64].fill(0);
    }
    bytes[16..24].copy_from_slice(&start.to_le_bytes());
    bytes[24..32].copy_from_slice(&last.to_le_bytes());
    let mut before = 0;
    for (place, count) in runs {
        // Eight bytes are always enough, and four for what these images need.
        bytes.push(0x44);
        bytes.extend_from_slice(&(*count as u32).to_le_bytes());
        bytes.extend_from_slice(&((*place as i64 - before) as i32).to_le_bytes());
        before = *place as i64;
    }
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let len = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes
}
