//! Slips that the check digits let pass (docs/format-recovery-password.md §1.3 and §1.10): a
//! well-formed password that opens nothing is mostly one of these away from the right one.

use std::collections::HashSet;

use zeroize::{Zeroize, Zeroizing};

use super::block::{BLOCK_DIGITS, BLOCKS, Quotients, block_digits, quotient_of};
use super::suggest::CONFUSED;

type Digits = [u8; BLOCK_DIGITS];

/// Tells every block that a slip may have turned into this one.
type Slip = fn(&Digits, &mut dyn FnMut(&Digits));

/// Those of one block, the likeliest first.
const SLIPS: [Slip; 6] = [swapped, twins, backwards, thirteens, confused, any_two];

/// The password itself and its neighbours, the likeliest first, each once.
pub(super) fn neighbours(password: &Quotients) -> Zeroizing<Vec<Quotients>> {
    let mut list = List::default();
    list.add(*password);
    for (nth, slip) in SLIPS.iter().enumerate() {
        // Whole blocks exchanged are as likely as slips of the eye.
        if nth == 2 {
            exchanged(password, &mut list);
        }
        for (at, quotient) in password.iter().enumerate() {
            let digits = Zeroizing::new(block_digits(*quotient));
            slip(&digits, &mut |mended| {
                if let Some(mended) = quotient_of(mended) {
                    list.add(with(password, at, mended));
                }
            });
        }
    }
    list.finish()
}

/// The blocks in every order, that of the password first.
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

/// The next order in the dictionary; none behind the last.
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
    if let Some(behind) = order.get_mut(at.saturating_add(1)..) {
        behind.reverse();
    }
    true
}

/// Each once, in the order in which they came.
#[derive(Default)]
struct List {
    seen: HashSet<Quotients>,
    list: Zeroizing<Vec<Quotients>>,
}

impl List {
    /// As many as eight blocks have orders: nothing here makes more.
    const ROOM: usize = 40_320;

    fn add(&mut self, password: Quotients) {
        if self.list.capacity() == 0 {
            // Room for all: growing would leave copies behind.
            self.list.reserve_exact(Self::ROOM);
            self.seen.reserve(Self::ROOM);
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

fn with(password: &Quotients, at: usize, quotient: u16) -> Quotients {
    let mut changed = *password;
    if let Some(place) = changed.get_mut(at) {
        *place = quotient;
    }
    changed
}

/// Two blocks in each other's place.
fn exchanged(password: &Quotients, list: &mut List) {
    for second in 0..BLOCKS {
        for first in 0..second {
            let mut changed = *password;
            changed.swap(first, second);
            list.add(changed);
        }
    }
}

/// Two digits in each other's place, two or four apart: other distances are noticed.
fn swapped(digits: &Digits, tell: &mut dyn FnMut(&Digits)) {
    for (first, second) in pairs() {
        if matches!(second.saturating_sub(first), 2 | 4) {
            let mut changed = Zeroizing::new(*digits);
            changed.swap(first, second);
            tell(&changed);
        }
    }
}

/// Two equal neighbours that were two others.
fn twins(digits: &Digits, tell: &mut dyn FnMut(&Digits)) {
    for (first, second) in pairs() {
        let (one, other) = (digits.get(first), digits.get(second));
        if second == first.saturating_add(1) && one == other {
            for new in 0..10 {
                tell(&replaced(digits, [(first, new), (second, new)]));
            }
        }
    }
}

/// The block from its end.
fn backwards(digits: &Digits, tell: &mut dyn FnMut(&Digits)) {
    let mut changed = Zeroizing::new(*digits);
    changed.reverse();
    tell(&changed);
}

/// `13` for `30` and the like: they sound alike.
fn thirteens(digits: &Digits, tell: &mut dyn FnMut(&Digits)) {
    for (first, second) in pairs() {
        if second != first.saturating_add(1) {
            continue;
        }
        match (digits.get(first), digits.get(second)) {
            (Some(1), Some(ones)) => tell(&replaced(digits, [(first, *ones), (second, 0)])),
            (Some(tens), Some(0)) => tell(&replaced(digits, [(first, 1), (second, *tens)])),
            _ => {}
        }
    }
}

/// Two digits, each taken for one that looks like it.
fn confused(digits: &Digits, tell: &mut dyn FnMut(&Digits)) {
    let alike = |old: u8, new: u8| CONFUSED.contains(&(old.min(new), old.max(new)));
    two_others(digits, &alike, tell);
}

/// Any two digits of a block.
fn any_two(digits: &Digits, tell: &mut dyn FnMut(&Digits)) {
    two_others(digits, &|old, new| old != new, tell);
}

/// Two digits replaced by what `may` stand for them.
fn two_others(digits: &Digits, may: &dyn Fn(u8, u8) -> bool, tell: &mut dyn FnMut(&Digits)) {
    for (first, second) in pairs() {
        let (Some(one), Some(other)) = (digits.get(first), digits.get(second)) else {
            continue;
        };
        for new in (0..10).filter(|new| may(*one, *new)) {
            for also in (0..10).filter(|also| may(*other, *also)) {
                tell(&replaced(digits, [(first, new), (second, also)]));
            }
        }
    }
}

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

    /// Evenly spread over all blocks.
    fn samples() -> impl Iterator<Item = u16> {
        (0..u16::MAX).step_by(61)
    }

    /// How many valid blocks a slip makes of one, on average, times eight blocks.
    fn mean(slip: Slip) -> f64 {
        let neighbours = |quotient| {
            let mut seen = HashSet::new();
            slip(&block_digits(quotient), &mut |mended| {
                seen.extend(quotient_of(mended).filter(|other| *other != quotient));
            });
            seen.len()
        };
        let neighbours: usize = samples().map(neighbours).sum();
        8.0 * neighbours as f64 / samples().count() as f64
    }

    #[test]
    fn there_are_as_many_neighbours_as_counted_over_all_blocks() {
        // docs/format-recovery-password.md §1.10.
        for (slip, expected) in [
            (swapped as Slip, 38.5),
            (twins, 33.1),
            (backwards, 5.8),
            (thirteens, 0.9),
            (any_two, 865.0),
        ] {
            let mean = mean(slip);
            assert!((mean / expected - 1.0).abs() < 0.06, "{mean} {expected}");
        }
        let confused = mean(confused);
        assert!((45.0..80.0).contains(&confused), "{confused}");
    }

    #[test]
    fn neighbours_are_mutual_and_begin_with_the_password() {
        let password = [21438, 32541, 23089, 1215, 21920, 22325, 31174, 53810];
        let near = neighbours(&password);
        assert_eq!(near.first(), Some(&password));
        for other in near.iter().step_by(23) {
            assert!(neighbours(other).contains(&password));
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
