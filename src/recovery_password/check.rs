//! Checks a text that should contain a recovery password, and returns everything there is to say about
//! it (docs/format-recovery-password.md §1.7).
//!
//! The public fields contain no digit, so they may be shown and logged. Digits are returned only by
//! [`PasswordCheck::expose_normalized`], [`PasswordCheck::expose_suggestions`] and
//! [`PasswordCheck::expose_expected_check_digit`].
//!
//! ```
//! use fve::recovery_password::{Options, Outcome, check_text};
//!
//! let text = "471207-278498-422126-177177-561902-537405-468006-693451";
//! let check = check_text(text, &Options::default());
//! assert_eq!(check.result, Outcome::Malformed);
//! let password = check.primary().unwrap();
//! for block in password.blocks.iter().filter(|block| !block.verdict.is_valid()) {
//!     assert_eq!(
//!         format!("block {} {}", block.index, block.verdict),
//!         "block 3 is not divisible by 11"
//!     );
//!     assert_eq!(block.candidates.substitution, 6);
//! }
//! ```

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::block::{BLOCKS, Block, BlockVerdict, Slot, number};
use super::decode::{Encoding, SourceNote, TooLarge};
use super::digits::{Malformed, PasswordVerdict, RecoveryPassword};
use super::found::{FoundPassword, Note, Options};
use super::pattern::{self, Candidates, NoCandidates};
use super::scan::{Scan, scan, scan_bytes};
use super::suggest::{self, CandidateCounts, Suggestion};
use crate::guid::Guid;
use crate::secret::SecretText;

/// The result of a check, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Eight valid blocks. Do not call it *correct*: blocks in the wrong order are well-formed too.
    WellFormed,
    /// A block is invalid, or there are not eight.
    Malformed,
    /// All known digits are possible, but some are marked as unreadable.
    Incomplete,
    /// The text contains nothing that looks like a recovery password.
    NotFound,
}

impl Outcome {
    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::WellFormed => "well-formed",
            Self::Malformed => "malformed",
            Self::Incomplete => "incomplete",
            Self::NotFound => "not-found",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The result of checking a text.
#[derive(Debug)]
#[non_exhaustive]
pub struct Check {
    /// The result for the first password in the text.
    pub result: Outcome,
    /// The encoding of the bytes; `None` if the text was passed as text.
    pub encoding: Option<Encoding>,
    /// Remarks on the encoding.
    pub source_notes: Vec<SourceNote>,
    /// Every password in the text, in the order of the text.
    pub passwords: Vec<PasswordCheck>,
}

impl Check {
    /// The password that [`result`](Self::result) is about: the first.
    pub fn primary(&self) -> Option<&PasswordCheck> {
        self.passwords.first()
    }

    fn of(scan: Scan, options: &Options) -> Self {
        let passwords: Vec<_> = scan
            .found
            .into_iter()
            .map(|found| PasswordCheck::of(found, options))
            .collect();
        Self {
            result: passwords
                .first()
                .map_or(Outcome::NotFound, |first| first.outcome()),
            encoding: scan.encoding,
            source_notes: scan.source_notes,
            passwords,
        }
    }
}

/// Checks the recovery passwords in a saved file, in any common encoding.
///
/// # Errors
/// There are more bytes than [`MAX_BYTES`](super::MAX_BYTES).
pub fn check_bytes(bytes: &[u8], options: &Options) -> Result<Check, TooLarge> {
    Ok(Check::of(scan_bytes(bytes, options)?, options))
}

/// Checks the recovery passwords in a text, for example one that a user typed.
pub fn check_text(text: &str, options: &Options) -> Check {
    Check::of(scan(text, options), options)
}

/// Checks a single block, for example while it is being typed. Spaces around the digits are ignored.
pub fn check_block(text: &str) -> BlockVerdict {
    let scan = scan(text, &Options::default());
    match scan.found.first().map(|found| found.blocks.as_slice()) {
        Some([block]) => block.verdict(),
        Some(blocks) => BlockVerdict::TooLong {
            digits: blocks.iter().map(Block::len).sum(),
        },
        None => BlockVerdict::Empty,
    }
}

/// The result of checking one password of a text.
#[derive(Debug)]
#[non_exhaustive]
pub struct PasswordCheck {
    /// The identifier of its key protector, if the text has one near it.
    pub identifier: Option<Guid>,
    /// The line of the text on which it begins, counted from 1.
    pub line: usize,
    /// The verdict on the whole password.
    pub verdict: PasswordVerdict,
    /// The result for each block.
    pub blocks: Vec<BlockCheck>,
    /// What was corrected or ignored in order to read it.
    pub notes: Vec<Note>,
    /// Groups of equal blocks, by their numbers from 1. Equal blocks suggest a copying error: only one
    /// random password in 2300 has any.
    pub repeats: Vec<Vec<usize>>,
    /// Which well-known placeholder it is, if it is one.
    pub placeholder: Option<Placeholder>,
    /// How many well-formed passwords differ from it by one typing error in each invalid block.
    pub password_candidates: u64,
    /// Pairs of adjacent invalid blocks that become valid if the last digit of the first and the first
    /// digit of the second are swapped; by the number of the first, from 1.
    pub boundary_swaps: Vec<usize>,
    found: FoundPassword,
    ocr: bool,
}

/// The result of checking one block.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockCheck {
    /// Its number, counted from 1.
    pub index: usize,
    /// Whether it is valid, or what is wrong with it.
    pub verdict: BlockVerdict,
    /// How many places it has: digits, unreadable digits and other characters.
    pub digits: usize,
    /// How many valid blocks differ from it by one typing error.
    pub candidates: CandidateCounts,
}

