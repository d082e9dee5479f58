//! How messages show file names and errors.
//!
//! A file name may come from an untrusted disk. It may contain characters that move the cursor of a
//! terminal, reverse the direction of text, or begin a new line that looks like another message.

use std::error::Error;
use std::fmt::{self, Display, Write};
use std::path::Path;

/// Shows a path in a message. [`Path::display`] would pass control characters on unchanged.
pub trait ShowPath {
    /// The path, with control characters and direction marks escaped.
    fn shown(&self) -> Shown<'_>;
}

impl ShowPath for Path {
    fn shown(&self) -> Shown<'_> {
        Shown(self)
    }
}

/// A path with escapes, from [`ShowPath::shown`].
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(&'a Path);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(&self.0.to_string_lossy(), f)
    }
}

/// Shows a text from outside, such as the label of a token, with control characters and direction
/// marks escaped.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(self.0, f)
    }
}

/// Shows an error and all its causes in one line: `cannot read disk.img: Input/output error`.
#[derive(Debug, Clone, Copy)]
pub struct WithCauses<'a>(pub &'a (dyn Error + 'static));

impl Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_error_numbers(&self.0.to_string()))?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {}", without_error_numbers(&error.to_string()))?;
            cause = error.source();
        }
        Ok(())
    }
}

/// The text without the numbers that the standard library adds to the system's errors, as in
/// `Permission denied (os error 13)`.
pub fn without_error_numbers(text: &str) -> String {
    const BEFORE: &str = " (os error ";
    let mut parts = text.split(BEFORE);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let after = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        match after.strip_prefix(')') {
            Some(rest) if after.len() < part.len() => plain.push_str(rest),
            _ => plain.extend([BEFORE, part]),
        }
    }
    plain
}

/// Writes text with control characters and direction marks escaped.
pub fn write_escaped(text: &str, to: &mut impl Write) -> fmt::Result {
    // Most names are plain, and lists of files are long.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return to.write_str(text);
    }
    text.chars().try_for_each(|c| match acts_on_terminal(c) {
        true => write!(to, "{}", c.escape_unicode()),
        false => to.write_char(c),
    })
}

/// Whether a character acts on a terminal instead of being shown, or changes the direction of text.
pub fn acts_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061C}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}'
                | '\u{E0000}'..='\u{E007F}'
        )
}

/// The first `most` bytes of a text, or up to three fewer, so that no character is cut.
// `str::floor_char_boundary` does this from Rust 1.91 on.
pub(crate) fn beginning(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_errors_are_left_out() {
        let error = std::io::Error::from_raw_os_error(13);
        assert_eq!(WithCauses(&error).to_string(), "Permission denied");
        for (text, plain) in [
            ("a: x (os error 5): y (os error 13)", "a: x: y"),
            ("(os error 5)", "(os error 5)"),
            ("a (os error )", "a (os error )"),
            ("a (os error 5", "a (os error 5"),
            ("a (os error x) (os error 1) b", "a (os error x) b"),
        ] {
            assert_eq!(without_error_numbers(text), plain);
        }
    }

    #[test]
    fn a_name_cannot_move_the_cursor_turn_the_text_or_begin_a_line() {
        let shown = |name: &str| Path::new(name).shown().to_string();
        assert_eq!(shown("/mnt/Größe 例.txt"), "/mnt/Größe 例.txt");
        assert_eq!(shown("a\x1b[31m\nfve: done"), "a\\u{1b}[31m\\u{a}fve: done");
        assert_eq!(shown("a\u{202E}b"), "a\\u{202e}b");
    }
}
