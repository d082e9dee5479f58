//! Partition types. The names come from the documentation of the systems that define the types, and
//! are used in messages only.

use std::fmt;

use crate::guid::Guid;

/// The type of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A partition type GUID.
    Gpt(Guid),
    /// A partition type byte.
    Mbr(u8),
}

/// UEFI specification 2.10, table 5.7; Microsoft, PARTITION_INFORMATION_GPT; UAPI.2.
const GPT: &[(&str, &str)] = &[
    (
        "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",
        "Microsoft basic data",
    ),
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "EFI system"),
    ("e3c9e316-0b5c-4db8-817d-f92df00215ae", "Microsoft reserved"),
    ("de94bba4-06d1-4d40-a16a-bfd50179d6ac", "Windows recovery"),
    (
        "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3",
        "Windows dynamic disk metadata",
    ),
    (
        "af9b60a0-1431-4f62-bc68-3311714a69ad",
        "Windows dynamic disk data",
    ),
    (
        "e75caf8f-f680-4cee-afa3-b001e56efc2d",
        "Windows storage spaces",
    ),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux file system"),
    (
        "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
        "Linux root (x86-64)",
    ),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "Linux swap"),
    ("e6d6d379-f507-44c2-a23c-238f2a3df928", "Linux LVM"),
    ("a19d880f-05fc-4d3b-a006-743f0f84911e", "Linux RAID"),
    ("21686148-6449-6e6f-744e-656564454649", "BIOS boot"),
    ("48465300-0000-11aa-aa11-00306543ecac", "Apple HFS+"),
    ("7c3457ef-0000-11aa-aa11-00306543ecac", "Apple APFS"),
];

/// As listed by fdisk(8).
const MBR: &[(u8, &str)] = &[
    (0x01, "FAT12"),
    (0x04, "FAT16"),
    (0x05, "extended"),
    (0x06, "FAT16"),
    (0x07, "NTFS or exFAT"),
    (0x0B, "FAT32"),
    (0x0C, "FAT32"),
    (0x0E, "FAT16"),
    (0x0F, "extended"),
    (0x27, "Windows recovery"),
    (0x42, "Windows dynamic disk"),
    (0x82, "Linux swap"),
    (0x83, "Linux file system"),
    (0x85, "extended"),
    (0x8E, "Linux LVM"),
    (0xEE, "protective"),
    (0xEF, "EFI system"),
    (0xFD, "Linux RAID"),
];

impl Kind {
    /// The usual name, if the type is a common one.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Gpt(id) => {
                let id = id.to_string();
                GPT.iter()
                    .find(|(known, _)| *known == id)
                    .map(|(_, name)| *name)
            }
            Self::Mbr(id) => MBR
                .iter()
                .find(|(known, _)| known == id)
                .map(|(_, name)| *name),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self) {
            (Some(name), _) => f.write_str(name),
            (None, Self::Gpt(id)) => write!(f, "type {id:X}"),
            (None, Self::Mbr(id)) => write!(f, "type {id:#04x}"),
        }
    }
}
