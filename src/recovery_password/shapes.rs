//! The forms in which a password can be written, from eight groups of six to a run of digits that is too
//! short (docs/format-recovery-password.md §1.6, step 4).

use std::ops::Range;

use super::block::{BLOCK_DIGITS, BLOCKS, MOST_EDITS, Slot};
use super::digits::PasswordVerdict;
use super::found::{Groups, build};
use super::glyph::Separator;
use super::words::{LONGEST_BLOCK, PASSWORD_DIGITS, Word};

/// Words that are, or look like, a password, and how they are turned into blocks.
pub(super) struct Hit {
    pub(super) words: Range<usize>,
    pub(super) groups: Groups,
}

/// Finds passwords of one form in a region.
pub(super) type Shape = fn(&[Word]) -> Vec<Hit>;

/// The forms, the most certain first (docs/format-recovery-password.md §1.6, step 4).
pub(super) const SHAPES: [Shape; 8] = [
    eight_groups,
    valid_window,
    valid_run,
    |words| eight_uneven_groups(words, false),
    |words| eight_uneven_groups(words, true),
    nothing_but_eight_groups,
    run_of_wrong_length,
    seven_and_an_empty_one,
];

/// What the forms find in one region. Each form searches only what the ones before it have not used.
pub(super) fn hits(words: &[Word], shapes: &[Shape]) -> Vec<Hit> {
    let mut all = Vec::new();
    let mut open = Vec::from_iter(Some(0..words.len()));
    for shape in shapes {
        let mut left = Vec::new();
        for segment in open {
            let mut from = segment.start;
            let shift = |at: usize| at.saturating_add(segment.start);
            for hit in shape(words.get(segment.clone()).unwrap_or_default()) {
                let words = shift(hit.words.start)..shift(hit.words.end);
                if words.start < from {
                    continue;
                }
                left.push(from..words.start);
                from = words.end;
                all.push(Hit { words, ..hit });
            }
            left.push(from..segment.end);
        }
        left.retain(|segment| !segment.is_empty());
        open = left;
    }
    all.sort_by_key(|hit| hit.words.start);
    all
}

/// Whether the word has six places, all digits or marks for unreadable digits.
fn is_whole(word: &Word) -> bool {
    word.len() == BLOCK_DIGITS && word.is_pure()
}

/// Whether at least one digit is known.
fn has_digits(words: &[Word]) -> bool {
    let mut slots = words.iter().flat_map(|word| word.slots.iter());
    slots.any(|slot| matches!(slot, Slot::Digit(_)))
}

/// How many of the words are six digits.
fn whole_words(words: &[Word]) -> usize {
    words.iter().filter(|word| is_whole(word)).count()
}

/// The longest ranges of words with one kind of separator between them; adjacent ranges share a word.
/// With `lines`, a line break counts as any kind.
fn runs(words: &[Word], lines: bool) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    let mut kind = None;
    for (at, word) in words.iter().enumerate().skip(1) {
        let next = word.gap.kind;
        if (lines && next == Some(Separator::Newline)) || kind.is_none() || kind == next {
            if !(lines && next == Some(Separator::Newline)) {
                kind = next;
            }
            continue;
        }
        runs.push(start..at);
        start = at.saturating_sub(1);
        kind = next;
    }
    runs.push(start..words.len());
    runs
}

/// Eight groups of six with one kind of separator, or a multiple of eight (several passwords in a list);
/// and 48 digits without separators.
fn eight_groups(words: &[Word]) -> Vec<Hit> {
    let mut hits = Vec::new();
    for run in runs(words, false) {
        let slice = words.get(run.clone()).unwrap_or_default();
        if slice.len().is_multiple_of(BLOCKS) && slice.iter().all(is_whole) {
            for start in run.clone().step_by(BLOCKS) {
                let words = start..start.saturating_add(BLOCKS);
                let groups = Groups::AsWritten;
                hits.push(Hit { words, groups });
            }
        }
        let longs = run
            .zip(slice)
            .filter(|(_, word)| word.len() == PASSWORD_DIGITS);
        hits.extend(longs.map(|(at, _)| Hit {
            words: at..at.saturating_add(1),
            groups: Groups::Regrouped,
        }));
    }
    hits.retain(|hit| has_digits(words.get(hit.words.clone()).unwrap_or_default()));
    hits.sort_by_key(|hit| hit.words.start);
    hits
}

