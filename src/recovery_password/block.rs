//! One block of a recovery password: six digits that are a multiple of 11 below 720896
//! (docs/format-recovery-password.md §1.1 and §1.2), or whatever was typed in their place.

use std::fmt;

use zeroize::{DefaultIsZeroes, Zeroizing};

/// Digits in a block.
pub(super) const BLOCK_DIGITS: usize = 6;
/// Blocks in a password.
pub(super) const BLOCKS: usize = 8;
/// How many digits may be missing from a run, or be too many, for corrections to be searched. With
/// more, there are too many candidates to be useful.
pub(super) const MOST_EDITS: usize = 2;
/// Every block is 11 times a 16-bit number.
const FACTOR: u32 = 11;
/// The number of possible remainders of a division by 11.
const REMAINDERS: usize = 11;
/// The digits of the largest block, 65535 × 11 = 720885.
const GREATEST: [u8; BLOCK_DIGITS] = [7, 2, 0, 8, 8, 5];
/// The set of all ten digits: bit n for digit n.
pub(super) const ANY_DIGIT: u16 = 0x3FF;

/// The eight 16-bit numbers of a password: its blocks, divided by 11.
pub(super) type Quotients = [u16; BLOCKS];

/// The content of one place of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// A digit.
    Digit(u8),
    /// An unreadable digit, with the set of digits that it may be (bit n for digit n).
    OneOf(u16),
    /// Another character, with the digit that it looks like to a scanner.
    Foreign(CharacterClass, Option<u8>),
}

impl Default for Slot {
    fn default() -> Self {
        Self::Digit(0)
    }
}

impl DefaultIsZeroes for Slot {}

impl Slot {
    /// The digit, if it is a known one.
    pub(super) fn digit(self) -> Option<u8> {
        match self {
            Self::Digit(digit) => Some(digit),
            Self::OneOf(_) | Self::Foreign(..) => None,
        }
    }

    /// The set of digits that may belong here; all digits for another character.
    fn readings(self) -> u16 {
        match self {
            Self::Digit(digit) => 1_u16.checked_shl(u32::from(digit)).unwrap_or(0),
            Self::OneOf(set) => set,
            Self::Foreign(..) => ANY_DIGIT,
        }
    }
}

/// The kind of a character that is not a digit. The character itself is not shown, as it may be part
/// of the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CharacterClass {
    /// A letter of any script.
    Letter,
    /// A number sign that is no decimal digit, such as a superscript or a Roman numeral.
    Numeral,
    /// Anything else.
    Symbol,
}

impl CharacterClass {
    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Letter => "letter",
            Self::Numeral => "numeral",
            Self::Symbol => "symbol",
        }
    }
}

/// A character of a block that is not a digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ForeignCharacter {
    /// Its place in the block, counted from 1.
    pub position: usize,
    /// Whether it is a letter, a numeral that is no decimal digit, or something else.
    pub class: CharacterClass,
}

/// Whether a block is valid, or what is wrong with it (docs/format-recovery-password.md §1.7).
/// `Display` writes the end of a sentence that begins with the block's number: `has 5 digits instead
/// of 6`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockVerdict {
    /// Six digits that are a multiple of 11 below 720896.
    Valid,
    /// No characters between two separators.
    Empty,
    /// Fewer than six digits.
    TooShort {
        /// How many there are.
        digits: usize,
    },
    /// More than six digits.
    TooLong {
        /// How many there are.
        digits: usize,
    },
    /// Some characters are not digits.
    NotDigits {
        /// Their places and kinds.
        foreign: Vec<ForeignCharacter>,
    },
    /// Six digits that are not divisible by 11: at least one is wrong.
    NotMultipleOf11,
    /// A multiple of 11 that is 720896 or more.
    OutOfRange,
    /// Some digits are marked as unreadable.
    Incomplete {
        /// In how many ways the block can be completed. With 0, a digit that was read is wrong.
        fillings: u32,
    },
}

impl BlockVerdict {
    /// A stable word for programs: `valid`, `too-short` …
    pub fn word(&self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Empty => "empty",
            Self::TooShort { .. } => "too-short",
            Self::TooLong { .. } => "too-long",
            Self::NotDigits { .. } => "not-digits",
            Self::NotMultipleOf11 => "not-multiple-of-11",
            Self::OutOfRange => "out-of-range",
            Self::Incomplete { .. } => "incomplete",
        }
    }

    /// Whether the block is a valid one.
    pub fn is_valid(&self) -> bool {
        matches!(self, Self::Valid)
    }
}

