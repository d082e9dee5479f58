//! Text to words: runs of digits and what may stand for digits, the gaps between them, and the
//! identifiers, which are cut out first because they hold groups of digits too
//! (docs/format-recovery-password.md §1.6, steps 2, 4 and 7).

use zeroize::Zeroizing;

use super::block::{BLOCK_DIGITS, BLOCKS, CharacterClass, Slot};
use super::glyph::{Glyph, Separator, glyph};
use super::identify::{Identifier, identifier_at};

/// Digits of a whole password.
pub(super) const PASSWORD_DIGITS: usize = BLOCK_DIGITS * BLOCKS;
/// The longest word that may be one block, digits missing or too many included.
pub(super) const LONGEST_BLOCK: usize = 8;
/// The fewest digits in a word with other characters for it to be a block all the same.
const FEWEST_DIGITS: usize = 3;
/// The most possibilities in `[17]`; more digits between brackets are a block in brackets.
const MOST_CHOICES: usize = 5;

/// What stands between a word and the one before it.
#[derive(Clone, Copy, Default)]
pub(super) struct Gap {
    /// The strongest separator in it.
    pub(super) kind: Option<Separator>,
    /// How many dashes.
    pub(super) dashes: usize,
    /// How many characters.
    pub(super) characters: usize,
    /// How many ends of lines, CR LF being one.
    pub(super) newlines: usize,
    /// Whether there is anything but ASCII hyphens.
    pub(super) unusual: bool,
}

impl Gap {
    fn add(&mut self, separator: Separator, c: char, after_cr: bool) {
        self.characters = self.characters.saturating_add(1);
        match separator {
            Separator::Dash => self.dashes = self.dashes.saturating_add(1),
            Separator::Newline if !(c == '\n' && after_cr) => {
                self.newlines = self.newlines.saturating_add(1);
            }
            _ => {}
        }
        self.unusual |= c != '-';
        if self
            .kind
            .is_none_or(|kind| strength(separator) > strength(kind))
        {
            self.kind = Some(separator);
        }
    }

    /// Whether it is one ASCII hyphen, as Windows writes it.
    pub(super) fn is_plain(&self) -> bool {
        self.characters == 1 && !self.unusual
    }
}

/// Which separator names a gap that holds several.
fn strength(separator: Separator) -> u8 {
    match separator {
        Separator::Space => 0,
        Separator::Tab => 1,
        Separator::Newline => 2,
        Separator::Punctuation(_) => 3,
        Separator::Dash => 4,
    }
}

/// A run of characters that may be a block, several, or a whole password.
pub(super) struct Word {
    /// What stands at each place.
    pub(super) slots: Zeroizing<Vec<Slot>>,
    /// What stands before it.
    pub(super) gap: Gap,
    /// Whether there is no digit in it, nor anything that stands for one.
    pub(super) alien: bool,
    /// Whether some digits are not ASCII.
    pub(super) other_script: bool,
    /// Whether the end of a line went through it.
    pub(super) joined: bool,
    /// The line it stands on, from 0.
    pub(super) line: usize,
}

impl Word {
    /// How many places.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it holds only digits and what stands for digits.
    pub(super) fn is_pure(&self) -> bool {
        !self.slots.iter().any(|s| matches!(s, Slot::Foreign(..)))
    }
}

/// A text in pieces.
pub(super) enum Item {
    /// Perhaps a block.
    Word(Word),
    /// An identifier.
    Identifier(Identifier),
    /// Anything else.
    Break,
}

