//! Names of files as messages show them.
//!
//! A name may lie on somebody else's disk, and may hold what moves a terminal's cursor, turns the
//! direction of text, or begins a new line that looks like another message.

use std::fmt::{self, Display, Write};
use std::path::Path;

/// Shows a path in a message; [`Path::display`] would pass on whatever the name holds.
pub trait ShowPath {
    /// The path, with escapes in place of characters that a terminal acts on.
    fn shown(&self) -> Shown<'_>;
}

impl ShowPath for Path {
    fn shown(&self) -> Shown<'_> {
        Shown(self)
    }
}

/// See [`ShowPath::shown`].
pub struct Shown<'a>(&'a Path);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(&self.0.to_string_lossy(), f)
    }
}

/// Writes text with escapes in place of control characters and of those that turn the direction of
/// text.
pub fn write_escaped(text: &str, to: &mut impl Write) -> fmt::Result {
    text.chars().try_for_each(|c| match acts_on_terminal(c) {
        true => write!(to, "{}", c.escape_unicode()),
        false => to.write_char(c),
    })
}

fn acts_on_terminal(c: char) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_move_the_cursor_turn_the_text_or_begin_a_line() {
        let shown = |name: &str| Path::new(name).shown().to_string();
        assert_eq!(shown("/mnt/Größe 例.txt"), "/mnt/Größe 例.txt");
        assert_eq!(shown("a\x1b[31m\nfve: done"), "a\\u{1b}[31m\\u{a}fve: done");
        assert_eq!(shown("a\u{202E}b"), "a\\u{202e}b");
    }
}
