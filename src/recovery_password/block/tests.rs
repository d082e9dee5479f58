//! The counts of docs/format-recovery-password.md §1.1 to §1.3, over all blocks.
#![allow(clippy::arithmetic_side_effects)] // An overflow fails the test, which is intended.

use super::*;

type Digits = [u8; BLOCK_DIGITS];

fn all_blocks() -> impl Iterator<Item = Digits> {
    (0..=u16::MAX).map(block_digits)
}

fn digits_of(mut number: u32) -> Digits {
    let mut digits = [0; BLOCK_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// How many different wrong blocks one kind of error makes of all blocks, and how many per cent of them are
/// detected.
fn errors_of(kind: impl Fn(Digits, &mut Vec<Digits>)) -> (usize, f64) {
    let (mut errors, mut detected) = (0, 0);
    let mut made = Vec::new();
    for block in all_blocks() {
        made.clear();
        kind(block, &mut made);
        made.sort_unstable();
        made.dedup();
        for slip in made.iter().filter(|slip| **slip != block) {
            errors += 1;
            detected += usize::from(quotient_of(slip).is_none());
        }
    }
    (errors, percent(detected, errors))
}

/// Rounded to one decimal, as in the tables.
fn percent(part: usize, whole: usize) -> f64 {
    (1000.0 * part as f64 / whole as f64).round() / 10.0
}

fn swaps(distance: usize) -> impl Fn(Digits, &mut Vec<Digits>) {
    move |block, made| {
        for at in 0..BLOCK_DIGITS - distance {
            let mut swapped = block;
            swapped.swap(at, at + distance);
            made.push(swapped);
        }
    }
}

#[test]
fn of_a_million_strings_65536_are_blocks_by_either_rule() {
    let mut valid = 0;
    let mut first_digits = [0; 10];
    for number in 0..1_000_000 {
        let d = digits_of(number);
        let [d1, d2, d3, d4, d5, d6] = d.map(i32::from);
        // The rule for the sixth digit (docs/format-recovery-password.md §1.2).
        let by_check_digit = (d1 - d2 + d3 - d4 + d5).rem_euclid(11) == d6;
        assert_eq!(by_check_digit, number % 11 == 0);
        if quotient_of(&d).is_some() {
            assert!(by_check_digit && number < 720_896);
            valid += 1;
            first_digits[d[0] as usize] += 1;
        }
    }
    assert_eq!(valid, 65536);
    assert_eq!(
        first_digits,
        [9091, 9091, 9091, 9091, 9091, 9091, 9091, 1899, 0, 0]
    );
}

#[test]
fn one_in_eleven_beginnings_has_no_check_digit() {
    let (mut none, mut none_in_range) = (0, 0);
    for number in 0..100_000 {
        let slots: Vec<_> = digits_of(number)[1..]
            .iter()
            .map(|d| Slot::Digit(*d))
            .collect();
        let block = Block::new(&slots);
        match block.expose_expected_check_digit() {
            Some(digit) => assert_eq!((number * 10 + u32::from(digit)) % 11, 0),
            None => {
                none += 1;
                none_in_range += u32::from(number <= 72088);
            }
        }
    }
    assert_eq!((none, none_in_range), (9090, 6553));
}

#[test]
fn the_formula_that_microsoft_published_refuses_nine_of_ten_blocks() {
    let taken = all_blocks().filter(|block| {
        let [x1, x2, x3, x4, x5, x6] = block.map(i32::from);
        (-x1 + x2 - x3 + x4 - x5).rem_euclid(11) == x6
    });
    assert_eq!(taken.count(), 6554);
}

#[test]
fn every_block_is_read_back_and_is_the_only_filling_of_itself() {
    for quotient in 0..=u16::MAX {
        let digits = block_digits(quotient);
        assert_eq!(quotient_of(&digits), Some(quotient));
        assert_eq!(number(&digits), u32::from(quotient) * 11);
    }
}

#[test]
fn every_replaced_digit_is_detected() {
    let found = errors_of(|block, made| {
        for at in 0..BLOCK_DIGITS {
            for digit in 0..10 {
                let mut replaced = block;
                replaced[at] = digit;
                made.push(replaced);
            }
        }
    });
    assert_eq!(found, (3_538_944, 100.0));
}

#[test]
fn swaps_are_detected_by_their_distance() {
    assert_eq!(errors_of(swaps(1)), (295_080, 100.0));
    assert_eq!(errors_of(swaps(2)), (235_939, 8.3));
    assert_eq!(errors_of(swaps(4)), (117_966, 16.6));
    let odd = errors_of(|block, made| {
        swaps(3)(block, made);
        swaps(5)(block, made);
    });
    assert_eq!(odd, (235_905, 100.0));
}

#[test]
fn changed_pairs_of_equal_digits_are_rarely_detected() {
    let twins = errors_of(|block, made| {
        for at in (0..BLOCK_DIGITS - 1).filter(|at| block[*at] == block[at + 1]) {
            for digit in 0..10 {
                let mut other = block;
                other[at..at + 2].fill(digit);
                made.push(other);
            }
        }
    });
    assert_eq!(twins, (293_400, 7.0));
    let aba = errors_of(|block, made| {
        for at in (0..BLOCK_DIGITS - 2).filter(|at| block[*at] == block[at + 2]) {
            for digit in 0..10 {
                let mut other = block;
                (other[at], other[at + 2]) = (digit, digit);
                made.push(other);
            }
        }
    });
    assert_eq!(aba, (235_845, 100.0));
}

#[test]
fn thirteen_for_thirty_is_usually_detected_and_reversal_rarely() {
    // The table's count is that of 1x and x0 with x from 2 to 9.
    let thirty = errors_of(|block, made| {
        for at in 0..BLOCK_DIGITS - 1 {
            let pair = match [block[at], block[at + 1]] {
                [1, x] if x > 1 => [x, 0],
                [x, 0] if x > 1 => [1, x],
                _ => continue,
            };
            let mut other = block;
            other[at..at + 2].copy_from_slice(&pair);
            made.push(other);
        }
    });
    assert_eq!(thirty, (55_155, 87.3));
    let backwards = errors_of(|mut block, made| {
        block.reverse();
        made.push(block);
    });
    assert_eq!(backwards, (64_815, 28.2));
}

/// A fixed sequence of numbers below `below`.
pub(in super::super) fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        // Knuth's MMIX generator: good enough to sample with.
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    }
}