/// The pieces of `text`.
pub(super) fn items(text: &str, ocr: bool) -> Vec<Item> {
    // All the room at once: growing would leave a copy behind.
    let mut chars = Zeroizing::new(Vec::with_capacity(text.len()));
    chars.extend(text.chars());
    let mut reader = Reader {
        chars: &chars,
        at: 0,
        line: 0,
        gap: Gap::default(),
        ocr,
        items: Vec::new(),
    };
    while reader.step() {}
    reader.items
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
    line: usize,
    gap: Gap,
    ocr: bool,
    items: Vec<Item>,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at.checked_add(ahead)?).copied()
    }

    fn advance(&mut self, by: usize) {
        self.at = self.at.saturating_add(by);
    }

    fn previous(&self) -> Option<char> {
        self.chars.get(self.at.checked_sub(1)?).copied()
    }

    /// Takes one separator, identifier, word or other character; false at the end.
    fn step(&mut self) -> bool {
        let Some(c) = self.peek(0) else {
            return false;
        };
        if let Some((id, len)) = identifier_at(self.chars, self.at, self.line) {
            self.items.push(Item::Identifier(id));
            self.gap = Gap::default();
            self.advance(len);
            return true;
        }
        match glyph(c) {
            Glyph::Separator(separator) => self.separator(separator, c),
            // A quoted line of a mail, or a soft line end of quoted-printable.
            Glyph::Break
                if (c == '>' && self.gap.newlines > 0)
                    || (c == '=' && matches!(self.peek(1), Some('\r' | '\n'))) =>
            {
                self.separator(Separator::Space, c);
            }
            Glyph::Invisible => self.advance(1),
            Glyph::Break => self.cut(),
            Glyph::Bracket if self.choice().is_none() => self.cut(),
            _ => self.word(),
        }
        true
    }

    fn separator(&mut self, separator: Separator, c: char) {
        let after_cr = self.previous() == Some('\r');
        if separator == Separator::Newline && !(c == '\n' && after_cr) {
            self.line = self.line.saturating_add(1);
        }
        self.gap.add(separator, c, after_cr);
        self.advance(1);
    }

    fn cut(&mut self) {
        self.advance(1);
        self.push_break();
    }

    fn push_break(&mut self) {
        if !matches!(self.items.last(), Some(Item::Break)) {
            self.items.push(Item::Break);
        }
        self.gap = Gap::default();
    }

    /// The digits of a choice such as `[17]` that begins here and touches another place of a
    /// block, and its length in characters.
    fn choice(&self) -> Option<(u16, usize)> {
        let mut set = 0_u16;
        let mut digits = 0_usize;
        for ahead in 1.. {
            match self.peek(ahead)? {
                ']' => {
                    let place = |c: char| {
                        let glyph = glyph(c);
                        matches!(glyph, Glyph::Digit(_) | Glyph::Wildcard | Glyph::LetterX)
                    };
                    let len = ahead.checked_add(1)?;
                    let touches = self.previous().is_some_and(|c| place(c) || c == ']')
                        || self.peek(len).is_some_and(|c| place(c) || c == '[');
                    let counts = (2..=MOST_CHOICES).contains(&digits);
                    return (touches && counts).then_some((set, len));
                }
                '|' | '/' | ',' => {}
                c => match glyph(c) {
                    Glyph::Digit(digit) => {
                        set |= 1_u16.checked_shl(u32::from(digit))?;
                        digits = digits.checked_add(1)?;
                    }
                    _ => return None,
                },
            }
        }
        None
    }

    /// Takes the longest word that begins here.
    fn word(&mut self) {
        let mut raw = Zeroizing::new(Vec::new());
        let mut other_script = false;
        while let Some(c) = self.peek(0) {
            // `|5BC8FBBC-…`: a symbol does not hide an identifier.
            if !raw.is_empty() && identifier_at(self.chars, self.at, self.line).is_some() {
                break;
            }
            let piece = match glyph(c) {
                Glyph::Digit(digit) => {
                    other_script |= !c.is_ascii();
                    Raw::Slot(Slot::Digit(digit))
                }
                Glyph::Wildcard => Raw::Wildcard,
                Glyph::LetterX => Raw::LetterX,
                Glyph::Underscore => Raw::Underscore,
                Glyph::Foreign(class, reading) => Raw::Slot(Slot::Foreign(class, reading)),
                Glyph::Bracket => match self.choice() {
                    Some((set, len)) => {
                        self.advance(len);
                        push(&mut raw, Raw::Slot(Slot::OneOf(set)));
                        continue;
                    }
                    None => break,
                },
                Glyph::Invisible => {
                    self.advance(1);
                    continue;
                }
                Glyph::Separator(_) | Glyph::Break => break,
            };
            push(&mut raw, piece);
            self.advance(1);
        }
        self.underscores(&raw, other_script);
    }

    /// Takes underscores for separators where they part eight groups or follow a whole block,
    /// and for unreadable digits elsewhere.
    fn underscores(&mut self, raw: &[Raw], other_script: bool) {
        if !raw.contains(&Raw::Underscore) {
            return self.finish(raw, other_script);
        }
        let groups = || raw.split(|piece| *piece == Raw::Underscore);
        if groups().count() == BLOCKS && groups().all(|group| !group.is_empty()) {
            for (nth, group) in groups().enumerate() {
                if nth > 0 {
                    self.gap.add(Separator::Punctuation('_'), '_', false);
                }
                self.finish(group, other_script);
            }
            return;
        }
        let mut rest = raw;
        while let Some((block, after)) = rest.split_at_checked(BLOCK_DIGITS) {
            let Some((Raw::Underscore, after)) = after.split_first() else {
                break;
            };
            if block
                .iter()
                .any(|p| !matches!(p, Raw::Slot(Slot::Digit(_))))
            {
                break;
            }
            self.finish(block, other_script);
            self.gap.add(Separator::Punctuation('_'), '_', false);
            rest = after;
        }
        if !rest.is_empty() {
            self.finish(rest, other_script);
        }
    }

    /// Makes a word of the pieces, if they can be one.
    fn finish(&mut self, raw: &[Raw], other_script: bool) {
        let raw = trimmed(raw);
        if raw.iter().all(|p| *p == Raw::Underscore) && raw.len() != BLOCK_DIGITS {
            return self.gap.add(Separator::Punctuation('_'), '_', false);
        }
        let foreign = raw
            .iter()
            .any(|p| matches!(p, Raw::Slot(Slot::Foreign(..))));
        let mut slots = Zeroizing::new(Vec::with_capacity(raw.len()));
        slots.extend(raw.iter().map(|piece| piece.slot(foreign)));
        let read = |slot: &&Slot| match slot {
            Slot::Digit(_) | Slot::OneOf(_) => true,
            Slot::Foreign(_, reading) => self.ocr && reading.is_some(),
        };
        let alien = !slots.iter().any(|slot| !matches!(slot, Slot::Foreign(..)));
        let block = slots.len() <= LONGEST_BLOCK;
        let enough = slots.iter().filter(read).count() >= FEWEST_DIGITS;
        let known = raw.iter().any(|p| matches!(p, Raw::Slot(_)));
        let keep = if foreign {
            block && (alien || enough)
        } else {
            known || slots.len() == BLOCK_DIGITS
        };
        if !keep {
            return self.split_at_symbols(raw, other_script);
        }
        let gap = std::mem::take(&mut self.gap);
        self.items.push(Item::Word(Word {
            slots,
            gap,
            alien,
            other_script,
            joined: false,
            line: self.line,
        }));
    }

    /// Gives the parts between symbols another chance: `693451|471207` is no word.
    fn split_at_symbols(&mut self, raw: &[Raw], other_script: bool) {
        let symbol = |p: &Raw| matches!(p, Raw::Slot(Slot::Foreign(CharacterClass::Symbol, _)));
        if !raw.iter().any(symbol) {
            return self.push_break();
        }
        for part in raw.split(symbol) {
            if !part.is_empty() {
                self.finish(part, other_script);
            }
            self.push_break();
        }
    }
}

