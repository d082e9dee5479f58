//! The list of all attributes of a file (`$ATTRIBUTE_LIST`), which the file has if its attributes do not
//! fit into one record.
//!
//! | offset in an entry | field |
//! |---|---|
//! | 0x00 | type of the attribute |
//! | 0x04 | length of the entry in bytes |
//! | 0x06, 0x07 | length of the attribute's name in characters, and offset of the name |
//! | 0x08 | the first cluster of the content that the attribute describes |
//! | 0x10 | reference to the record that has the attribute |
//! | 0x18 | its number in that record |
//!
//! Source: the documentation of the Linux-NTFS project.

use super::record::Reference;
use crate::files::FileName;
use crate::format::FormatError;
use crate::format::wire::Fields;

/// Longest list, in bytes: the limit of Windows.
pub(super) const MAX_LEN: u64 = 256 << 10;
/// Shortest entry, in bytes.
const SHORTEST: usize = 0x1A;

/// An entry of the list.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) kind: u32,
    pub(super) name: FileName,
    pub(super) first: u64,
    pub(super) record: Reference,
    pub(super) id: u16,
}

/// Parses a list.
///
/// # Errors
/// An entry is malformed.
pub(super) fn parse(bytes: &[u8], position: u64) -> Result<Vec<Listed>, FormatError> {
    let list = Fields::new("attribute list", bytes, position);
    let mut found = Vec::new();
    let mut start = 0usize;
    while start < bytes.len() {
        let len = usize::from(list.u16(start.saturating_add(4))?);
        if len < SHORTEST {
            return Err(list.fault("an entry of an impossible length"));
        }
        let end = start.saturating_add(len);
        let entry = list.part("entry of an attribute list", start, end)?;
        let name_len = usize::from(entry.u8(6)?).saturating_mul(2);
        let name = match name_len {
            0 => FileName::default(),
            len => FileName::from_le_bytes(entry.slice(usize::from(entry.u8(7)?), len)?),
        };
        found.push(Listed {
            kind: entry.u32(0)?,
            name,
            first: entry.u64(8)?,
            record: Reference::from_disk(entry.u64(0x10)?),
            id: entry.u16(0x18)?,
        });
        start = end;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_follow_each_other() {
        let mut list = [0u8; 0x20];
        list[..8].copy_from_slice(&[0x80, 0, 0, 0, 0x20, 0, 1, 0x1A]);
        list[8] = 5;
        list[0x10..0x1A].copy_from_slice(&[9, 0, 0, 0, 0, 0, 3, 0, 7, 0]);
        list[0x1A] = b'x';
        let twice = list.repeat(2);
        let found = parse(&twice, 0).unwrap();
        assert_eq!(found.len(), 2);
        let entry = &found[1];
        assert_eq!((entry.kind, entry.first, entry.id), (0x80, 5, 7));
        assert_eq!((entry.record.number, entry.record.sequence), (9, 3));
        assert_eq!(entry.name, "x".into());
        assert!(parse(&twice[..0x30], 0).is_err());
        assert!(parse(&[0; 64], 0).is_err());
    }

    proptest! {
        #[test]
        fn survives_every_list(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, 0);
        }
    }
}