/// A placeholder for a password, as in documentation and empty forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Placeholder {
    /// All digits are zero.
    AllZero,
    /// The example of Microsoft's page on repair-bde, whose blocks count from 111111 to 888888.
    MicrosoftExample,
    /// No digit is known, so there is nothing to search for (2^128 possibilities).
    NothingKnown,
}

impl Placeholder {
    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::AllZero => "all-zero",
            Self::MicrosoftExample => "microsoft-example",
            Self::NothingKnown => "nothing-known",
        }
    }

    fn of(blocks: &[Block]) -> Option<Self> {
        let nothing_known = |block: &Block| {
            let mut slots = block.slots().iter();
            slots.all(|slot| matches!(slot, Slot::OneOf(_)))
        };
        let counts_up = |(nth, block): (u32, &Block)| {
            let digits = block.digits().filter(|digits| digits.len() == 6);
            digits.is_some_and(|digits| number(&digits) == nth.saturating_mul(111_111))
        };
        if blocks.len() != BLOCKS {
            None
        } else if blocks.iter().all(nothing_known) {
            Some(Self::NothingKnown)
        } else if blocks.iter().all(|block| block.quotient() == Some(0)) {
            Some(Self::AllZero)
        } else if (1..).zip(blocks).all(counts_up) {
            Some(Self::MicrosoftExample)
        } else {
            None
        }
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AllZero => "all digits are zero: a placeholder, not a password",
            Self::MicrosoftExample => "this is the example from Microsoft's documentation",
            Self::NothingKnown => "no digit is known",
        })
    }
}

impl PasswordCheck {
    fn of(found: FoundPassword, options: &Options) -> Self {
        let blocks = found.restored_blocks();
        Self {
            identifier: found.identifier,
            line: found.line,
            verdict: PasswordVerdict::of(&blocks),
            blocks: (1..).zip(&blocks).map(BlockCheck::of).collect(),
            notes: found.notes.clone(),
            repeats: repeats(&blocks),
            placeholder: Placeholder::of(&blocks),
            password_candidates: suggest::count(&found),
            boundary_swaps: suggest::boundary_swaps(&blocks),
            found,
            ocr: options.ocr,
        }
    }

    /// The result in one word.
    pub fn outcome(&self) -> Outcome {
        match self.verdict {
            PasswordVerdict::WellFormed => Outcome::WellFormed,
            PasswordVerdict::Incomplete => Outcome::Incomplete,
            _ => Outcome::Malformed,
        }
    }

    /// The password, if it is well-formed.
    ///
    /// # Errors
    /// Some block is invalid, or there are not eight; [`Malformed`] says which and why.
    pub fn to_password(&self) -> Result<RecoveryPassword, Malformed> {
        self.found.to_password()
    }

