//! What a bad block may have been: swaps of neighbours, replaced, lost and doubled digits,
//! unreadable ones, the likeliest first (docs/format-recovery-password.md §1.8).
//!
//! The checksum leaves few possibilities, so all are counted, and as many as wanted are made.
//! Suggestions are as secret as the password: one of them may be it.

use zeroize::{DefaultIsZeroes, Zeroizing};

use super::block::{ANY_DIGIT, BLOCK_DIGITS, BLOCKS, Block, MOST_EDITS, Slot, quotient_of};
use super::digits::RecoveryPassword;
use super::found::FoundPassword;

/// The most suggestions that are made: as many as one wholly unknown block has.
pub const MOST_SUGGESTIONS: usize = 1 << 16;

/// Digits that are taken for each other, in print, in writing and on seven-segment displays.
pub(super) const CONFUSED: [(u8, u8); 11] = [
    (1, 7),
    (3, 8),
    (5, 6),
    (0, 6),
    (0, 8),
    (0, 9),
    (6, 8),
    (6, 9),
    (8, 9),
    (4, 9),
    (2, 7),
];

/// Keys that touch on a number pad.
const NEIGHBOURS: [(u8, u8); 14] = [
    (7, 8),
    (8, 9),
    (4, 5),
    (5, 6),
    (1, 2),
    (2, 3),
    (4, 7),
    (5, 8),
    (6, 9),
    (1, 4),
    (2, 5),
    (3, 6),
    (0, 1),
    (0, 2),
];

/// A slip that explains a bad block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Correction {
    /// Two neighbouring digits were swapped.
    Transposition,
    /// The last digit of a block was swapped with the first of the next.
    BoundaryTransposition,
    /// One digit was replaced by another.
    Substitution,
    /// A digit was lost, so one is put in.
    Insertion,
    /// There is a digit too many, so one is taken out.
    Deletion,
    /// An unreadable digit or another character is filled in.
    Wildcard,
    /// A letter is read as the digit that a scanner takes for it.
    ScannerReading,
}

impl Correction {
    /// A stable word for programs.
    pub fn as_word(self) -> &'static str {
        match self {
            Self::Transposition => "transposition",
            Self::BoundaryTransposition => "boundary-transposition",
            Self::Substitution => "substitution",
            Self::Insertion => "insertion",
            Self::Deletion => "deletion",
            Self::Wildcard => "wildcard",
            Self::ScannerReading => "scanner-reading",
        }
    }
}

/// How many valid blocks are one slip away, by the kind of slip.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CandidateCounts {
    /// One digit replaced.
    pub substitution: u32,
    /// Two neighbours in the block swapped.
    pub transposition: u32,
    /// One digit put in.
    pub insertion: u32,
    /// One digit taken out.
    pub deletion: u32,
    /// Unreadable digits and other characters filled in; 65536 for an empty block.
    pub wildcard: u32,
}

impl CandidateCounts {
    /// The candidates of one block; none for a valid one.
    pub fn of(block: &Block) -> Self {
        let mut counts = Self::default();
        if block.verdict().is_valid() {
            return counts;
        }
        if let Some(unknown) = as_unknown(block) {
            counts.wildcard = unknown.count_fillings();
        }
        for candidate in edits(block).iter() {
            let count = match candidate.correction {
                Correction::Transposition => &mut counts.transposition,
                Correction::Substitution => &mut counts.substitution,
                Correction::Insertion => &mut counts.insertion,
                Correction::Deletion => &mut counts.deletion,
                _ => continue,
            };
            *count = count.saturating_add(1);
        }
        counts
    }

    /// All of them; no block is reached by two kinds of slip.
    pub fn total(&self) -> u32 {
        [
            self.substitution,
            self.transposition,
            self.insertion,
            self.deletion,
            self.wildcard,
        ]
        .into_iter()
        .fold(0, u32::saturating_add)
    }
}

/// A well-formed password that slips may have turned into what was read.
#[derive(Debug)]
#[non_exhaustive]
pub struct Suggestion {
    /// The password.
    pub password: RecoveryPassword,
    /// Which blocks differ, from 1, and by which slip.
    pub changes: Vec<(usize, Correction)>,
}

