//! Undoes what stands between the digits of a password in HTML and RTF, and the numbers before the
//! lines of a list. Web pages and word processors write hyphens and spaces that do not break a line in
//! forms of their own.

use zeroize::Zeroizing;

use super::block::{BLOCK_DIGITS, BLOCKS};

/// The longest entity that is looked for, in characters.
const LONGEST_ENTITY: usize = 12;
/// The longest HTML tag.
const LONGEST_TAG: usize = 200;

/// HTML tags that can be inside a line of text.
const INLINE: &[&str] = &[
    "a", "b", "big", "code", "em", "font", "i", "kbd", "nobr", "samp", "small", "span", "strong",
    "tt", "u", "wbr",
];

/// HTML entities of spaces, dashes and invisible characters.
const ENTITIES: &[(&str, Option<char>)] = &[
    ("nbsp", Some(' ')),
    ("ensp", Some(' ')),
    ("emsp", Some(' ')),
    ("thinsp", Some(' ')),
    ("hyphen", Some('-')),
    ("dash", Some('-')),
    ("ndash", Some('-')),
    ("mdash", Some('-')),
    ("minus", Some('-')),
    ("shy", None),
    ("zwnj", None),
    ("zwj", None),
    ("ZeroWidthSpace", None),
];

/// RTF control words and symbols of spaces and dashes.
const CONTROLS: &[(&str, Option<char>)] = &[
    ("\\_", Some('-')),
    ("\\~", Some(' ')),
    ("\\-", None),
    ("\\'96", Some('-')),
    ("\\'97", Some('-')),
    ("\\'a0", Some(' ')),
    ("\\'A0", Some(' ')),
    ("\\endash ", Some('-')),
    ("\\emdash ", Some('-')),
];

/// The text without markup and without numbers of lines; `None` if it has none. The lines stay as they
/// are.
pub(super) fn without(text: &str) -> Option<Zeroizing<String>> {
    let is_rtf = text.trim_start().starts_with("{\\rtf");
    let has_markup = is_rtf || text.contains(['&', '<']);
    let unmarked = has_markup.then(|| unmarked(text, is_rtf));
    let plain = unmarked.as_ref().map_or(text, |text| text.as_str());
    without_numbers(plain).or(unmarked)
}

/// A part of the text: its length in bytes, and what it stands for.
type Part = (usize, Option<char>);

fn unmarked(text: &str, is_rtf: bool) -> Zeroizing<String> {
    // Nothing is longer than its markup, so that the text never grows and leaves no copy in memory.
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let part = match c {
            '&' => entity(rest),
            '<' => tag(rest),
            '\\' if is_rtf => control(rest),
            _ => None,
        };
        let (len, character) = part.unwrap_or((c.len_utf8(), Some(c)));
        out.extend(character);
        rest = rest.get(len..).unwrap_or_default();
    }
    out
}

/// The length of the text up to and with this character, among the first `most` ones.
fn up_to(text: &str, last: char, most: usize) -> Option<usize> {
    let mut chars = text.char_indices().take(most);
    let (at, _) = chars.find(|(_, c)| *c == last)?;
    at.checked_add(last.len_utf8())
}

fn entity(text: &str) -> Option<Part> {
    let len = up_to(text, ';', LONGEST_ENTITY.saturating_add(LONGEST_ENTITY))?;
    let name = text.get(..len)?.strip_prefix('&')?.strip_suffix(';')?;
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return Some((len, Some(char::from_u32(code.ok()?)?)));
    }
    let (_, character) = ENTITIES.iter().find(|(known, _)| *known == name)?;
    Some((len, *character))
}

fn tag(text: &str) -> Option<Part> {
    let len = up_to(text, '>', LONGEST_TAG)?;
    let inside = text.get(..len)?.strip_prefix('<')?.trim_start_matches('/');
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric())?;
    let name = inside.get(..end)?;
    let is_inline = INLINE.iter().any(|known| known.eq_ignore_ascii_case(name));
    is_inline.then_some((len, None))
}

