//! What one character of a text may be to a recovery password
//! (docs/format-recovery-password.md §1.6, steps 2, 3 and 7).

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::block::CharacterClass;

/// What a character may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Glyph {
    /// A decimal digit of any script.
    Digit(u8),
    /// Stands for an unreadable digit, if it stands in a block.
    Wildcard,
    /// `_`: an unreadable digit or a separator, depending on where.
    Underscore,
    /// Stands for an unreadable digit in a block, and is a letter elsewhere.
    LetterX,
    /// Part of a word: no digit, but perhaps what a scanner made of one.
    Foreign(CharacterClass, Option<u8>),
    /// Stands between blocks.
    Separator(Separator),
    /// Never seen and never meant: byte-order and direction marks, joiners.
    Invisible,
    /// Opens a choice of digits, `[17]`, or ends what came before.
    Bracket,
    /// Ends what came before.
    Break,
}

/// What stands between two blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Separator {
    /// Blanks of any width.
    Space,
    /// A tabulator.
    Tab,
    /// The end of a line.
    Newline,
    /// Full stop, comma, colon, slash …
    Punctuation(char),
    /// A hyphen or dash of any length.
    Dash,
}

/// What `c` may be.
pub(super) fn glyph(c: char) -> Glyph {
    match c {
        '0'..='9' => Glyph::Digit((c as u8) & 0x0F),
        '\n' | '\r' | '\u{0B}' | '\u{0C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
            Glyph::Separator(Separator::Newline)
        }
        '\t' => Glyph::Separator(Separator::Tab),
        '_' | '\u{FF3F}' => Glyph::Underscore,
        '?' | '*' | '\u{FF1F}' | '\u{FF0A}' => Glyph::Wildcard,
        'x' | 'X' => Glyph::LetterX,
        '[' => Glyph::Bracket,
        '\u{2212}' | '\u{AD}' | '\u{30FC}' | '\u{FF70}' => Glyph::Separator(Separator::Dash),
        '.' | '/' | ':' | ',' | ';' => Glyph::Separator(Separator::Punctuation(c)),
        '\u{FF0E}' | '\u{3002}' => Glyph::Separator(Separator::Punctuation('.')),
        '\u{FF0C}' | '\u{3001}' | '\u{60C}' => Glyph::Separator(Separator::Punctuation(',')),
        '\u{FF1A}' => Glyph::Separator(Separator::Punctuation(':')),
        '\u{FF1B}' | '\u{61B}' => Glyph::Separator(Separator::Punctuation(';')),
        '\u{FF0F}' => Glyph::Separator(Separator::Punctuation('/')),
        '\u{B7}' | '\u{2022}' => Glyph::Separator(Separator::Punctuation('\u{B7}')),
        '\u{200B}' => Glyph::Separator(Separator::Space),
        '"' | '\'' | '=' | '<' | '>' | '(' | ')' | '{' | '}' | ']' | '\\' => Glyph::Break,
        'O' | 'I' | 'l' | '|' | 'S' | 'B' | 'Z' => {
            let class = if c == '|' {
                CharacterClass::Symbol
            } else {
                CharacterClass::Letter
            };
            Glyph::Foreign(class, scanner_reading(c))
        }
        _ => by_category(c),
    }
}

fn by_category(c: char) -> Glyph {
    match c.general_category() {
        GeneralCategory::DecimalNumber => match digit_value(c) {
            Some(digit) => Glyph::Digit(digit),
            None => Glyph::Foreign(CharacterClass::Numeral, None),
        },
        GeneralCategory::DashPunctuation => Glyph::Separator(Separator::Dash),
        GeneralCategory::SpaceSeparator => Glyph::Separator(Separator::Space),
        GeneralCategory::Format => Glyph::Invisible,
        GeneralCategory::Control => Glyph::Break,
        GeneralCategory::LetterNumber | GeneralCategory::OtherNumber => {
            Glyph::Foreign(CharacterClass::Numeral, None)
        }
        GeneralCategory::UppercaseLetter
        | GeneralCategory::LowercaseLetter
        | GeneralCategory::TitlecaseLetter
        | GeneralCategory::ModifierLetter
        | GeneralCategory::OtherLetter
        | GeneralCategory::NonspacingMark
        | GeneralCategory::SpacingMark
        | GeneralCategory::EnclosingMark => Glyph::Foreign(CharacterClass::Letter, None),
        _ => Glyph::Foreign(CharacterClass::Symbol, None),
    }
}

/// The value of a decimal digit of any script.
///
/// Unicode gives every script its ten digits in order and in one piece, so the value is the
/// distance from the first, modulo ten where several sets touch (U+1D7CE).
fn digit_value(c: char) -> Option<u8> {
    /// Five sets touch at U+1D7CE; none has been longer.
    const LONGEST: u32 = 60;
    let before = (1..LONGEST).take_while(|back| {
        let code = u32::from(c).checked_sub(*back).and_then(char::from_u32);
        code.is_some_and(|c| c.general_category() == GeneralCategory::DecimalNumber)
    });
    u8::try_from(before.count() % 10).ok()
}

/// The digit that a scanner may have taken for this character.
fn scanner_reading(c: char) -> Option<u8> {
    match c {
        'O' => Some(0),
        'I' | 'l' | '|' => Some(1),
        'Z' => Some(2),
        'S' => Some(5),
        'B' => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decimal_digit_of_unicode_has_its_value() {
        let digits: Vec<char> = ('\0'..=char::MAX)
            .filter(|c| c.general_category() == GeneralCategory::DecimalNumber)
            .collect();
        assert_eq!(digits.len() % 10, 0);
        // Every set of ten is in one piece and counts from zero.
        for set in digits.chunks(10) {
            for (value, c) in (0..).zip(set) {
                assert_eq!(u32::from(*c) - u32::from(set[0]), u32::from(value));
                assert!(glyph(*c) == Glyph::Digit(value), "{c:?}");
            }
        }
        // Some by name, from the Unicode charts.
        for (c, value) in [('٣', 3), ('۴', 4), ('५', 5), ('７', 7), ('𝟗', 9), ('𝟶', 0)] {
            assert!(glyph(c) == Glyph::Digit(value), "{c:?}");
        }
    }

    #[test]
    fn superscripts_and_other_numerals_are_no_digits() {
        for c in ['²', '₂', '②', '½', 'Ⅳ', '㊂'] {
            assert!(
                glyph(c) == Glyph::Foreign(CharacterClass::Numeral, None),
                "{c:?}"
            );
        }
    }

    #[test]
    fn all_dashes_and_blanks_separate() {
        for c in "-‐‑‒–—―−\u{AD}﹣－ー".chars() {
            assert!(glyph(c) == Glyph::Separator(Separator::Dash), "{c:?}");
        }
        for c in " \u{A0}\u{2003}\u{2009}\u{202F}\u{3000}\u{200B}".chars() {
            assert!(glyph(c) == Glyph::Separator(Separator::Space), "{c:?}");
        }
        for c in "./:,;".chars() {
            assert!(
                matches!(glyph(c), Glyph::Separator(Separator::Punctuation(_))),
                "{c:?}"
            );
        }
    }
}
