//! Errors that the check digits do not detect (docs/format-recovery-password.md §1.3 and §1.10). If a
//! well-formed password unlocks nothing, the correct one usually differs from it by one of these.

use std::collections::HashSet;

use zeroize::{Zeroize, Zeroizing};

use super::block::{BLOCK_DIGITS, BLOCKS, Quotients, block_digits, quotient_of};
use super::suggest::CONFUSED;

type Digits = [u8; BLOCK_DIGITS];

/// Calls the function with every block that one kind of error may have turned into the given one.
type Variation = fn(&Digits, &mut dyn FnMut(&Digits));

/// The kinds of errors within a block, the most probable first.
const VARIATIONS: [Variation; 6] = [swapped, twins, backwards, thirteens, confused, any_two];

/// The password, and all that differ from it by one error, the most probable first, each once.
pub(super) fn neighbors(password: &Quotients) -> Zeroizing<Vec<Quotients>> {
    let mut list = List::default();
    list.add(*password);
    for (nth, variation) in VARIATIONS.iter().enumerate() {
        // Swapped blocks are about as probable as reading errors, so they come after two of them.
        if nth == 2 {
            exchanged(password, &mut list);
        }
        for (at, quotient) in password.iter().enumerate() {
            let digits = Zeroizing::new(block_digits(*quotient));
            variation(&digits, &mut |corrected| {
                if let Some(corrected) = quotient_of(corrected) {
                    list.add(with(password, at, corrected));
                }
            });
        }
    }
    list.finish()
}

/// The password with its blocks in every order, the given order first.
pub(super) fn orders(password: &Quotients) -> Zeroizing<Vec<Quotients>> {
    let mut list = List::default();
    list.add(*password);
    let mut order = Zeroizing::new(*password);
    order.sort_unstable();
    loop {
        list.add(*order);
        if !next_order(order.as_mut_slice()) {
            return list.finish();
        }
    }
}

/// Rearranges into the next permutation in lexicographic order; false after the last.
fn next_order(order: &mut [u16]) -> bool {
    let rises = |pair: &[u16]| matches!(pair, [a, b] if a < b);
    let Some(at) = order.windows(2).rposition(rises) else {
        return false;
    };
    let larger = |other: &u16| order.get(at).is_some_and(|pivot| other > pivot);
    let Some(other) = order.iter().rposition(larger) else {
        return false;
    };
    order.swap(at, other);
    if let Some(tail) = order.get_mut(at.saturating_add(1)..) {
        tail.reverse();
    }
    true
}

/// A list in which each password is once, in the order of insertion.
#[derive(Default)]
struct List {
    seen: HashSet<Quotients>,
    list: Zeroizing<Vec<Quotients>>,
}

impl List {
    /// Capacity: 8!, the number of orders of eight blocks, the longest list made here.
    const CAPACITY: usize = 40_320;

    fn add(&mut self, password: Quotients) {
        if self.list.capacity() == 0 {
            // Allocated once: growing would leave copies in freed memory.
            self.list.reserve_exact(Self::CAPACITY);
            self.seen.reserve(Self::CAPACITY);
        }
        if self.seen.insert(password) {
            self.list.push(password);
        }
    }

    fn finish(self) -> Zeroizing<Vec<Quotients>> {
        for mut password in self.seen {
            password.zeroize();
        }
        self.list
    }
}

/// The password with another number in one block.
fn with(password: &Quotients, at: usize, quotient: u16) -> Quotients {
    let mut changed = *password;
    if let Some(place) = changed.get_mut(at) {
        *place = quotient;
    }
    changed
}

/// Two blocks swapped.
fn exchanged(password: &Quotients, list: &mut List) {
    for second in 0..BLOCKS {
        for first in 0..second {
            let mut changed = *password;
            changed.swap(first, second);
            list.add(changed);
        }
    }
}

/// Two digits swapped that are two or four places apart; the check digits detect other distances.
fn swapped(digits: &Digits, emit: &mut dyn FnMut(&Digits)) {
    for (first, second) in pairs() {
        if matches!(second.saturating_sub(first), 2 | 4) {
            let mut changed = Zeroizing::new(*digits);
            changed.swap(first, second);
            emit(&changed);
        }
    }
}

/// Two equal adjacent digits that replaced two other equal ones.
fn twins(digits: &Digits, emit: &mut dyn FnMut(&Digits)) {
    for (first, second) in pairs() {
        let (one, other) = (digits.get(first), digits.get(second));
        if second == first.saturating_add(1) && one == other {
            for new in 0..10 {
                emit(&replaced(digits, [(first, new), (second, new)]));
            }
        }
    }
}