fn control(text: &str) -> Option<Part> {
    let mut known = CONTROLS.iter();
    if let Some((word, character)) = known.find(|(word, _)| text.starts_with(word)) {
        return Some((word.len(), *character));
    }
    // A character by its number, and the one that programs without Unicode show instead.
    let number = text.strip_prefix("\\u")?;
    let digits = number.find(|c: char| !c.is_ascii_digit())?;
    let character = char::from_u32(number.get(..digits)?.parse().ok()?)?;
    let rest = number.get(digits..)?;
    let instead = usize::from(rest.starts_with(['?', '-', ' ']));
    let len = text.len().checked_sub(rest.len())?.checked_add(instead)?;
    Some((len, Some(character)))
}

/// The text without the numbers 1 to 8 before the blocks of a password, each on a line of its own.
fn without_numbers(text: &str) -> Option<Zeroizing<String>> {
    let mut blocks = Zeroizing::new(String::with_capacity(text.len()));
    let mut due = 1_usize;
    let mut any = false;
    // The lines of an incomplete list, to be put back as they were.
    let mut pending: Vec<(&str, &str)> = Vec::new();
    for line in text.split_inclusive('\n') {
        match block_of(line, due) {
            Some(block) => {
                pending.push((line, block));
                due = due.saturating_add(1);
            }
            None if line.trim().is_empty() && due > 1 => pending.push((line, line)),
            None => {
                put_back(&mut pending, &mut blocks, false);
                due = 1;
                blocks.push_str(line);
            }
        }
        if due > BLOCKS {
            put_back(&mut pending, &mut blocks, true);
            any = true;
            due = 1;
        }
    }
    put_back(&mut pending, &mut blocks, false);
    any.then_some(blocks)
}

fn put_back(pending: &mut Vec<(&str, &str)>, to: &mut String, numbered: bool) {
    for (line, block) in pending.drain(..) {
        to.push_str(if numbered { block } else { line });
    }
}

/// What follows the number of a line, if that is `due` and one block follows.
fn block_of(line: &str, due: usize) -> Option<&str> {
    let line = line.trim_start_matches(|c: char| c.is_alphabetic() || c == ' ' || c == '\t');
    let digits = line.find(|c: char| !c.is_ascii_digit())?;
    let (number, rest) = line.split_at_checked(digits)?;
    let block = rest.trim_start_matches(['.', ')', ':', '-', '#', ' ', '\t', '\u{A0}']);
    let is_block = |text: &str| {
        text.len() == BLOCK_DIGITS && text.chars().all(|c| c.is_ascii_digit() || c == '?')
    };
    (number.parse() == Ok(due) && block.len() < rest.len() && is_block(block.trim()))
        .then_some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Option<String> {
        without(text).map(|text| text.to_string())
    }

    #[test]
    fn undoes_spaces_and_hyphens_of_html_and_rtf() {
        assert_eq!(
            plain("1&#8209;2&#x2011;3&nbsp;-&nbsp;4-<wbr>5<B>6</B>").unwrap(),
            "1\u{2011}2\u{2011}3 - 4-56"
        );
        assert_eq!(
            plain("{\\rtf1 1\\_2\\~3\\u8209?4\\'965}").unwrap(),
            "{\\rtf1 1-2 3\u{2011}4-5}"
        );
        assert_eq!(
            plain("a & b; <p> &unknown; &#xFFFFFFFF;").unwrap(),
            "a & b; <p> &unknown; &#xFFFFFFFF;"
        );
        assert_eq!(plain("235818-357951"), None);
    }

    #[test]
    fn takes_the_numbers_of_lines_away() {
        let list = |form: fn(usize) -> String| (1..=8).map(form).collect::<String>();
        let blocks = "000011\n".repeat(8);
        for form in [
            |n| format!("{n}. 000011\n"),
            |n| format!("Block {n}: 000011\n"),
            |n| format!(" {n})\t000011\n"),
        ] as [fn(usize) -> String; 3]
        {
            assert_eq!(plain(&list(form)).unwrap(), blocks);
        }
        let short = list(|n| format!("{n}. 000011\n")).replace("8. ", "9. ");
        assert_eq!(plain(&short), None);
    }
}
