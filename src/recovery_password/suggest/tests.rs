//! Compares samples with the table of docs/format-recovery-password.md §1.8.
#![allow(clippy::arithmetic_side_effects)] // An overflow fails the test, which is intended.

use super::super::block::block_digits;
use super::super::block::tests::numbers;
use super::*;

/// Counts of candidates over many cases.
#[derive(Default)]
struct Tally {
    sum: u64,
    cases: u32,
    most: u32,
    unique: u32,
}

impl Tally {
    fn add(&mut self, count: u32) {
        self.sum += u64::from(count);
        self.cases += 1;
        self.most = self.most.max(count);
        self.unique += u32::from(count == 1);
    }

    fn mean(&self) -> f64 {
        self.sum as f64 / f64::from(self.cases)
    }

    /// The share of cases with exactly one, in per cent.
    fn unique(&self) -> f64 {
        f64::from(self.unique * 100) / f64::from(self.cases)
    }

    #[track_caller]
    fn expect(&self, mean: f64, tolerance: f64, most: u32) {
        let found = self.mean();
        assert!((found - mean).abs() < tolerance, "mean {found}, not {mean}");
        assert!(self.most <= most, "{} at most, not {most}", self.most);
    }
}

fn block(digits: &[u8]) -> Block {
    let slots: Vec<_> = digits.iter().copied().map(Slot::Digit).collect();
    Block::new(&slots)
}

fn values(block: &Block) -> Vec<u16> {
    edits(block)
        .iter()
        .map(|candidate| candidate.quotient)
        .collect()
}

const SAMPLES: usize = 30_000;

#[test]
fn a_wrong_digit_or_swap_leaves_few_candidates() {
    let mut random = numbers(4);
    let (mut wrong, mut swapped) = (Tally::default(), Tally::default());
    let (mut either_wrong, mut either_swapped) = (Tally::default(), Tally::default());
    for _ in 0..SAMPLES {
        let quotient = random(65536) as u16;
        let right = block_digits(quotient);
        let mut digits = right;
        let at = random(6);
        digits[at] = (digits[at] + 1 + random(9) as u8) % 10;
        let counts = CandidateCounts::of(&block(&digits));
        wrong.add(counts.substitution);
        either_wrong.add(counts.total());
        assert!(values(&block(&digits)).contains(&quotient));
        let mut digits = right;
        let at = random(5);
        digits.swap(at, at + 1);
        if digits != right {
            let counts = CandidateCounts::of(&block(&digits));
            swapped.add(counts.transposition);
            either_swapped.add(counts.total());
            assert!(values(&block(&digits)).contains(&quotient));
        }
    }
    wrong.expect(5.0, 0.06, 6);
    assert!((wrong.unique() - 5.0).abs() < 1.0, "{}", wrong.unique());
    swapped.expect(1.35, 0.02, 4);
    assert!(
        (swapped.unique() - 70.0).abs() < 1.5,
        "{}",
        swapped.unique()
    );
    for tally in [either_wrong, either_swapped] {
        tally.expect(5.8, 0.5, 10);
    }
}

#[test]
fn random_digits_leave_fewer_candidates() {
    let mut random = numbers(5);
    let (mut replaced, mut swapped) = (Tally::default(), Tally::default());
    for _ in 0..SAMPLES {
        let digits = [(); 6].map(|()| random(10) as u8);
        if quotient_of(&digits).is_none() {
            let counts = CandidateCounts::of(&block(&digits));
            replaced.add(counts.substitution);
            swapped.add(counts.transposition);
        }
    }
    replaced.expect(3.8, 0.06, 6);
    swapped.expect(0.3, 0.06, 5);
}

#[test]
fn a_missing_or_extra_digit_leaves_few_candidates() {
    let mut random = numbers(6);
    let (mut lost, mut extra) = (Tally::default(), Tally::default());
    for _ in 0..SAMPLES {
        let quotient = random(65536) as u16;
        let mut digits = block_digits(quotient).to_vec();
        digits.remove(random(6));
        lost.add(CandidateCounts::of(&block(&digits)).insertion);
        assert!(values(&block(&digits)).contains(&quotient));
        let mut digits = block_digits(quotient).to_vec();
        digits.insert(random(7), random(10) as u8);
        extra.add(CandidateCounts::of(&block(&digits)).deletion);
        assert!(values(&block(&digits)).contains(&quotient));
    }
    lost.expect(4.7, 0.06, 6);
    extra.expect(1.3, 0.05, 4);
    assert!((extra.unique() - 71.0).abs() < 3.0, "{}", extra.unique());
}

