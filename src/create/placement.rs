//! Where on the volume the metadata goes.

use std::ops::Range;

use crate::enroll::uncreatable;
use crate::error::{Error, Result};
use crate::format::block::REGION_LEN;
use crate::source::ReadAt;

/// Bytes at the start of the volume that are moved, since Windows 7 (docs/format.md §2.7).
pub(super) const MOVED_LEN: u64 = 0x2000;
/// Length of the spare area, which Windows 8 and later reserve after the moved sectors
/// (docs/format.md §2.7). Its purpose is unknown.
pub(super) const SPARE_LEN: u64 = 0x1_0000;

/// Where on the volume the metadata goes: byte offsets on the volume, each at the start of a cluster of
/// the file system. All these places must be zero in the plaintext and stay unused by the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The three copies of the metadata, 64 KiB each.
    pub copies: [u64; 3],
    /// Where the first 8 KiB of the volume are moved to.
    pub moved: u64,
    /// The spare area: 64 KiB that Windows 8 and later reserve.
    pub spare: u64,
}

impl Placement {
    /// The placement of Windows 8 and later: the moved sectors directly after the first copy, followed
    /// by the spare area. So the first place needs 136 KiB, the others 64 KiB.
    pub fn after_first_copy(copies: [u64; 3]) -> Self {
        let moved = copies[0].saturating_add(REGION_LEN);
        Self {
            copies,
            moved,
            spare: moved.saturating_add(MOVED_LEN),
        }
    }

    /// The byte ranges that must be free, each with a name for messages.
    pub fn ranges(&self) -> [(&'static str, Range<u64>); 5] {
        let range_of = |start: u64, len| start..start.saturating_add(len);
        let [first, second, third] = self.copies;
        [
            ("metadata copy 1", range_of(first, REGION_LEN)),
            ("metadata copy 2", range_of(second, REGION_LEN)),
            ("metadata copy 3", range_of(third, REGION_LEN)),
            ("the moved boot sectors", self.moved()),
            ("the spare area", self.spare()),
        ]
    }

    pub(super) fn moved(&self) -> Range<u64> {
        self.moved..self.moved.saturating_add(MOVED_LEN)
    }

    pub(super) fn spare(&self) -> Range<u64> {
        self.spare..self.spare.saturating_add(SPARE_LEN)
    }
}

/// Checks that the ranges are inside the plaintext, after the first sectors, do not overlap, and hold
/// only zeros.
pub(super) fn check(
    ranges: &[(&'static str, Range<u64>)],
    plaintext: &dyn ReadAt,
    sector_size: u32,
) -> Result<()> {
    let size = plaintext.size();
    for (number, (name, range)) in ranges.iter().enumerate() {
        let place = || {
            format!(
                "the place of {name}, {:#x} to {:#x},",
                range.start, range.end
            )
        };
        if !range.start.is_multiple_of(sector_size.into()) {
            let what = format!("{} does not begin at a sector", place());
            return Err(misplaced(what));
        }
        if range.start < MOVED_LEN || range.end > size {
            let end =
                format!("is not between {MOVED_LEN:#x} and the end of the volume at {size:#x}");
            return Err(misplaced(format!("{} {end}", place())));
        }
        let overlaps = |other: &Range<u64>| range.start < other.end && other.start < range.end;
        if let Some((other, _)) = ranges[..number].iter().find(|(_, other)| overlaps(other)) {
            return Err(misplaced(format!("{} overlaps that of {other}", place())));
        }
        if let Some(offset) = first_nonzero(plaintext, range)? {
            return Err(misplaced(format!(
                "{} is in use: byte {offset:#x} is not zero",
                place()
            )));
        }
    }
    Ok(())
}

/// Offset of the first byte of `range` that is not zero.
fn first_nonzero(plaintext: &dyn ReadAt, range: &Range<u64>) -> Result<Option<u64>> {
    let len = usize::try_from(range.end - range.start)
        .map_err(|_| uncreatable("a place of the metadata is larger than memory"))?;
    let mut bytes = vec![0; len];
    plaintext
        .read_exact_at(range.start, &mut bytes)
        .map_err(|error| Error::io("cannot read the plaintext", error))?;
    let found = bytes.iter().position(|byte| *byte != 0);
    Ok(found.map(|at| range.start + at as u64))
}

fn misplaced(what: String) -> Error {
    Error::Uncreatable {
        what,
        remedy: Some(
            "choose a place that the file system does not use, and mark it used there".into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(placement: Placement, plaintext: &[u8]) -> Option<String> {
        check(&placement.ranges(), &plaintext.to_vec(), 4096)
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn names_the_place_that_will_not_do() {
        let mut plaintext = vec![0; 0x10_0000];
        let good = Placement::after_first_copy([0x2_0000, 0x6_0000, 0x8_0000]);
        assert_eq!(fault(good, &plaintext), None);

        let odd = Placement::after_first_copy([0x2_0200, 0x6_0000, 0x8_0000]);
        assert!(
            fault(odd, &plaintext)
                .unwrap()
                .contains("does not begin at a sector")
        );
        let low = Placement::after_first_copy([0x1000, 0x6_0000, 0x8_0000]);
        assert!(fault(low, &plaintext).unwrap().contains("metadata copy 1"));
        let high = Placement::after_first_copy([0x2_0000, 0x6_0000, 0xF_1000]);
        assert!(fault(high, &plaintext).unwrap().contains("metadata copy 3"));
        let wild = Placement::after_first_copy([u64::MAX - 0xFFF, 0x6_0000, 0x8_0000]);
        assert!(fault(wild, &plaintext).is_some());
        let close = Placement::after_first_copy([0x2_0000, 0x6_0000, 0x6_8000]);
        assert!(
            fault(close, &plaintext)
                .unwrap()
                .contains("overlaps that of metadata copy 2")
        );

        plaintext[0x3_2345] = 1;
        let used = fault(good, &plaintext).unwrap();
        assert!(
            used.contains("the spare area") && used.contains("0x32345"),
            "{used}"
        );
    }
}
