//! Divides a text into words: runs of digits and of characters that may be digits, with the gaps between
//! them. Identifiers are recognized first, because they contain groups of digits too
//! (docs/format-recovery-password.md §1.6, steps 2, 4 and 7).

use zeroize::Zeroizing;

use super::block::{BLOCK_DIGITS, BLOCKS, CharacterClass, Slot};
use super::glyph::{Glyph, Separator, glyph};
use super::identify::{Identifier, identifier_at};

/// Digits of a password.
pub(super) const PASSWORD_DIGITS: usize = BLOCK_DIGITS * BLOCKS;
/// The longest word that may be one block: six digits and up to two too many.
pub(super) const LONGEST_BLOCK: usize = 8;
/// The fewest digits that a word with other characters needs to count as a block.
const FEWEST_DIGITS: usize = 3;
/// The most digits in a choice such as `[17]`; more digits in brackets are a block in brackets.
const MOST_CHOICES: usize = 5;

/// The separators between a word and the one before it.
#[derive(Clone, Copy, Default)]
pub(super) struct Gap {
    /// The separator that names the gap: the one with the highest [`strength`].
    pub(super) kind: Option<Separator>,
    /// Number of dashes.
    pub(super) dashes: usize,
    /// Number of characters.
    pub(super) characters: usize,
    /// Number of line breaks; CR LF is one.
    pub(super) newlines: usize,
    /// Whether there are characters other than ASCII hyphens.
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

    /// Whether the gap is one ASCII hyphen, as Windows writes it.
    pub(super) fn is_plain(&self) -> bool {
        self.characters == 1 && !self.unusual
    }
}

/// Which of several separators names a gap: the one with the highest value.
fn strength(separator: Separator) -> u8 {
    match separator {
        Separator::Space => 0,
        Separator::Tab => 1,
        Separator::Newline => 2,
        Separator::Punctuation(_) => 3,
        Separator::Dash => 4,
    }
}

/// A run of characters that may be a block, several blocks, or a whole password.
pub(super) struct Word {
    /// Its places.
    pub(super) slots: Zeroizing<Vec<Slot>>,
    /// The gap before it.
    pub(super) gap: Gap,
    /// Whether it has neither digits nor marks for unreadable digits.
    pub(super) no_digits: bool,
    /// Whether some digits are not ASCII.
    pub(super) other_script: bool,
    /// Whether it was joined from two words because a line break divided it.
    pub(super) joined: bool,
    /// Its line, counted from 0.
    pub(super) line: usize,
}

impl Word {
    /// Number of places.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it has only digits and marks for unreadable digits.
    pub(super) fn is_pure(&self) -> bool {
        !self.slots.iter().any(|s| matches!(s, Slot::Foreign(..)))
    }
}

/// A part of a text.
pub(super) enum Item {
    /// A word that may be a block.
    Word(Word),
    /// An identifier.
    Identifier(Identifier),
    /// Other text, which ends a password.
    Break,
}

/// Divides `text` into parts. With `ocr`, letters that look like digits count as such when it is decided
/// whether a word is a block.
pub(super) fn items(text: &str, ocr: bool) -> Vec<Item> {
    // Allocated once: growing would leave a copy in freed memory.
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

    /// Reads one separator, identifier, word or other character. False at the end of the text.
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
            // `>` at the start of a quoted line of a mail, or a soft line break of quoted-printable.
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

    /// The set of digits of a choice such as `[17]` that begins here, and its length in characters. `None`
    /// if it is not next to another place of a block.
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

    /// Reads the longest word that begins here.
    fn word(&mut self) {
        let mut raw = Zeroizing::new(Vec::new());
        let mut other_script = false;
        while let Some(c) = self.peek(0) {
            // In `|5BC8FBBC-…`, the identifier begins after the symbol.
            if !raw.is_empty() && identifier_at(self.chars, self.at, self.line).is_some() {
                break;
            }
            let part = match glyph(c) {
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
            push(&mut raw, part);
            self.advance(1);
        }
        self.underscores(&raw, other_script);
    }

    /// Decides what underscores mean: separators if they divide eight groups or follow a whole block,
    /// otherwise unreadable digits.
    fn underscores(&mut self, raw: &[Raw], other_script: bool) {
        if !raw.contains(&Raw::Underscore) {
            return self.finish(raw, other_script);
        }
        let groups = || raw.split(|part| *part == Raw::Underscore);
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

    /// Adds the places as a word, if they can be a block or a password.
    fn finish(&mut self, raw: &[Raw], other_script: bool) {
        let raw = trimmed(raw);
        if raw.iter().all(|p| *p == Raw::Underscore) && raw.len() != BLOCK_DIGITS {
            return self.gap.add(Separator::Punctuation('_'), '_', false);
        }
        let foreign = raw
            .iter()
            .any(|p| matches!(p, Raw::Slot(Slot::Foreign(..))));
        let mut slots = Zeroizing::new(Vec::with_capacity(raw.len()));
        slots.extend(raw.iter().map(|part| part.slot(foreign)));
        let read = |slot: &&Slot| match slot {
            Slot::Digit(_) | Slot::OneOf(_) => true,
            Slot::Foreign(_, reading) => self.ocr && reading.is_some(),
        };
        let no_digits = !slots.iter().any(|slot| !matches!(slot, Slot::Foreign(..)));
        let block = slots.len() <= LONGEST_BLOCK;
        let enough = slots.iter().filter(read).count() >= FEWEST_DIGITS;
        let known = raw.iter().any(|p| matches!(p, Raw::Slot(_)));
        let keep = if foreign {
            block && (no_digits || enough)
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
            no_digits,
            other_script,
            joined: false,
            line: self.line,
        }));
    }

    /// Tries the parts between symbols as words of their own, as in `693451|471207`.
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

/// A place of a word, before it is decided what ambiguous characters mean.
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
    /// The place's meaning. In a word with other characters (`foreign`), an `x` is a letter.
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

/// Adds a place. If the vector has to grow, its old memory is wiped.
fn push(raw: &mut Zeroizing<Vec<Raw>>, part: Raw) {
    if raw.len() == raw.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(raw.len().saturating_mul(2).max(64)));
        larger.extend_from_slice(raw);
        *raw = larger;
    }
    raw.push(part);
}

/// Removes characters at both ends if the rest is a whole block or a whole password: the asterisks of
/// `**471207`, a question mark after the last block, the `n` of `\n471207`.
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