impl fmt::Display for BlockVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid => f.write_str("is valid"),
            Self::Empty => f.write_str("is empty"),
            Self::TooShort { digits: 1 } => f.write_str("has 1 digit instead of 6"),
            Self::TooShort { digits } | Self::TooLong { digits } => {
                write!(f, "has {digits} digits instead of 6")
            }
            Self::NotDigits { foreign } => {
                f.write_str("has characters that are not digits:")?;
                foreign.iter().enumerate().try_for_each(|(nth, one)| {
                    let comma = if nth == 0 { "" } else { "," };
                    let (class, position) = (one.class.word(), one.position);
                    write!(f, "{comma} a {class} at position {position}")
                })
            }
            Self::NotMultipleOf11 => f.write_str("is not divisible by 11"),
            Self::OutOfRange => f.write_str("is 720896 or more, too large for a block"),
            Self::Incomplete { fillings: 0 } => {
                f.write_str("has unreadable digits, but no value fits: another digit is wrong")
            }
            Self::Incomplete { fillings: 1 } => {
                f.write_str("has unreadable digits that can be filled in 1 way")
            }
            Self::Incomplete { fillings } => {
                write!(
                    f,
                    "has unreadable digits that can be filled in {fillings} ways"
                )
            }
        }
    }
}

/// A block as it was written: normally six digits, but possibly any number of digits, unreadable
/// digits and other characters. Wiped when dropped; `Debug` shows only the number of places.
pub struct Block(Zeroizing<Vec<Slot>>);

impl Block {
    /// A block with these places. The caller wipes its own copy.
    pub(super) fn new(slots: &[Slot]) -> Self {
        Self(Zeroizing::new(slots.to_vec()))
    }

    /// A copy, wiped on its own. Not `Clone`, so that copies of secrets are visible in the code.
    pub(super) fn duplicate(&self) -> Self {
        Self::new(&self.0)
    }

    /// The places, in order.
    pub(super) fn slots(&self) -> &[Slot] {
        &self.0
    }

    /// The digits; `None` if some place is not a known digit.
    pub(super) fn digits(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut digits = Zeroizing::new(Vec::with_capacity(self.0.len()));
        for slot in self.0.iter() {
            digits.push(slot.digit()?);
        }
        Some(digits)
    }

    /// How many places there are: digits, unreadable digits and foreign characters.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no places.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the block is valid as written, or what is wrong with it.
    pub fn verdict(&self) -> BlockVerdict {
        let foreign = self.foreign();
        if !foreign.is_empty() {
            return BlockVerdict::NotDigits { foreign };
        }
        let digits = self.len();
        match digits {
            0 => return BlockVerdict::Empty,
            1..BLOCK_DIGITS => return BlockVerdict::TooShort { digits },
            BLOCK_DIGITS => {}
            _ => return BlockVerdict::TooLong { digits },
        }
        let Some(known) = self.digits() else {
            let fillings = self.count_fillings();
            return BlockVerdict::Incomplete { fillings };
        };
        if quotient_of(&known).is_some() {
            BlockVerdict::Valid
        } else if number(&known).is_multiple_of(FACTOR) {
            BlockVerdict::OutOfRange
        } else {
            BlockVerdict::NotMultipleOf11
        }
    }

    /// The block with leading zeros added, as spreadsheets drop them; `None` if that does not make it
    /// valid (docs/format-recovery-password.md §1.6, step 6).
    pub(super) fn padded(&self) -> Option<Self> {
        let missing = BLOCK_DIGITS.checked_sub(self.len())?;
        if self.is_empty() || missing == 0 {
            return None;
        }
        let mut slots = Zeroizing::new(vec![Slot::Digit(0); missing]);
        // Reserved first: growing would leave a copy in freed memory.
        slots.reserve_exact(self.len());
        slots.extend_from_slice(&self.0);
        let padded = Self::new(&slots);
        padded.quotient().is_some().then_some(padded)
    }

    /// The 16-bit number of a valid block.
    pub(super) fn quotient(&self) -> Option<u16> {
        quotient_of(&self.digits()?)
    }

