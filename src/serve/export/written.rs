//! How much of an output is written, while threads write it in no certain order.

use std::collections::BTreeMap;
use std::ops::Range;

/// What of an output is complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// All bytes before this one.
    pub len: u64,
    /// Stretches among them that could not be had: see [`super::Exported::missing`].
    pub missing: Vec<Range<u64>>,
}

/// Keeps account of pieces as they are written.
pub(super) struct Account {
    written: Written,
    /// Pieces behind one that is not written yet, by where they begin: their end, and what is
    /// missing in them.
    ahead: BTreeMap<u64, (u64, Vec<Range<u64>>)>,
}

impl Account {
    pub(super) fn new(earlier: &Written) -> Self {
        Self {
            written: earlier.clone(),
            ahead: BTreeMap::new(),
        }
    }

    /// A piece is written.
    pub(super) fn add(&mut self, piece: Range<u64>, missing: Vec<Range<u64>>) {
        self.ahead.insert(piece.start, (piece.end, missing));
        while let Some((end, missing)) = self.ahead.remove(&self.written.len) {
            self.written.len = end;
            self.written.missing.extend(missing);
        }
    }

    /// What is complete now.
    pub(super) fn written(&self) -> Written {
        self.written.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_only_what_has_everything_before_it() {
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
