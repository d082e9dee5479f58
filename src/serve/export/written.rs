//! Which part of an output is complete while threads write its pieces in any order.

use std::collections::BTreeMap;
use std::ops::Range;

/// The part of an output that is complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Its length in bytes, from the start of the output.
    pub len: u64,
    /// Byte ranges in it that are missing in the volume: see [`super::Exported::missing`].
    pub missing: Vec<Range<u64>>,
}

/// Collects the pieces that are written.
pub(super) struct Account {
    written: Written,
    /// Pieces after one that is not written yet: start, end, and the ranges missing in them.
    ahead: BTreeMap<u64, (u64, Vec<Range<u64>>)>,
}

impl Account {
    pub(super) fn new(earlier: &Written) -> Self {
        Self {
            written: earlier.clone(),
            ahead: BTreeMap::new(),
        }
    }

    /// Notes that a piece is written.
    pub(super) fn add(&mut self, piece: Range<u64>, missing: Vec<Range<u64>>) {
        self.ahead.insert(piece.start, (piece.end, missing));
        while let Some((end, missing)) = self.ahead.remove(&self.written.len) {
            self.written.len = end;
            self.written.missing.extend(missing);
        }
    }

    /// The part that is complete now.
    pub(super) fn written(&self) -> Written {
        self.written.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_piece_only_when_all_before_it_are_written() {
        let (early, late) = (2..4, 25..26);
        let mut account = Account::new(&Written {
            len: 10,
            missing: Vec::from([early.clone()]),
        });
        account.add(20..30, Vec::from([late.clone()]));
        let written = account.written();
        assert_eq!((written.len, written.missing.len()), (10, 1));
        account.add(10..20, Vec::new());
        let written = account.written();
        assert_eq!(written.len, 30);
        assert_eq!(written.missing, [early, late]);
    }
}