/// The block read backwards.
fn backwards(digits: &Digits, emit: &mut dyn FnMut(&Digits)) {
    let mut changed = Zeroizing::new(*digits);
    changed.reverse();
    emit(&changed);
}

/// `13` for `30` and similar pairs, which sound alike in English.
fn thirteens(digits: &Digits, emit: &mut dyn FnMut(&Digits)) {
    for (first, second) in pairs() {
        if second != first.saturating_add(1) {
            continue;
        }
        match (digits.get(first), digits.get(second)) {
            (Some(1), Some(ones)) => emit(&replaced(digits, [(first, *ones), (second, 0)])),
            (Some(tens), Some(0)) => emit(&replaced(digits, [(first, 1), (second, *tens)])),
            _ => {}
        }
    }
}

/// Two digits, each misread as one that looks like it.
fn confused(digits: &Digits, emit: &mut dyn FnMut(&Digits)) {
    let alike = |old: u8, new: u8| CONFUSED.contains(&(old.min(new), old.max(new)));
    two_others(digits, &alike, emit);
}

/// Any two digits replaced.
fn any_two(digits: &Digits, emit: &mut dyn FnMut(&Digits)) {
    two_others(digits, &|old, new| old != new, emit);
}

/// Two digits replaced, where `may(old, new)` allows it.
fn two_others(digits: &Digits, may: &dyn Fn(u8, u8) -> bool, emit: &mut dyn FnMut(&Digits)) {
    for (first, second) in pairs() {
        let (Some(one), Some(other)) = (digits.get(first), digits.get(second)) else {
            continue;
        };
        for new in (0..10).filter(|new| may(*one, *new)) {
            for also in (0..10).filter(|also| may(*other, *also)) {
                emit(&replaced(digits, [(first, new), (second, also)]));
            }
        }
    }
}

/// The block with two places changed.
fn replaced(digits: &Digits, changes: [(usize, u8); 2]) -> Zeroizing<Digits> {
    let mut changed = Zeroizing::new(*digits);
    for (at, new) in changes {
        if let Some(place) = changed.get_mut(at) {
            *place = new;
        }
    }
    changed
}

/// All pairs of places in a block.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..BLOCK_DIGITS).flat_map(|second| (0..second).map(move |first| (first, second)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample of all blocks, evenly spread.
    fn samples() -> impl Iterator<Item = u16> {
        (0..u16::MAX).step_by(61)
    }

    /// How many valid blocks one kind of error makes of a block on average, times eight blocks.
    fn mean(variation: Variation) -> f64 {
        let neighbors = |quotient| {
            let mut seen = HashSet::new();
            variation(&block_digits(quotient), &mut |corrected| {
                seen.extend(quotient_of(corrected).filter(|other| *other != quotient));
            });
            seen.len()
        };
        let neighbors: usize = samples().map(neighbors).sum();
        8.0 * neighbors as f64 / samples().count() as f64
    }

    #[test]
    fn the_number_of_neighbors_is_that_of_the_format_page() {
        // docs/format-recovery-password.md §1.10.
        for (variation, expected) in [
            (swapped as Variation, 38.5),
            (twins, 33.1),
            (backwards, 5.8),
            (thirteens, 0.9),
            (any_two, 865.0),
        ] {
            let mean = mean(variation);
            assert!((mean / expected - 1.0).abs() < 0.06, "{mean} {expected}");
        }
        let confused = mean(confused);
        assert!((45.0..80.0).contains(&confused), "{confused}");
    }

    #[test]
    fn neighbors_are_mutual_and_begin_with_the_password() {
        let password = [21438, 32541, 23089, 1215, 21920, 22325, 31174, 53810];
        let near = neighbors(&password);
        assert_eq!(near.first(), Some(&password));
        for other in near.iter().step_by(23) {
            assert!(neighbors(other).contains(&password));
        }
        let mut exchanged = password;
        exchanged.swap(1, 6);
        assert!(near.contains(&exchanged));
    }

    #[test]
    fn eight_blocks_have_all_their_orders() {
        let password = [8, 7, 6, 5, 4, 3, 2, 1];
        assert_eq!(orders(&password).len(), 40_320);
        assert_eq!(orders(&password).first(), Some(&password));
        assert_eq!(orders(&[1, 1, 2, 2, 2, 2, 2, 2]).len(), 28);
    }
}