/// Words with 48 digits together, in equal groups, that are eight valid blocks. Any separators are
/// accepted, because random digits are valid only once in 3 × 10^9 (docs/format-recovery-password.md
/// §1.1).
fn valid_window(words: &[Word]) -> Vec<Hit> {
    let mut hits = Vec::new();
    let mut start = 0;
    while start < words.len() {
        let rest = words.get(start..).unwrap_or_default();
        let mut sum = 0_usize;
        let many = rest.iter().position(|word| {
            sum = sum.saturating_add(word.len());
            sum >= PASSWORD_DIGITS
        });
        let end = many.map_or(start, |many| start.saturating_add(many).saturating_add(1));
        let window = words.get(start..end).unwrap_or_default();
        let even = window
            .iter()
            .all(|word| word.len().is_multiple_of(BLOCK_DIGITS))
            || window
                .iter()
                .all(|word| Some(word.len()) == window.first().map(Word::len));
        if even && sum == PASSWORD_DIGITS && is_apart(words, start..end) && is_well_formed(window) {
            let groups = if window.iter().all(is_whole) {
                Groups::AsWritten
            } else {
                Groups::Regrouped
            };
            let words = start..end;
            hits.push(Hit { words, groups });
            start = end;
        } else {
            start = start.saturating_add(1);
        }
    }
    hits
}

/// Whether the row of equal groups begins and ends with the window: nine equal groups are not a password
/// and another group.
fn is_apart(words: &[Word], window: Range<usize>) -> bool {
    let gap = |at: usize| words.get(at).and_then(|word| word.gap.kind);
    let len = |at: usize| words.get(at).map(Word::len);
    let goes_on = |outside: usize, edge: usize, outer: usize, inner: usize| {
        len(outside).is_some() && len(outside) == len(edge) && gap(outer) == gap(inner)
    };
    if window.len() < 2 {
        return true;
    }
    let (first, second) = (window.start, window.start.saturating_add(1));
    let (last, after) = (window.end.saturating_sub(1), window.end);
    let before = first.checked_sub(1);
    !before.is_some_and(|before| goes_on(before, first, first, second))
        && !goes_on(after, last, after, last)
}

/// Whether the digits of all words are eight valid blocks.
fn is_well_formed(words: &[Word]) -> bool {
    let found = build(words, Groups::Regrouped);
    found.is_some_and(|found| PasswordVerdict::of(&found.blocks) == PasswordVerdict::WellFormed)
}

/// 48 digits in unequal groups, because a separator is misplaced, that are eight valid blocks.
fn valid_run(words: &[Word]) -> Vec<Hit> {
    let mut candidates = runs(words, false);
    candidates.insert(0, 0..words.len());
    candidates
        .into_iter()
        .filter(|run| {
            let slice = words.get(run.clone()).unwrap_or_default();
            let digits: usize = slice.iter().map(Word::len).sum();
            digits == PASSWORD_DIGITS && is_well_formed(slice)
        })
        .map(|words| Hit {
            words,
            groups: Groups::Regrouped,
        })
        .take(1)
        .collect()
}

/// How many of eight groups have six digits; `None` if fewer than half do, or if a group is too long to
/// be a block.
fn likeness(words: &[Word]) -> Option<usize> {
    let whole = whole_words(words);
    let fits = words.len() == BLOCKS && words.iter().all(|word| word.len() <= LONGEST_BLOCK);
    (fits && whole >= BLOCKS / 2 && has_digits(words)).then_some(whole)
}