    /// What was read, in the form that Windows uses: blocks with hyphens, and `?` for an unreadable
    /// digit, `[17]` for one of two digits, `#` for another character.
    pub fn expose_normalized(&self) -> SecretText {
        /// The longest text of one place, `[0123456789]`.
        const PLACE: usize = 12;
        let blocks = self.found.restored_blocks();
        // Allocated once: growing would leave a copy in freed memory.
        let capacity = |block: &Block| block.len().saturating_mul(PLACE).saturating_add(1);
        let mut text = String::with_capacity(blocks.iter().map(capacity).sum());
        for (nth, block) in blocks.iter().enumerate() {
            if nth > 0 {
                text.push('-');
            }
            block
                .slots()
                .iter()
                .for_each(|slot| write_slot(&mut text, *slot));
        }
        SecretText::new(text)
    }

    /// The most probable corrections, best first: at most `limit`, and at most
    /// [`MOST_SUGGESTIONS`](super::MOST_SUGGESTIONS). They are as secret as the password.
    ///
    /// [`password_candidates`](Self::password_candidates) is their number without these limits.
    pub fn expose_suggestions(&self, limit: usize) -> Vec<Suggestion> {
        suggest::suggestions(&self.found, self.ocr, limit)
    }

    /// All well-formed passwords that this may have been, with unreadable digits filled in and invalid
    /// blocks corrected. A well-formed password is its own only candidate, unless a leading zero was
    /// added to it.
    ///
    /// # Errors
    /// No correction gives a well-formed password.
    pub fn candidates(&self) -> Result<Candidates, NoCandidates> {
        Candidates::of(&self.found, self.ocr)
    }

    /// The password, and those that differ from it by one error that the check digits do not detect,
    /// such as two swapped blocks.
    ///
    /// # Errors
    /// The password is not well-formed.
    pub fn near_candidates(&self) -> Result<Candidates, NoCandidates> {
        Ok(Candidates::near(&self.to_password()?))
    }

    /// The password with its blocks in every order.
    ///
    /// # Errors
    /// The password is not well-formed.
    pub fn reordered_candidates(&self) -> Result<Candidates, NoCandidates> {
        Ok(Candidates::any_order(&self.to_password()?))
    }

    /// Which digits are known, without showing them: `#` for a digit, `?` for an unreadable one, `[2]` for
    /// one of two digits, `!` for another character.
    pub fn shape(&self) -> String {
        pattern::shape(&self.found.restored_blocks())
    }

    /// The check digit of block `index` (from 1): the sixth digit that fits the first five. `None` if they
    /// are not all known, or if no digit fits: then one of the five is wrong.
    pub fn expose_expected_check_digit(&self, index: usize) -> Option<u8> {
        let blocks = self.found.restored_blocks();
        blocks
            .get(index.checked_sub(1)?)?
            .expose_expected_check_digit()
    }
}

impl BlockCheck {
    fn of((index, block): (usize, &Block)) -> Self {
        Self {
            index,
            verdict: block.verdict(),
            digits: block.len(),
            candidates: CandidateCounts::of(block),
        }
    }
}

/// Appends the text of one place.
fn write_slot(text: &mut String, slot: Slot) {
    let digit = |digit: u8| char::from(b'0' | digit);
    match slot {
        Slot::Digit(one) => text.push(digit(one)),
        Slot::OneOf(super::block::ANY_DIGIT) => text.push('?'),
        Slot::OneOf(set) => {
            text.push('[');
            let members = (0..10_u8).filter(|d| super::block::contains(set, *d));
            text.extend(members.map(digit));
            text.push(']');
        }
        Slot::Foreign(..) => text.push('#'),
    }
}

/// Groups of equal valid blocks, by their numbers. Compared in constant time, because the blocks are
/// secret.
fn repeats(blocks: &[Block]) -> Vec<Vec<usize>> {
    let numbered = (1..).zip(blocks);
    let known = numbered.filter_map(|(number, block)| Some((number, block.quotient()?)));
    let mut pairs = Zeroizing::new(Vec::with_capacity(blocks.len()));
    pairs.extend(known);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (number, quotient) in pairs.iter() {
        if groups.iter().any(|group| group.contains(number)) {
            continue;
        }
        let equal = pairs
            .iter()
            .filter(|(_, other)| other.ct_eq(quotient).into());
        let group: Vec<_> = equal.map(|(number, _)| *number).collect();
        if group.len() > 1 {
            groups.push(group);
        }
    }
    groups
}