/// A valid block, how it comes about, and how unlikely that is.
#[derive(Clone, Copy)]
struct Candidate {
    quotient: u16,
    correction: Correction,
    cost: u8,
}

impl Default for Candidate {
    fn default() -> Self {
        Self {
            quotient: 0,
            correction: Correction::Wildcard,
            cost: 0,
        }
    }
}

impl DefaultIsZeroes for Candidate {}

type Candidates = Zeroizing<Vec<Candidate>>;

/// A whole password on the way.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Draft {
    cost: u16,
    quotients: [u16; BLOCKS],
    changes: [Option<Correction>; BLOCKS],
}

impl DefaultIsZeroes for Draft {}

type Drafts = Zeroizing<Vec<Draft>>;

impl Draft {
    /// The same with a block more.
    fn with(mut self, at: usize, step: Step) -> Self {
        if let (Some(place), Some(slip)) = (self.quotients.get_mut(at), self.changes.get_mut(at)) {
            *place = step.quotient;
            *slip = step.change;
        }
        self.cost = self.cost.saturating_add(u16::from(step.cost));
        self
    }
}

/// A block on the way to a whole password.
#[derive(Clone, Copy, Default)]
struct Step {
    quotient: u16,
    change: Option<Correction>,
    cost: u8,
}

impl DefaultIsZeroes for Step {}

impl Step {
    /// A block that stays as it is.
    fn keep(quotient: u16) -> Self {
        Self {
            quotient,
            ..Self::default()
        }
    }
}

/// How many well-formed passwords explain what was read; none when it is well-formed itself or
/// has not eight blocks.
pub(super) fn count(found: &FoundPassword) -> u64 {
    if let Some(run) = &found.run {
        return distinct(run_drafts(run)).len() as u64;
    }
    let blocks = found.restored_blocks();
    if blocks.len() != BLOCKS {
        return 0;
    }
    let bad = blocks.iter().filter(|block| block.quotient().is_none());
    let counts = bad.map(|block| u64::from(CandidateCounts::of(block).total()));
    counts.reduce(u64::saturating_mul).unwrap_or(0)
}

/// The likeliest of the passwords that [`count`] counts, at most `limit`.
pub(super) fn suggestions(found: &FoundPassword, ocr: bool, limit: usize) -> Vec<Suggestion> {
    let drafts = drafts(found, ocr, limit);
    let suggest = |draft: &Draft| Suggestion {
        password: RecoveryPassword::from_quotients(&draft.quotients),
        changes: (1..)
            .zip(draft.changes)
            .filter_map(|(block, change)| Some((block, change?)))
            .collect(),
    };
    drafts.iter().take(limit).map(suggest).collect()
}

/// The same, and nothing but the passwords.
pub(super) fn ranked(found: &FoundPassword, ocr: bool) -> Zeroizing<Vec<[u16; BLOCKS]>> {
    let drafts = drafts(found, ocr, MOST_SUGGESTIONS);
    let mut ranked = Zeroizing::new(Vec::with_capacity(drafts.len()));
    ranked.extend(drafts.iter().map(|draft| draft.quotients));
    ranked
}

/// What one bad block may be, the likeliest first.
pub(super) fn quotients(block: &Block, ocr: bool) -> Zeroizing<Vec<u16>> {
    let candidates = candidates(block, ocr, MOST_SUGGESTIONS);
    let mut quotients = Zeroizing::new(Vec::with_capacity(candidates.len()));
    quotients.extend(candidates.iter().map(|candidate| candidate.quotient));
    quotients
}

fn drafts(found: &FoundPassword, ocr: bool, limit: usize) -> Drafts {
    let limit = limit.min(MOST_SUGGESTIONS);
    distinct(match &found.run {
        Some(run) => run_drafts(run),
        None => block_drafts(&found.restored_blocks(), ocr, limit),
    })
}

/// The pairs of neighbouring blocks, by the number of the first from 1, that a swap across the
/// boundary mends.
pub(super) fn boundary_swaps(blocks: &[Block]) -> Vec<usize> {
    let pairs = (1..).zip(blocks.windows(2));
    pairs
        .filter_map(|(number, pair)| swapped_across(pair).map(|_| number))
        .collect()
}

