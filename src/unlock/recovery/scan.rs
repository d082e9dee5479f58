//! Finds recovery passwords in any text by their shape, never by words, which are in the
//! language of the Windows that wrote them (recovery page, sections 1.5 and 1.6).
//!
//! The text comes in regions: words of digits with nothing but separators between. In each the
//! shapes are looked for from the strongest to the weakest (`shapes`); what one has taken, the
//! next does not see. Groups that are too few for a password count only in a text that holds
//! nothing better.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::block::{BLOCK_DIGITS, BLOCKS, Block, Slot};
use super::decode::{Encoding, SourceNote, TooLarge, decode};
use super::digits::{Malformed, PasswordVerdict, RecoveryPassword};
use super::glyph::Separator;
use super::identify::{Landmark, assign};
use super::shapes::{Groups, SHAPES, Shape, anything, hits, too_few_groups};
use super::suggest::MOST_EDITS;
use super::words::{Item, PASSWORD_DIGITS, Word, items};
use crate::guid::Guid;

/// How to read a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The text comes from a scanner: letters that look like digits (`O`, `I`, `l`, `|`, `S`,
    /// `B`, `Z`) lead to suggestions, and never to more than suggestions.
    pub ocr: bool,
}

impl Options {
    /// The same with the readings of a scanner, or without.
    pub fn with_ocr(mut self, ocr: bool) -> Self {
        self.ocr = ocr;
        self
    }
}

/// What a text holds.
#[derive(Debug)]
#[non_exhaustive]
pub struct Scan {
    /// How the bytes were read; nothing when the text was given as text.
    pub encoding: Option<Encoding>,
    /// What was noticed about the bytes.
    pub source_notes: Vec<SourceNote>,
    /// The passwords and what may be some, in the order of the text; one that stands there twice
    /// is listed once.
    pub found: Vec<Found>,
}

/// A password in a text, or what looks like one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Found {
    /// The identifier of its protector, if one stands beside it.
    pub identifier: Option<Guid>,
    /// The blocks as they were written, dropped leading zeros not put back.
    pub blocks: Vec<Block>,
    /// What had to be done to read it.
    pub notes: Vec<Note>,
    /// The line it begins on, from 1.
    pub line: usize,
    /// The digits as they stand, where they are one run of the wrong length: no digit's block is
    /// known then.
    pub(super) run: Option<Block>,
}

impl Found {
    /// The blocks with the leading zeros that a spreadsheet dropped, where they make a block valid.
    pub fn restored_blocks(&self) -> Vec<Block> {
        let pad = self.blocks.len() == BLOCKS && self.run.is_none();
        let restored = |block: &Block| pad.then(|| block.padded()).flatten();
        let blocks = self.blocks.iter();
        blocks
            .map(|block| restored(block).unwrap_or_else(|| block.duplicate()))
            .collect()
    }

    /// The verdict on it, dropped leading zeros put back.
    pub fn verdict(&self) -> PasswordVerdict {
        PasswordVerdict::of(&self.restored_blocks())
    }

    /// The password, dropped leading zeros put back.
    ///
    /// # Errors
    /// Tells which blocks are wrong and why.
    pub fn to_password(&self) -> Result<RecoveryPassword, Malformed> {
        RecoveryPassword::from_blocks(&self.restored_blocks())
    }
}

/// What had to be done to read a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Note {
    /// Something else than single hyphens stood between the blocks.
    Separators,
    /// The digits ran together.
    RunTogether,
    /// The digits were in other groups than eight of six.
    Regrouped,
    /// It was spread over several lines.
    SeveralLines,
    /// The end of a line went through a block.
    BrokenBlock,
    /// Digits of another script.
    OtherScript,
    /// A leading zero was missing, and putting it back made the block valid.
    LeadingZero {
        /// The block, from 1.
        block: usize,
    },
    /// One run of digits, too short or too long: which block lacks or has one cannot be seen.
    RunLength {
        /// How many digits; a password has 48.
        digits: usize,
    },
}

impl Note {
    /// A stable word for programs.
    pub fn as_word(self) -> &'static str {
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
            Self::Separators => f.write_str("other separators than hyphens were accepted"),
            Self::RunTogether => f.write_str("the digits were run together"),
            Self::Regrouped => f.write_str("the digits were not in eight groups of six"),
            Self::SeveralLines => f.write_str("the password was spread over several lines"),
            Self::BrokenBlock => f.write_str("the end of a line in a block was removed"),
            Self::OtherScript => f.write_str("digits of another script were read"),
            Self::LeadingZero { block } => {
                write!(f, "block {block} lacked its leading zero, which was added")
            }
            Self::RunLength { digits } => write!(
                f,
                "{digits} digits run together, not {PASSWORD_DIGITS}: the blocks are a guess"
            ),
        }
    }
}

/// Finds the recovery passwords in a file that somebody saved.
///
/// # Errors
/// Refuses more than [`MAX_BYTES`](super::decode::MAX_BYTES).
pub fn scan_bytes(bytes: &[u8], options: &Options) -> Result<Scan, TooLarge> {
    let decoded = decode(bytes)?;
    let mut scan = scan(decoded.text.expose(), options);
    scan.encoding = Some(decoded.encoding);
    scan.source_notes = decoded.notes;
    Ok(scan)
}

