//! The whole answer about a text that should hold a recovery password
//! (docs/format-recovery-password.md §1.7): plain data for a command or a form to print.
//!
//! Everything public here may be shown to anyone; what is secret comes out through
//! [`PasswordCheck::expose_normalised`], [`PasswordCheck::expose_suggestions`] and
//! [`PasswordCheck::expose_expected_check_digit`], for which a command asks for `--show`.
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

/// The answer in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Eight valid blocks. Never say *correct*: blocks in the wrong order are well-formed, too.
    WellFormed,
    /// A block is wrong, or there are not eight.
    Malformed,
    /// Possible, but some digits are marked as unreadable.
    Incomplete,
    /// Nothing like a recovery password is in the text.
    NotFound,
}

impl Outcome {
    /// A stable word for programs.
    pub fn as_word(self) -> &'static str {
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
        f.write_str(self.as_word())
    }
}

/// What a text is worth as a recovery password.
#[derive(Debug)]
#[non_exhaustive]
pub struct Check {
    /// The answer on the first password in the text.
    pub result: Outcome,
    /// How the bytes were read; nothing when the text was given as text.
    pub encoding: Option<Encoding>,
    /// What was noticed about the bytes.
    pub source_notes: Vec<SourceNote>,
    /// Every password in the text, in its order.
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

/// Checks the recovery passwords in a file that somebody saved.
///
/// # Errors
/// Refuses more than [`MAX_BYTES`](super::decode::MAX_BYTES).
pub fn check_bytes(bytes: &[u8], options: &Options) -> Result<Check, TooLarge> {
    Ok(Check::of(scan_bytes(bytes, options)?, options))
}

/// Checks the recovery passwords in a text, or the one that somebody typed.
pub fn check_text(text: &str, options: &Options) -> Check {
    Check::of(scan(text, options), options)
}

/// The verdict on a single block as it is being typed: any digits, blanks around them ignored.
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

/// What one password in a text is worth.
#[derive(Debug)]
#[non_exhaustive]
pub struct PasswordCheck {
    /// The identifier of its protector, if one stands beside it.
    pub identifier: Option<Guid>,
    /// The line of the text that it begins on, from 1.
    pub line: usize,
    /// The verdict on the whole.
    pub verdict: PasswordVerdict,
    /// The verdict on each block.
    pub blocks: Vec<BlockCheck>,
    /// What had to be done to read it.
    pub notes: Vec<Note>,
    /// Which blocks are equal, by their numbers: two equal blocks are hardly chance (one password
    /// in 2300 has some).
    pub repeats: Vec<Vec<usize>>,
    /// Whether it is a well-known stand-in for a password.
    pub placeholder: Option<Placeholder>,
    /// How many well-formed passwords are one slip away in each bad block.
    pub password_candidates: u64,
    /// Pairs of bad blocks that swapping two digits across their boundary mends, by the number of
    /// the first.
    pub boundary_swaps: Vec<usize>,
    found: FoundPassword,
    ocr: bool,
}

/// What one block is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockCheck {
    /// Its number, from 1.
    pub index: usize,
    /// The verdict on it.
    pub verdict: BlockVerdict,
    /// How many places it has: digits, unreadable ones and other characters.
    pub digits: usize,
    /// How many valid blocks are one slip away.
    pub candidates: CandidateCounts,
}

/// A stand-in for a password, as documentation and empty forms have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Placeholder {
    /// Nothing but zeros.
    AllZero,
    /// The example of Microsoft's page on repair-bde, whose blocks count from 111111 to 888888.
    MicrosoftExample,
    /// Not one digit is known; nothing can be searched for (2^128 possibilities).
    NothingKnown,
}

impl Placeholder {
    /// A stable word for programs.
    pub fn as_word(self) -> &'static str {
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
            Self::MicrosoftExample => "this is the example of Microsoft's documentation",
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

    /// The answer in a word.
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
    /// Tells which blocks are wrong and why.
    pub fn to_password(&self) -> Result<RecoveryPassword, Malformed> {
        self.found.to_password()
    }

    /// What was read, as Windows writes it: blocks with hyphens, `?` for an unreadable digit,
    /// `[17]` for a choice, `#` for another character.
    pub fn expose_normalised(&self) -> SecretText {
        /// The longest a place can become, `[0123456789]`.
        const PLACE: usize = 12;
        let blocks = self.found.restored_blocks();
        // All the room at once: growing would leave a copy behind.
        let room = |block: &Block| block.len().saturating_mul(PLACE).saturating_add(1);
        let mut text = String::with_capacity(blocks.iter().map(room).sum());
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

    /// The likeliest corrections, best first, at most `limit` and never more than
    /// [`MOST_SUGGESTIONS`](super::suggest::MOST_SUGGESTIONS): as secret as the password.
    ///
    /// There are [`password_candidates`](Self::password_candidates) of them.
    pub fn expose_suggestions(&self, limit: usize) -> Vec<Suggestion> {
        suggest::suggestions(&self.found, self.ocr, limit)
    }

    /// All passwords that this may have been: unreadable digits filled in, bad blocks mended. A
    /// well-formed one is the only candidate, unless a leading zero was put back.
    ///
    /// # Errors
    /// There is nothing to fill in or to mend that would give a well-formed password.
    pub fn candidates(&self) -> Result<Candidates, NoCandidates> {
        Candidates::of(&self.found, self.ocr)
    }

    /// The password and those near it: one slip away that the check digits let pass, such as two
    /// digits or two blocks exchanged.
    ///
    /// # Errors
    /// It is not well-formed.
    pub fn near_candidates(&self) -> Result<Candidates, NoCandidates> {
        Ok(Candidates::near(&self.to_password()?))
    }

    /// The password's blocks in every order.
    ///
    /// # Errors
    /// It is not well-formed.
    pub fn reordered_candidates(&self) -> Result<Candidates, NoCandidates> {
        Ok(Candidates::any_order(&self.to_password()?))
    }

    /// What is known of each block and what is not, without a digit: `#` for a digit, `?` for an
    /// unreadable one, `[2]` for a choice of two, `!` for another character.
    pub fn shape(&self) -> String {
        pattern::shape(&self.found.restored_blocks())
    }

    /// The sixth digit that the first five of block `index` (from 1) ask for; nothing where they
    /// are not all known, or where no digit fits them: then one of the five is wrong.
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

/// The numbers of valid blocks that are equal.
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
