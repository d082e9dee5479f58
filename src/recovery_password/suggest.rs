//! Corrections of an invalid block: swapped adjacent digits, replaced, missing and doubled digits, and
//! unreadable ones; the most probable first (docs/format-recovery-password.md §1.8).
//!
//! The check digit leaves few possibilities, so all can be counted, and as many as needed are listed.
//! Suggestions are as secret as the password, since one of them may be it.
//!
//! Probability is a small integer cost, added up over the blocks of a password. The order of the costs
//! follows common typing errors: 0 for what the text says itself, 1 for a swap or a doubled digit, 2 to
//! 4 for a replaced digit.

use zeroize::{DefaultIsZeroes, Zeroizing};

use super::block::{ANY_DIGIT, BLOCK_DIGITS, BLOCKS, Block, MOST_EDITS, Slot, quotient_of};
use super::digits::RecoveryPassword;
use super::found::FoundPassword;

/// The most suggestions that are listed: as many as a block without any known digit has.
pub const MOST_SUGGESTIONS: usize = 1 << 16;

/// Digits that are mistaken for each other in print, in handwriting and on seven-segment displays.
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

/// Digits whose keys are adjacent on a number pad.
const ADJACENT_KEYS: [(u8, u8); 14] = [
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

/// A typing or reading error that explains an invalid block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Correction {
    /// Two adjacent digits were swapped.
    Transposition,
    /// The last digit of a block was swapped with the first of the next.
    BoundaryTransposition,
    /// One digit was replaced by another.
    Substitution,
    /// A digit was missing and is inserted.
    Insertion,
    /// There was a digit too many, which is removed.
    Deletion,
    /// An unreadable digit or another character is replaced by a digit.
    Wildcard,
    /// A letter is read as the digit that looks like it.
    ScannerReading,
}

impl Correction {
    /// A stable word for programs.
    pub fn word(self) -> &'static str {
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

/// How many valid blocks differ by one error from an invalid one, for each kind of error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CandidateCounts {
    /// With one digit replaced.
    pub substitution: u32,
    /// With two adjacent digits of the block swapped.
    pub transposition: u32,
    /// With one digit inserted.
    pub insertion: u32,
    /// With one digit removed.
    pub deletion: u32,
    /// With unreadable digits and other characters filled in; 65536 for an empty block.
    pub wildcard: u32,
}

impl CandidateCounts {
    /// The counts of one block; all 0 for a valid one.
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

    /// Their sum. No block is counted twice.
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

/// A well-formed password that may be the correct one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Suggestion {
    /// The suggested password.
    pub password: RecoveryPassword,
    /// The blocks that differ from what was read, numbered from 1, and the kind of error.
    pub changes: Vec<(usize, Correction)>,
}

/// A valid block, the error that it corrects, and a cost: the higher, the less probable.
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

/// A password that is being put together block by block.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Draft {
    cost: u16,
    quotients: [u16; BLOCKS],
    changes: [Option<Correction>; BLOCKS],
}

impl DefaultIsZeroes for Draft {}

type Drafts = Zeroizing<Vec<Draft>>;

impl Draft {
    /// The same with block `at` set.
    fn with(mut self, at: usize, step: Step) -> Self {
        if let (Some(place), Some(change)) = (self.quotients.get_mut(at), self.changes.get_mut(at))
        {
            *place = step.quotient;
            *change = step.change;
        }
        self.cost = self.cost.saturating_add(u16::from(step.cost));
        self
    }
}

/// A possible number of one block.
#[derive(Clone, Copy, Default)]
struct Step {
    quotient: u16,
    change: Option<Correction>,
    cost: u8,
}

impl DefaultIsZeroes for Step {}

impl Step {
    /// A block that is not changed.
    fn keep(quotient: u16) -> Self {
        Self {
            quotient,
            ..Self::default()
        }
    }
}

/// How many well-formed passwords explain what was read. 0 if it is well-formed itself, or if there are
/// not eight blocks.
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

/// The most probable of the passwords that [`count`] counts, at most `limit`.
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

/// The same, as numbers only, up to [`MOST_SUGGESTIONS`].
pub(super) fn ranked(found: &FoundPassword, ocr: bool) -> Zeroizing<Vec<[u16; BLOCKS]>> {
    let drafts = drafts(found, ocr, MOST_SUGGESTIONS);
    let mut ranked = Zeroizing::new(Vec::with_capacity(drafts.len()));
    ranked.extend(drafts.iter().map(|draft| draft.quotients));
    ranked
}

/// The possible numbers of one invalid block, the most probable first.
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

/// The pairs of adjacent blocks that a swap across their boundary makes valid, by the number of the
/// first, from 1.
pub(super) fn boundary_swaps(blocks: &[Block]) -> Vec<usize> {
    let pairs = (1..).zip(blocks.windows(2));
    pairs
        .filter_map(|(number, pair)| swapped_across(pair).map(|_| number))
        .collect()
}

/// Both blocks after swapping the last digit of the first and the first digit of the second, if both are
/// invalid before and valid after.
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