/// Finds the recovery passwords in a text.
pub fn scan(text: &str, options: &Options) -> Scan {
    let items = items(text, options.ocr);
    // Nothing but groups: whoever typed that meant a password, even if it is far from one.
    let nothing_else = items.iter().all(|item| matches!(item, Item::Word(_)));
    let pieces = pieces(items);
    let mut found = search(&pieces, &SHAPES);
    if found.is_empty() {
        found = search(&pieces, &[too_few_groups]);
    }
    if found.is_empty() && nothing_else && pieces.len() == 1 {
        found = search(&pieces, &[anything]);
    }
    Scan {
        encoding: None,
        source_notes: Vec::new(),
        found: without_repeats(found),
    }
}

/// A stretch of text that may hold passwords, or an identifier.
enum Piece {
    Region(Vec<Word>),
    Identifier(super::identify::Identifier),
}

/// Gathers words with only separators between, and mends those that a line end went through.
fn pieces(items: Vec<Item>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut region: Vec<Word> = Vec::new();
    let mut items = items.into_iter().peekable();
    while let Some(item) = items.next() {
        match item {
            Item::Word(word) => {
                // Letters are a mangled block only where a dash binds them to others.
                let after = items.peek().is_some_and(|item| match item {
                    Item::Word(next) => next.gap.kind == Some(Separator::Dash),
                    _ => false,
                });
                if word.alien && !after && word.gap.kind != Some(Separator::Dash) {
                    close(&mut region, &mut pieces);
                } else {
                    join_or_push(&mut region, word);
                }
            }
            Item::Identifier(identifier) => {
                close(&mut region, &mut pieces);
                pieces.push(Piece::Identifier(identifier));
            }
            Item::Break => close(&mut region, &mut pieces),
        }
    }
    close(&mut region, &mut pieces);
    pieces
}

fn close(region: &mut Vec<Word>, pieces: &mut Vec<Piece>) {
    if !region.is_empty() {
        pieces.push(Piece::Region(std::mem::take(region)));
    }
}

/// Adds a word, or its digits to the last one where a folded line (LDIF, a mail program) cut a
/// block in two.
fn join_or_push(region: &mut Vec<Word>, word: Word) {
    if let Some(last) = region.last_mut()
        && word.gap.kind == Some(Separator::Newline)
        && word.gap.newlines == 1
        && last.len().saturating_add(word.len()) == BLOCK_DIGITS
        && last.is_pure()
        && word.is_pure()
    {
        let mut whole = Zeroizing::new(Vec::with_capacity(BLOCK_DIGITS));
        whole.extend_from_slice(&last.slots);
        whole.extend_from_slice(&word.slots);
        last.slots = whole;
        last.joined = true;
    } else {
        region.push(word);
    }
}

/// The passwords of these shapes in all regions, each with its identifier.
fn search(pieces: &[Piece], shapes: &[Shape]) -> Vec<Found> {
    let mut landmarks = Vec::new();
    let mut found = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Identifier(identifier) => {
                landmarks.push(Landmark::Identifier(identifier.clone()));
            }
            Piece::Region(words) => {
                for hit in hits(words, shapes) {
                    let Some(one) = build(words.get(hit.words).unwrap_or_default(), hit.groups)
                    else {
                        continue;
                    };
                    landmarks.push(Landmark::Password { line: one.line });
                    found.push(one);
                }
            }
        }
    }
    for (one, identifier) in found.iter_mut().zip(assign(&landmarks)) {
        one.identifier = identifier;
        one.line = one.line.saturating_add(1);
    }
    found
}

/// Makes blocks of words; nothing where no digit is known at all.
pub(super) fn build(words: &[Word], groups: Groups) -> Option<Found> {
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
        // 49 or 50 digits: the last block is too long, there is no ninth.
        let (first, last) = slots.split_at_checked(PASSWORD_DIGITS.saturating_sub(BLOCK_DIGITS))?;
        blocks = cut(first);
        blocks.push(Block::new(last));
    }
    let mut found = Found {
        identifier: None,
        notes: Vec::new(),
        line: words.first()?.line,
        run,
        blocks,
    };
    found.notes = notes(words, regrouped, &found);
    Some(found)
}

/// What had to be done to make blocks of these words.
fn notes(words: &[Word], regrouped: bool, found: &Found) -> Vec<Note> {
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

/// A password that stands in the text twice is one password.
fn without_repeats(all: Vec<Found>) -> Vec<Found> {
    // By a keyed hash: an export holds thousands of passwords, too many to compare each with all.
    let hash = RandomState::new();
    let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut kept: Vec<(Found, Option<RecoveryPassword>)> = Vec::new();
    for found in all {
        let password = found.to_password().ok();
        if let Some(password) = &password {
            let same_hash = places
                .entry(hash.hash_one(password.to_key().expose()))
                .or_default();
            let is_same = |at: &&usize| match kept.get(**at) {
                Some((_, Some(other))) => bool::from(other.ct_eq(password)),
                _ => false,
            };
            let same = same_hash.iter().find(is_same).copied();
            if let Some((earlier, _)) = same.and_then(|at| kept.get_mut(at)) {
                earlier.identifier = earlier.identifier.or(found.identifier);
                continue;
            }
            same_hash.push(kept.len());
        }
        kept.push((found, password));
    }
    kept.into_iter().map(|(found, _)| found).collect()
}
