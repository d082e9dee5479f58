//! A password as it was found in a text ([`FoundPassword`]): its blocks, and what was corrected or
//! ignored to read them (docs/format-recovery-password.md §1.6).

use std::fmt;

use zeroize::Zeroizing;

use super::block::{BLOCK_DIGITS, BLOCKS, Block, MOST_EDITS, Slot};
use super::digits::{Malformed, PasswordVerdict, RecoveryPassword};
use super::words::{PASSWORD_DIGITS, Word};
use crate::guid::Guid;

/// How to read a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The text comes from a scanner (OCR): suggestions read letters that look like digits (`O`, `I`,
    /// `l`, `|`, `S`, `B`, `Z`) as those digits. Such a letter never becomes a digit without the user's
    /// decision.
    pub ocr: bool,
}

impl Options {
    /// Sets [`ocr`](Self::ocr).
    pub fn with_ocr(mut self, ocr: bool) -> Self {
        self.ocr = ocr;
        self
    }
}

/// A password that was found in a text, or something that looks like one.
#[derive(Debug)]
#[non_exhaustive]
pub struct FoundPassword {
    /// The identifier of its key protector, if the text has one near it.
    pub identifier: Option<Guid>,
    /// The blocks as written, without adding leading zeros.
    pub blocks: Vec<Block>,
    /// What was corrected or ignored to read it.
    pub notes: Vec<Note>,
    /// The line on which it begins, counted from 1.
    pub line: usize,
    /// All digits, if they are one run of the wrong length: then it is not known which digit belongs to
    /// which block, and `blocks` is a guess.
    pub(super) run: Option<Block>,
}

impl FoundPassword {
    /// The blocks, with leading zeros added where that makes a block valid. Spreadsheets drop them.
    pub fn restored_blocks(&self) -> Vec<Block> {
        let pad = self.blocks.len() == BLOCKS && self.run.is_none();
        let restored = |block: &Block| pad.then(|| block.padded()).flatten();
        let blocks = self.blocks.iter();
        blocks
            .map(|block| restored(block).unwrap_or_else(|| block.duplicate()))
            .collect()
    }

    /// Whether it is well-formed, with leading zeros added.
    pub fn verdict(&self) -> PasswordVerdict {
        PasswordVerdict::of(&self.restored_blocks())
    }

    /// The password, with leading zeros added.
    ///
    /// # Errors
    /// It is not well-formed; [`Malformed`] says which blocks are invalid and why.
    pub fn to_password(&self) -> Result<RecoveryPassword, Malformed> {
        RecoveryPassword::from_blocks(&self.restored_blocks())
    }
}

/// What was corrected or ignored to read a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Note {
    /// The blocks had separators other than single hyphens.
    Separators,
    /// The digits had no separators.
    RunTogether,
    /// The digits were in groups other than eight of six.
    Regrouped,
    /// The password was spread over several lines.
    SeveralLines,
    /// A line break inside a block was removed.
    BrokenBlock,
    /// Digits of another script than ASCII were read.
    OtherScript,
    /// A leading zero was missing; adding it made the block valid.
    LeadingZero {
        /// Number of the block, from 1.
        block: usize,
    },
    /// The digits are one run of the wrong length, so it is not known in which block digits are missing
    /// or too many.
    RunLength {
        /// How many digits; a password has 48.
        digits: usize,
    },
}

impl Note {
    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Separators => "normalised-separators",
            Self::RunTogether => "run-together",
            Self::Regrouped => "regrouped",
            Self::SeveralLines => "several-lines",
            Self::BrokenBlock => "broken-block",
            Self::OtherScript => "normalised-digits",
            Self::LeadingZero { .. } => "padded-zero",
            Self::RunLength { .. } => "run-length",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Separators => f.write_str("separators other than hyphens were accepted"),
            Self::RunTogether => f.write_str("the digits had no separators"),
            Self::Regrouped => f.write_str("the digits were not in eight groups of six"),
            Self::SeveralLines => f.write_str("the password was spread over several lines"),
            Self::BrokenBlock => f.write_str("a line break inside a block was removed"),
            Self::OtherScript => f.write_str("digits of another script were read"),
            Self::LeadingZero { block } => {
                write!(f, "block {block} lacked its leading zero, which was added")
            }
            Self::RunLength { digits } => write!(
                f,
                "{digits} digits without separators, not {PASSWORD_DIGITS}: the division into blocks is a guess"
            ),
        }
    }
}