/// The best passwords that corrections of the invalid blocks give.
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
    // The combinations contain a swap across a boundary as two replacements; list it first, with its
    // own lower cost.
    for (at, pair) in blocks.windows(2).enumerate() {
        if let Some(corrected) = swapped_across(pair) {
            let better = combine(&lists, Some((at, corrected)), limit);
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

/// The possible numbers of a block.
enum Choices {
    Kept(u16),
    Among(Candidates),
}

/// The `limit` combinations with the lowest cost, optionally with one pair of blocks fixed. Because costs
/// are added, a beginning that is not among the `limit` cheapest cannot become one of the cheapest
/// passwords, so it can be dropped.
fn combine(lists: &[Choices], fixed: Option<(usize, (u16, u16))>, limit: usize) -> Drafts {
    let across = |at: usize| {
        let (first, (one, two)) = fixed?;
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
        // Both lists are sorted, so i × j pairs cost no more than the i-th draft with the j-th step:
        // pairs beyond i × j = limit cannot be among the cheapest.
        let most = |nth: usize| limit.checked_div(nth).unwrap_or(0).min(steps.len());
        let capacity = (1..).zip(drafts.iter()).map(|(nth, _)| most(nth)).sum();
        let mut next = Zeroizing::new(Vec::with_capacity(capacity));
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

/// The possible numbers of a block, the cheapest first; only the fixed one, if there is one.
fn steps(choices: &Choices, fixed: Option<Step>) -> Zeroizing<Vec<Step>> {
    let mut steps = Zeroizing::new(Vec::new());
    match (fixed, choices) {
        (Some(fixed), _) => steps.push(fixed),
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
    // Unstable sorts, because stable ones allocate memory that is not wiped.
    drafts.sort_unstable_by_key(|draft| (draft.quotients, draft.cost));
    drafts.dedup_by_key(|draft| draft.quotients);
    drafts.sort_unstable();
    drafts
}

/// The candidates of one invalid block, the most probable first.
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
        let capacity = limit.saturating_sub(filled.len());
        filled.extend(fillings.take(capacity).map(|quotient| Candidate {
            quotient,
            correction: Correction::Wildcard,
            cost: 1,
        }));
        all = filled;
    }
    all.sort_unstable_by_key(|candidate| (candidate.cost, candidate.quotient));
    all
}

/// The number of the block if letters are read as the digits that look like them.
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

/// The block whose unreadable digits and other characters are to be filled in; for an empty block, six
/// unreadable digits. `None` if there is nothing to fill in.
fn as_unknown(block: &Block) -> Option<Block> {
    if block.is_empty() {
        return Some(Block::new(&[Slot::OneOf(ANY_DIGIT); BLOCK_DIGITS]));
    }
    let open = block.len() == BLOCK_DIGITS && block.digits().is_none();
    open.then(|| block.duplicate())
}

/// The valid blocks that one swap, replacement, insertion or deletion gives, each with its lowest
/// cost.
fn edits(block: &Block) -> Candidates {
    /// More than any block has: six places with ten digits each are 60.
    const CAPACITY: usize = 64;
    let mut list = Zeroizing::new(Vec::with_capacity(CAPACITY));
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

/// Adds the valid blocks that swapping two adjacent digits gives.
fn transpositions(digits: &[u8], add: &mut impl FnMut(Option<u16>, Correction, u8)) {
    for first in 0..digits.len().saturating_sub(1) {
        let mut swapped = Zeroizing::new(digits.to_vec());
        swapped.swap(first, first.saturating_add(1));
        add(quotient_of(&swapped), Correction::Transposition, 1);
    }
}

/// Adds the valid blocks that replacing one digit gives.
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
                _ if ADJACENT_KEYS.contains(&pair) => 3,
                _ => 4,
            };
            add(quotient_of(&replaced), Correction::Substitution, cost);
        }
    }
}

/// Adds the valid blocks that inserting one digit gives.
fn insertions(digits: &[u8], add: &mut impl FnMut(Option<u16>, Correction, u8)) {
    for at in 0..=digits.len() {
        for new in 0..10 {
            let Some((before, after)) = digits.split_at_checked(at) else {
                continue;
            };
            let whole = Zeroizing::new([before, &[new], after].concat());
            // One of two equal digits is missed more easily than another.
            let twin = before.last() == Some(&new) || after.first() == Some(&new);
            let cost = if twin { 1 } else { 2 };
            add(quotient_of(&whole), Correction::Insertion, cost);
        }
    }
}

/// Adds the valid blocks that removing one place gives.
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

/// All passwords that a run of 46 to 50 digits gives if digits are inserted or removed anywhere until
/// there are 48. The blocks without a change must be valid as written, so there are few.
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

/// The state of that search.
struct RunSearch {
    correction: Correction,
    drafts: Drafts,
}

impl RunSearch {
    /// Tries every division of the remaining edits between block `at` and the blocks after it.
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
            for (quotient, cost) in self.corrected(own, share).iter() {
                let step = Step {
                    quotient: *quotient,
                    change: (share > 0).then_some(self.correction),
                    cost: *cost,
                };
                self.descend(others, next, left, draft.with(at, step));
            }
        }
    }

    /// The valid blocks that `share` edits of these digits give, with their costs.
    fn corrected(&self, digits: &[u8], share: usize) -> Zeroizing<Vec<(u16, u8)>> {
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

/// Adds a draft. If the vector has to grow, its old memory is wiped.
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
