//! `$UpCase`: the upper case of each of the 65,536 UTF-16 units, as the Windows that formatted the
//! volume knew it. Names in directories are sorted and found with it.
//!
//! It has 128 KiB: one unit for each, little-endian. A surrogate has no upper case. Windows 8 and later
//! append a stream `$Info` to the file, which is not needed.

use std::cmp::Ordering;

/// Number of UTF-16 units.
const UNITS: usize = 1 << 16;
/// Bytes of the table.
pub(super) const TABLE_LEN: usize = 2 * UNITS;

/// The upper case of each UTF-16 unit.
pub(super) struct UpCase {
    table: Box<[u16]>,
    /// Whether it is the volume's own.
    is_own: bool,
}

impl UpCase {
    /// The table with these bytes; `None` if it is damaged so that not even English letters have their
    /// upper case.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (units, rest) = bytes.as_chunks();
        if units.len() != UNITS || !rest.is_empty() {
            return None;
        }
        let table: Box<[u16]> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
        let is_right = (0u8..0x80)
            .zip(&table)
            .all(|(ascii, upper)| u16::from(ascii.to_ascii_uppercase()) == *upper);
        is_right.then_some(Self {
            table,
            is_own: true,
        })
    }

    /// The table to use if that of the volume is damaged: the upper case of Unicode, where that is one
    /// unit. It may differ from that of the volume for rare letters.
    pub(super) fn of_unicode() -> Self {
        let upper = |unit: u16| {
            let mut upper = char::from_u32(u32::from(unit))?.to_uppercase();
            let first = upper.next()?;
            let is_one = upper.next().is_none();
            u16::try_from(u32::from(first)).ok().filter(|_| is_one)
        };
        Self {
            table: (0..=u16::MAX)
                .map(|unit| upper(unit).unwrap_or(unit))
                .collect(),
            is_own: false,
        }
    }

    /// Whether the table is the volume's own, so that directories are surely sorted with it.
    pub(super) fn is_own(&self) -> bool {
        self.is_own
    }

    /// The upper case of a unit.
    pub(super) fn unit(&self, unit: u16) -> u16 {
        self.table.get(usize::from(unit)).copied().unwrap_or(unit)
    }

    /// Compares names as directories are sorted: by the upper case of each unit, and a name comes before
    /// its continuations. Names that differ only by case are equal.
    pub(super) fn compare(
        &self,
        left: impl IntoIterator<Item = u16>,
        right: impl IntoIterator<Item = u16>,
    ) -> Ordering {
        let upper = |unit| self.unit(unit);
        let left = left.into_iter().map(upper);
        left.cmp(right.into_iter().map(upper))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(table: &UpCase, left: &str, right: &str) -> Ordering {
        table.compare(left.encode_utf16(), right.encode_utf16())
    }

    #[test]
    fn names_are_compared_by_their_upper_case() {
        let table = UpCase::of_unicode();
        assert_eq!(compare(&table, "readme", "README"), Ordering::Equal);
        assert_eq!(compare(&table, "ÄÖÜ", "äöü"), Ordering::Equal);
        // The underscore is between upper and lower case.
        assert_eq!(compare(&table, "_", "a"), Ordering::Greater);
        assert_eq!(compare(&table, "a", "ab"), Ordering::Less);
        // No single unit is its upper case.
        assert_eq!(compare(&table, "ß", "SS"), Ordering::Greater);
        assert!(!table.is_own());
    }

    #[test]
    fn a_damaged_table_is_refused() {
        let table = UpCase::of_unicode();
        let mut bytes: Vec<u8> = table.table.iter().flat_map(|u| u.to_le_bytes()).collect();
        assert_eq!(bytes.len(), TABLE_LEN);
        assert!(UpCase::parse(&bytes).is_some_and(|table| table.is_own()));
        assert!(UpCase::parse(&bytes[1..]).is_none());
        bytes[2 * usize::from(b'x')] = b'x';
        assert!(UpCase::parse(&bytes).is_none());
    }
}