/// How words are turned into blocks.
#[derive(Clone, Copy)]
pub(super) enum Groups {
    /// Each word is a block.
    AsWritten,
    /// The digits of all words together, six per block.
    Regrouped,
    /// Each word is a block, and before the word of this index there is an empty block, between two
    /// dashes.
    EmptyBefore(usize),
}

/// Turns words into blocks. `None` if there are no words.
pub(super) fn build(words: &[Word], groups: Groups) -> Option<FoundPassword> {
    let mut slots = Zeroizing::new(Vec::with_capacity(words.iter().map(Word::len).sum()));
    words
        .iter()
        .for_each(|word| slots.extend_from_slice(&word.slots));
    let cut = |slots: &[Slot]| {
        slots
            .chunks(BLOCK_DIGITS)
            .map(Block::new)
            .collect::<Vec<_>>()
    };
    let mut blocks: Vec<_> = match groups {
        Groups::Regrouped => cut(&slots),
        Groups::AsWritten | Groups::EmptyBefore(_) => {
            words.iter().map(|word| Block::new(&word.slots)).collect()
        }
    };
    if let Groups::EmptyBefore(at) = groups {
        blocks.insert(at.min(blocks.len()), Block::new(&[]));
    }
    let regrouped = matches!(groups, Groups::Regrouped);
    let off_by = slots.len().abs_diff(PASSWORD_DIGITS);
    let run = (regrouped && (1..=MOST_EDITS).contains(&off_by)).then(|| Block::new(&slots));
    if run.is_some() && blocks.len() == BLOCKS.saturating_add(1) {
        // 49 or 50 digits: show the last block as too long, rather than a ninth one.
        let (first, last) = slots.split_at_checked(PASSWORD_DIGITS.saturating_sub(BLOCK_DIGITS))?;
        blocks = cut(first);
        blocks.push(Block::new(last));
    }
    let mut found = FoundPassword {
        identifier: None,
        notes: Vec::new(),
        line: words.first()?.line,
        run,
        blocks,
    };
    found.notes = notes(words, regrouped, &found);
    Some(found)
}

/// What was corrected or ignored to turn these words into blocks.
fn notes(words: &[Word], regrouped: bool, found: &FoundPassword) -> Vec<Note> {
    let gaps = || words.iter().skip(1).map(|word| &word.gap);
    let mut notes = Vec::new();
    if gaps().any(|gap| !gap.is_plain()) {
        notes.push(Note::Separators);
    }
    match (&found.run, words.len()) {
        (Some(run), _) => notes.push(Note::RunLength { digits: run.len() }),
        (None, 1) if regrouped => notes.push(Note::RunTogether),
        (None, _) if regrouped => notes.push(Note::Regrouped),
        _ => {}
    }
    if gaps().any(|gap| gap.newlines > 0) {
        notes.push(Note::SeveralLines);
    }
    if words.iter().any(|word| word.joined) {
        notes.push(Note::BrokenBlock);
    }
    if words.iter().any(|word| word.other_script) {
        notes.push(Note::OtherScript);
    }
    if found.blocks.len() == BLOCKS && found.run.is_none() {
        let blocks = (1..).zip(&found.blocks);
        let padded = blocks.filter(|(_, block)| block.padded().is_some());
        notes.extend(padded.map(|(block, _)| Note::LeadingZero { block }));
    }
    notes
}
