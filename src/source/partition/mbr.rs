//! Master boot records, with the chain of logical partitions. [`super`] says why no crate is used.
//!
//! Four entries of 16 bytes at 0x1BE: type at 4, first sector at 8, number of sectors at 12; `55 AA`
//! at 0x1FE. Inside an extended partition, each link of the chain is a sector of the same form. Its
//! first entry is a logical partition, whose start counts from the link; its second is the next
//! link, whose start counts from the start of the extended partition. The cylinder and head fields
//! and the boot flag are not used.

use std::io;

use byteorder::{ByteOrder, LittleEndian};

use super::{Kind, Partition, PartitionTable, Scheme, bytes_at};
use crate::source::{ReadAt, Window, signature};

const TABLE: usize = 0x1BE;
const ENTRY_LEN: usize = 16;
/// Offset of `55 AA`.
const BOOT_SIGNATURE: usize = 0x1FE;
const SECTOR_LEN: usize = 512;

/// Types of extended partitions: with CHS addresses, with LBA addresses, and of Linux.
const EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];
/// Type of the partition that a disk with a GPT has in its MBR (UEFI specification 2.10, section
/// 5.2.3).
const PROTECTIVE: u8 = 0xEE;

/// Limit on the links that are followed on a disk: Linux reads at most 256 partitions, 4 of them
/// primary.
const MAX_LINKS: usize = 252;
/// Number of the first logical partition.
const FIRST_LOGICAL: u32 = 5;

/// What the first sector of a disk is.
pub(super) enum FirstSector {
    /// The boot sector of a file system that fills the disk.
    FileSystem,
    /// A partition table, with the entries in use.
    Table(Vec<Entry>),
    /// Something else, or the disk is shorter than a sector.
    Other,
}

/// An entry in use. `first` and `sectors` are in sectors.
pub(super) struct Entry {
    slot: u32,
    kind: u8,
    first: u64,
    sectors: u64,
}

impl Entry {
    pub(super) fn is_protective(&self) -> bool {
        self.kind == PROTECTIVE
    }

    fn is_extended(&self) -> bool {
        EXTENDED.contains(&self.kind)
    }

    fn partition(&self, number: u32, base: u64, sector: u64) -> Option<Partition> {
        let first = base.checked_add(self.first)?;
        // Sector 0 holds the table.
        (first > 0).then_some(Partition {
            number,
            start: first.checked_mul(sector)?,
            size: self.sectors.checked_mul(sector)?,
            kind: Kind::Mbr(self.kind),
            name: String::new(),
        })
    }
}

pub(super) fn first_sector(disk: &dyn ReadAt) -> io::Result<FirstSector> {
    let Some(bytes) = bytes_at(disk, 0, SECTOR_LEN)? else {
        return Ok(FirstSector::Other);
    };
    Ok(if is_boot_sector(&bytes) {
        FirstSector::FileSystem
    } else {
        entries(&bytes).map_or(FirstSector::Other, FirstSector::Table)
    })
}

/// The entries in use; `None` if the sector is not a partition table.
fn entries(sector: &[u8]) -> Option<Vec<Entry>> {
    let (table, signature) = (
        sector.get(TABLE..BOOT_SIGNATURE)?,
        sector.get(BOOT_SIGNATURE..SECTOR_LEN)?,
    );
    let flags_sound = table
        .chunks_exact(ENTRY_LEN)
        .all(|entry| matches!(entry.first(), Some(0x00 | 0x80)));
    if signature != [0x55, 0xAA] || !flags_sound {
        return None;
    }
    let entries = (1..).zip(table.chunks_exact(ENTRY_LEN));
    Some(
        entries
            .filter_map(|(slot, entry)| {
                Some(Entry {
                    slot,
                    kind: *entry.get(4)?,
                    first: LittleEndian::read_u32(entry.get(8..12)?).into(),
                    sectors: LittleEndian::read_u32(entry.get(12..16)?).into(),
                })
            })
            .filter(|entry| entry.kind != 0 && entry.sectors != 0)
            .collect(),
    )
}

/// Whether the sector is the boot sector of a file system that fills the disk. It also ends in
/// `55 AA`, but begins with a jump instruction, and has a plausible sector size after its name.
fn is_boot_sector(bytes: &[u8]) -> bool {
    let jump = matches!(bytes, [0xEB, _, 0x90, ..] | [0xE9, ..]);
    let name = bytes.get(3..11).unwrap_or_default();
    let sector_size = bytes.get(11..13).map_or(0, LittleEndian::read_u16);
    [&b"NTFS    "[..], b"EXFAT   ", b"-FVE-FS-", b"ReFS"]
        .iter()
        .any(|known| name.starts_with(known))
        || (jump && sector_size.is_power_of_two() && (512..=4096).contains(&sector_size))
}

