//! The table of exFAT that maps characters to upper case, for comparing names.
//!
//! It has a 16-bit unit for each character from 0 on. FFFF followed by a number stands for that many
//! characters that are mapped to themselves. Source: Microsoft's exFAT specification of 2019, section 7.2.

use super::boot::{Boot, add};
use super::entry::Special;
use crate::files::chains::upper;
use crate::files::fault::FileError;
use crate::files::name::FileName;
use crate::source::{ReadAt, read_uninterrupted};

/// Number of characters.
const CHARACTERS: u16 = u16::MAX;
/// Longest table in bytes: one that is not shortened.
const MAX_LEN: u64 = 2 << 16;

/// Maps characters to upper case.
pub(super) struct UpperCase(Vec<u16>);

impl UpperCase {
    /// What Unicode says, where the table of the volume cannot be used.
    pub(super) fn of_unicode() -> Self {
        Self((0..=CHARACTERS).map(upper).collect())
    }

    /// Reads the table.
    ///
    /// # Errors
    /// It is damaged or cannot be read.
    pub(super) fn read(source: &dyn ReadAt, boot: &Boot, at: Special) -> Result<Self, FileError> {
        if at.len > MAX_LEN {
            return Err(FileError::damaged("its length is impossible"));
        }
        let mut stored = Vec::new();
        for range in boot.ranges(source, at.first, at.len)? {
            let len = range.end.saturating_sub(range.start);
            let mut piece = vec![0; usize::try_from(len).unwrap_or(0)];
            read_uninterrupted(source, range.start, &mut piece)?;
            stored.append(&mut piece);
        }
        if stored.iter().fold(0, |sum, byte| add(sum, *byte)) != at.checksum {
            return Err(FileError::damaged("its checksum is wrong"));
        }
        Ok(Self::parse(&stored))
    }

    fn parse(stored: &[u8]) -> Self {
        const SAME: u16 = 0xFFFF;
        let mut table: Vec<u16> = (0..=CHARACTERS).collect();
        let (pairs, _) = stored.as_chunks();
        let mut units = pairs
            .iter()
            .map(|pair| u16::from_le_bytes(*pair))
            .peekable();
        let mut at = 0_usize;
        while let Some(unit) = units.next() {
            if unit == SAME && units.peek().is_some() {
                let count = units.next().unwrap_or(0);
                at = at.saturating_add(count.into());
                continue;
            }
            if let Some(place) = table.get_mut(at) {
                *place = unit;
            }
            at = at.saturating_add(1);
        }
        Self(table)
    }

    /// A name in upper case.
    pub(super) fn fold(&self, name: &FileName) -> FileName {
        let fold = |unit: &u16| self.0.get(usize::from(*unit)).copied().unwrap_or(*unit);
        let units: Vec<u16> = name.units().iter().map(fold).collect();
        FileName::from_units(units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortened_table_is_read() {
        // 0x61 characters that stay, then a to c in upper case, then a number that is cut off.
        let stored = [0xFFFFu16, 0x61, 0x41, 0x42, 0x43, 0xFFFF];
        let bytes: Vec<u8> = stored.into_iter().flat_map(u16::to_le_bytes).collect();
        let table = UpperCase::parse(&bytes);
        assert_eq!(
            table.fold(&"abcdeAé".into()),
            FileName::from_units([0x41, 0x42, 0x43, 0xFFFF, 0x65, 0x41, 0xE9])
        );
        let beyond = [0xFFFFu16, 0xFFFF, 0x41, 0x42, 0x43];
        let bytes: Vec<u8> = beyond.into_iter().flat_map(u16::to_le_bytes).collect();
        assert_eq!(
            UpperCase::parse(&bytes)
                .fold(&FileName::from_units([0xFFFF]))
                .units(),
            [0x41]
        );
    }
}
