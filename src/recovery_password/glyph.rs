//! Classifies the characters of a text: digits, separators and others
//! (docs/format-recovery-password.md §1.6, steps 2, 3 and 7).

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::block::CharacterClass;

/// The class of a character.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Glyph {
    /// A decimal digit of any script.
    Digit(u8),
    /// `?` or `*`: an unreadable digit, if it is inside a block.
    Wildcard,
    /// `_`: an unreadable digit or a separator, depending on its place.
    Underscore,
    /// `x`: an unreadable digit inside a block, elsewhere a letter.
    LetterX,
    /// Another character of a word, with the digit that it looks like to a scanner.
    Foreign(CharacterClass, Option<u8>),
    /// A separator between blocks.
    Separator(Separator),
    /// An invisible character, which is ignored: byte-order and direction marks, joiners.
    Invisible,
    /// `[`: begins a choice of digits, such as `[17]`, or ends a password like `Break`.
    Bracket,
    /// A character that cannot be between the blocks of a password.
    Break,
}

/// A separator between two blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Separator {
    /// Spaces of any width.
    Space,
    /// A tabulator.
    Tab,
    /// The end of a line.
    Newline,
    /// Full stop, comma, colon, slash and others, in their ASCII form.
    Punctuation(char),
    /// A hyphen or dash of any length.
    Dash,
}

/// The class of `c`.
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

/// The class of a character that is not listed above, by its Unicode category.
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
/// Unicode encodes the ten digits of every script in order and without gaps, so the value is the
/// distance from the first one. Where several sets are adjacent (from U+1D7CE), it is that modulo 10.
fn digit_value(c: char) -> Option<u8> {
    /// More than the longest range of adjacent sets, five sets from U+1D7CE on.
    const LONGEST: u32 = 60;
    let before = (1..LONGEST).take_while(|back| {
        let code = u32::from(c).checked_sub(*back).and_then(char::from_u32);
        code.is_some_and(|c| c.general_category() == GeneralCategory::DecimalNumber)
    });
    u8::try_from(before.count() % 10).ok()
}

/// The digit that a scanner may have read as this character.
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
        // Every set of ten digits is contiguous and begins with zero.
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
    fn superscripts_and_other_numerals_are_not_digits() {
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