#[test]
fn a_run_with_a_missing_or_extra_digit_leaves_few_candidates() {
    let mut random = numbers(7);
    let (mut lost, mut extra) = (Tally::default(), Tally::default());
    for _ in 0..3000 {
        let quotients = [(); BLOCKS].map(|()| random(65536) as u16);
        let right: Vec<u8> = quotients.into_iter().flat_map(block_digits).collect();
        let mut digits = right.clone();
        digits.remove(random(48));
        let drafts = distinct(run_drafts(&block(&digits)));
        lost.add(drafts.len() as u32);
        assert!(drafts.iter().any(|draft| draft.quotients == quotients));
        let mut digits = right.clone();
        digits.insert(random(49), random(10) as u8);
        let drafts = distinct(run_drafts(&block(&digits)));
        extra.add(drafts.len() as u32);
        assert!(drafts.iter().any(|draft| draft.quotients == quotients));
    }
    // The highest count depends on the sample; the table's is 22.
    lost.expect(5.2, 0.15, 30);
    extra.expect(1.4, 0.06, 6);
    assert!((extra.unique() - 68.0).abs() < 4.0, "{}", extra.unique());
}

#[test]
fn a_run_is_corrected_in_every_way_that_exhaustive_search_finds() {
    let mut random = numbers(10);
    let all_valid = |digits: &[u8]| -> Option<Vec<u16>> {
        digits.chunks(BLOCK_DIGITS).map(quotient_of).collect()
    };
    for _ in 0..200 {
        let quotients = [(); BLOCKS].map(|()| random(65536) as u16);
        let mut short: Vec<u8> = quotients.into_iter().flat_map(block_digits).collect();
        let mut long = short.clone();
        short.remove(random(48));
        long.insert(random(49), random(10) as u8);
        let mut expected = Vec::new();
        for at in 0..48 {
            for digit in 0..10 {
                let mut whole = short.clone();
                whole.insert(at, digit);
                expected.extend(all_valid(&whole));
            }
        }
        assert_eq!(corrected(&short), sorted(expected));
        let removed = (0..49).filter_map(|at| {
            let mut whole = long.clone();
            whole.remove(at);
            all_valid(&whole)
        });
        assert_eq!(corrected(&long), sorted(removed.collect()));
    }
}

fn corrected(run: &[u8]) -> Vec<Vec<u16>> {
    let drafts = distinct(run_drafts(&block(run)));
    sorted(
        drafts
            .iter()
            .map(|draft| draft.quotients.to_vec())
            .collect(),
    )
}

fn sorted(mut all: Vec<Vec<u16>>) -> Vec<Vec<u16>> {
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn two_missing_or_extra_digits_are_found_anywhere_in_a_run() {
    let mut random = numbers(8);
    for _ in 0..300 {
        let quotients = [(); BLOCKS].map(|()| random(65536) as u16);
        let mut short: Vec<u8> = quotients.into_iter().flat_map(block_digits).collect();
        let mut long = short.clone();
        for run in [48, 47] {
            short.remove(random(run));
            long.insert(random(run), random(10) as u8);
        }
        for digits in [short, long] {
            let drafts = run_drafts(&block(&digits));
            assert!(drafts.iter().any(|draft| draft.quotients == quotients));
        }
    }
}

#[test]
fn candidates_are_valid_distinct_and_cheapest_first() {
    let mut random = numbers(9);
    for _ in 0..2000 {
        let len = 5 + random(3);
        let digits: Vec<u8> = (0..len).map(|_| random(10) as u8).collect();
        let list = candidates(&block(&digits), false, usize::MAX);
        assert!(list.is_sorted_by_key(|candidate| candidate.cost));
        let mut quotients: Vec<_> = list.iter().map(|candidate| candidate.quotient).collect();
        quotients.sort_unstable();
        assert!(quotients.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