/// Both blocks with the last digit of the first and the first digit of the second exchanged, if
/// both are bad before and valid after.
fn swapped_across(pair: &[Block]) -> Option<(u16, u16)> {
    let [first, second] = pair else {
        return None;
    };
    let (mut one, mut two) = (first.digits()?, second.digits()?);
    if quotient_of(&one).is_some() || quotient_of(&two).is_some() {
        return None;
    }
    std::mem::swap(one.last_mut()?, two.first_mut()?);
    Some((quotient_of(&one)?, quotient_of(&two)?))
}

/// The best passwords that corrections of the bad blocks give.
fn block_drafts(blocks: &[Block], ocr: bool, limit: usize) -> Drafts {
    if blocks.len() != BLOCKS || blocks.iter().all(|block| block.quotient().is_some()) {
        return Drafts::default();
    }
    let lists: Vec<Choices> = blocks
        .iter()
        .map(|block| match block.quotient() {
            Some(quotient) => Choices::Kept(quotient),
            None => Choices::Among(candidates(block, ocr, limit)),
        })
        .collect();
    let mut drafts = combine(&lists, None, limit);
    // A swap across a boundary is among the combinations as two replacements: it comes first.
    for (at, pair) in blocks.windows(2).enumerate() {
        if let Some(mended) = swapped_across(pair) {
            let better = combine(&lists, Some((at, mended)), limit);
            let mut both = Zeroizing::new(Vec::with_capacity(
                drafts.len().saturating_add(better.len()),
            ));
            both.extend_from_slice(&better);
            both.extend_from_slice(&drafts);
            drafts = both;
        }
    }
    drafts
}

/// What may stand in a block's place.
enum Choices {
    Kept(u16),
    Among(Candidates),
}

/// The `limit` cheapest combinations, with one pair of blocks given. Since costs add up, what is
/// not among the cheapest beginnings does not come to be among the cheapest passwords.
fn combine(lists: &[Choices], given: Option<(usize, (u16, u16))>, limit: usize) -> Drafts {
    let across = |at: usize| {
        let (first, (one, two)) = given?;
        let (quotient, cost) = match at.checked_sub(first)? {
            0 => (one, 1),
            1 => (two, 0),
            _ => return None,
        };
        let change = Some(Correction::BoundaryTransposition);
        Some(Step {
            quotient,
            change,
            cost,
        })
    };
    let mut drafts = Zeroizing::new(vec![Draft::default()]);
    for (at, choices) in lists.iter().enumerate() {
        let steps = steps(choices, across(at));
        // Both are sorted: the i-th draft with the j-th step has i × j pairs that cost no more.
        let most = |nth: usize| limit.checked_div(nth).unwrap_or(0).min(steps.len());
        let room = (1..).zip(drafts.iter()).map(|(nth, _)| most(nth)).sum();
        let mut next = Zeroizing::new(Vec::with_capacity(room));
        for (nth, draft) in (1..).zip(drafts.iter()) {
            let cheapest = steps.iter().take(most(nth));
            next.extend(cheapest.map(|step| draft.with(at, *step)));
        }
        next.sort_unstable();
        next.truncate(limit);
        drafts = next;
    }
    drafts
}

/// What may stand in a block's place, the cheapest first; only what is given, if something is.
fn steps(choices: &Choices, given: Option<Step>) -> Zeroizing<Vec<Step>> {
    let mut steps = Zeroizing::new(Vec::new());
    match (given, choices) {
        (Some(given), _) => steps.push(given),
        (None, Choices::Kept(quotient)) => steps.push(Step::keep(*quotient)),
        (None, Choices::Among(list)) => {
            steps.reserve_exact(list.len());
            steps.extend(list.iter().map(|one| Step {
                quotient: one.quotient,
                change: Some(one.correction),
                cost: one.cost,
            }));
        }
    }
    steps
}

/// Each password once, by its cheapest explanation, the cheapest first.
fn distinct(mut drafts: Drafts) -> Drafts {
    // Unstable sorts need no room of their own, which nobody would wipe.
    drafts.sort_unstable_by_key(|draft| (draft.quotients, draft.cost));
    drafts.dedup_by_key(|draft| draft.quotients);
    drafts.sort_unstable();
    drafts
}

