//! The fixups of file records and index records. On disk, the last two bytes of each 512 are replaced
//! by a number and kept in the head of the record, so that an incomplete write is detected. The blocks
//! have 512 bytes whatever the size of a sector is.
//!
//! | offset | field |
//! |---|---|
//! | 0x00 | `FILE` or `INDX` |
//! | 0x04 | offset of the fixups: the number, then the replaced bytes of each block |
//! | 0x06 | count of these: the blocks and one |
//!
//! Source: the documentation of the Linux-NTFS project.

use std::ops::Range;

use crate::format::FormatError;
use crate::format::wire::Fields;

/// Bytes in a block that ends with a fixup.
const BLOCK: usize = 512;

/// Checks the signature of a record, puts the original bytes back and returns an error if the record
/// was written incompletely.
pub(crate) fn undo(
    structure: &'static str,
    signature: &[u8; 4],
    bytes: &mut [u8],
    position: u64,
) -> Result<(), FormatError> {
    let fields = Fields::new(structure, bytes, position);
    let found = fields.slice(0, 4)?;
    let torn = fields.fault("it was written incompletely");
    if found == b"BAAD" {
        return Err(torn);
    }
    if found != signature {
        return Err(fields.fault("it has no signature"));
    }
    let place = place(&fields)?;
    let stamp: [u8; 2] = fields.array(place.start)?;
    let kept = bytes.get(place).unwrap_or_default().to_vec();
    let (kept, _) = kept.as_chunks::<2>();
    for (block, kept) in bytes.chunks_exact_mut(BLOCK).zip(kept.iter().skip(1)) {
        match block.last_chunk_mut::<2>() {
            Some(last) if *last == stamp => *last = *kept,
            _ => return Err(torn),
        }
    }
    Ok(())
}

/// Makes fixups with a new number, for writing the record to disk.
pub(crate) fn renew(
    structure: &'static str,
    bytes: &mut [u8],
    position: u64,
) -> Result<(), FormatError> {
    let fields = Fields::new(structure, bytes, position);
    let place = place(&fields)?;
    let stamp = match fields.u16(place.start)? {
        // Zero and the mark of unreadable blocks are not used as numbers.
        old @ (0..=0xFFFD) => old.saturating_add(1),
        _ => 1,
    };
    let stamp = stamp.to_le_bytes();
    let mut fixups = stamp.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK) {
        if let Some(last) = block.last_chunk_mut::<2>() {
            fixups.extend(*last);
            *last = stamp;
        }
    }
    if let Some(stored) = bytes.get_mut(place) {
        stored.copy_from_slice(&fixups);
    }
    Ok(())
}

/// Where the fixups are in the record: before the end of the first block, and one for each block.
fn place(record: &Fields<'_>) -> Result<Range<usize>, FormatError> {
    let start = usize::from(record.u16(4)?);
    let count = usize::from(record.u16(6)?);
    let len = record.bytes().len();
    let blocks = len / BLOCK;
    let end = start.saturating_add(count.saturating_mul(2));
    if !len.is_multiple_of(BLOCK)
        || count != blocks.saturating_add(1)
        || start < 8
        || start % 2 != 0
        || end > BLOCK - 2
    {
        return Err(record.fault(format!("{count} fixups for {blocks} blocks")));
    }
    Ok(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..1024u32).map(|at| (at % 251) as u8).collect();
        bytes[..4].copy_from_slice(b"FILE");
        bytes[4..8].copy_from_slice(&[0x30, 0, 3, 0]);
        bytes[0x30..0x36].copy_from_slice(&[7, 0, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut bytes = record();
        renew("file record", &mut bytes, 0).unwrap();
        assert_eq!(bytes[510..512], [8, 0]);
        assert_eq!(bytes[1022..], [8, 0]);
        let stored = bytes.clone();
        undo("file record", b"FILE", &mut bytes, 0).unwrap();
        assert_eq!(bytes[0x36..], record()[0x36..]);
        let mut torn = stored.clone();
        torn[511] = 1;
        assert!(undo("file record", b"FILE", &mut torn, 0).is_err());
        let mut other = stored;
        assert!(undo("index record", b"INDX", &mut other, 0).is_err());
    }

    #[test]
    fn impossible_fixups_are_errors() {
        for (start, count) in [
            (0u16, 3u16),
            (0x30, 2),
            (0x30, 0xFFFF),
            (510, 3),
            (0xFFFF, 3),
        ] {
            let mut bytes = record();
            bytes[4..6].copy_from_slice(&start.to_le_bytes());
            bytes[6..8].copy_from_slice(&count.to_le_bytes());
            assert!(undo("file record", b"FILE", &mut bytes.clone(), 0).is_err());
            assert!(renew("file record", &mut bytes, 0).is_err());
        }
        assert!(undo("file record", b"FILE", &mut [], 0).is_err());
    }
}