    /// The check digit: the sixth digit that fits the first five (docs/format-recovery-password.md
    /// §1.2). `None` if they are not all known, or if no digit fits: then one of the five is wrong.
    ///
    /// It is part of the password, so keep it secret.
    pub fn expose_expected_check_digit(&self) -> Option<u8> {
        if self.len() > BLOCK_DIGITS {
            return None;
        }
        let mut first = Zeroizing::new([0; 5]);
        for (nth, digit) in first.iter_mut().enumerate() {
            *digit = self.0.get(nth)?.digit()?;
        }
        // 10 n + d is a multiple of 11 exactly if d has the same remainder as n, because 10 is -1
        // modulo 11. This equals the alternating sum of docs/format-recovery-password.md §1.2.
        let remainder = number(&*first) % FACTOR;
        u8::try_from(remainder).ok().filter(|digit| *digit < 10)
    }

    /// In how many ways six places can be completed to a valid block. Other characters may be any digit.
    pub(super) fn count_fillings(&self) -> u32 {
        if self.len() != BLOCK_DIGITS {
            return 0;
        }
        // Digit by digit: how many beginnings are already less than that of the largest block, for
        // each remainder modulo 11; and the remainder of the one beginning that is still equal to it.
        let mut below = [0_u32; REMAINDERS];
        let mut equal = Some(0_usize);
        for (slot, limit) in self.0.iter().zip(GREATEST) {
            let mut next = [0_u32; REMAINDERS];
            let mut next_equal = None;
            for digit in (0..10_u8).filter(|digit| contains(slot.readings(), *digit)) {
                for (remainder, count) in below.iter().enumerate() {
                    add(&mut next, append(remainder, digit), *count);
                }
                if let Some(remainder) = equal {
                    match digit.cmp(&limit) {
                        std::cmp::Ordering::Less => add(&mut next, append(remainder, digit), 1),
                        std::cmp::Ordering::Equal => next_equal = Some(append(remainder, digit)),
                        std::cmp::Ordering::Greater => {}
                    }
                }
            }
            (below, equal) = (next, next_equal);
        }
        let [whole, ..] = below;
        whole.saturating_add(u32::from(equal == Some(0)))
    }

    /// The 16-bit numbers of all completions, in ascending order.
    pub(super) fn fillings(&self) -> impl Iterator<Item = u16> + '_ {
        let fits = move |quotient: &u16| {
            let digits = block_digits(*quotient);
            let mut places = self.0.iter().zip(digits);
            self.len() == BLOCK_DIGITS && places.all(|(slot, d)| contains(slot.readings(), d))
        };
        (0..=u16::MAX).filter(fits)
    }

    /// The places with other characters.
    fn foreign(&self) -> Vec<ForeignCharacter> {
        let places = (1..).zip(self.0.iter());
        places
            .filter_map(|(position, slot)| match slot {
                Slot::Foreign(class, _) => Some(ForeignCharacter {
                    position,
                    class: *class,
                }),
                Slot::Digit(_) | Slot::OneOf(_) => None,
            })
            .collect()
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} places)", self.len())
    }
}

/// Whether the set contains the digit.
pub(super) fn contains(set: u16, digit: u8) -> bool {
    set.checked_shr(u32::from(digit)).unwrap_or(0) & 1 == 1
}

/// The remainder modulo 11 of a number with one more digit, from the remainder before.
fn append(remainder: usize, digit: u8) -> usize {
    remainder
        .saturating_mul(10)
        .saturating_add(usize::from(digit))
        % REMAINDERS
}

/// Adds to a count, saturating.
fn add(counts: &mut [u32], at: usize, count: u32) {
    if let Some(sum) = counts.get_mut(at) {
        *sum = sum.saturating_add(count);
    }
}

/// The number that the digits form.
pub(super) fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0_u32, |sum, digit| {
        sum.saturating_mul(10).saturating_add(u32::from(*digit))
    })
}

/// The 16-bit number of six digits; `None` if they are not a valid block.
pub(super) fn quotient_of(digits: &[u8]) -> Option<u16> {
    let value = number(digits);
    (digits.len() == BLOCK_DIGITS && value.is_multiple_of(FACTOR))
        .then(|| u16::try_from(value / FACTOR).ok())
        .flatten()
}

/// The six digits of the block for a 16-bit number.
pub(super) fn block_digits(quotient: u16) -> [u8; BLOCK_DIGITS] {
    let mut value = u32::from(quotient).saturating_mul(FACTOR);
    let mut digits = [0; BLOCK_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = (value % 10) as u8;
        value /= 10;
    }
    digits
}

#[cfg(test)]
pub(super) mod tests;