/// Eight groups with one kind of separator, some of which have too few or too many digits or other
/// characters. In a longer row: the eight that look most like a password, if no other group looks like a
/// block.
fn eight_uneven_groups(words: &[Word], lines: bool) -> Vec<Hit> {
    /// With fewer groups of six digits, it is not clear where a password begins.
    const FEWEST_IN_ROW: usize = 6;
    let mut hits = Vec::new();
    for run in runs(words, lines) {
        let slice = words.get(run.clone()).unwrap_or_default();
        let fewest = if slice.len() == BLOCKS {
            0
        } else {
            FEWEST_IN_ROW
        };
        let windows = run.clone().zip(slice.windows(BLOCKS));
        let whole = whole_words(slice);
        let best = windows
            .filter_map(|(at, window)| Some((at, likeness(window)?)))
            .filter(|(_, likeness)| *likeness == whole && *likeness >= fewest)
            .min_by_key(|(at, _)| *at);
        if let Some((start, _)) = best {
            hits.push(Hit {
                words: start..start.saturating_add(BLOCKS),
                groups: Groups::AsWritten,
            });
        }
    }
    hits
}

/// Exactly eight groups with any separators.
fn nothing_but_eight_groups(words: &[Word]) -> Vec<Hit> {
    let hit = likeness(words).map(|_| Hit {
        words: 0..words.len(),
        groups: Groups::AsWritten,
    });
    Vec::from_iter(hit)
}

/// 46 to 50 digits without separators.
fn run_of_wrong_length(words: &[Word]) -> Vec<Hit> {
    let long = words
        .iter()
        .enumerate()
        .filter(|(_, word)| word.is_pure() && word.len().abs_diff(PASSWORD_DIGITS) <= MOST_EDITS);
    long.map(|(at, _)| Hit {
        words: at..at.saturating_add(1),
        groups: Groups::Regrouped,
    })
    .collect()
}

/// Seven groups with hyphens, and an empty block between two hyphens.
fn seven_and_an_empty_one(words: &[Word]) -> Vec<Hit> {
    let mut hits = Vec::new();
    for run in runs(words, false) {
        let slice = words.get(run.clone()).unwrap_or_default();
        let gaps = slice.iter().enumerate().skip(1);
        let doubled: Vec<_> = gaps.filter(|(_, word)| word.gap.dashes == 2).collect();
        if let [(at, _)] = doubled.as_slice()
            && slice.len() == BLOCKS.saturating_sub(1)
            && whole_words(slice) >= BLOCKS / 2
        {
            let groups = Groups::EmptyBefore(*at);
            hits.push(Hit { words: run, groups });
        }
    }
    hits
}

/// Another number of groups of six than eight: a part of a password, or one with too many blocks.
pub(super) fn too_few_groups(words: &[Word]) -> Vec<Hit> {
    /// Two groups of six digits may be anything.
    const FEWEST: usize = 3;
    /// More groups are a table of numbers.
    const MOST: usize = 16;
    let likely = |run: &Range<usize>| {
        let slice = words.get(run.clone()).unwrap_or_default();
        let whole = whole_words(slice);
        (FEWEST..=MOST).contains(&slice.len())
            && whole >= FEWEST
            && whole >= slice.len() / 2
            && has_digits(slice)
    };
    let runs = runs(words, true).into_iter().filter(likely);
    runs.map(|words| Hit {
        words,
        groups: Groups::AsWritten,
    })
    .collect()
}

/// Any groups that may have been typed as a password.
pub(super) fn anything(words: &[Word]) -> Vec<Hit> {
    /// The digits of four passwords; more is a file of numbers.
    const MOST: usize = 4 * PASSWORD_DIGITS;
    let places = words.iter().map(Word::len).fold(0, usize::saturating_add);
    if places > MOST || words.iter().all(|word| word.no_digits) {
        return Vec::new();
    }
    let groups = if words.iter().any(|word| word.len() > LONGEST_BLOCK) {
        Groups::Regrouped
    } else {
        Groups::AsWritten
    };
    Vec::from([Hit {
        words: 0..words.len(),
        groups,
    }])
}