/// The candidates of one bad block, the likeliest first.
fn candidates(block: &Block, ocr: bool, limit: usize) -> Candidates {
    let mut all = edits(block);
    if let Some(unknown) = as_unknown(block) {
        let scanned = ocr.then(|| scanned(block)).flatten();
        let mut filled = Zeroizing::new(Vec::with_capacity(limit.min(1 << 16)));
        filled.extend(scanned.map(|quotient| Candidate {
            quotient,
            correction: Correction::ScannerReading,
            cost: 0,
        }));
        let fillings = unknown.fillings().filter(|q| Some(*q) != scanned);
        let room = limit.saturating_sub(filled.len());
        filled.extend(fillings.take(room).map(|quotient| Candidate {
            quotient,
            correction: Correction::Wildcard,
            cost: 1,
        }));
        all = filled;
    }
    all.sort_unstable_by_key(|candidate| (candidate.cost, candidate.quotient));
    all
}

/// The block as a scanner may have meant it.
fn scanned(block: &Block) -> Option<u16> {
    let mut digits = Zeroizing::new(Vec::with_capacity(block.len()));
    for slot in block.slots() {
        digits.push(match slot {
            Slot::Digit(digit) => *digit,
            Slot::Foreign(_, reading) => (*reading)?,
            Slot::OneOf(_) => return None,
        });
    }
    quotient_of(&digits)
}

/// A block whose unreadable digits or other characters are to be filled in, an empty one being
/// all unreadable.
fn as_unknown(block: &Block) -> Option<Block> {
    if block.is_empty() {
        return Some(Block::new(&[Slot::OneOf(ANY_DIGIT); BLOCK_DIGITS]));
    }
    let open = block.len() == BLOCK_DIGITS && block.digits().is_none();
    open.then(|| block.duplicate())
}

/// The valid blocks that are one swap, replacement, insertion or deletion away.
fn edits(block: &Block) -> Candidates {
    /// More than any block has: six places with ten digits each.
    const ROOM: usize = 64;
    let mut list = Zeroizing::new(Vec::with_capacity(ROOM));
    let mut add = |quotient: Option<u16>, correction, cost| {
        let Some(quotient) = quotient else { return };
        match list
            .iter_mut()
            .find(|one: &&mut Candidate| one.quotient == quotient)
        {
            Some(known) if known.cost <= cost => {}
            Some(known) => known.cost = cost,
            None => list.push(Candidate {
                quotient,
                correction,
                cost,
            }),
        }
    };
    if block.len() == BLOCK_DIGITS.saturating_add(1) {
        deletions(block.slots(), &mut add);
    } else if let Some(digits) = block.digits() {
        match digits.len() {
            5 => insertions(&digits, &mut add),
            BLOCK_DIGITS if block.quotient().is_none() => {
                transpositions(&digits, &mut add);
                substitutions(&digits, &mut add);
            }
            _ => {}
        }
    }
    list
}

fn transpositions(digits: &[u8], add: &mut impl FnMut(Option<u16>, Correction, u8)) {
    for first in 0..digits.len().saturating_sub(1) {
        let mut swapped = Zeroizing::new(digits.to_vec());
        swapped.swap(first, first.saturating_add(1));
        add(quotient_of(&swapped), Correction::Transposition, 1);
    }
}

fn substitutions(digits: &[u8], add: &mut impl FnMut(Option<u16>, Correction, u8)) {
    for (at, old) in digits.iter().enumerate() {
        for new in (0..10).filter(|new| new != old) {
            let mut replaced = Zeroizing::new(digits.to_vec());
            if let Some(place) = replaced.get_mut(at) {
                *place = new;
            }
            let pair = (new.min(*old), new.max(*old));
            let cost = match pair {
                _ if CONFUSED.contains(&pair) => 2,
                _ if NEIGHBOURS.contains(&pair) => 3,
                _ => 4,
            };
            add(quotient_of(&replaced), Correction::Substitution, cost);
        }
    }
}

fn insertions(digits: &[u8], add: &mut impl FnMut(Option<u16>, Correction, u8)) {
    for at in 0..=digits.len() {
        for new in 0..10 {
            let Some((before, after)) = digits.split_at_checked(at) else {
                continue;
            };
            let whole = Zeroizing::new([before, &[new], after].concat());
            // One of two equal digits is lost more easily than another.
            let twin = before.last() == Some(&new) || after.first() == Some(&new);
            let cost = if twin { 1 } else { 2 };
            add(quotient_of(&whole), Correction::Insertion, cost);
        }
    }
}