/// A piece of a word before it is known what the word is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Raw {
    Slot(Slot),
    Wildcard,
    LetterX,
    Underscore,
}

impl Default for Raw {
    fn default() -> Self {
        Self::Slot(Slot::default())
    }
}

impl zeroize::DefaultIsZeroes for Raw {}

impl Raw {
    /// The place that the piece is in a word with foreign characters or without.
    fn slot(self, foreign: bool) -> Slot {
        match self {
            Self::Slot(slot) => slot,
            Self::LetterX if foreign => Slot::Foreign(CharacterClass::Letter, None),
            Self::Wildcard | Self::LetterX | Self::Underscore => {
                Slot::OneOf(super::block::ANY_DIGIT)
            }
        }
    }

    fn is_digit(self) -> bool {
        matches!(self, Self::Slot(Slot::Digit(_) | Slot::OneOf(_)))
    }
}

/// Adds a piece, wiping the old place when the vector has to move.
fn push(raw: &mut Zeroizing<Vec<Raw>>, piece: Raw) {
    if raw.len() == raw.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(raw.len().saturating_mul(2).max(64)));
        larger.extend_from_slice(raw);
        *raw = larger;
    }
    raw.push(piece);
}

/// Without what touches a whole block or a whole password but is none of it: the asterisks of
/// `**471207`, the question mark after the last block, the `n` of `\n471207`.
fn trimmed(raw: &[Raw]) -> &[Raw] {
    let whole = [BLOCK_DIGITS, PASSWORD_DIGITS];
    if whole.contains(&raw.len()) {
        return raw;
    }
    let mut core = raw;
    while let [first, rest @ ..] = core
        && !first.is_digit()
    {
        core = rest;
    }
    while let [rest @ .., last] = core
        && !last.is_digit()
    {
        core = rest;
    }
    let pure = core.iter().all(|p| p.is_digit());
    if pure && whole.contains(&core.len()) {
        core
    } else {
        raw
    }
}