#[test]
fn sampled_errors_are_detected_as_often_as_the_table_says() {
    let mut random = numbers(1);
    let (mut boundary, mut two, mut two_all, mut lost, mut lost_all) = (0, 0, 0, 0, 0);
    for _ in 0..200_000 {
        let block = block_digits(random(65536) as u16);
        // Adjacent digits swapped across a boundary.
        let mut next = block_digits(random(65536) as u16);
        let mut swapped = block;
        std::mem::swap(&mut swapped[5], &mut next[0]);
        boundary += usize::from(
            swapped != block && (quotient_of(&swapped).is_some() || quotient_of(&next).is_some()),
        );
        // Two digits replaced.
        let mut other = block;
        let (first, second) = (random(6), random(6));
        (other[first], other[second]) = (random(10) as u8, random(10) as u8);
        if first != second && other[first] != block[first] && other[second] != block[second] {
            two_all += 1;
            two += usize::from(quotient_of(&other).is_none());
        }
        // One digit missing and another doubled.
        let mut digits = block.to_vec();
        digits.remove(random(6));
        let doubled = random(5);
        digits.insert(doubled, digits[doubled]);
        if digits != block {
            lost_all += 1;
            lost += usize::from(quotient_of(&digits).is_none());
        }
    }
    assert_eq!(boundary, 0);
    let close = |found: f64, table: f64| (found - table).abs() < 1.0;
    let (two, lost) = (percent(two, two_all), percent(lost, lost_all));
    assert!(close(two, 91.1), "{two}");
    assert!(close(lost, 94.4), "{lost}");
}

#[test]
fn as_many_fillings_are_counted_as_listed() {
    let mut random = numbers(2);
    for _ in 0..300 {
        let slots: Vec<_> = (0..BLOCK_DIGITS)
            .map(|_| match random(3) {
                0 => Slot::Digit(random(10) as u8),
                1 => Slot::OneOf(random(0x400) as u16),
                _ => Slot::OneOf(ANY_DIGIT),
            })
            .collect();
        let block = Block::new(&slots);
        assert_eq!(block.count_fillings() as usize, block.fillings().count());
    }
    let all = Block::new(&[Slot::OneOf(ANY_DIGIT); BLOCK_DIGITS]);
    assert_eq!(all.count_fillings(), 65536);
}

/// How many fillings unreadable digits leave, over samples of all blocks and places: mean, most.
fn fillings(unreadable: usize, readings: usize) -> (f64, u32) {
    const SAMPLES: u32 = 40_000;
    let mut random = numbers(3);
    let (mut sum, mut most) = (0_u64, 0);
    for _ in 0..SAMPLES {
        let mut slots = block_digits(random(65536) as u16).map(Slot::Digit);
        let mut left = unreadable;
        while left > 0 {
            let slot = &mut slots[random(BLOCK_DIGITS)];
            let Slot::Digit(digit) = *slot else { continue };
            let other = (usize::from(digit) + 1 + random(9)) % 10;
            *slot = Slot::OneOf(if readings == 2 {
                1 << digit | 1 << other
            } else {
                ANY_DIGIT
            });
            left -= 1;
        }
        let count = Block::new(&slots).count_fillings();
        assert!(count > 0);
        (sum, most) = (sum + u64::from(count), most.max(count));
    }
    (sum as f64 / f64::from(SAMPLES), most)
}

#[test]
fn unreadable_digits_leave_as_many_fillings_as_the_table_says() {
    assert_eq!(fillings(1, 10), (1.0, 1));
    for (unreadable, mean, most) in [
        (2, 8.2, 10),
        (3, 78.0, 91),
        (4, 735.0, 910),
        (5, 6945.0, 9091),
    ] {
        let (found, greatest) = fillings(unreadable, 10);
        assert!((found / mean - 1.0).abs() < 0.02, "{unreadable}: {found}");
        assert_eq!(greatest, most, "{unreadable}");
    }
    assert_eq!(fillings(6, 10), (65536.0, 65536));
    for (unreadable, mean) in [(2, 1.09), (3, 1.34), (4, 1.92)] {
        let (found, _) = fillings(unreadable, 2);
        assert!((found / mean - 1.0).abs() < 0.02, "{unreadable}: {found}");
    }
}