/// The sector size of the entries, which the table does not say. It is the first of `sizes` with
/// which some partition begins with a known format, or else that of the medium (`own`) or the first.
pub(super) fn sector_size(
    disk: &dyn ReadAt,
    entries: &[Entry],
    sizes: &[u64],
    own: Option<u64>,
) -> io::Result<u64> {
    let begins_with_something = |entry: &Entry, start: u64| {
        let chained = entry.is_extended()
            && bytes_at(disk, start, SECTOR_LEN)?
                .is_some_and(|link| self::entries(&link).is_some());
        Ok::<_, io::Error>(chained || signature::begins_with_known(&Window::from(disk, start))?)
    };
    // A partition that cannot be read does not matter if another one settles it.
    let mut unread = None;
    for size in sizes {
        for entry in entries {
            let Some(start) = entry.first.checked_mul(*size).filter(|start| *start > 0) else {
                continue;
            };
            match begins_with_something(entry, start) {
                Ok(true) => return Ok(*size),
                Ok(false) => {}
                Err(error) => unread = unread.or(Some(error)),
            }
        }
    }
    match (own, unread) {
        (Some(own), _) => Ok(own),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(sizes.first().copied().unwrap_or(512)),
    }
}

pub(super) fn read(
    disk: &dyn ReadAt,
    sector: u64,
    entries: &[Entry],
) -> io::Result<PartitionTable> {
    let mut partitions = Vec::new();
    let mut notes = Vec::new();
    let mut scheme = Scheme::Mbr;
    for entry in entries {
        if entry.is_protective() {
            scheme = Scheme::Gpt;
        } else if !entry.is_extended() {
            partitions.extend(entry.partition(entry.slot, 0, sector));
        }
    }
    if scheme == Scheme::Gpt {
        notes.push(
            "neither the GUID partition table nor its backup can be read; a volume can still be opened at its offset"
                .to_owned(),
        );
    }
    let mut chain = Chain {
        disk,
        sector,
        seen: Vec::new(),
        number: FIRST_LOGICAL,
    };
    let mut is_complete = scheme == Scheme::Mbr;
    for extended in entries.iter().filter(|entry| entry.is_extended()) {
        let note = match chain.follow(extended.first, &mut partitions)? {
            End::Reached => continue,
            End::Damaged => {
                is_complete = false;
                "the chain of logical partitions is damaged; some may be missing"
            }
            End::CutOff => "logical partitions are beyond the end of the source",
        };
        notes.push(note.to_owned());
    }
    Ok(PartitionTable {
        scheme,
        partitions,
        notes,
        is_complete,
    })
}

/// How a chain of logical partitions ends.
enum End {
    /// With its last link.
    Reached,
    /// With a sector that is not a link, or with a link that was followed before.
    Damaged,
    /// At the end of the source, which was cut off.
    CutOff,
}

struct Chain<'a> {
    disk: &'a dyn ReadAt,
    sector: u64,
    seen: Vec<u64>,
    number: u32,
}

impl Chain<'_> {
    /// Adds the logical partitions of the extended partition at sector `base`.
    fn follow(&mut self, base: u64, partitions: &mut Vec<Partition>) -> io::Result<End> {
        let mut link = base;
        loop {
            // The links may be in any order on the disk, so that a loop is recognized only by a link
            // that was followed before.
            if self.seen.contains(&link) || self.seen.len() >= MAX_LINKS {
                return Ok(End::Damaged);
            }
            self.seen.push(link);
            let offset = link.saturating_mul(self.sector);
            let Some(bytes) = bytes_at(self.disk, offset, SECTOR_LEN)? else {
                return Ok(End::CutOff);
            };
            let Some(entries) = entries(&bytes) else {
                return Ok(End::Damaged);
            };
            let pair = || entries.iter().filter(|entry| entry.slot <= 2);
            if let Some(entry) = pair().find(|entry| !entry.is_extended())
                && let Some(partition) = entry.partition(self.number, link, self.sector)
            {
                partitions.push(partition);
                self.number = self.number.saturating_add(1);
            }
            match pair().find(|entry| entry.is_extended()) {
                Some(next) => link = base.saturating_add(next.first),
                None => return Ok(End::Reached),
            }
        }
    }
}