fn deletions(slots: &[Slot], add: &mut impl FnMut(Option<u16>, Correction, u8)) {
    for at in 0..slots.len() {
        let Some((before, [gone, after @ ..])) = slots.split_at_checked(at) else {
            continue;
        };
        let rest = Zeroizing::new([before, after].concat());
        let doubled = before.last() == Some(gone) || after.first() == Some(gone);
        let cost = if doubled { 1 } else { 2 };
        add(Block::new(&rest).quotient(), Correction::Deletion, cost);
    }
}

/// All passwords that come of a run of 46 to 50 digits when what is missing is put in, or what is
/// too much is taken out, anywhere. The blocks without a slip must be valid as they stand, which
/// leaves few.
fn run_drafts(run: &Block) -> Drafts {
    let Some(digits) = run.digits() else {
        return Drafts::default();
    };
    let whole = BLOCKS.saturating_mul(BLOCK_DIGITS);
    let mut state = RunSearch {
        correction: if digits.len() < whole {
            Correction::Insertion
        } else {
            Correction::Deletion
        },
        drafts: Drafts::default(),
    };
    let edits = digits.len().abs_diff(whole);
    if edits <= MOST_EDITS {
        state.descend(&digits, 0, edits, Draft::default());
    }
    state.drafts
}

struct RunSearch {
    correction: Correction,
    drafts: Drafts,
}

impl RunSearch {
    /// Tries for block `at` every share of the edits that are left.
    fn descend(&mut self, rest: &[u8], at: usize, edits: usize, draft: Draft) {
        if at == BLOCKS {
            if rest.is_empty() && edits == 0 {
                push(&mut self.drafts, draft);
            }
            return;
        }
        for share in 0..=edits {
            let len = match self.correction {
                Correction::Insertion => BLOCK_DIGITS.saturating_sub(share),
                _ => BLOCK_DIGITS.saturating_add(share),
            };
            let Some((own, others)) = rest.split_at_checked(len) else {
                continue;
            };
            let left = edits.saturating_sub(share);
            let next = at.saturating_add(1);
            for (quotient, cost) in self.mended(own, share).iter() {
                let step = Step {
                    quotient: *quotient,
                    change: (share > 0).then_some(self.correction),
                    cost: *cost,
                };
                self.descend(others, next, left, draft.with(at, step));
            }
        }
    }

    /// The valid blocks that `share` edits make of these digits.
    fn mended(&self, digits: &[u8], share: usize) -> Zeroizing<Vec<(u16, u8)>> {
        if share == 0 {
            return Zeroizing::new(quotient_of(digits).map(|q| (q, 0)).into_iter().collect());
        }
        let mut found = Zeroizing::new(Vec::with_capacity(1024));
        let mut edit = |digits: &[u8], before: u8| {
            let slots: Zeroizing<Vec<_>> =
                Zeroizing::new(digits.iter().copied().map(Slot::Digit).collect());
            let all = edits(&Block::new(&slots));
            found.extend(
                all.iter()
                    .map(|c| (c.quotient, c.cost.saturating_add(before))),
            );
        };
        if share == 1 {
            edit(digits, 0);
        } else if self.correction == Correction::Insertion {
            for at in 0..=digits.len() {
                let (before, after) = digits.split_at_checked(at).unwrap_or_default();
                for new in 0..10 {
                    edit(&Zeroizing::new([before, &[new], after].concat()), 2);
                }
            }
        } else {
            for at in 0..digits.len() {
                let (before, after) = digits.split_at_checked(at).unwrap_or_default();
                let after = after.get(1..).unwrap_or_default();
                edit(&Zeroizing::new([before, after].concat()), 2);
            }
        }
        found.sort_unstable();
        found.dedup_by_key(|(quotient, _)| *quotient);
        found
    }
}

/// Adds a draft, wiping the old place when the vector has to move.
fn push(drafts: &mut Drafts, draft: Draft) {
    if drafts.len() == drafts.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(drafts.len().saturating_mul(2).max(32)));
        larger.extend_from_slice(drafts);
        *drafts = larger;
    }
    drafts.push(draft);
}

#[cfg(test)]
mod tests;
